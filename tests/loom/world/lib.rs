//! The world of the models: the facades of a stage, the modelled kernel under them, and the two checkers ([`turn`]) that choose
//! who runs next.
//!
//! It is a package of its own, which knows nothing of `lab`: so it is optimised where the models are not, since a run spends its
//! time here, and a change of `lab` does not build it anew.

pub mod check;
pub mod heap;
pub mod kernel;
pub mod memory;
#[path = "../../support/net.rs"]
pub mod net;
pub mod point;
pub mod search;
mod stacks;
pub mod strangers;
pub mod sync;
#[path = "../../../lab/terms.rs"]
pub mod terms;
pub mod test;
pub mod turn;
pub mod world;
