//! What a verdict is called, wherever it is spoken of before there is a run.

use std::fmt::Write as _;

use super::super::verdicts::case;
use crate::catalogue::Verdict;

#[test]
fn each_verdict_has_its_words() {
    let mut said = String::new();
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
    }
    let due = include_str!("words.txt");
    assert!(said == due, "{said}");
}
