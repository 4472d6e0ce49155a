//! What the two fixes cost a task: a share taken and given back, a lock taken and given back; and for scale what a task
//! costs anyway, one system call.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

const TIMES: u32 = 2_000_000;
const ROUNDS: usize = 15;

/// The median of a few rounds, in nanoseconds for one of so many times.
fn nanoseconds(times: u32, mut act: impl FnMut()) -> f64 {
    let mut rounds = [0.0; ROUNDS];
    for round in &mut rounds {
        let start = Instant::now();
        for _ in 0..times {
            act();
        }
        *round = start.elapsed().as_nanos() as f64 / f64::from(times);
    }
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// The same while another thread does it, too.
fn contended(act: impl Fn() + Send + Sync) -> f64 {
    let (started, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            started.store(true, Ordering::Relaxed);
            while !stop.load(Ordering::Relaxed) {
                act();
            }
        });
        while !started.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let taken = nanoseconds(TIMES, &act);
        stop.store(true, Ordering::Relaxed);
        taken
    })
}

fn main() {
    let pointer = &raw const *Box::leak(Box::new(0_u64));
    let shared = Arc::new(0_u64);
    let locked = Mutex::new(0_u64);
    let (mut here, mut there) = UnixStream::pair().expect("a pair of sockets");
    let share = || drop(black_box(shared.clone()));
    let lock = || *locked.lock().expect("nobody panics") += 1;
    let row = |what: &str, taken: f64| println!("  {what:<44} {taken:>7.1} ns");

    row("copy a bare pointer", nanoseconds(TIMES, || _ = black_box(pointer)));
    row("clone an Arc and drop the clone", nanoseconds(TIMES, share));
    row("the same, while another thread does it too", contended(share));
    row("lock a Mutex and unlock it", nanoseconds(TIMES, lock));
    row("the same, while another thread does it too", contended(lock));
    let call = || {
        here.write_all(&[1]).expect("there is room");
        there.read_exact(&mut [0]).expect("there is a byte");
    };
    row("a system call: write or read of one byte", nanoseconds(TIMES / 20, call) / 2.0);
}
