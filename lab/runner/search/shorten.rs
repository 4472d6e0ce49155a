//! Makes an order shorter that showed something.

use anyhow::Result;

use super::super::process::Setup;
use super::making::{Lab, Made, Shown, told};
use crate::catalogue::Stage;
use crate::direct::explore::shrink::shrink;
use crate::direct::outcome::{Ending, Outcome, Run};
use crate::direct::schedule::{Schedule, is_thread};

/// How often the order that was found is run in the end.
const REPLAYS: u64 = 20;

/// An order that was made shorter.
pub struct Shorter {
    pub order: Schedule,
    /// The last run of it.
    pub made: Made,
    /// How often it showed the same, of so many runs.
    pub held: u64,
    pub of: u64,
    /// The runs that this took.
    pub runs: u64,
}

/// Makes an order shorter that showed something, and runs it again and again. Told to end, it leaves it at what there is.
pub fn shorten(lab: &mut Lab<'_>, order: &Schedule, better: &Schedule, shown: &Shown) -> Result<Shorter> {
    let before = lab.runs;
    let (mut failed, stage, setup) = (None, lab.plan.stage, lab.plan.setup);
    let mut fewest = usize::MAX;
    let mut shows = |order: &Schedule| {
        if told().is_some() || failed.is_some() {
            return None;
        }
        if !is_well_formed(stage, setup, order) {
            return Some(false);
        }
        match lab.ordered(order) {
            Ok(made) => {
                let does = made.shown().as_ref() == Some(shown) && is_directed(&made.run);
                let waits = waits(&made.run);
                // No order is the shorter for a step that has to wait.
                let does = does && waits <= fewest;
                fewest = if does { waits } else { fewest };
                Some(does)
            }
            Err(error) => {
                failed = Some(error);
                None
            }
        }
    };
    let shorter = shrink(order, better, &mut shows);
    if let Some(error) = failed {
        return Err(error);
    }
    // Where the shorter one does not hold, chance helped it.
    let replay = replayed(lab, &shorter, shown)?;
    let replay = if replay.held < replay.of && shorter != *order { replayed(lab, order, shown)? } else { replay };
    Ok(Shorter { runs: lab.runs - before, ..replay })
}

/// Whether a schedule can be read back.
fn is_well_formed(stage: &Stage, setup: Setup, order: &Schedule) -> bool {
    Schedule::parse_for(&order.to_string(), &stage.points(), setup.threads, setup.workers).is_ok()
}

/// Whether every step came that the server lived to see, and it did not die when all were over: then it would be chance.
pub fn is_directed(run: &Run) -> bool {
    let is_over = || run.records.iter().any(|record| record.over && is_thread(&run.roles[record.role]));
    let came = run.steps.iter().all(|step| !matches!(step.outcome, Outcome::Unmet(_)));
    came && !(matches!(run.ending, Ending::Signal(_)) && run.evidence.is_none() && is_over())
}

/// How many steps did not pass in their place.
fn waits(run: &Run) -> usize {
    run.steps.iter().filter(|step| matches!(step.outcome, Outcome::Refused { .. } | Outcome::HeldBack)).count()
}

fn replayed(lab: &mut Lab<'_>, order: &Schedule, shown: &Shown) -> Result<Shorter> {
    let (mut held, mut of) = (0, 0);
    loop {
        let made = lab.ordered(order)?;
        of += 1;
        held += u64::from(made.shown().as_ref() == Some(shown));
        if of == REPLAYS || told().is_some() {
            return Ok(Shorter { order: order.clone(), made, held, of, runs: 0 });
        }
    }
}
