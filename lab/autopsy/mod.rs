//! The report of a run.
pub mod lanes;
