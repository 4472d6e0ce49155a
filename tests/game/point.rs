//! Named schedule points.

use std::panic::Location;

#[track_caller]
pub fn point(name: &'static str) {
    crate::world::point(name, Location::caller());
}
