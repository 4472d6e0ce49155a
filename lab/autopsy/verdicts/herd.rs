//! A herd: one connection wakes every reactor, and all but one find nobody to accept.

use serde_json::{Value, json};

use super::super::lanes::RED;
use super::super::page::Page;
use super::super::timeline::Timeline;
use super::super::verdict::{Case, Keys, Survival};
use crate::direct::outcome::{Outcome, Run};
use crate::record::event::Kind;
use crate::record::wakeups::{Counts, Herd};
use crate::words::thousands;

/// One connection wakes every reactor, and all but one find nobody to accept.
pub struct Herds;

impl Case for Herds {
    fn in_help(&self) -> String {
        "one connection wakes every thread, and the lab counts them".to_string()
    }

    fn in_list(&self) -> String {
        "wakes everybody for one connection, exit status 1".to_string()
    }

    fn in_table(&self) -> String {
        "exit 1, a herd".to_string()
    }

    fn in_search(&self) -> String {
        "one connection wakes everybody".to_string()
    }

    fn of_a_survivor(&self, run: &Run) -> Survival {
        // Whatever the order was: it has woken everybody, or not.
        match run.herd.reactors.len() {
            _ if is_herd(run) => Survival::Shown(1),
            1 => Survival::Shown(0),
            _ => Survival::NotShown(Some(format!("not everybody was woken: {}", run.herd.wakeups()))),
        }
    }

    fn is_borne_out(&self, timeline: &Timeline<'_>) -> bool {
        is_herd(timeline.run)
    }

    fn report(&self, page: &mut Page, timeline: &Timeline<'_>) {
        herding(page, timeline.run);
    }

    fn absent(&self) -> Option<&'static str> {
        None
    }

    fn in_both(&self, timeline: &Timeline<'_>) -> Keys {
        vec![("herd", json(&timeline.run.herd))]
    }
}

/// Whether each connection woke everybody, and everybody slept when it came. Who looks later finds it waiting, and nobody woke it.
pub fn is_herd(run: &Run) -> bool {
    let slept = |at: usize, role: usize| {
        let last = run.records[..at].iter().rev().find(|record| record.role == role);
        last.is_some_and(|last| last.kind == Kind::Point && last.label == "wait")
    };
    let reactors = || (0..run.roles.len()).filter(|role| run.roles[*role].starts_with("reactor-"));
    let mut came = run.records.iter().enumerate().filter(|(_, record)| record.kind == Kind::ClientConnect);
    run.herd.is_stampede() && came.all(|(at, _)| reactors().all(|role| slept(at, role)))
}

/// What the wake-ups of a broken stage came to.
fn herding(page: &mut Page, run: &Run) {
    let (herd, total) = (&run.herd, run.herd.total());
    match is_herd(run) {
        true => page.entry_in("herd", &format!("{}: {}", herd.ratio(), herd.wakeups()), RED),
        false => page.entry("herd", &format!("none in this run: {}", herd.wakeups())),
    }
    if total.empty > 0 {
        let each = (1..).zip(&herd.reactors).filter(|(_, one)| one.empty > 0);
        let vain: Vec<_> = each.map(|(n, one)| format!("reactor-{n} {}", thousands(one.empty))).collect();
        page.entry("in vain", &vain.join(", "));
    }
}

/// The reactors that the kernel did not wake; whatever the schedule had for them was not for them.
pub fn slept_on<'a>(page: &mut Page, run: &'a Run) -> Vec<&'a str> {
    let counts =
        |role: &str| run.herd.reactors.get(role.strip_prefix("reactor-")?.parse::<usize>().ok()?.checked_sub(1)?);
    let refused = run.steps.iter().filter(|step| matches!(step.outcome, Outcome::Refused { .. }));
    let roles = refused.map(|step| step.role.as_str());
    let mut roles: Vec<_> = roles.filter(|role| counts(role).is_some_and(|counts| counts.woken == 0)).collect();
    roles.dedup();
    if !roles.is_empty() {
        page.entry("not woken", &format!("{}: nothing was reported to them", roles.join(", ")));
    }
    roles
}

/// What each reactor counted; `null` where there are none of that kind.
pub fn json(herd: &Herd) -> Value {
    let one = |(n, one): (usize, &Counts)| {
        json!({
            "role": format!("reactor-{n}"),
            "woken": one.woken,
            "empty": one.empty,
            "accepted": one.accepted,
            "exhausted": one.exhausted,
            "slept": one.slept,
        })
    };
    match herd.reactors.is_empty() {
        true => Value::Null,
        false => (1..).zip(&herd.reactors).map(one).collect(),
    }
}
