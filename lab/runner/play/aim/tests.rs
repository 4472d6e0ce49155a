//! What is aimed at, and what hits it.

use super::*;
use crate::catalogue::exhibits;

const SEGV: Shown = Shown::Died(libc::SIGSEGV, None);

fn abort() -> Shown {
    Shown::Died(libc::SIGABRT, Some("double free or corruption (!prev)".to_string()))
}

#[test]
fn each_aim_is_said_and_hit_by_nothing_else() {
    let verdicts = [Verdict::Hangs, Verdict::Herds, Verdict::Misdelivers, Verdict::NeverStops, Verdict::Loses];
    let shown = || [SEGV, abort(), Shown::Panicked, Shown::Restless].into_iter().chain(verdicts.map(Shown::Verdict));
    let cases = [
        ("stage3_broken", "make it die of SIGSEGV", Some(SEGV)),
        ("stage4_broken", "make it die of SIGABRT", Some(abort())),
        ("stage3_fixed", "nothing you do will break it; try", None),
        ("stage5_broken", "let a client get what was made for another", Some(Shown::Verdict(Verdict::Misdelivers))),
        ("stage6_broken", "make a client wait for ever", Some(Shown::Verdict(Verdict::Hangs))),
        ("stage7_broken", "tell it to stop, and let it never end", Some(Shown::Verdict(Verdict::NeverStops))),
        ("stage7_broken --tail", "let a client lose what it is owed", Some(Shown::Verdict(Verdict::Loses))),
        ("stage8_broken", "let one connection wake everybody", Some(Shown::Verdict(Verdict::Herds))),
    ];
    for (name, text, hit) in cases {
        let stage = exhibits().find(|stage| stage.name == name).expect("it is in the catalogue");
        assert_eq!(aim(stage), text);
        let hits: Vec<Shown> = shown().filter(|shown| is_aim(stage, shown)).collect();
        assert_eq!(hits, Vec::from_iter(hit), "{name}");
    }
}
