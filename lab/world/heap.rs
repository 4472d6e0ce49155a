//! Memory that the programmer frees by hand, and the server's buffers.
//!
//! What is recorded here lets the autopsy say who allocated, freed and used a block. Two heaps can stand behind it:
//!
//! - `malloc`, where a freed block usually stays readable: a use after free is seldom noticed by itself;
//! - `pages`: every block on pages of its own, and no access to them once it is freed, as Electric Fence does it
//!   (`libefence(3)`). The addresses stay taken, so that nothing else can move in.

use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::record::blackbox::{self, Place};
use crate::record::event::Kind;
use crate::world::point::{point, tracing_enabled};

static PAGES: AtomicBool = AtomicBool::new(false);

/// Which heap stands behind this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heap {
    /// The process's own malloc.
    Malloc,
    /// Pages of its own for every block.
    Pages,
}

impl Heap {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Heap::Malloc => "malloc",
            Heap::Pages => "pages",
        }
    }
}

/// Chooses the heap of this process. To be called before the first allocation: a block is freed by the heap that is
/// chosen when it is freed.
pub(crate) fn choose(heap: Heap) {
    PAGES.store(heap == Heap::Pages, Ordering::Relaxed);
}

/// Memory that is given back stays with the process, up to 16 MiB at the end of each arena, for the next who asks
/// (`M_TRIM_THRESHOLD` of `mallopt(3)`). A server under load takes and gives the same few kilobytes all the time, and
/// by default glibc returns them to the kernel now and then, to ask for them again at once. Without effect under
/// another C library.
pub(crate) fn raise_trim_threshold() {
    // SAFETY: a number of the allocator's is set, before there is a second thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 16 << 20)
    };
}

fn note(kind: Kind, label: &'static str, at: impl Into<Place>, address: usize, size: usize) {
    if tracing_enabled() {
        let pages = PAGES.load(Ordering::Relaxed);
        blackbox::note(kind, label, at, [address as u64, size as u64, u64::from(pages)]);
    }
}

/// The last part of a type's path: `Session`.
pub(crate) fn type_label<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let plain = &name[..name.find('<').unwrap_or(name.len())];
    plain.rsplit("::").next().unwrap_or(plain)
}

fn page_size() -> usize {
    // SAFETY: sysconf(3) has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

fn allocate(size: usize, label: &'static str, at: &'static Location<'static>) -> *mut u8 {
    let block = if PAGES.load(Ordering::Relaxed) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let length = size.next_multiple_of(page_size());
        // SAFETY: a fresh private mapping touches nothing that exists.
        let block = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if block == libc::MAP_FAILED { ptr::null_mut() } else { block }
    } else {
        // SAFETY: malloc(3) has no preconditions. Its alignment of 16 is checked by `Raw::new`.
        unsafe { libc::malloc(size) }
    };
    assert!(!block.is_null(), "no memory for {size} bytes");
    note(Kind::Alloc, label, at, block as usize, size);
    block.cast()
}

/// # Safety
/// `block` is one of `allocate`'s, of this `size`, and not yet freed. (A broken stage breaks just this.)
unsafe fn deallocate(block: *mut u8, size: usize, label: &'static str, at: impl Into<Place>) {
    note(Kind::Free, label, at, block as usize, size);
    if PAGES.load(Ordering::Relaxed) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
        let length = size.next_multiple_of(page_size());
        // SAFETY: the mapping replaces the block's own pages and nothing else.
        unsafe {
            // A block that is freed twice is noticed here, as in any allocator that keeps its notes beside the block.
            ptr::read_volatile(block);
            let gone = libc::mmap(block.cast(), length, libc::PROT_NONE, flags, -1, 0);
            assert!(gone != libc::MAP_FAILED, "the kernel has no room to take the pages away");
        }
    } else {
        // SAFETY: the caller's promise.
        unsafe { libc::free(block.cast()) };
    }
}

/// The address of a `T` that is freed by hand. As with a bare pointer, copies are free and none of them knows whether
/// the `T` is still there.
pub struct Raw<T>(*mut T);

impl<T> Clone for Raw<T> {
    fn clone(&self) -> Self {
        Raw(self.0)
    }
}

// SAFETY: none. This is the promise that a stage makes when it hands a bare pointer to another thread.
unsafe impl<T> Send for Raw<T> {}

impl<T> Raw<T> {
    /// Puts `value` into memory of its own.
    #[track_caller]
    pub fn new(value: T) -> Raw<T> {
        const { assert!(align_of::<T>() <= 16) };
        let block = allocate(size_of::<T>(), type_label::<T>(), Location::caller()).cast::<T>();
        // SAFETY: the block is fresh, large enough and aligned.
        unsafe { block.write(value) };
        Raw(block)
    }

    /// The bare pointer, for one use, which is recorded.
    #[inline(always)]
    #[track_caller]
    pub fn get(&self) -> *const T {
        if tracing_enabled() {
            blackbox::note(Kind::Use, "", Location::caller(), [self.0 as u64, 0, 0]);
        }
        self.0
    }

    /// Drops the value and gives the memory back.
    ///
    /// # Safety
    /// It was not freed before, and nobody uses a copy of this pointer any more.
    #[track_caller]
    pub unsafe fn free(self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.0.drop_in_place();
            deallocate(self.0.cast(), size_of::<T>(), type_label::<T>(), Location::caller());
        }
    }

    pub(crate) fn address(&self) -> u64 {
        self.0 as u64
    }
}

/// A block of bytes with one owner, zeroed at first. The owner's drop frees it, after the point `free`.
pub struct Buffer {
    block: *mut u8,
    size: usize,
}

// SAFETY: a buffer owns its block, as a `Box<[u8]>` does.
unsafe impl Send for Buffer {}
// SAFETY: a shared buffer gives out shared slices only.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A block of `size` bytes.
    #[track_caller]
    pub fn new(size: usize) -> Buffer {
        let block = allocate(size, "Buffer", Location::caller());
        // SAFETY: the block is fresh and `size` bytes long.
        unsafe { block.write_bytes(0, size) };
        Buffer { block, size }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Buffer { block, size } = *self;
        point("free");
        // SAFETY: the owner is going, so nobody has the block any more.
        unsafe { deallocate(block, size, "Buffer", blackbox::last_place()) };
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the block is `size` initialised bytes, and lives as long as its owner.
        unsafe { std::slice::from_raw_parts(self.block, self.size) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the owner is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.block, self.size) }
    }
}
