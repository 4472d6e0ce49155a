//! error: E0277
//!
//! The bare address, as in C++: it may be copied, but not taken to another thread.

struct Session {
    received: u64,
}

fn main() {
    let session: *mut Session = Box::into_raw(Box::new(Session { received: 0 }));

    let worker = std::thread::spawn(move || {
        let session = session;
        println!("{} bytes", unsafe { (*session).received });
    });
    drop(unsafe { Box::from_raw(session) }); // the hang-up
    worker.join().unwrap();
}
