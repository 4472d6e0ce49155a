//! The listener, the stop event and the clock of this world.

use std::io;

use crate::world::with;

pub struct Listener;

impl Listener {
    pub fn sibling(&self) -> io::Result<Listener> {
        Ok(Listener)
    }

    pub fn steer_by_cpu(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
}

pub struct Stop;

impl Stop {
    pub fn try_clone(&self) -> io::Result<Stop> {
        Ok(Stop)
    }

    pub fn raise(&self) {
        with(|world| world.stopped = true);
    }
}

/// Here is no core to choose.
pub fn pin_thread(_: usize, _: usize) {}

pub fn seconds() -> u32 {
    with(|world| world.clock)
}
