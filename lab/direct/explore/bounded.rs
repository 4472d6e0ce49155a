//! Which delays are tried, and in which order: none, then each single one, then pairs, and so on.

use std::collections::VecDeque;

use super::Taken;
use super::touches::of_each;
use crate::direct::schedule::Step;
use crate::record::event::Record;

/// The runs of bounded delays, from the calm one on.
pub struct Bounded {
    depth: usize,
    /// The delays of the runs that are made now.
    bound: usize,
    /// Runs to come: with as many delays as `bound`, those first that are the likeliest to meet something.
    pending: VecDeque<Delayed>,
    /// With one more.
    later: Vec<Delayed>,
    /// Of this bound.
    done: usize,
    /// Of the bounds before.
    before: usize,
    /// Runs that went another way before their last delay than the run that they repeat: see [`Bounded::diverged`].
    diverged: Option<(usize, Step)>,
}

/// A run that repeats an earlier one up to its last delay.
#[derive(Clone, Debug)]
pub struct Delayed {
    /// See [`super::delays::Delays::new`].
    pub at: Vec<usize>,
    /// The steps of the earlier run up to the last delay.
    prefix: Vec<Step>,
    /// Who is delayed last.
    role: Option<String>,
    /// Whether the two roles that were delayed last meet at an object.
    meets: bool,
}

/// How far the bounds were searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The largest bound of which every order was run; `None` if not even the calm one was.
    pub complete: Option<usize>,
    /// Orders with as many delays as that, or fewer.
    pub orders: usize,
    /// Orders that were run with one delay more.
    pub begun: usize,
    /// Orders that there are with one delay more.
    pub of: usize,
}

impl Bounded {
    /// Up to so many delays.
    pub fn new(depth: usize) -> Bounded {
        let calm = Delayed { at: Vec::new(), prefix: Vec::new(), role: None, meets: false };
        Bounded {
            depth,
            bound: 0,
            pending: VecDeque::from([calm]),
            later: Vec::new(),
            done: 0,
            before: 0,
            diverged: None,
        }
    }

    /// The next run; `None` if all were made.
    pub fn take_next(&mut self) -> Option<Delayed> {
        self.pending.pop_front()
    }

    /// The delays of the runs that are made now.
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// How many runs there are of the bound that is being made.
    pub fn of_bound(&self) -> (usize, usize) {
        (self.done, self.done + self.pending.len())
    }

    /// How far it got.
    pub fn bounds(&self) -> Bounds {
        let (done, all) = self.of_bound();
        match done == all {
            true => Bounds { complete: Some(self.bound), orders: self.before + done, begun: 0, of: 0 },
            false => Bounds { complete: self.bound.checked_sub(1), orders: self.before, begun: done, of: all },
        }
    }

    /// How many runs went another way than the run that they repeat, and the first step in which one did: that choice was the
    /// kernel's, or the clock's.
    pub fn diverged(&self) -> Option<&(usize, Step)> {
        self.diverged.as_ref()
    }

    /// Whether a run kept to the order that it was to repeat.
    pub fn keeps(run: &Delayed, taken: &[Taken]) -> bool {
        differs(run, taken).is_none()
    }

    /// The run was made: these were its choices, and these its records.
    pub fn made(&mut self, run: &Delayed, taken: &[Taken], records: &[Record]) {
        self.done += 1;
        if let Some(at) = differs(run, taken) {
            let step = taken.get(at).map_or_else(|| run.prefix[at].clone(), |taken| taken.step.clone());
            self.diverged.get_or_insert((0, step)).0 += 1;
        }
        if self.bound < self.depth {
            self.later.extend(more(run, taken, records));
        }
        if self.pending.is_empty() && !self.later.is_empty() {
            self.before += std::mem::take(&mut self.done);
            self.bound += 1;
            let (meet, others): (Vec<_>, Vec<_>) = self.later.drain(..).partition(|run| run.meets);
            self.pending = meet.into_iter().chain(others).collect();
        }
    }
}

/// Where a run left the order that it was to repeat.
fn differs(run: &Delayed, taken: &[Taken]) -> Option<usize> {
    let same = |(step, taken): (&Step, Option<&Taken>)| taken.is_some_and(|taken| taken.step == *step);
    run.prefix.iter().zip(taken.iter().map(Some).chain(std::iter::repeat(None))).position(|pair| !same(pair))
}

/// That run with one delay more, at its last one or after it.
fn more(run: &Delayed, taken: &[Taken], records: &[Record]) -> Vec<Delayed> {
    let touched = of_each(taken.len(), records);
    // The steps at which there was a choice.
    let choices: Vec<usize> = (0..taken.len()).filter(|step| taken[*step].ready > 1).collect();
    let first = run.at.last().copied().unwrap_or(0);
    // What the delayed role does when it goes on it was kept from before.
    let delayed = run.role.as_ref().and_then(|role| {
        let next = (*choices.get(first)?..taken.len()).find(|step| taken[*step].step.role == *role)?;
        Some((role, &touched[next]))
    });
    let one = |(choice, step): (usize, &usize)| Delayed {
        at: [&run.at[..], &[choice]].concat(),
        prefix: taken[..*step].iter().map(|taken| taken.step.clone()).collect(),
        role: Some(taken[*step].step.role.clone()),
        meets: delayed
            .is_some_and(|(role, objects)| *role != taken[*step].step.role && !objects.is_disjoint(&touched[*step])),
    };
    choices.iter().enumerate().skip(first).map(one).collect()
}

#[cfg(test)]
mod tests;
