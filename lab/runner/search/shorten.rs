//! Makes an order shorter that showed something.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::process::Setup;
use super::campaign::{AGAIN, Found};
use super::making::{Lab, Made, Shown, told};
use crate::catalogue::Stage;
use crate::direct::explore::shrink::shrink;
use crate::direct::outcome::{Outcome, Run};
use crate::direct::schedule::Schedule;

/// The longest time for it; what is found by then is short enough.
const LIMIT: Duration = Duration::from_secs(10);
/// How often the order that was found is run in the end.
const REPLAYS: u64 = 20;

/// An order that was made shorter.
pub struct Shorter {
    pub order: Schedule,
    /// The last run of it that showed the same, if one did.
    pub made: Option<Made>,
    /// How often it showed the same, of so many runs.
    pub held: u64,
    pub of: u64,
    /// The runs that this took.
    pub runs: u64,
}

/// Makes an order shorter that showed something, and runs it again and again. Told to end, it leaves it at what there is.
pub fn shorten(lab: &mut Lab<'_>, found: &Found, order: &Schedule, better: &Schedule) -> Result<Shorter> {
    let (before, start) = (lab.runs(), Instant::now());
    let (is_directed, mut fewest) = (found.made.is_directed(), usize::MAX);
    let times = if is_directed { 1 } else { AGAIN };
    let mut does_show = |order: &Schedule| -> Result<bool> {
        if !is_well_formed(lab.plan.stage, lab.plan.setup, order) {
            return Ok(false);
        }
        let mut now = 0;
        for _ in 0..times {
            let made = lab.ordered(order)?;
            now = waits(&made.run);
            let is_it = made.shown().as_ref() == Some(&found.shown) && (made.is_directed() || !is_directed);
            // No order is the shorter for a step that has to wait.
            if !is_it || !all_came(&made.run) || now > fewest {
                return Ok(false);
            }
        }
        fewest = now;
        Ok(true)
    };
    let mut failed = None;
    let mut shows = |order: &Schedule| {
        if told().is_some() || start.elapsed() > LIMIT {
            return None;
        }
        does_show(order).map_err(|error| failed = Some(error)).ok()
    };
    let shorter = shrink(order, better, &mut shows);
    if let Some(error) = failed {
        return Err(error);
    }
    // Where the shorter one does not hold, chance helped it.
    let replay = replayed(lab, &shorter, &found.shown)?;
    let replay =
        if replay.held < replay.of && shorter != *order { replayed(lab, order, &found.shown)? } else { replay };
    Ok(Shorter { runs: lab.runs() - before, ..replay })
}

/// Whether a schedule can be read back.
fn is_well_formed(stage: &Stage, setup: Setup, order: &Schedule) -> bool {
    Schedule::parse_for(&order.to_string(), &stage.points(), setup.threads, setup.workers).is_ok()
}

/// Whether every step came that the server lived to see.
pub fn all_came(run: &Run) -> bool {
    run.steps.iter().all(|step| !matches!(step.outcome, Outcome::Unmet(_)))
}

/// How many steps did not pass in their place.
fn waits(run: &Run) -> usize {
    run.steps.iter().filter(|step| matches!(step.outcome, Outcome::Refused { .. } | Outcome::HeldBack)).count()
}

fn replayed(lab: &mut Lab<'_>, order: &Schedule, shown: &Shown) -> Result<Shorter> {
    let mut replays = Shorter { order: order.clone(), made: None, held: 0, of: 0, runs: 0 };
    loop {
        let made = lab.ordered(order)?;
        replays.of += 1;
        if made.shown().as_ref() == Some(shown) {
            replays.held += 1;
            replays.made = Some(made);
        }
        if replays.of == REPLAYS || told().is_some() {
            return Ok(replays);
        }
    }
}

#[cfg(test)]
mod tests;
