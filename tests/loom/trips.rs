//! A program for each check of the model, which that check and no other refuses first. With the check switched off it
//! is not refused by it any more: so a test that expects the refusal fails, and a check that looks for nothing would be
//! noticed.

use real::schedule::Plan;

use crate::check::Check;
use crate::faulty::{self, serve};
use crate::model::{Model, Script};
use crate::models::{Said, Test, model, requests, test};
use crate::runner::Serve;
use crate::turn::Checker;
use crate::world::Rules;
use crate::{gallery, stage3_broken, stage4_broken, stage8_broken};

/// One server with a fault, and its client.
fn faulty(serve: Serve, letters: &'static str) -> Model {
    model("faulty", serve, requests(letters, letters))
}

/// The same client, who has more to send than it sends.
fn half(serve: Serve, letters: &'static str) -> Model {
    let mut model = faulty(serve, letters);
    model.script.plans = vec![Plan::Get(2)];
    model
}

/// The program that this check refuses.
fn tripper(check: Check) -> Model {
    let inside = Rules { two_inside: true, ..Rules::DEFAULT };
    match check {
        Check::UsedAfterFree => model("stage3_broken", stage3_broken::serve, requests("dr", "dr")),
        Check::FreedTwice => faulty(serve::<{ faulty::FREE_TWICE }>, "df"),
        Check::TwoInACell => {
            Model { rules: inside, ..model("stage4_broken", stage4_broken::serve, requests("ddf", "ddf")) }
        }
        Check::TwoInAHandoff => Model { rules: inside, ..faulty(serve::<{ faulty::ENTER_TOGETHER }>, "df") },
        Check::UnorderedHandoff => faulty(serve::<{ faulty::HAND_OVER_RELAXED }>, "df"),
        Check::ClosedTwice => faulty(serve::<{ faulty::CLOSE_TWICE }>, "d"),
        Check::UsedAfterClose => faulty(serve::<{ faulty::USE_AFTER_CLOSE }>, "d"),
        Check::NobodyMoves => faulty(serve::<{ faulty::WAIT_FOR_ITSELF }>, "ds"),
        Check::StuckAtALock => faulty(serve::<{ faulty::FORGET_A_GUARD }>, "d"),
        Check::NotAccepted => faulty(serve::<{ faulty::ACCEPT_ONE }>, "c"),
        Check::Unread => {
            let mut model = faulty(serve::<{ faulty::NO_REARM }>, "dd");
            model.script.plans = vec![Plan::Raw];
            model
        }
        Check::NotClosed => faulty(serve::<{ faulty::NO_CLOSE }>, "df"),
        Check::ClosedUnread => faulty(serve::<{ faulty::ONE_READ }>, "df"),
        Check::Dismissed => {
            let rules = Rules { keeps_sessions: true, ..Rules::DEFAULT };
            Model { rules, ..faulty(serve::<{ faulty::DISMISS }>, "d") }
        }
        Check::Miscounted => faulty(serve::<{ faulty::TELL_WRONG }>, "df"),
        Check::WokenInVain => {
            let rules = Rules { in_vain: true, from_the_start: true, ..Rules::DEFAULT };
            Model { rules, ..model("stage8_broken", stage8_broken::serve, requests("one connection", "")) }
        }
        Check::LeftWaiting => faulty(serve::<{ faulty::ACCEPT_ONE }>, "cs"),
        Check::NotOwed => half(serve::<{ faulty::ANSWER_TWICE }>, "ds"),
        Check::Unanswered => faulty(serve::<{ faulty::NO_ANSWER }>, "ds"),
        Check::RepliesMiscounted => faulty(serve::<{ faulty::COUNT_NO_REPLY }>, "ds"),
        Check::BytesMiscounted => faulty(serve::<{ faulty::MISCOUNT }>, "ds"),
        Check::RepliesMissing => faulty(serve::<{ faulty::NO_ANSWER }>, "df"),
        Check::BytesMissing => faulty(serve::<{ faulty::MISCOUNT }>, "df"),
        Check::RepliesUncounted => faulty(serve::<{ faulty::COUNT_NO_REPLY }>, "df"),
        Check::BlockLeaked => faulty(serve::<{ faulty::LEAK }>, "df"),
        Check::DescriptorLeaked => faulty(serve::<{ faulty::LEAK_A_DESCRIPTOR }>, "df"),
        Check::ShareLeaked => faulty(serve::<{ faulty::LEAK_A_SHARE }>, "df"),
        Check::ToAStranger => faulty(serve::<{ faulty::ANSWER_JUNK }>, "df"),
        Check::ReportedTwice => gallery::armed_for_good(),
        Check::WithoutEnd => faulty(serve::<{ faulty::SPIN }>, "df"),
        Check::Panicked => faulty(serve::<{ faulty::PANIC }>, "df"),
        Check::NotFinished => Model { cap: 10, ..model("stage3_broken", stage3_broken::serve, quiet()) },
    }
}

/// A script in which the broken stage 3 is right: it has many executions, and none of them is a finding.
fn quiet() -> Script {
    requests("two requests", "dd")
}

fn trips(check: Check) -> Said {
    let mut said = String::new();
    for checker in [Checker::Loom, Checker::Search] {
        // What only loom knows: what happens before what.
        if check == Check::UnorderedHandoff && checker == Checker::Search {
            continue;
        }
        let model = Model { checker, bound: Some(3), ..tripper(check) };
        let on = model.explore().finding.map(|finding| finding.verdict);
        if on.as_ref().map(|verdict| verdict.check) != Some(check) {
            return Err(format!("{checker:?}: {check:?} should refuse this, and there is {on:?}"));
        }
        let rules = Rules { off: Some(check), ..model.rules };
        let off = Model { rules, ..model }.explore().finding.map(|finding| finding.verdict);
        if off.as_ref().is_some_and(|verdict| verdict.check == check) {
            return Err(format!("{checker:?}: {check:?} is switched off, and refuses"));
        }
        let then = off.map_or("nothing".to_string(), |verdict| format!("{:?}", verdict.check));
        said += &format!("{check:?}, {checker:?}: {}; switched off: {then}\n", on.map_or(String::new(), |on| on.text));
    }
    Ok(said)
}

/// The same server without a fault passes, and so does the one whose fault is mended.
fn the_right_ones_pass() -> Said {
    for (name, serve) in [
        ("without a fault", serve::<{ faulty::NONE }> as Serve),
        ("handed over in order", serve::<{ faulty::HAND_OVER_IN_ORDER }>),
        ("spins, and gives way", serve::<{ faulty::SPIN_AND_GIVE_WAY }>),
    ] {
        for letters in ["df", "dr", "d", "ds", "c"] {
            for checker in [Checker::Loom, Checker::Search] {
                let rules = Rules { two_inside: true, keeps_sessions: true, ..Rules::DEFAULT };
                let model = Model { rules, checker, bound: Some(3), ..faulty(serve, letters) };
                if let Some(finding) = model.explore().finding {
                    return Err(format!("{name}, {letters}, {checker:?}: {}", finding.verdict));
                }
            }
        }
    }
    Ok(String::new())
}

pub fn all() -> Vec<Test> {
    let mut tests = vec![test("checks_pass_what_is_right", 1, the_right_ones_pass)];
    for &check in Check::ALL {
        tests.push(test(&format!("checks_{check:?}_is_tripped_and_can_be_missed"), 1, move || trips(check)));
    }
    tests
}
