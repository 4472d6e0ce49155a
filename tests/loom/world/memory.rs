//! Memory that can be put back as it was, for the [`search`](crate::search): so it goes on from an earlier state
//! without playing the way there once more.
//!
//! Whatever is allocated [`inside`] lies in one region, which belongs to a thread of the system, and so do the stacks
//! of the model's threads. To keep a state is to copy what is in use of the region; to put it back is to copy it over
//! what is there now, each byte to its old address. Nothing inside may then own something outside, since it would be
//! freed once for each order: to free such memory inside ends the program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::ops::Range;

use corosensei::stack::{Stack, StackPointer};

/// What an execution may allocate, in bytes. It is address space; only what is used is memory.
const HEAP: usize = 256 << 20;
/// Room for a worker's read buffer, and for what an unoptimised test build puts beside it, in bytes.
const STACK: usize = 256 << 10;
/// Loom's threads, and one to spare.
const STACKS: usize = 6;
const PAGE: usize = 4096;
/// What a thread that gives its turn back has on its stack below the last address that it knows of, in bytes: a few
/// frames, and the registers. Too little would show, since [`put_back`] spoils what lies below.
const BELOW: usize = 768;
const SPOILT: usize = 256;

/// Blocks of up to this many bytes are told apart by 16 bytes, larger ones by powers of two.
const SMALL: usize = 1024;
const CLASSES: usize = SMALL / 16 + usize::BITS as usize;

/// At the beginning of the region, so that it is kept and put back with the rest.
struct Head {
    /// So many bytes are in use, or were.
    used: usize,
    /// The first free block of each class; each holds the address of the next.
    free: [usize; CLASSES],
}

thread_local! {
    static REGION: Cell<usize> = const { Cell::new(0) };
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn class_of(size: usize) -> (usize, usize) {
    let size = size.max(16).next_multiple_of(16);
    if size <= SMALL {
        (size / 16, size)
    } else {
        let size = size.next_power_of_two();
        (SMALL / 16 + size.ilog2() as usize, size)
    }
}

fn is_in_region(address: usize) -> bool {
    REGION.get() != 0 && address.wrapping_sub(REGION.get()) < HEAP
}

fn head() -> *mut Head {
    REGION.get() as *mut Head
}

// SAFETY: outside it is the system's allocator. Inside, a block is given out once until it is freed, or until the
// region is put back to a state in which it was not given out.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !IS_INSIDE.get() {
            // SAFETY: as the caller's.
            return unsafe { System.alloc(layout) };
        }
        // SAFETY: the region is there while somebody is inside, and this thread alone knows it.
        let head = unsafe { &mut *head() };
        let (class, size) = class_of(layout.size());
        let first = head.free[class];
        if first != 0 && layout.align() <= 16 {
            // SAFETY: a free block holds the address of the next.
            head.free[class] = unsafe { *(first as *const usize) };
            return first as *mut u8;
        }
        let start = head.used.next_multiple_of(layout.align().max(16));
        if start + size > HEAP {
            return std::ptr::null_mut();
        }
        head.used = start + size;
        (REGION.get() + start) as *mut u8
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match (is_in_region(block as usize), IS_INSIDE.get()) {
            // SAFETY: as the caller's.
            (false, false) => unsafe { System.dealloc(block, layout) },
            (false, true) => die("memory from outside is freed inside: with each order once more"),
            // It goes with the region.
            (true, false) => {}
            (true, true) => {
                // SAFETY: as in `alloc`; a block has room for an address.
                unsafe {
                    let (class, _) = class_of(layout.size());
                    *(block as *mut usize) = (*head()).free[class];
                    (*head()).free[class] = block as usize;
                }
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !IS_INSIDE.get() {
            // SAFETY: as the caller's.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as the caller's; and the block, if there is one, is at least so long.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }
}

/// An allocator must not panic.
fn die(why: &str) -> ! {
    IS_INSIDE.set(false);
    eprintln!("{why}");
    std::process::abort();
}

/// What `act` allocates lies in the region, and is gone when the region is put back.
pub fn inside<R>(act: impl FnOnce() -> R) -> R {
    switched(true, act)
}

/// What `act` allocates stays.
pub fn outside<R>(act: impl FnOnce() -> R) -> R {
    switched(false, act)
}

fn switched<R>(to: bool, act: impl FnOnce() -> R) -> R {
    let before = IS_INSIDE.replace(to);
    let result = act();
    IS_INSIDE.set(before);
    result
}

/// Begins with an empty region.
pub fn clear() {
    if REGION.get() == 0 {
        REGION.set(map(HEAP + STACKS * STACK));
        for stack in 0..STACKS {
            // SAFETY: the page is this region's, and nothing lies there.
            let guard = unsafe { libc::mprotect(Room(stack).limit().get() as *mut _, PAGE, libc::PROT_NONE) };
            assert_eq!(guard, 0, "a guard page");
        }
    }
    // SAFETY: the region is there, and nobody is inside.
    unsafe {
        // Who still looks at the last execution sees that it is gone.
        let used = (*head()).used;
        (head() as *mut u8).write_bytes(0xdd, used);
        head().write(Head { used: size_of::<Head>(), free: [0; CLASSES] });
    }
}

fn map(size: usize) -> usize {
    let (access, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new mapping, where the kernel likes. It stays until the end of the process.
    let region = unsafe { libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0) };
    assert_ne!(region, libc::MAP_FAILED, "address space for the search");
    region as usize
}

/// The stack of that number in this thread's region.
pub struct Room(pub usize);

impl Room {
    /// From the lowest address that a thread which calls this may still need, to the end.
    pub fn in_use(&self) -> Range<usize> {
        let here = std::hint::black_box(0_u8);
        let lowest = std::ptr::from_ref(&here) as usize - BELOW;
        lowest & !15..self.base().get()
    }

    /// Of a thread that has not begun: what it is to do.
    pub fn in_use_at_first(&self) -> Range<usize> {
        self.base().get() - BELOW..self.base().get()
    }
}

// SAFETY: there is a guard page, and more room than the least.
unsafe impl Stack for Room {
    fn base(&self) -> StackPointer {
        assert!(self.0 < STACKS, "more threads than stacks");
        NonZeroUsize::new(REGION.get() + HEAP + (self.0 + 1) * STACK).expect("the region is there")
    }

    fn limit(&self) -> StackPointer {
        NonZeroUsize::new(self.base().get() - STACK).expect("the region is there")
    }
}

/// A state of the region, to be put back.
#[derive(Default)]
pub struct Kept {
    heap: Vec<u8>,
    stacks: Vec<(usize, Vec<u8>)>,
}

/// Copies what is in use, and of the stacks these parts. `kept` may have been used before.
pub fn keep(kept: &mut Kept, stacks: impl Iterator<Item = Range<usize>>) {
    let mut count = 0;
    // SAFETY: these are the region's bytes in use, and nobody writes to them meanwhile.
    let bytes = |range: Range<usize>| unsafe { std::slice::from_raw_parts(range.start as *const u8, range.len()) };
    // SAFETY: as above.
    let used = unsafe { (*head()).used };
    kept.heap.clear();
    kept.heap.extend_from_slice(bytes(REGION.get()..REGION.get() + used));
    for range in stacks {
        if count == kept.stacks.len() {
            kept.stacks.push((0, Vec::new()));
        }
        let (start, copy) = &mut kept.stacks[count];
        *start = range.start;
        copy.clear();
        copy.extend_from_slice(bytes(range));
        count += 1;
    }
    kept.stacks.truncate(count);
}

/// As it was.
pub fn put_back(kept: &Kept) {
    // SAFETY: the bytes go to where they came from, while nobody runs on these stacks or looks into the heap.
    unsafe {
        (REGION.get() as *mut u8).copy_from_nonoverlapping(kept.heap.as_ptr(), kept.heap.len());
        for (start, bytes) in &kept.stacks {
            (*start as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            ((*start - SPOILT) as *mut u8).write_bytes(0xaa, SPOILT);
        }
    }
}
