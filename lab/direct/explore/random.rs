//! Random walks over the choices.

use std::collections::HashMap;

use super::{Numbers, Scheduler, Taken};
use crate::direct::schedule::Step;

/// Each of those who could move is as likely as any other.
pub struct Walk(Numbers);

impl Walk {
    /// The walk of this seed.
    pub fn new(seed: u64) -> Walk {
        Walk(Numbers::new(seed))
    }
}

impl Scheduler for Walk {
    fn pick(&mut self, ready: &[Step], _: Option<usize>) -> usize {
        self.0.below(ready.len())
    }
}

/// A walk in which each is as likely as it has steps left: then all orders of two roles are about equally likely, and not those
/// in which the shorter one is done first (SURW: Zhao, Wolff, Mathur, Roychoudhury: Selectively uniform concurrency testing,
/// ASPLOS 2025; here every step is of interest).
pub struct Surw {
    numbers: Numbers,
    /// The steps that each role has left, as far as an earlier run shows.
    left: HashMap<String, usize>,
}

impl Surw {
    /// The walk of this seed, with the steps of an earlier run.
    pub fn new(seed: u64, earlier: &[Taken]) -> Surw {
        let mut left = HashMap::new();
        for taken in earlier {
            *left.entry(taken.step.role.clone()).or_default() += 1;
        }
        Surw { numbers: Numbers::new(seed), left }
    }
}

impl Scheduler for Surw {
    fn pick(&mut self, ready: &[Step], _: Option<usize>) -> usize {
        let left: Vec<usize> =
            ready.iter().map(|step| self.left.get(&step.role).copied().unwrap_or(0).max(1)).collect();
        let mut number = self.numbers.below(left.iter().sum());
        let is_it = |left: &usize| match number.checked_sub(*left) {
            Some(rest) => {
                number = rest;
                false
            }
            None => true,
        };
        left.iter().position(is_it).expect("the number is below their sum")
    }

    fn moves(&mut self, ready: &[Step], moved: usize) {
        if let Some(left) = self.left.get_mut(&ready[moved].role) {
            *left = left.saturating_sub(1);
        }
    }
}
