//! What glibc says when two threads free one block: the same mistake in different surroundings.
//!
//! Each row of the table is a process of its own, since most of them die.

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_void;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::thread;

unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn free(block: *mut c_void);
}

/// Size in bytes; what stands behind the block; who allocates it; what is allocated between the two frees.
const CASES: [[&str; 4]; 9] = [
    ["64", "a block", "main", "nothing"],
    ["1032", "a block", "main", "nothing"],
    ["1033", "a block", "main", "nothing"],
    ["4096", "a block", "main", "nothing"],
    ["4096", "the top", "main", "nothing"],
    ["4096", "a block", "worker", "nothing"],
    ["4096", "a block", "main", "that size"],
    ["100000", "a block", "main", "nothing"],
    ["140000", "a block", "main", "nothing"],
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, size, behind, owner, between] = &arguments[..] {
        return free_twice(size.parse().expect("a size"), behind == "a block", owner == "main", between == "that size");
    }
    println!("  {:>7}  {:<8}  {:<9}  {:<9}  what happens", "size", "behind", "allocated", "between");
    for case in CASES {
        let output = Command::new(&arguments[0]).args(case).stderr(Stdio::piped()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let end = match (said.lines().last(), output.status.signal()) {
            (Some(text), Some(6)) => text,
            (_, Some(11)) => "SIGSEGV in free",
            (_, Some(_)) => "another signal",
            (_, None) => "nothing",
        };
        let [size, behind, owner, between] = case;
        println!("  {size:>7}  {behind:<8}  {owner:<9}  {between:<9}  {end}");
    }
}

/// Whose turn it is: threads start early, since starting one allocates.
static TURN: AtomicUsize = AtomicUsize::new(0);
static BLOCK: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

fn at_turn(turn: usize, act: impl FnOnce()) {
    while TURN.load(SeqCst) != turn {
        thread::yield_now();
    }
    act();
    TURN.store(turn + 1, SeqCst);
}

fn allocate(size: usize) -> *mut c_void {
    let block = unsafe { malloc(size) };
    if block.is_null() {
        handle_alloc_error(Layout::new::<u8>());
    }
    // A block that nobody uses may be optimised away.
    unsafe { block.cast::<u8>().write_volatile(1) };
    block
}

/// The block; and behind it another one, or the unused rest of the arena.
fn allocate_block(size: usize, followed: bool) {
    // The holes that earlier frees have left are filled first.
    for _ in 0..8 {
        allocate(size);
    }
    BLOCK.store(allocate(size), SeqCst);
    if followed {
        allocate(size);
    }
}

fn free_twice(size: usize, followed: bool, main_allocates: bool, reused: bool) {
    let worker = move |is_first: bool| {
        // As in a server that has been running for a while, the thread has its arena and its cache.
        unsafe { free(allocate(16)) };
        at_turn(usize::from(!is_first), || ());
        if is_first {
            if !main_allocates {
                at_turn(2, || allocate_block(size, followed));
            }
            at_turn(3, || unsafe { free(BLOCK.load(SeqCst)) });
        } else {
            at_turn(5, || unsafe { free(BLOCK.load(SeqCst)) });
        }
        // The threads of a server stay. One that ended would give its arena away, and empty its cache.
        loop {
            thread::park();
        }
    };
    thread::spawn(move || worker(true));
    thread::spawn(move || worker(false));
    if main_allocates {
        at_turn(2, || allocate_block(size, followed));
    }
    at_turn(4, || {
        if reused {
            allocate(size);
        }
    });
    at_turn(6, || std::process::exit(0));
}
