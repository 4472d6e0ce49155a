//! What leads from one role's deed to another's: the arrows of a drawn trace.

use std::collections::HashMap;

use crate::record::event::{Kind, Record};

/// What leads from one record to a later one, each an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// `queue to take`
    pub name: &'static str,
    pub from: usize,
    pub to: usize,
}

/// From queue to take, from free to use or to another free, from unlock to the lock of another role, from a notification to
/// who is woken by it; in the order in which they arrive.
pub fn flows(records: &[Record]) -> Vec<Flow> {
    let mut found = Vec::new();
    let mut queued: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut last: HashMap<(Kind, u64), usize> = HashMap::new();
    for (at, record) in records.iter().enumerate() {
        let flow = |name: &'static str, from: usize| Flow { name, from, to: at };
        let before = |kind: Kind, last: &HashMap<(Kind, u64), usize>| last.get(&(kind, record.a)).copied();
        match record.kind {
            Kind::Push => queued.entry(record.a).or_default().push(at),
            Kind::Pop => {
                let tasks = queued.entry(record.a).or_default();
                if !tasks.is_empty() {
                    found.push(flow("queue to take", tasks.remove(0)));
                }
            }
            Kind::Use => found.extend(before(Kind::Free, &last).map(|free| flow("free to use", free))),
            Kind::Free => found.extend(before(Kind::Free, &last).map(|free| flow("free to free", free))),
            // At this address there is another block now.
            Kind::Alloc => {
                last.remove(&(Kind::Free, record.a));
            }
            Kind::Lock => {
                let unlock = before(Kind::Unlock, &last).filter(|unlock| records[*unlock].role != record.role);
                found.extend(unlock.map(|unlock| flow("unlock to lock", unlock)));
            }
            Kind::Woken if record.b == 0 => {
                found.extend(before(Kind::Notify, &last).map(|notify| flow("notify to woken", notify)));
            }
            _ => {}
        }
        last.insert((record.kind, record.a), at);
    }
    found
}
