//! compiles
//!
//! The fix of stage 3: the map and the task own the session together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

struct Session {
    received: AtomicU64,
}

fn main() {
    let mut sessions = HashMap::from([(1, Arc::new(Session { received: AtomicU64::new(0) }))]);

    let task = sessions[&1].clone();
    let worker = std::thread::spawn(move || task.received.fetch_add(16384, Ordering::Relaxed));
    drop(sessions.remove(&1)); // the hang-up takes the map's share
    println!("it had {} bytes before", worker.join().unwrap());
}
