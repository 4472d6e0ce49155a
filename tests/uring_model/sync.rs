//! One reactor, which runs in the test's own thread: there is nothing to share.

use std::cell::{RefCell, RefMut};

pub use std::sync::Arc;

pub struct Mutex<T>(RefCell<T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex(RefCell::new(value))
    }

    pub fn lock(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}

pub struct JoinHandle;

pub fn spawn(_: &str, body: impl FnOnce()) -> JoinHandle {
    body();
    JoinHandle
}

impl JoinHandle {
    pub fn join(self) {}
}
