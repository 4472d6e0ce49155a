//! A run in a given order: the schedule, the director that keeps it, the clients in it, and what came of it.

pub mod client;
pub mod director;
pub mod explore;
pub(crate) mod hang_oracle;
pub mod in_order;
pub mod outcome;
pub mod quiescence;
pub mod schedule;
pub(crate) mod sockets;
pub mod strategy;
