//! Random priorities, which change at a few steps.

use std::collections::HashMap;

use super::{Numbers, Scheduler};
use crate::direct::schedule::Step;

/// Whoever has the highest priority goes on. The priorities are random, and at depth - 1 steps of the run whoever moves falls
/// below all others. A bug that needs `depth` orderings, in a run of n roles and k steps, is found with a probability of at least
/// 1 / (n k^(depth - 1)) (PCT: Burckhardt, Kothari, Musuvathi, Nagarakatte: A randomized scheduler with probabilistic guarantees
/// of finding bugs, ASPLOS 2010).
pub struct Pct {
    numbers: Numbers,
    priorities: HashMap<String, u64>,
    /// The steps, counted from 0, at which who moves falls; in order.
    falls: Vec<usize>,
    steps: usize,
    fallen: u64,
}

/// The lowest priority of who has not fallen. Who falls later falls deeper.
const UPPER: u64 = 1 << 32;

impl Pct {
    /// The run of this seed; `length`: the steps of a run, as far as an earlier one shows. A depth of 1 has no falls.
    pub fn new(seed: u64, depth: usize, length: usize) -> Pct {
        let mut numbers = Numbers::new(seed);
        let mut falls: Vec<usize> = (1..depth).map(|_| numbers.below(length.max(1))).collect();
        falls.sort_unstable();
        Pct { numbers, priorities: HashMap::new(), falls, steps: 0, fallen: 0 }
    }

    pub(super) fn highest(&mut self, ready: &[Step]) -> usize {
        for step in ready {
            if !self.priorities.contains_key(&step.role) {
                self.priorities.insert(step.role.clone(), UPPER + self.numbers.draw() / 2);
            }
        }
        (0..ready.len()).max_by_key(|at| self.priorities[&ready[*at].role]).expect("somebody is ready")
    }
}

impl Scheduler for Pct {
    fn pick(&mut self, ready: &[Step], _: Option<usize>) -> usize {
        while self.falls.first().is_some_and(|fall| *fall <= self.steps) {
            self.falls.remove(0);
            self.fallen += 1;
            let falls = self.highest(ready);
            self.priorities.insert(ready[falls].role.clone(), UPPER - self.fallen);
        }
        self.highest(ready)
    }

    fn moves(&mut self, _: &[Step], _: usize) {
        self.steps += 1;
    }
}
