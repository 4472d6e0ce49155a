//! error: E0505
//!
//! The reactor frees a session that it has lent to a worker.

struct Session {
    received: u64,
}

/// The map gives a session up.
fn release(session: Box<Session>) {
    drop(session);
}

fn main() {
    let session = Box::new(Session { received: 0 });

    let lent = &session; // the worker's task
    release(session); // the hang-up
    println!("{} bytes", lent.received); // and the worker is not done with it
}
