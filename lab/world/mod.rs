//! The facades in the real world: std, libc, malloc. A stage reaches the outside through them and nothing else.

pub mod fault;
pub mod heap;
pub mod kernel;
pub mod point;
pub mod sync;
mod tsan;
#[cfg(feature = "uring")]
pub mod uring;
