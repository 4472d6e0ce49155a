//! A server that serves its client to the end, and what of it shows that it was the fix that made it so.

use std::process::ExitStatus;

use serde_json::json;

use super::super::findings::{kept_alive, left_early, refusals};
use super::super::lanes::RED;
use super::super::page::{Page, places};
use super::super::story::{Place, Story};
use super::super::verdict::{Case, Keys, Survival};
use super::loss::tail;
use super::memory::{Finding, Mistake, evidence, first_mistake};
use super::misdelivery::stale;
use crate::catalogue::{Stage, Wild};
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

    fn is_met(&self, _: &Stage, _: Heap, status: ExitStatus, _: &str) -> bool {
        status.code() == Some(0)
    }

    fn of_a_survivor(&self, run: &Run) -> Survival {
        match run.herd.is_stampede() {
            true => Survival::Wrong("the fixed server woke everybody for one connection".to_string()),
            false => Survival::Shown(0),
        }
    }

    fn is_borne_out(&self, story: &Story<'_>) -> bool {
        let run = story.run;
        if run.herd.total().accepted > 0 {
            return !run.herd.is_stampede();
        }
        // Each of the two exhibits of such a stage has a reason of its own.
        if run.stage.drains {
            return match run.stage.wild {
                Wild::LastWords => tail(story).is_some_and(|tail| tail.read.is_some()),
                _ => !refusals(story).is_empty(),
            };
        }
        !refusals(story).is_empty()
            || kept_alive(story).is_some()
            || left_early(story).is_some()
            || stale(story).is_some_and(|stale| !stale.did_harm())
    }

    fn absent(&self) -> Option<&'static str> {
        Some("served its client, and stopped when it was told to")
    }

    fn in_autopsy(&self, story: &Story<'_>) -> Keys {
        let survived = story.run.ending == Ending::Exit(0) && first_mistake(story).is_none();
        let kept = kept_alive(story).filter(|_| survived).map(|kept| {
            json!({
                "object": kept.block.name,
                "owners_left": kept.owners_left,
                "given_up": story.json(kept.given_up),
                "freed": kept.freed.map(|at| story.json(at)),
            })
        });
        let left = left_early(story).map(|left| json!({ "rearmed": story.json(left.rearmed), "holding": left.lock }));
        let refused = refusals(story).into_iter().map(|refusal| {
            json!({
                "step": refusal.step,
                "role": story.role(refusal.role),
                "what": refusal.what,
                "waiting_for": refusal.lock,
                "held_by": refusal.holder.map(|role| story.role(role)),
                "held_since_step": refusal.held_since,
                "passed_after_step": refusal.passed_after,
                "at": refusal.place.map(|at| story.json(at)),
            })
        });
        vec![("kept_alive", json!(kept)), ("left_early", json!(left)), ("refused", refused.collect())]
    }
}

/// What is said of a run whose server lived; `case`: what the run was to show.
pub fn survival(page: &mut Page, story: &Story<'_>, mistake: Option<&Finding<'_>>, case: &dyn Case) {
    let (text, style) = match (mistake, case.absent()) {
        (Some(found), _) => {
            let seen = match found.mistake {
                Mistake::UseAfterFree => "was used after it was freed",
                Mistake::DoubleFree => "was freed twice",
            };
            (format!("by luck: {} {seen}, and nothing noticed", found.block.name), RED)
        }
        (None, Some(text)) => (text.to_string(), ""),
        (None, None) => return case.report(page, story),
    };
    page.entry_in("survived", &text, style);
    if let Some(found) = mistake {
        evidence(page, story, found);
    }
    for refusal in refusals(story) {
        let held = match (refusal.holder, refusal.held_since) {
            (Some(holder), Some(step)) => format!(", which {} had held since step {step}", story.role(holder)),
            (Some(holder), None) => format!(", which {} held", story.role(holder)),
            (None, _) => String::new(),
        };
        let then = match refusal.passed_after {
            Some(step) if step != refusal.step => format!(", and got it in step {step}"),
            _ => String::new(),
        };
        let (step, what, role) = (refusal.step, &refusal.what, story.role(refusal.role));
        page.entry("refused", &format!("step {step} ({role} {what}) waited for {}{held}{then}", refusal.lock));
    }
    if let Some(stale) = stale(story).filter(|stale| !stale.did_harm()) {
        let Place { role, step, file, line, .. } = stale.returned;
        let step = step.map(|step| format!(" in step {step}")).unwrap_or_default();
        let ([old, new], fd, who) = (stale.keys.map(|key| key >> 32), stale.fd, story.role(role));
        let text = format!(
            "{who} came back{step} with fd {fd}, generation {old} ({file}:{line}); it has generation {new} now, and \
             nobody was found"
        );
        page.entry("kept out", &text);
    }
    if story.run.stage.drains
        && let Some(tail) = tail(story)
        && let Some((bytes, read)) = tail.read
    {
        let text =
            format!("{} came in one event with the end of the input, and were read first:", count(bytes, "byte"));
        page.entry("the tail", &text);
        let mut list = vec![("reported", tail.reported, ""), ("read", read, "")];
        list.extend(tail.closed.map(|place| ("closed", place, "")));
        places(page, story, &list);
    }
    let left_early = left_early(story).filter(|_| mistake.is_none() && refusals(story).is_empty());
    if let Some(left) = &left_early {
        let Place { role, step, file, line, .. } = left.rearmed;
        let step = step.map(|step| format!("step {step}, ")).unwrap_or_default();
        let (who, lock) = (story.role(role), &left.lock);
        let text = format!(
            "{who} left without a reply, and armed the socket on its way ({step}{file}:{line}), still holding {lock}"
        );
        page.entry("re-armed", &text);
    }
    if mistake.is_none()
        && !story.run.stage.drains
        && left_early.is_none()
        && let Some(kept) = kept_alive(story)
    {
        let Place { role, step, file, line, .. } = kept.given_up;
        let step = step.map(|step| format!(" in step {step}")).unwrap_or_default();
        let left = count(kept.owners_left, "owner");
        let who = story.role(role);
        let text = format!(
            "{who} gave up its share of {}{step} ({file}:{line}); {left} left, so nothing was freed",
            kept.block.name
        );
        page.entry("harmless", &text);
        // After the schedule it is chance who of them is the last.
        if let Some(Place { role, step: Some(step), file, line, .. }) = kept.freed {
            let text = format!("{} was the last owner, in step {step} ({file}:{line})", story.role(role));
            page.entry("freed", &text);
        }
    }
}
