//! What measures: the load, what connections cost, and which tool would have caught which bug.

pub mod bench;
pub mod cost;
pub mod detect;
