//! Memory that knows live from freed. It is never given back before the play is over, so that a program that is wrong
//! about it goes no further than the verdict.

use std::alloc::Layout;
use std::ops::{Deref, DerefMut};

use crate::point::point;
use crate::world::{Memory, Until, act};

/// The last part of a type's path: `Session`.
pub fn type_label<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let plain = &name[..name.find('<').unwrap_or(name.len())];
    plain.rsplit("::").next().unwrap_or(plain)
}

pub struct Raw<T> {
    at: *mut T,
    block: usize,
}

impl<T> Clone for Raw<T> {
    fn clone(&self) -> Self {
        Raw { at: self.at, block: self.block }
    }
}

// SAFETY: none: the promise that a stage makes when it hands a bare pointer to another thread.
unsafe impl<T> Send for Raw<T> {}

#[allow(dead_code)]
impl<T> Raw<T> {
    #[track_caller]
    pub fn new(value: T) -> Raw<T> {
        let at = Box::into_raw(Box::new(value));
        let block = act(Until::Always, |state, role| state.allocate(role, type_label::<T>(), None));
        Raw { at, block: block.unwrap_or_default() }
    }

    #[track_caller]
    pub fn get(&self) -> *const T {
        act(Until::Always, |state, role| state.touch(role, self.block));
        self.at
    }

    /// # Safety
    /// As in the real world; here a broken promise is the verdict.
    #[track_caller]
    pub unsafe fn free(self) {
        act(Until::Always, |state, role| state.free(role, self.block));
        // SAFETY: the world has just said that this is the first time. The memory itself stays.
        unsafe { self.at.drop_in_place() };
    }

    pub fn block(&self) -> usize {
        self.block
    }
}

pub struct Buffer {
    at: *mut u8,
    size: usize,
    block: usize,
}

// SAFETY: a buffer owns its bytes.
unsafe impl Send for Buffer {}
// SAFETY: a shared buffer gives out shared slices only.
unsafe impl Sync for Buffer {}

#[allow(dead_code)]
impl Buffer {
    #[track_caller]
    pub fn new(size: usize) -> Buffer {
        let layout = Layout::array::<u8>(size).expect("a small block");
        // SAFETY: the size is not 0.
        let at = unsafe { std::alloc::alloc_zeroed(layout) };
        let memory = Memory { at, layout };
        let block = act(Until::Always, move |state, role| {
            state.memory.push(memory);
            state.allocate(role, "Buffer", None)
        });
        Buffer { at, size, block: block.unwrap_or_default() }
    }
}

impl Buffer {
    /// A use, and whoever uses it can act on what is in it: that belongs to its past.
    fn look(&self) {
        act(Until::Always, |state, role| {
            state.touch(role, self.block);
            // SAFETY: the bytes are there until the play is over, and one thread runs at a time.
            state.seen(role, unsafe { std::slice::from_raw_parts(self.at, self.size) });
        });
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let block = self.block;
        point("free");
        act(Until::Always, |state, role| state.free(role, block));
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.look();
        // SAFETY: the bytes are there until the play is over.
        unsafe { std::slice::from_raw_parts(self.at, self.size) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.look();
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.size) }
    }
}
