//! A server that serves its client to the end, and what of it shows that it was the fix that made it so.

use std::process::ExitStatus;

use serde_json::json;

use super::super::findings::{kept_alive, leaked, left_early, refusals};
use super::super::lanes::RED;
use super::super::page::{Page, places};
use super::super::timeline::{Place, Timeline};
use super::super::verdict::{Case, Keys, Survival};
use super::herd::is_herd;
use super::loss::tail;
use super::memory::{Finding, Mistake, evidence, first_mistake};
use super::misdelivery::stale;
use crate::catalogue::{Stage, Verdict, Wild};
use crate::direct::outcome::{Ending, Run};
use crate::words::count;
use crate::world::heap::Heap;

/// The server serves its client, counts every byte, and ends when it is told to.
pub struct Serves;

impl Case for Serves {
    fn in_help(&self) -> String {
        "it serves its client to the end".to_string()
    }

    fn in_list(&self) -> String {
        "serves".to_string()
    }

    fn in_table(&self) -> String {
        "exit 0".to_string()
    }

    fn in_search(&self) -> String {
        "it serves its client".to_string()
    }

    fn is_met(&self, _: &Stage, _: Heap, status: ExitStatus, _: &str) -> bool {
        status.code() == Some(0)
    }

    fn of_a_survivor(&self, run: &Run) -> Survival {
        match is_herd(run) {
            true => Survival::Wrong("the fixed server woke everybody for one connection".to_string()),
            false => Survival::Shown(0),
        }
    }

    fn is_borne_out(&self, timeline: &Timeline<'_>) -> bool {
        let run = timeline.run;
        if run.herd.total().accepted > 0 {
            return !is_herd(run);
        }
        // Each of the two exhibits of such a stage has a reason of its own.
        if run.stage.drains {
            return match run.stage.wild {
                Wild::LastWords => tail(timeline).is_some_and(|tail| tail.read.is_some()),
                _ => !refusals(timeline).is_empty(),
            };
        }
        !refusals(timeline).is_empty()
            || kept_alive(timeline).is_some()
            || left_early(timeline).is_some()
            || stale(timeline).is_some_and(|stale| !stale.did_harm())
    }

    fn absent(&self) -> Option<&'static str> {
        Some("served its client, and stopped when it was told to")
    }

    fn in_autopsy(&self, timeline: &Timeline<'_>) -> Keys {
        let survived = timeline.run.ending == Ending::Exit(0) && first_mistake(timeline).is_none();
        let kept = kept_alive(timeline).filter(|_| survived).map(|kept| {
            json!({
                "object": kept.block.name,
                "owners_left": kept.owners_left,
                "given_up": timeline.json(kept.given_up),
                "freed": kept.freed.map(|at| timeline.json(at)),
            })
        });
        let left =
            left_early(timeline).map(|left| json!({ "rearmed": timeline.json(left.rearmed), "holding": left.lock }));
        let refused = refusals(timeline).into_iter().map(|refusal| {
            json!({
                "step": refusal.step,
                "role": timeline.role(refusal.role),
                "what": refusal.what,
                "waiting_for": refusal.lock,
                "held_by": refusal.holder.map(|role| timeline.role(role)),
                "held_since_step": refusal.held_since,
                "passed_after_step": refusal.passed_after,
                "at": refusal.place.map(|at| timeline.json(at)),
            })
        });
        let leaked = leaked(timeline)
            .into_iter()
            .map(|block| json!({ "object": block.name, "allocated": timeline.json(timeline.place(block.allocated)) }));
        vec![
            ("leaked", leaked.collect()),
            ("kept_alive", json!(kept)),
            ("left_early", json!(left)),
            ("refused", refused.collect()),
        ]
    }
}

/// What a server has not freed.
pub fn leaks(page: &mut Page, timeline: &Timeline<'_>) {
    for block in leaked(timeline) {
        page.entry_in("leaks", &format!("{} ({}), which is never freed", block.name, count(block.size, "byte")), RED);
        places(page, timeline, &[("allocated", timeline.place(block.allocated), "")]);
    }
}

/// Why a server lived through the order that was to kill it, as far as the records say so.
pub fn outlived(run: &Run) -> String {
    let timeline = Timeline::new(run);
    if let Some(block) = leaked(&timeline).first() {
        let Place { file, line, .. } = timeline.place(block.allocated);
        return format!("it leaks {} (allocated at {file}:{line}, and never freed)", block.name);
    }
    let frees = matches!(run.stage.expect, Verdict::Signal { .. });
    match kept_alive(&timeline).filter(|_| frees) {
        Some(kept) => {
            let owners = count(kept.owners_left, "owner");
            format!("{} had {owners} left when the map gave it up", kept.block.name)
        }
        None => "nothing of what was to be shown came of it".to_string(),
    }
}

/// What is said of a run whose server lived; `case`: what the run was to show.
pub fn survival(page: &mut Page, timeline: &Timeline<'_>, mistake: Option<&Finding<'_>>, case: &dyn Case) {
    let (text, style) = match (mistake, case.absent()) {
        (Some(found), _) => {
            let seen = match found.mistake {
                Mistake::UseAfterFree => "was used after it was freed",
                Mistake::DoubleFree => "was freed twice",
            };
            (format!("by luck: {} {seen}, and nothing noticed", found.block.name), RED)
        }
        (None, Some(text)) => (text.to_string(), ""),
        (None, None) => return case.report(page, timeline),
    };
    page.entry_in("survived", &text, style);
    if let Some(found) = mistake {
        evidence(page, timeline, found);
    }
    for refusal in refusals(timeline) {
        let held = match (refusal.holder, refusal.held_since) {
            (Some(holder), Some(step)) => format!(", which {} had held since step {step}", timeline.role(holder)),
            (Some(holder), None) => format!(", which {} held", timeline.role(holder)),
            (None, _) => String::new(),
        };
        let then = match refusal.passed_after {
            Some(step) if step != refusal.step => format!(", and got it in step {step}"),
            _ => String::new(),
        };
        let (step, what, role) = (refusal.step, &refusal.what, timeline.role(refusal.role));
        page.entry("refused", &format!("step {step} ({role} {what}) waited for {}{held}{then}", refusal.lock));
    }
    if let Some(stale) = stale(timeline).filter(|stale| !stale.did_harm()) {
        let Place { role, step, file, line, .. } = stale.returned;
        let step = step.map(|step| format!(" in step {step}")).unwrap_or_default();
        let ([old, new], fd, who) = (stale.keys.map(|key| key >> 32), stale.fd, timeline.role(role));
        let text = format!(
            "{who} came back{step} with fd {fd}, generation {old} ({file}:{line}); it has generation {new} now, and \
             nobody was found"
        );
        page.entry("kept out", &text);
        page.source(&stale.returned);
    }
    if timeline.run.stage.drains
        && let Some(tail) = tail(timeline)
        && let Some((bytes, read)) = tail.read
    {
        let text =
            format!("{} came in one event with the end of the input, and were read first:", count(bytes, "byte"));
        page.entry("the tail", &text);
        let mut list = vec![("reported", tail.reported, ""), ("read", read, "")];
        // After the schedule it is chance who of its owners closes it.
        list.extend(tail.closed.filter(|place| place.step.is_some()).map(|place| ("closed", place, "")));
        places(page, timeline, &list);
    }
    let left_early = left_early(timeline).filter(|_| mistake.is_none() && refusals(timeline).is_empty());
    if let Some(left) = &left_early {
        let Place { role, step, file, line, .. } = left.rearmed;
        let step = step.map(|step| format!("step {step}, ")).unwrap_or_default();
        let (who, lock) = (timeline.role(role), &left.lock);
        let text = format!(
            "{who} left without a reply, and armed the socket on its way ({step}{file}:{line}), still holding {lock}"
        );
        page.entry("re-armed", &text);
        page.source(&left.rearmed);
    }
    if mistake.is_none()
        && !timeline.run.stage.drains
        && left_early.is_none()
        && let Some(kept) = kept_alive(timeline)
    {
        let Place { role, step, file, line, .. } = kept.given_up;
        let step = step.map(|step| format!(" in step {step}")).unwrap_or_default();
        let left = count(kept.owners_left, "owner");
        let who = timeline.role(role);
        let text = format!(
            "{who} gave up its share of {}{step} ({file}:{line}); {left} left, so nothing was freed",
            kept.block.name
        );
        page.entry("harmless", &text);
        page.source(&kept.given_up);
        // After the schedule it is chance who of them is the last.
        if let Some(Place { role, step: Some(step), file, line, .. }) = kept.freed {
            let text = format!("{} was the last owner, in step {step} ({file}:{line})", timeline.role(role));
            page.entry("freed", &text);
        }
    }
}
