//! error: E0277
//!
//! Stage 4 without its `unsafe impl Sync`: a cell without a lock, in a session that two workers reach.

use std::cell::UnsafeCell;
use std::sync::Arc;

struct Session {
    inbox: UnsafeCell<Vec<u8>>,
}

fn main() {
    let session = Arc::new(Session { inbox: UnsafeCell::new(Vec::new()) });

    let task = session.clone();
    let worker = std::thread::spawn(move || unsafe { *task.inbox.get() = Vec::new() });
    unsafe { *session.inbox.get() = Vec::new() };
    worker.join().unwrap();
}
