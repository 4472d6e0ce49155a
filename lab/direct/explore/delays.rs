//! Bounded delays: a calm run, and the same run with somebody delayed at one of its points, at two, and so on.
//!
//! In the calm run whoever moves goes on until it cannot, and clients wait until no thread can. A delay demotes: whoever was to move
//! comes after everybody else from there on. The bound is the number of delays, so the orders of a bound are finitely many, and
//! "all of them" can be said (Emmi, Qadeer, Rakamaric: Delay-bounded scheduling, POPL 2011).

use super::Scheduler;
use crate::direct::schedule::{Step, is_thread};

/// The calm run with these delays.
pub struct Delays {
    /// The choices of the run, counted from 0, at which whoever was to move is delayed; in order. One may be there twice: then
    /// the next one is delayed as well.
    at: Vec<usize>,
    /// The choices so far.
    choice: usize,
    /// Who was delayed, the latest last.
    demoted: Vec<String>,
}

impl Delays {
    /// With delays at these choices, in order. [`Exploration`](super::Exploration) asks only where several could move, and counts
    /// only those.
    pub fn new(at: &[usize]) -> Delays {
        Delays { at: at.to_vec(), choice: 0, demoted: Vec::new() }
    }

    /// Who goes next: who was never delayed before who was, then a thread before a client, then who moved last.
    fn best(&self, ready: &[Step], last: Option<usize>) -> usize {
        let rank = |at: &usize| {
            let role = &ready[*at].role;
            let delayed = self.demoted.iter().position(|demoted| demoted == role).map_or(0, |n| n + 1);
            (delayed, !is_thread(role), last != Some(*at), *at)
        };
        (0..ready.len()).min_by_key(rank).expect("somebody is ready")
    }
}

impl Scheduler for Delays {
    fn pick(&mut self, ready: &[Step], last: Option<usize>) -> usize {
        while self.at.first() == Some(&self.choice) {
            self.at.remove(0);
            let role = ready[self.best(ready, last)].role.clone();
            self.demoted.retain(|demoted| *demoted != role);
            self.demoted.push(role);
        }
        self.choice += 1;
        self.best(ready, last)
    }
}
