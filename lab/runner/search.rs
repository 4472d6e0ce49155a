//! `--search`: nobody wrote an order; one is looked for in which the server fails, made shorter, and kept.

mod campaign;
pub(super) mod kept;
pub(super) mod making;
mod report;
pub(super) mod script;
pub(super) mod shorten;

use std::time::Instant;

use anyhow::Result;

use self::campaign::{Campaign, Looked};
use self::kept::Kept;
use self::making::{Lab, listen_to_signals};
use self::shorten::shorten;
use super::cli::{Options, Search};
use super::end::End;
use crate::catalogue::Stage;
use crate::server::Serve;

/// Looks for an order in which the server fails.
pub fn run(stage: &'static Stage, serve: Serve, options: &Options, search: &Search) -> Result<End> {
    let script = script::of(stage, options, &search.visitors)?;
    listen_to_signals();
    let mut lab = Lab::new(stage, serve, options, &script)?;
    let mut campaign = Campaign::new(search);
    let start = Instant::now();
    let looked = campaign.run(&mut lab)?;
    let took = start.elapsed();
    let found = match looked {
        Looked::Found(found) => *found,
        Looked::Nothing => return report::nothing(stage, options, &campaign, &lab, took),
        Looked::Cannot(end) => return Ok(end),
    };
    // From here on it is not lost, whatever comes.
    let order = found.order(&script);
    let mut kept = Kept::new(search.output.as_deref(), stage, options, &found);
    kept.keep(&order);
    let shorter = shorten(&mut lab, &found, &order, &found.without_waits(&script))?;
    kept.keep(&shorter.order);
    report::found(options, &campaign, found, took, order.steps.len(), shorter, &kept)
}
