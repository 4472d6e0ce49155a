//! What a run leaves behind: the black box, and what the reactors counted.

pub mod blackbox;
pub mod wakeups;
