//! What is recorded is read back: the newest records, in order, each as it was made.
//!
//! The bytes of the box itself are not made up: a record holds addresses of texts, which its reader follows.
#![no_main]

use std::panic::Location;
use std::sync::LazyLock;

use lab::record::blackbox::{Blackbox, MAX_ROLES};
use lab::record::event::Kind;
use libfuzzer_sys::{arbitrary, fuzz_target};

const CAPACITY: usize = 64;
const LABELS: [&str; 5] = ["", "read", "session", "lab::stages::stage4_fixed::Session", "ä"];

/// A mapping is never given back, so there is one for all inputs.
static BOX: LazyLock<Blackbox> = LazyLock::new(|| Blackbox::new(CAPACITY).expect("there is memory"));

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    role: u8,
    kind: u8,
    label: u8,
    numbers: [u64; 3],
}

fuzz_target!(|inputs: Vec<Input>| {
    let (first, here) = (BOX.written(), Location::caller());
    let mut made = Vec::new();
    for input in inputs {
        let Some(kind) = Kind::from_u8(input.kind) else { continue };
        let (role, label) = (usize::from(input.role) % MAX_ROLES, LABELS[usize::from(input.label) % LABELS.len()]);
        let [a, b, c] = input.numbers;
        BOX.record(role, kind, label, here, a, b, c);
        made.push((role, kind, label, a, b, c));
    }
    assert_eq!(BOX.written() - first, made.len() as u64);
    assert_eq!(BOX.dropped(), BOX.written().saturating_sub(CAPACITY as u64));
    let read = BOX.records_from(first);
    let newest = &made[made.len().saturating_sub(CAPACITY)..];
    assert_eq!(read.len(), newest.len());
    let numbers = BOX.written() - read.len() as u64..;
    for ((record, made), number) in read.iter().zip(newest).zip(numbers) {
        assert_eq!((record.role, record.kind, record.label, record.a, record.b, record.c), *made);
        assert_eq!((record.number, record.file, record.line), (number, here.file(), here.line()));
        assert_eq!((record.step, record.over, record.inherited), (None, false, false));
    }
    assert!(read.is_sorted_by_key(|record| record.nanos));
});
