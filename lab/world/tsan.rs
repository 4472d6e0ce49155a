//! Tells ThreadSanitizer what std's locks do.
//!
//! The sanitizer orders two threads by the locks and atomics that it sees, and std comes compiled without it: a lock
//! that had to be waited for was taken inside std, where it does not look, and all that the lock protects is reported
//! as a race. Nor does it know fences, by one of which the last owner of an `Arc` sees what the others did. So, in a
//! build with `--cfg lab_tsan`, the facades say it themselves, by the two calls that the sanitizer's runtime has for
//! this (`sanitizer/tsan_interface.h`). In any other build these functions are empty.

use std::sync::Arc;

#[cfg(lab_tsan)]
unsafe extern "C" {
    fn __tsan_acquire(address: *mut std::ffi::c_void);
    fn __tsan_release(address: *mut std::ffi::c_void);
}

/// This thread has the lock that stands for `what`: all that was done before it was last released is behind it.
#[inline(always)]
pub(crate) fn acquired<T: ?Sized>(what: &T) {
    #[cfg(lab_tsan)]
    // SAFETY: the runtime takes any address for a name, and reads nothing there.
    unsafe {
        __tsan_acquire(std::ptr::from_ref(what).cast_mut().cast());
    }
    let _ = what;
}

/// This thread is about to give back the lock that stands for `what`.
#[inline(always)]
pub(crate) fn releasing<T: ?Sized>(what: &T) {
    #[cfg(lab_tsan)]
    // SAFETY: as above.
    unsafe {
        __tsan_release(std::ptr::from_ref(what).cast_mut().cast());
    }
    let _ = what;
}

/// Gives up a share; the value, if it was the last one. In a build for the sanitizer the last owner is told to be after
/// all others, and no other order is made.
#[inline(always)]
pub(crate) fn give_up<T>(share: Arc<T>) -> Option<T> {
    #[cfg(lab_tsan)]
    {
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        static TAKEN: [AtomicBool; 64] = [const { AtomicBool::new(false) }; 64];
        let taken = &TAKEN[Arc::as_ptr(&share) as usize / 16 % 64];
        // Relaxed, since the sanitizer would order threads by it. It guards a count that is atomic by itself.
        while taken.compare_exchange_weak(false, true, Relaxed, Relaxed).is_err() {
            std::thread::yield_now();
        }
        if Arc::strong_count(&share) == 1 {
            acquired(taken);
        }
        let value = Arc::into_inner(share);
        // It was not the last, or a `Weak` has made another one just now.
        if value.is_none() {
            releasing(taken);
        }
        taken.store(false, Relaxed);
        value
    }
    #[cfg(not(lab_tsan))]
    Arc::into_inner(share)
}
