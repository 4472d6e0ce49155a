//! What a search says in the end. Its last line is for scripts.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::super::cli::Options;
use super::super::end::{End, publish, say, say_ending, write_trace};
use super::super::repeat::median;
use super::campaign::{Campaign, Found};
use super::kept::Kept;
use super::making::{Lab, told};
use super::shorten::Shorter;
use crate::autopsy;
use crate::catalogue::Stage;
use crate::direct::explore::bounded::Bounds;
use crate::direct::explore::which::Kind;
use crate::words::{at_most_one_in, count, signal_name, thousands};
use crate::world::heap::Heap;

/// Something was found.
pub fn found(
    options: &Options,
    campaign: &Campaign,
    found: Found,
    took: Duration,
    steps: usize,
    shorter: Shorter,
    kept: &Kept,
) -> Result<End> {
    let by = found.by();
    let made = shorter.made.unwrap_or(found.made);
    let run = &made.run;
    let of = campaign.of().map(|of| format!(" of {of}")).unwrap_or_default();
    let now = shorter.order.steps.len();
    let place = kept.path().map_or("standard output".to_string(), |path| path.display().to_string());
    let last = format!("found in run {}{of}, {by}; shrunk to {now} steps; written to {place}", found.run);
    if options.json {
        let search = json!({
            "found": found.shown.text(),
            "run": found.run,
            "of": campaign.of(),
            "by": by,
            "seconds": took.as_secs_f64(),
            "orders": campaign.orders(),
            "steps_found": steps,
            "steps": now,
            "replays": { "showed_it": shorter.held, "of": shorter.of },
            "file": kept.path(),
            "schedule": kept.text(),
        });
        write_trace(run, options.trace.as_ref())?;
        say(&format!("{:#}\n", json!({ "search": search, "run": autopsy::json(run) })))?;
        return Ok(made.end);
    }
    let mut text = format!("search    run {}{of} ({by}): {}\n", found.run, found.shown.text());
    writeln!(text, "          {}", time(campaign, took))?;
    let (steps, runs) = (count(steps as u64, "step"), count(shorter.runs, "run"));
    writeln!(text, "          its order has {steps}; {runs} made {now} of them")?;
    writeln!(text, "          which show it in {} of {} runs", shorter.held, shorter.of)?;
    text.extend(diverged(campaign));
    text.extend(by_chance(campaign));
    say(&format!("{text}\n"))?;
    publish(run, options.trace.as_ref(), false)?;
    say_ending(&made.end)?;
    if kept.path().is_none() {
        say(&format!("\n{}\n", kept.text()))?;
    }
    say(&format!("{last}\n"))?;
    Ok(made.end)
}

/// Nothing was found: what that is worth.
pub fn nothing(stage: &Stage, options: &Options, campaign: &Campaign, lab: &Lab<'_>, took: Duration) -> Result<End> {
    let end = told().map_or(End::Code(0), End::Signal);
    let bounds = campaign.bounds();
    let complete = bounds.and_then(|bounds| bounds.complete);
    let mut last = match told() {
        Some(signal) => format!("nothing found before {}: ", signal_name(signal)),
        None => "nothing found: ".to_string(),
    };
    if let Some(complete) = complete {
        write!(last, "bound {complete} complete, ")?;
    }
    write!(last, "{}", count(campaign.runs(), "run"))?;
    if options.json {
        let sampled = |(kind, drawn): (Kind, u64)| json!({ "strategy": kind.name(), "runs": drawn, "at_most_one_in": at_most_one_in(drawn) });
        let search = json!({
            "found": Value::Null,
            "stage": stage.name,
            "runs": campaign.runs(),
            "orders": campaign.orders(),
            "seconds": took.as_secs_f64(),
            "bound_complete": complete,
            "orders_of_bound": bounds.map(|bounds| bounds.orders),
            "sampled": campaign.sampled().map(sampled).collect::<Vec<_>>(),
            "last_order": campaign.last_order(lab.plan.schedule).to_string(),
            "used_freed_memory": campaign.abused(),
            "told": told().map(signal_name),
        });
        say(&format!("{:#}\n", json!({ "search": search })))?;
        return Ok(end);
    }
    let mut text = format!("{}: {}\n\n", stage.name, stage.title);
    text.extend(bounds.map(delays));
    for (kind, drawn) in campaign.sampled() {
        let (runs, one_in) = (thousands(drawn), thousands(at_most_one_in(drawn)));
        writeln!(text, "{:<9} 0 of {runs}: at 95% at most 1 in {one_in}, under this strategy", kind.name())?;
    }
    writeln!(text, "runs      {}", time(campaign, took))?;
    writeln!(text, "          each {:.0} ms at the median", median(&lab.millis))?;
    text.extend(by_luck(campaign, lab.plan.setup.heap));
    text.extend(diverged(campaign));
    if cfg!(debug_assertions) {
        writeln!(
            text,
            "next      a build with --release makes more of them in the same time; --depth, --runs, --seconds"
        )?;
    }
    say(&format!("{text}\n{last}\n"))?;
    Ok(end)
}

/// How far the delays got.
fn delays(bounds: Bounds) -> String {
    let mut text = String::new();
    if let Some(complete) = bounds.complete {
        let delays = ["no delay".to_string(), "at most one delay".to_string()];
        let delays = delays.get(complete).cloned().unwrap_or(format!("at most {complete} delays"));
        let orders = thousands(bounds.orders as u64);
        text += &format!("delays    every order with {delays}: {orders} of {orders}\n");
    }
    if bounds.of > 0 {
        let next = bounds.complete.map_or(0, |complete| complete + 1);
        let (begun, of) = (thousands(bounds.begun as u64), thousands(bounds.of as u64));
        text += &format!("          with {next}: {begun} of {of}\n");
    }
    text
}

fn time(campaign: &Campaign, took: Duration) -> String {
    let (runs, orders) = (count(campaign.runs(), "run"), count(campaign.orders() as u64, "different order"));
    format!("{runs} in {:.1} s, {orders}", took.as_secs_f64())
}

/// Deaths that are no order's.
fn by_chance(campaign: &Campaign) -> Option<String> {
    let runs = campaign.by_chance();
    let text = || {
        let runs = count(runs, "run");
        format!("chance    {runs} showed it when the order was over and everybody was free, as under --wild\n")
    };
    (runs > 0).then(text)
}

/// What malloc took no notice of.
fn by_luck(campaign: &Campaign, heap: Heap) -> Option<String> {
    let runs = campaign.abused();
    let text = || {
        let runs = count(runs, "run");
        let pages = if heap == Heap::Malloc { "; --heap pages faults at it" } else { "" };
        format!("luck      {runs} used freed memory, or freed it again, and survived: the black box saw it{pages}\n")
    };
    (runs > 0).then(text)
}

/// Which choices were not the search's.
fn diverged(campaign: &Campaign) -> Option<String> {
    let (runs, step) = campaign.diverged()?;
    let runs = count(*runs as u64, "run");
    Some(format!(
        "kernel    {runs} went another way than the one that they repeat, first before `{} {}`: that choice was the kernel's\n",
        step.role, step.action
    ))
}

#[cfg(test)]
mod tests;
