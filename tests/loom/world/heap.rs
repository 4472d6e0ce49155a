//! The heap of the model: it knows live blocks from freed ones, and who freed them where.
//!
//! No block is given back before the execution is over, so an address means one block only. Each access and each free
//! is a step about the block. Safe code comes to a block only through its owner, so which block that is cannot change
//! between the look and the step. Once plain memory is shared without a lock it can: then all of these are steps about
//! memory as a whole.
//!
//! For loom two accesses are one step if their thread has done nothing in between that lets others in: a free that
//! could come between the two could come before the first, and is found there.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::check::Check;
use crate::point::point;
use crate::turn::{self, Checker, Object};
use crate::world::{self, Key, Place, Role, What};

/// One block.
pub struct Slot {
    /// `session 1`, `buffer 3`
    pub name: String,
    /// By its maker's count.
    pub key: Key,
    block: *mut u8,
    layout: Layout,
    freed: Option<(Role, Place)>,
    object: Rc<Object>,
    /// Who touched it last, and in which section: nobody can have come between then and now.
    last: (Role, u64),
}

impl Slot {
    pub fn is_freed(&self) -> bool {
        self.freed.is_some()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: the block is this layout's, and the execution that used it is over.
        unsafe { dealloc(self.block, self.layout) };
    }
}

fn allocate(label: &str, layout: Layout) -> usize {
    // SAFETY: a block is at least a byte long, see the callers.
    let block = unsafe { alloc_zeroed(layout) };
    if block.is_null() {
        handle_alloc_error(layout);
    }
    let object = Rc::new(Object::new());
    let last = (world::me(), world::section());
    world::with(|world| {
        let label = label.to_lowercase();
        let number = 1 + world.slots.iter().filter(|slot| slot.name.starts_with(&label)).count();
        let (name, key) = (format!("{label} {number}"), object.key);
        world.slots.push(Slot { name, key, block, layout, freed: None, object, last });
        let slot = world.slots.len() - 1;
        world.log(What::Allocate(slot));
        slot
    })
}

fn block(slot: usize) -> *mut u8 {
    world::with(|world| world.slots[slot].block)
}

fn key(slot: usize) -> Key {
    world::with(|world| world.slots[slot].key)
}

/// A step about this block.
fn tick(slot: usize) {
    let object =
        world::with(|world| if world.is_racy { world.memory.clone() } else { world.slots[slot].object.clone() });
    world::tick_of(&object);
}

/// Another thread may have come in since this one last touched the block.
fn may_have_changed(slot: usize) -> bool {
    let now = (world::me(), world::section());
    let each = turn::checker() == Some(Checker::Search);
    world::with(|world| each || !world.rules.independence || world.slots[slot].last != now)
}

fn access(slot: usize) {
    if world::is_over() {
        return;
    }
    if may_have_changed(slot) {
        tick(slot);
    }
    use_now(slot);
}

fn use_now(slot: usize) {
    let now = (world::me(), world::section());
    let wrong = world::with(|world| {
        world.slots[slot].last = now;
        let (who, at) = world.slots[slot].freed?;
        world.log(What::Use(slot));
        let freed = world.who(who, at);
        let used = world.who(world::me(), world.place());
        Some(format!("use after free of {}: freed by {freed}, used by {used}", world.slots[slot].name))
    });
    if let Some(text) = wrong {
        world::refute(Check::UsedAfterFree, text);
    }
}

fn free(slot: usize) {
    if world::is_over() {
        return;
    }
    tick(slot);
    let now = (world::me(), world::section());
    let wrong = world::with(|world| {
        world.log(What::Free(slot));
        let place = world.place();
        world.slots[slot].last = now;
        let earlier = world.slots[slot].freed.replace((world::me(), place))?;
        let (first, second) = (world.who(earlier.0, earlier.1), world.who(world::me(), place));
        Some(format!("double free of {}: freed by {first}, and again by {second}", world.slots[slot].name))
    });
    if let Some(text) = wrong {
        world::refute(Check::FreedTwice, text);
    }
}

/// The caller uses what lies at this address; if that is no block of this heap, it is none of its business.
pub fn touch(address: usize) {
    if world::is_over() {
        return;
    }
    let found = world::with(|world| {
        world.slots.iter().position(|slot| (0..slot.layout.size()).contains(&address.wrapping_sub(slot.block as usize)))
    });
    if let Some(slot) = found {
        access(slot);
    }
}

/// What is still allocated, at the end.
pub fn leaks() -> Vec<String> {
    world::with(|world| world.slots.iter().filter(|slot| slot.freed.is_none()).map(|slot| slot.name.clone()).collect())
}

/// The last part of a type's path: `Session`.
fn label<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let plain = &name[..name.find('<').unwrap_or(name.len())];
    plain.rsplit("::").next().unwrap_or(plain)
}

pub struct Raw<T> {
    value: *mut T,
    slot: usize,
}

impl<T> Clone for Raw<T> {
    fn clone(&self) -> Self {
        Raw { value: self.value, slot: self.slot }
    }
}

// SAFETY: loom's threads are coroutines of one thread.
unsafe impl<T> Send for Raw<T> {}

impl<T> Raw<T> {
    pub fn new(value: T) -> Raw<T> {
        const { assert!(size_of::<T>() > 0) };
        let slot = allocate(label::<T>(), Layout::new::<T>());
        let block = block(slot).cast::<T>();
        // SAFETY: the block is fresh, and made for a `T`.
        unsafe { block.write(value) };
        Raw { value: block, slot }
    }

    pub fn get(&self) -> *const T {
        access(self.slot);
        self.value
    }

    /// # Safety
    /// As in the real heap; here a broken promise is found out.
    pub unsafe fn free(self) {
        free(self.slot);
        if !world::is_over() {
            // SAFETY: this is the first free, or the model would have ended just now.
            unsafe { self.value.drop_in_place() };
        }
    }

    pub fn key(&self) -> Key {
        key(self.slot)
    }

    /// Where it lies, and how long it is.
    pub fn range(&self) -> (usize, usize) {
        (self.value as usize, size_of::<T>())
    }
}

pub struct Buffer {
    block: *mut u8,
    size: usize,
    slot: usize,
}

// SAFETY: a buffer owns its block, and loom's threads are coroutines of one thread.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    pub fn new(size: usize) -> Buffer {
        let layout = Layout::array::<u8>(size.max(1)).expect("a buffer fits the address space");
        let slot = allocate("Buffer", layout);
        let block = block(slot);
        Buffer { block, size, slot }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // As the real one: what to free is known before the point, and freed after it.
        let slot = self.slot;
        point("free");
        free(slot);
    }
}

impl Buffer {
    /// Whoever is inside an [`UnsafeCell`](crate::sync::UnsafeCell) may find another buffer in its place than was there
    /// when it came: so it ticks first, and then looks which one it is.
    fn access(&self) {
        if world::is_over() {
            return;
        }
        if world::with(|world| world.is_racy) {
            tick(self.slot);
            // SAFETY: a reference is good for a read; another thread may have written since it was made.
            use_now(unsafe { (&raw const self.slot).read_volatile() });
        } else {
            access(self.slot);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.access();
        // SAFETY: the block is `size` zeroed bytes, and lives as long as the execution.
        unsafe { std::slice::from_raw_parts(self.block, self.size) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.access();
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.block, self.size) }
    }
}
