//! What a run leaves behind: the black box, the events in it, and what the reactors counted.

pub mod blackbox;
pub mod event;
pub mod names;
pub mod wakeups;
