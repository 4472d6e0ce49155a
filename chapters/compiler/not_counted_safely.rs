//! error: E0277
//!
//! Shared ownership, with a count that two threads may not change at once.

use std::rc::Rc;

struct Session {
    received: u64,
}

fn main() {
    let session = Rc::new(Session { received: 0 });

    let task = session.clone();
    let worker = std::thread::spawn(move || println!("{} bytes", task.received));
    drop(session); // the hang-up
    worker.join().unwrap();
}
