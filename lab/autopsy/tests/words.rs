//! What a verdict is called, wherever it is spoken of before there is a run.

use std::fmt::Write as _;

use super::super::timeline::Timeline;
use super::super::verdict::Keys;
use super::super::verdicts::case;
use super::Records;
use crate::catalogue::Verdict;
use crate::direct::outcome::Ending;

#[test]
fn each_verdict_has_its_words_and_its_keys() {
    let mut said = String::new();
    let run = Records::default().run("stage3_broken", &[], Ending::Exit(0));
    let nothing = Timeline::new(&run);
    let names = |keys: Keys| keys.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(" ");
    for verdict in [
        Verdict::Signal { signal: libc::SIGSEGV, text: "" },
        Verdict::Signal { signal: libc::SIGABRT, text: "double free or corruption (!prev)" },
        Verdict::Serves,
        Verdict::Hangs,
        Verdict::Herds,
        Verdict::Misdelivers,
        Verdict::NeverStops,
        Verdict::Loses,
    ] {
        let case = case(verdict);
        _ = writeln!(said, "{}: {} | {} | {}", verdict.id(), case.in_help(), case.in_list(), case.in_table());
        _ = writeln!(
            said,
            "    found: {} | not shown: {}",
            case.in_search(),
            case.absent().unwrap_or("(told by its report)")
        );
        let (rests, kills) = (case.needs_rest(), case.ends_by_kill());
        _ = writeln!(said, "    waits for rest: {rests}, ends by a kill: {kills}");
        let (both, autopsy) = (names(case.in_both(&nothing)), names(case.in_autopsy(&nothing)));
        _ = writeln!(said, "    keys: [{both}], and of the autopsy alone [{autopsy}]");
    }
    let due = include_str!("words.txt");
    assert!(said == due, "{said}");
}
