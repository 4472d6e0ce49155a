//! A server that is told to stop and never does: the notification that came before the sleep.

use serde_json::{Value, json};

use super::super::lanes::RED;
use super::super::page::{Page, places};
use super::super::timeline::{Place, Timeline};
use super::super::verdict::{Case, Keys};
use super::hang::{asleep, doing, together};
use crate::direct::outcome::{Evidence, Run, Stuck};
use crate::record::event::{Kind, Record};
use crate::words::count;

/// The server is told to stop, and nobody can move any more.
pub struct NeverStops;

impl Case for NeverStops {
    fn in_help(&self) -> String {
        "it is told to stop, and never does; the lab proves it".to_string()
    }

    fn in_list(&self) -> String {
        "told to stop, it never does, exit status 1".to_string()
    }

    fn in_table(&self) -> String {
        "exit 1, it does not stop".to_string()
    }

    fn in_search(&self) -> String {
        "told to stop, the server never ends".to_string()
    }

    fn ends_by_kill(&self) -> bool {
        true
    }

    fn is_borne_out(&self, timeline: &Timeline<'_>) -> bool {
        missed(timeline).is_some()
    }

    fn report(&self, page: &mut Page, timeline: &Timeline<'_>) {
        if let Some(stuck) = of(timeline.run) {
            never_stops(page, timeline, stuck);
        }
    }

    fn absent(&self) -> Option<&'static str> {
        Some("in this run it stopped when it was told to")
    }

    fn in_both(&self, timeline: &Timeline<'_>) -> Keys {
        vec![("stuck", stuck(timeline.run))]
    }

    fn in_autopsy(&self, timeline: &Timeline<'_>) -> Keys {
        let missed = missed(timeline).map(|missed| {
            json!({
                "role": timeline.role(missed.role),
                "looked": timeline.json(missed.looked),
                "set": timeline.json(missed.set),
                "notified": timeline.json(missed.notified),
                "slept": timeline.json(missed.slept),
            })
        });
        vec![("lost_wakeup", json!(missed))]
    }
}

fn of(run: &Run) -> Option<&Stuck> {
    match &run.evidence {
        Some(Evidence::NeverStops(stuck)) => Some(stuck),
        _ => None,
    }
}

/// A lost wake-up: a thread looked at a flag, and fell asleep after the one notification that told of its change.
#[derive(Clone, Debug)]
struct Missed {
    /// Who sleeps.
    pub role: usize,
    /// Where it looked, and found the flag not set.
    pub looked: Place,
    /// Where the flag was set meanwhile.
    pub set: Place,
    /// Where those were woken who slept: it did not.
    pub notified: Place,
    /// How many slept then; `u64::MAX` where that is not known.
    pub asleep: u64,
    /// Where it fell asleep.
    pub slept: Place,
}

/// See [`Missed`].
fn missed(timeline: &Timeline<'_>) -> Option<Missed> {
    let run = timeline.run;
    let (_, role) = of(run)?.joins?;
    let records = &run.records;
    let last_own = |kind: Kind| records.iter().rposition(|record| record.kind == kind && record.role == role);
    let (looked, slept) = (last_own(Kind::AtomicLoad)?, last_own(Kind::Sleep)?);
    let look = &records[looked];
    let set = (looked..slept)
        .find(|at| records[*at].kind == Kind::AtomicStore && (records[*at].a, records[*at].b) == (look.a, 1))?;
    let of_it = |record: &Record| record.kind == Kind::Notify && record.a == records[slept].a;
    let notified = (set..slept).rev().find(|at| of_it(&records[*at]))?;
    let told_later = records[slept..].iter().any(of_it);
    let at = |at: usize| timeline.place(at);
    let missed = Missed {
        role,
        looked: at(looked),
        set: at(set),
        notified: at(notified),
        asleep: records[notified].b,
        slept: at(slept),
    };
    (look.b == 0 && !told_later).then_some(missed)
}

/// It was told to stop, and never does: which thread waits for which, how it came to that, and how that is known.
fn never_stops(page: &mut Page, timeline: &Timeline<'_>, stuck: &Stuck) {
    let how = match stuck.joins {
        Some((who, whom)) => {
            let (who, whom) = (timeline.role(who), timeline.role(whom));
            format!("{who} waits for the end of {whom}, which sleeps, and nobody is left to wake it")
        }
        None => "nobody can move any more".to_string(),
    };
    page.entry_in("no end", &how, RED);
    if let Some(missed) = missed(timeline) {
        let list = [
            ("looked", missed.looked, ": not set"),
            ("set", missed.set, ""),
            ("notified", missed.notified, if missed.asleep == 0 { ": nobody slept" } else { ": it did not sleep" }),
            ("slept", missed.slept, ""),
        ];
        places(page, timeline, &list);
    }
    page.entry("proved by", &format!("{}, asked again, and nothing has changed", together(&stuck.doing)));
    if !stuck.asleep.is_empty() {
        let threads = count(stuck.asleep.len() as u64, "thread");
        let text = match stuck.asleep.iter().all(|thread| thread.call == "futex") {
            true => format!(
                "then, nobody directing: {threads} left, all asleep in futex, none woke between three looks; no packet and \
                 no time can wake them"
            ),
            false => {
                format!("{threads} left, all asleep, none woke between three looks, and no client is left to wake one")
            }
        };
        page.entry("", &text);
    }
}

fn stuck(run: &Run) -> Value {
    let role = |role: usize| run.roles.get(role);
    json!(of(run).map(|stuck| json!({
        "threads": doing(&stuck.doing),
        "waits_for_the_end_of": stuck.joins.map(|(who, whom)| json!({ "role": role(who), "other": role(whom) })),
        "asleep": asleep(&stuck.asleep),
    })))
}
