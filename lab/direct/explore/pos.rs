//! Random priorities of steps, not of roles.

use std::collections::HashMap;

use super::{Numbers, Scheduler};
use crate::direct::explore::touches::Touches;
use crate::direct::schedule::Step;

/// Whichever step has the highest priority is next. Priorities are random, and drawn anew for those that touch what was just
/// touched: so orders that differ only in steps which do not concern each other are not the likelier for being many (POS: Yuan,
/// Yang, Gu: Partial order aware concurrency sampling, CAV 2018).
pub struct Pos {
    numbers: Numbers,
    touches: Touches,
    /// Of the step that a role stands before.
    priorities: HashMap<String, u64>,
}

impl Pos {
    /// The run of this seed; `touches`: what each step touches, as far as an earlier run shows.
    pub fn new(seed: u64, touches: Touches) -> Pos {
        Pos { numbers: Numbers::new(seed), touches, priorities: HashMap::new() }
    }
}

impl Scheduler for Pos {
    fn pick(&mut self, ready: &[Step], _: Option<usize>) -> usize {
        for step in ready {
            let numbers = &mut self.numbers;
            self.priorities.entry(step.role.clone()).or_insert_with(|| numbers.draw());
        }
        (0..ready.len()).max_by_key(|at| self.priorities[&ready[*at].role]).expect("somebody is ready")
    }

    fn moves(&mut self, ready: &[Step], moved: usize) {
        // Each is drawn when it is asked for.
        self.priorities.remove(&ready[moved].role);
        for step in ready {
            if self.touches.may_meet(step, &ready[moved]) {
                self.priorities.remove(&step.role);
            }
        }
    }
}
