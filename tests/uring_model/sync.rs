//! One reactor, which runs in the test's own thread: nobody is waited for.

use std::sync::{MutexGuard, PoisonError};

pub use std::sync::Arc;

pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex(std::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
