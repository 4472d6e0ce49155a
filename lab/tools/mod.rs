//! What measures: the load, what connections cost, what hours of load do to a server, and which tool would have caught
//! which bug.

pub mod bench;
pub mod cost;
pub mod detect;
pub mod soak;
