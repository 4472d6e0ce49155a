//! Named schedule points. Here they only say where a thread is; who goes on is decided at the calls between them.

use crate::world;

pub fn point(name: &'static str) {
    if !world::is_over() {
        world::pass(name);
    }
}
