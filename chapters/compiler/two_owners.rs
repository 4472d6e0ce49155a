//! error: E0382
//!
//! The task takes the session; then the map has nothing left to free.

struct Session {
    received: u64,
}

fn main() {
    let session = Box::new(Session { received: 0 });

    let worker = std::thread::spawn(move || println!("{} bytes", session.received));
    drop(session); // the hang-up
    worker.join().unwrap();
}
