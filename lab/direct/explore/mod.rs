//! A run without a schedule: whenever everybody stands, a [`Scheduler`] chooses who goes on to the next point.
//!
//! What it chose is an order like any other: [`order`] gives it as a schedule.

pub mod bounded;
pub mod delays;
pub mod pct;
pub mod pos;
pub mod random;
pub mod shrink;
pub mod touches;
pub mod which;

use crate::direct::outcome::{self, Outcome};
use crate::direct::schedule::{Action, OPERATOR, Schedule, Step, client_of, is_thread};
use crate::direct::strategy::{Choice, Move, Now, Standing, Strategy};
use crate::record::blackbox::State;

/// The longest run, in steps: a server that spins would have no end.
pub const MAX_STEPS: usize = 2_000;

/// Who goes next, of those who could move.
pub trait Scheduler {
    /// An index into `ready`, which is not empty. The order of `ready` is always the same: threads as they were started, then
    /// the clients, then the operator. `last` is who moved last, if it could go on.
    fn pick(&mut self, ready: &[Step], last: Option<usize>) -> usize;

    /// `ready[moved]` goes on, whether it was picked or was the only one.
    fn moves(&mut self, _ready: &[Step], _moved: usize) {}
}

/// One choice of a run.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What was chosen.
    pub step: Step,
    /// How many could have moved.
    pub ready: usize,
    /// What became of it.
    pub outcome: Outcome,
    /// If its role then had to wait: after which step, counted from 0, it went on to its next point.
    pub went_on: Option<usize>,
}

/// A run that a scheduler makes.
pub struct Exploration<'a> {
    scheduler: &'a mut dyn Scheduler,
    choices: Choices,
}

impl<'a> Exploration<'a> {
    /// At its beginning.
    pub fn new(scheduler: &'a mut dyn Scheduler) -> Exploration<'a> {
        Exploration { scheduler, choices: Choices::default() }
    }

    /// What was chosen.
    pub fn into_taken(self) -> Vec<Taken> {
        self.choices.taken
    }
}

/// The choices of a run so far.
#[derive(Default)]
pub struct Choices {
    /// What was chosen.
    pub taken: Vec<Taken>,
}

impl Choices {
    /// Who could move, and to do what; in the order of [`Scheduler::pick`]. Nobody, when the run is as long as it may be.
    pub fn ready(&mut self, now: &Now) -> (Vec<usize>, Vec<Step>) {
        self.take_in(now);
        if self.taken.len() == MAX_STEPS {
            return (Vec::new(), Vec::new());
        }
        let mut ready: Vec<(usize, Step)> =
            now.roles.iter().enumerate().filter_map(|(role, standing)| Some((role, next(standing)?))).collect();
        ready.sort_by_key(|(_, step)| place(&step.role));
        ready.into_iter().unzip()
    }

    /// Who moved last, if it could go on.
    fn last(&self, ready: &[Step]) -> Option<usize> {
        self.taken.last().and_then(|last| ready.iter().position(|step| step.role == last.step.role))
    }

    /// Which of those a scheduler lets go on. Where one only could, it is not asked.
    pub fn pick(&self, ready: &[Step], scheduler: &mut dyn Scheduler) -> usize {
        let chosen = if ready.len() == 1 { 0 } else { scheduler.pick(ready, self.last(ready)) };
        scheduler.moves(ready, chosen);
        chosen
    }

    /// Takes one of those that [`Choices::ready`] gave.
    pub fn take(&mut self, (roles, steps): &(Vec<usize>, Vec<Step>), chosen: usize) -> Choice {
        let taken = Taken { step: steps[chosen].clone(), ready: steps.len(), outcome: Outcome::Passed, went_on: None };
        self.taken.push(taken);
        Choice::Role(Move { role: roles[chosen], step: self.taken.len(), is_late: false })
    }

    /// The steps, and what became of each: see [`Strategy::steps`].
    pub fn steps(&mut self, now: &Now) -> Vec<outcome::Step> {
        self.take_in(now);
        let step = |taken: &Taken| outcome::Step {
            role: taken.step.role.clone(),
            what: taken.step.action.to_string(),
            outcome: taken.outcome.clone(),
        };
        self.taken.iter().map(step).collect()
    }

    /// What became of the last step.
    fn take_in(&mut self, now: &Now) {
        if let Some(last) = &now.last
            && let Some(refused) = &last.refused
        {
            self.taken[last.moved.step - 1].outcome = refused.clone();
        }
        let Some(last) = self.taken.len().checked_sub(1) else { return };
        for role in now.roles.iter().filter(|role| role.state != State::Blocked && role.state != State::Asleep) {
            let latest = self.taken.iter_mut().rfind(|taken| taken.step.role == role.name);
            if let Some(taken) = latest.filter(|taken| taken.outcome != Outcome::Passed) {
                taken.went_on.get_or_insert(last);
            }
        }
    }
}

impl Strategy for Exploration<'_> {
    fn choose(&mut self, now: &Now) -> Choice {
        let ready = self.choices.ready(now);
        if ready.1.is_empty() {
            return Choice::End;
        }
        let chosen = self.choices.pick(&ready.1, self.scheduler);
        self.choices.take(&ready, chosen)
    }

    fn goes_on_without_a_client(&self) -> bool {
        true
    }

    fn steps(&mut self, now: &Now) -> Vec<outcome::Step> {
        self.choices.steps(now)
    }
}

/// Those choices as a schedule, for the clients of `script`.
pub fn order(taken: &[Taken], script: &Schedule) -> Schedule {
    Schedule { steps: taken.iter().map(|taken| taken.step.clone()).collect(), plans: script.plans.clone() }
}

/// The same order, and nobody comes to a wait before there is something to go on with. Who never went on is left before its
/// wait.
pub fn without_waits(taken: &[Taken], script: &Schedule) -> Schedule {
    let waits = |at: usize| taken[at].outcome != Outcome::Passed;
    let mut steps = Vec::new();
    for at in 0..taken.len() {
        if !waits(at) {
            steps.push(taken[at].step.clone());
        }
        // A wait is asked for in the order of the roles.
        let freed = (0..=at).filter(|earlier| waits(*earlier) && taken[*earlier].went_on == Some(at));
        let mut freed: Vec<&Step> = freed.map(|earlier| &taken[earlier].step).collect();
        freed.sort_by_key(|step| place(&step.role));
        steps.extend(freed.into_iter().cloned());
    }
    Schedule { steps, plans: script.plans.clone() }
}

/// The step that this role would make, if it could move. Whose time may run out waits for that until nobody else can move, and
/// then for the clock.
fn next(standing: &Standing) -> Option<Step> {
    let action = if !is_thread(&standing.name) {
        standing.next.clone()?
    } else if standing.state == State::Parked {
        Action::Pass { point: standing.point.to_string(), occurrence: Some(standing.occurrence) }
    } else {
        return None;
    };
    Some(Step { role: standing.name.clone(), action, line: 0 })
}

/// Where a role stands among those that are ready.
fn place(role: &str) -> (usize, usize) {
    match client_of(role) {
        Some(client) => (2, client),
        None if role == OPERATOR => (3, 0),
        None => (1, role.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)),
    }
}

/// Numbers that a seed decides: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next one below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The high half of a product: no remainder, so no number is likelier than another by more than n in 2^64.
        ((u128::from(self.draw()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests;
