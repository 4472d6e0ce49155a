//! Hints: what to ask oneself, and which step leads on.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::search::making::Lab;
use super::super::search::shorten::all_came;
use super::aim::is_aim;
use crate::catalogue::{Lost, Stage, Verdict};
use crate::direct::explore::Scheduler;
use crate::direct::explore::delays::Delays;
use crate::direct::explore::random::Walk;
use crate::direct::schedule::{Action, Schedule, Step};

/// How long a step is looked for.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many single delays are tried, and so many random orders.
const TRIES: usize = 20;

/// A question that points to what the stage is about.
pub fn question(stage: &Stage) -> &'static str {
    match (stage.expect, stage.lost) {
        (Verdict::Signal { signal: libc::SIGSEGV, .. }, _) => {
            "Whose is the memory that a thread is about to use, and who can give it up before?"
        }
        (Verdict::Signal { .. }, _) => "Which block could two threads hold at the same time, and each give back?",
        (Verdict::Hangs, Some(Lost::Edge)) => "What is left in the socket after one read, and who will tell of it?",
        (Verdict::Hangs, _) => "A one-shot event switches its socket off. On which way out does nobody arm it again?",
        (Verdict::Herds, _) => "How many wait for the one listener, and at which moment do all of them sleep?",
        (Verdict::Misdelivers, _) => "A key was kept for later. Does it still mean the same client when it is used?",
        (Verdict::NeverStops, _) => {
            "Between a look at the flag and the sleep after it: who could set it there, and whom do they wake?"
        }
        (Verdict::Loses, _) => "Which bytes stand in the socket in front of the end, and who looks at the end first?",
        (Verdict::Serves, _) => "What do two threads touch here, and what keeps each of them from meeting the other?",
    }
}

/// The step after `prefix` on a way to what the stage is to show: by its own schedule, or else by a few orders that are tried.
/// `None` if none was found.
pub fn next_step(lab: &mut Lab<'_>, prefix: &[Step], own: &Schedule) -> Result<Option<Step>> {
    let start = Instant::now();
    let follow = || Box::new(Follow::new(own)) as Box<dyn Scheduler>;
    let delayed = (0..TRIES).map(|at| Box::new(Delays::new(&[at])) as Box<dyn Scheduler>);
    let drawn = (1..=TRIES as u64).map(|seed| Box::new(Walk::new(seed)) as Box<dyn Scheduler>);
    let ways = [follow()].into_iter().chain(delayed.zip(drawn).flat_map(|(delayed, drawn)| [delayed, drawn]));
    for rest in ways {
        let (made, taken) = lab.explored(&mut Completion { prefix, made: 0, rest })?;
        let keeps = taken.len() >= prefix.len() && prefix.iter().zip(&taken).all(|(step, taken)| *step == taken.step);
        // What comes when all are free is chance.
        if keeps
            && all_came(&made.run)
            && made.is_directed()
            && made.shown().is_some_and(|shown| is_aim(lab.plan.stage, &shown))
        {
            return Ok(taken.get(prefix.len()).map(|taken| taken.step.clone()));
        }
        if start.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(None)
}

/// The steps of the beginning, and then another scheduler's.
struct Completion<'a> {
    prefix: &'a [Step],
    made: usize,
    rest: Box<dyn Scheduler>,
}

impl Scheduler for Completion<'_> {
    fn pick(&mut self, ready: &[Step], last: Option<usize>) -> usize {
        let again = self.prefix.get(self.made).and_then(|step| ready.iter().position(|ready| ready == step));
        again.unwrap_or_else(|| self.rest.pick(ready, last))
    }

    fn moves(&mut self, ready: &[Step], moved: usize) {
        self.made += 1;
        self.rest.moves(ready, moved);
    }
}

/// A schedule, wherever one is in it: who is before the point of its next step goes on to it, and then the first step is made
/// that can be. What was done already is done.
pub struct Follow {
    steps: Vec<Step>,
    then: Delays,
}

impl Follow {
    pub fn new(schedule: &Schedule) -> Follow {
        Follow { steps: schedule.steps.clone(), then: Delays::new(&[]) }
    }

    /// The next step of this role.
    fn next(&self, role: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.role == role)
    }
}

/// Whether a step of a schedule is this one.
fn is(step: &Step, ready: &Step) -> bool {
    step.role == ready.role
        && match (&step.action, &ready.action) {
            (Action::Pass { point, occurrence: None }, Action::Pass { point: other, .. }) => point == other,
            (action, other) => action == other,
        }
}

impl Scheduler for Follow {
    fn pick(&mut self, ready: &[Step], last: Option<usize>) -> usize {
        let is_on_the_way = |ready: &Step| self.next(&ready.role).is_some_and(|next| !is(&self.steps[next], ready));
        if let Some(on_the_way) = ready.iter().position(is_on_the_way) {
            return on_the_way;
        }
        let first = (0..ready.len()).filter_map(|at| Some((self.next(&ready[at].role)?, at))).min();
        first.map_or_else(|| self.then.pick(ready, last), |(_, at)| at)
    }

    fn moves(&mut self, ready: &[Step], moved: usize) {
        if let Some(next) = self.next(&ready[moved].role).filter(|next| is(&self.steps[*next], &ready[moved])) {
            self.steps.remove(next);
        }
    }
}

#[cfg(test)]
mod tests;
