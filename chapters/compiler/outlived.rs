//! error: E0373
//!
//! The worker's thread borrows the session from the reactor's.

struct Session {
    received: u64,
}

fn serve() {
    let session = Box::new(Session { received: 0 });
    std::thread::spawn(|| println!("{} bytes", session.received));
    // The function returns, the session is dropped, and the thread runs on.
}

fn main() {
    serve();
}
