//! Loom's stacks, kept. Loom gives each thread of each execution a stack of its own, from `mmap` to `munmap`, hundreds of
//! thousands of times in a run; with the page faults that follow, that was a third of the time of the models.
//!
//! The two calls stand in front of the C library's: a stack that is given back waits for the next who asks for that size.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};

use libc::{MAP_STACK, SYS_mmap, SYS_munmap, off_t, size_t};

/// A model has no more threads than this at a time.
const KEPT: usize = 8;

/// The stacks that wait, of one size in bytes. An array, since there is no allocating in here.
struct Stacks {
    size: size_t,
    free: [*mut c_void; KEPT],
    count: usize,
}

impl Stacks {
    fn take(&mut self, size: size_t) -> Option<*mut c_void> {
        if self.count == 0 {
            self.size = size;
            return None;
        }
        if self.size != size {
            return None;
        }
        self.count -= 1;
        Some(self.free[self.count])
    }

    fn keep(&mut self, stack: *mut c_void, size: size_t) -> bool {
        let has_room = self.size == size && self.count < KEPT;
        if has_room {
            self.free[self.count] = stack;
            self.count += 1;
        }
        has_room
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        for stack in &self.free[..self.count] {
            // SAFETY: a mapping of this size, which nobody else knows of.
            unsafe { libc::syscall(SYS_munmap, *stack, self.size) };
        }
    }
}

thread_local! {
    static STACKS: RefCell<Stacks> = const {
        RefCell::new(Stacks { size: 0, free: [std::ptr::null_mut(); KEPT], count: 0 })
    };
}

/// As mmap(2).
///
/// # Safety
/// As mmap(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    address: *mut c_void,
    size: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    if flags & MAP_STACK != 0 {
        let kept = STACKS.try_with(|stacks| stacks.borrow_mut().take(size));
        if let Ok(Some(stack)) = kept {
            return stack;
        }
    }
    // SAFETY: the caller's.
    unsafe { libc::syscall(SYS_mmap, address, size, protection, flags, fd, offset) as *mut c_void }
}

/// As munmap(2).
///
/// # Safety
/// As munmap(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(address: *mut c_void, size: size_t) -> c_int {
    if STACKS.try_with(|stacks| stacks.borrow_mut().keep(address, size)) == Ok(true) {
        return 0;
    }
    // SAFETY: the caller's.
    unsafe { libc::syscall(SYS_munmap, address, size) as c_int }
}
