//! What the clients do in a search or a play, and the operator; not when.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::super::cli::{Options, Visitors};
use super::super::exhibit::read_schedule;
use crate::catalogue::{Stage, Verdict};
use crate::direct::schedule::{Action, CLIENTS, OPERATOR, Plan, Schedule, Step, client_of, is_thread};

/// What the command line says, or what they do in the stage's own schedule.
pub fn of(stage: &Stage, options: &Options, visitors: &Visitors) -> Result<Schedule> {
    let Visitors { clients, stops } = visitors;
    if clients.is_empty() {
        let own = read_schedule(stage, options)?;
        return Ok(Schedule { steps: own.steps.into_iter().filter(|step| !is_thread(&step.role)).collect(), ..own });
    }
    if clients.len() > CLIENTS.len() {
        bail!("--client: at most {} clients can come", CLIENTS.len());
    }
    let (mut text, mut places) = (String::new(), Vec::new());
    for (client, steps) in CLIENTS.iter().zip(clients) {
        let steps: Vec<&str> = steps.split([';', '\n']).map(str::trim).filter(|step| !step.is_empty()).collect();
        // It is clear that a client connects first.
        let connects = steps.iter().find(|step| !step.starts_with("plan")) != Some(&"connect");
        for (number, step) in connects.then_some((1, &"connect")).into_iter().chain((1..).zip(&steps)) {
            writeln!(text, "{client} {step}")?;
            places.push(format!("--client, {client}, step {number} (`{step}`)"));
        }
    }
    if *stops {
        writeln!(text, "{OPERATOR} stop")?;
    }
    let parsed = Schedule::parse_for(&text, &stage.points(), stage.threads, options.workers);
    let script = parsed.map_err(|error| match places.get(error.line - 1) {
        Some(place) => anyhow::anyhow!("{place}: {}", error.reason),
        None => anyhow::anyhow!("--client: {}", error.reason),
    })?;
    let is_owed = script.plans.iter().any(|plan| *plan != Plan::Raw);
    // What else speaks: a signal, what the reactors count, and the count of the bytes where the stage's own client sends such.
    let speaks = matches!(stage.expect, Verdict::Signal { .. } | Verdict::Herds);
    if !is_owed && !script.stops() && !speaks && !sends_raw(&read_schedule(stage, options)?) {
        bail!(
            "--client: bytes without a plan are owed no reply, so nothing could be seen to go wrong; say what they are: \
             --client \"plan GET 1; send 29\""
        );
    }
    Ok(script)
}

/// Whether a client sends bytes without a plan.
fn sends_raw(schedule: &Schedule) -> bool {
    let plan = |role: &str| client_of(role).map(|client| schedule.plans[client]);
    let is_raw = |step: &Step| matches!(step.action, Action::Send(_)) && plan(&step.role) == Some(Plan::Raw);
    schedule.steps.iter().any(is_raw)
}

#[cfg(test)]
mod tests;
