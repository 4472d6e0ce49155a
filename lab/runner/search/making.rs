//! Makes runs of a search, and says what each has shown.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::super::cli::Options;
use super::super::end::End;
use super::super::exhibit::{Plan, add_outside, in_process, judge};
use super::super::process::{self, PANICKED, Setup, handle};
use crate::autopsy::verdicts::{case, last_line};
use crate::catalogue::{Stage, Verdict};
use crate::direct::director::Direction;
use crate::direct::explore::{Exploration, Scheduler, Taken};
use crate::direct::in_order::InOrder;
use crate::direct::outcome::{Ending, Run};
use crate::direct::schedule::{Schedule, is_thread};
use crate::direct::strategy::Strategy;
use crate::record::blackbox::{Blackbox, Mode};
use crate::server::Serve;
use crate::words::signal_name;
use crate::world::kernel::any_port;

/// See [`Plan::grace`]: what is seen is proved by the kernel anyway.
const GRACE: Duration = Duration::from_millis(50);

/// The signal that told the search to end; 0 if none did.
static TOLD: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_told(signal: libc::c_int) {
    if TOLD.swap(signal, Ordering::Relaxed) != 0 {
        // Told again, it does not wait for the run that is under way. What was found is written; the server dies with this process.
        // SAFETY: _exit(2) may be called here (`signal-safety(7)`).
        unsafe { libc::_exit(128 + signal) }
    }
}

/// The signal that told the search to end.
pub fn told() -> Option<i32> {
    Some(TOLD.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// Lets SIGINT and SIGTERM tell the search to end.
pub fn listen_to_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        handle(signal, on_told as *const () as libc::sighandler_t, 0);
    }
}

/// Makes one run, as [`in_process`] does.
type Direct<'a> = dyn FnMut(&Plan<'_>, Blackbox, &mut dyn Strategy) -> Result<(Run, Direction)> + 'a;

/// What makes runs.
pub struct Lab<'a> {
    pub plan: Plan<'a>,
    direct: Box<Direct<'a>>,
    /// Emptied before each run.
    pub blackbox: Blackbox,
    /// What each run took.
    pub millis: Vec<f64>,
}

/// A run, and how it ended.
pub struct Made {
    pub run: Run,
    pub end: End,
    /// Whether the director stayed after the steps.
    stayed: bool,
}

/// What a run has shown, as far as two runs can be compared by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The server died of a signal, and glibc said so.
    Died(i32, Option<String>),
    /// The server panicked.
    Panicked,
    /// The server came to no rest.
    Restless,
    /// What the director, the kernel or a client has shown.
    Verdict(Verdict),
}

impl Shown {
    /// In words.
    pub fn text(&self) -> String {
        match self {
            Shown::Died(signal, Some(said)) => format!("{}: {said}", signal_name(*signal)),
            Shown::Died(signal, None) => signal_name(*signal),
            Shown::Panicked => "the server panics".to_string(),
            Shown::Restless => "the server never comes to rest".to_string(),
            Shown::Verdict(verdict) => case(*verdict).in_search(),
        }
    }
}

impl Made {
    /// Whether it was shown while everybody was directed, and not by chance when all were free. What is counted over the whole run
    /// is no moment's.
    pub fn is_directed(&self) -> bool {
        let run = &self.run;
        let is_over = || run.records.iter().any(|record| record.over && is_thread(&run.roles[record.role]));
        match run.ending {
            Ending::Exit(0) if run.evidence.is_none() => true,
            _ => (self.stayed && run.evidence.is_some()) || !is_over(),
        }
    }

    /// What was shown; `None` if nothing was.
    pub fn shown(&self) -> Option<Shown> {
        let run = &self.run;
        match (&self.end, &run.evidence) {
            (End::Signal(signal), _) => {
                let said = last_line(&run.stderr).filter(|_| *signal == libc::SIGABRT);
                Some(Shown::Died(*signal, said.map(str::to_string)))
            }
            (End::Code(1), Some(evidence)) => Some(Shown::Verdict(evidence.verdict())),
            (End::Code(1), None) => Some(Shown::Verdict(Verdict::Herds)),
            (End::Said(1, _), _) if run.ending == Ending::Exit(PANICKED) => Some(Shown::Panicked),
            (End::Said(1, _), _) if run.ending == Ending::Signal(libc::SIGKILL) => Some(Shown::Restless),
            // A server that is not to wake everybody, and does.
            (End::Said(1, _), _) => Some(Shown::Verdict(Verdict::Herds)),
            _ => None,
        }
    }
}

impl<'a> Lab<'a> {
    pub fn new(stage: &'static Stage, serve: Serve, options: &Options, script: &'a Schedule) -> Result<Lab<'a>> {
        let (workers, flags, drain, threads) = (options.workers, options.flags, options.drain, stage.threads);
        let (heap, address, mode) = (options.heap.unwrap_or(stage.heap), any_port(), Mode::Directed);
        let setup = Setup { serve, workers, flags, drain, threads, heap, mode, address, core: false, aloud: false };
        let plan = Plan { stage, setup, schedule: script, limit: options.limit, grace: GRACE, own_order: true };
        Ok(Lab { plan, direct: Box::new(in_process), blackbox: process::new_blackbox()?, millis: Vec::new() })
    }

    /// How many runs it has made.
    pub fn runs(&self) -> u64 {
        self.millis.len() as u64
    }

    /// One run. `schedule` has what the clients do.
    pub fn directed(&mut self, schedule: &Schedule, strategy: &mut dyn Strategy) -> Result<Made> {
        let start = Instant::now();
        self.blackbox = self.blackbox.emptied()?;
        let plan = Plan { schedule, ..self.plan };
        add_outside(&plan, self.blackbox);
        let (run, verdict) = (self.direct)(&plan, self.blackbox, strategy)?;
        process::check(run.ending, &self.blackbox)?;
        if let Direction::Unable(why) = verdict {
            bail!(why);
        }
        self.millis.push(process::millis(start.elapsed()));
        let end = judge(&run, &verdict, true);
        Ok(Made { run, end, stayed: plan.stays() })
    }

    /// A run in which `scheduler` chooses.
    pub fn explored(&mut self, scheduler: &mut dyn Scheduler) -> Result<(Made, Vec<Taken>)> {
        let mut exploration = Exploration::new(scheduler);
        let made = self.directed(self.plan.schedule, &mut exploration)?;
        Ok((made, exploration.into_taken()))
    }

    /// A run in this order.
    pub fn ordered(&mut self, order: &Schedule) -> Result<Made> {
        self.directed(order, &mut InOrder::new(order))
    }
}

#[cfg(test)]
pub(crate) mod tests;
