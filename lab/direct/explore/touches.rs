//! What the steps of a run touch, as the black box recorded it.

use std::collections::{BTreeSet, HashMap};

use super::Taken;
use crate::direct::schedule::Step;
use crate::record::event::{Object, Record};

/// Which objects each step of a run touched, by its role and what it was.
#[derive(Clone, Debug, Default)]
pub struct Touches(HashMap<(String, String), BTreeSet<Object>>);

impl Touches {
    /// Of a run: its choices, and its records.
    pub fn of(taken: &[Taken], records: &[Record]) -> Touches {
        let each = taken.iter().zip(of_each(taken.len(), records));
        Touches(each.map(|(taken, objects)| (key(&taken.step), objects)).collect())
    }

    /// Whether both touch one object, as far as is known: a step that no run has shown may touch anything.
    pub fn may_meet(&self, one: &Step, other: &Step) -> bool {
        match (self.0.get(&key(one)), self.0.get(&key(other))) {
            (Some(one), Some(other)) => !one.is_disjoint(other),
            _ => true,
        }
    }
}

fn key(step: &Step) -> (String, String) {
    (step.role.clone(), step.action.to_string())
}

/// What each of so many steps touched.
pub fn of_each(steps: usize, records: &[Record]) -> Vec<BTreeSet<Object>> {
    let mut touched = vec![BTreeSet::new(); steps];
    for record in records {
        if let Some(step) = record.step.filter(|step| (1..=steps).contains(step)) {
            touched[step - 1].extend(record.objects());
        }
    }
    touched
}
