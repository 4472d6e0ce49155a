//! error: E0502
//!
//! The task borrows the session from the map, and the hang-up frees it meanwhile.

use std::collections::HashMap;

struct Session {
    received: u64,
}

fn main() {
    let mut sessions = HashMap::from([(1, Box::new(Session { received: 0 }))]);

    let session = &sessions[&1]; // the worker's task
    drop(sessions.remove(&1)); // the hang-up
    println!("{} bytes", session.received); // and the worker is not done with it
}
