//! A death by a signal, and the mistake with memory behind it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde_json::{Value, json};

use super::super::lanes::RED;
use super::super::page::{Page, places};
use super::super::timeline::{Place, Timeline};
use super::super::verdict::Case;
use crate::catalogue::Stage;
use crate::direct::outcome::{Ending, Run};
use crate::record::event::{Kind, Record};
use crate::record::names::Block;
use crate::words::{address, count, signal_name};
use crate::world::heap::Heap;

/// Lines of stderr that are shown of a panic.
const LAST_WORDS: usize = 6;

/// The server dies of this signal, and glibc says `text` first, if it is not empty.
pub struct Signal {
    pub signal: i32,
    pub text: &'static str,
}

impl Signal {
    /// As this build's C library has it: a second free, of which glibc says what it is before it aborts, crashes inside
    /// musl's.
    fn here(&self) -> (i32, &'static str) {
        match self.signal {
            libc::SIGABRT if !cfg!(target_env = "gnu") => (libc::SIGSEGV, ""),
            signal => (signal, self.text),
        }
    }
}

impl Case for Signal {
    fn in_help(&self) -> String {
        let (signal, text) = self.here();
        let name = signal_name(signal);
        match text {
            "" => format!("{name} kills the server"),
            text => format!("{name} kills the server (`{text}`)"),
        }
    }

    fn in_list(&self) -> String {
        let (signal, text) = self.here();
        match text {
            "" => signal_name(signal),
            text => format!("{}, {text}", signal_name(signal)),
        }
    }

    fn in_table(&self) -> String {
        let (signal, text) = self.here();
        format!("{} {text}", signal_name(signal)).trim_end().to_string()
    }

    fn in_search(&self) -> String {
        signal_name(self.signal)
    }

    fn is_met(&self, stage: &Stage, heap: Heap, status: ExitStatus, stderr: &str) -> bool {
        // On pages of its own a block that is freed twice faults, whatever malloc would have said.
        if heap != stage.heap && heap == Heap::Pages {
            return status.signal() == Some(libc::SIGSEGV);
        }
        let (signal, text) = self.here();
        status.signal() == Some(signal) && stderr.contains(text)
    }

    fn is_borne_out(&self, timeline: &Timeline<'_>) -> bool {
        let mistake = if self.signal == libc::SIGABRT { Mistake::DoubleFree } else { Mistake::UseAfterFree };
        cause(timeline).is_some_and(|found| found.mistake == mistake && found.block.is_of_interest())
    }

    fn absent(&self) -> Option<&'static str> {
        Some("in this run no block was used or freed after it had been freed")
    }
}

/// A mistake with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    UseAfterFree,
    DoubleFree,
}

impl Mistake {
    /// Its name in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Mistake::UseAfterFree => "use after free",
            Mistake::DoubleFree => "double free",
        }
    }
}

/// A mistake, and who took which part in it.
#[derive(Clone, Debug)]
pub struct Finding<'a> {
    /// Which.
    pub mistake: Mistake,
    /// The memory.
    pub block: &'a Block,
    /// Where it was allocated.
    pub allocated: Place,
    /// Where it was freed first.
    pub freed: Place,
    /// The use, or the second free.
    pub last: Place,
    /// `false` where the use itself left no record, and `last` is what that thread recorded before.
    pub exact: bool,
}

/// The finding that a signal is explained by, if the records have one.
///
/// A SIGSEGV must have its address in a block that was freed; a SIGABRT must have come in a second free of a block, and
/// so may a SIGSEGV with another address: of the notes that an allocator keeps.
pub fn cause<'a>(timeline: &'a Timeline<'_>) -> Option<Finding<'a>> {
    let run = timeline.run;
    let Ending::Signal(signal) = run.ending else { return None };
    let fault = run.fault.filter(|fault| fault.signal == signal)?;
    let end = run.records.len();
    let last = run.records.iter().rposition(|record| record.role == fault.role && record.kind.is_a_deed())?;
    // The very last thing that the thread did: was it a second free?
    let freed_again = || {
        let record = &run.records[last];
        let block = timeline.objects.block(record.a, last).filter(|_| record.kind == Kind::Free)?;
        let before = block.freed.iter().copied().find(|free| *free < last)?;
        Some(finding(timeline, Mistake::DoubleFree, block, before, last, true))
    };
    match signal {
        libc::SIGABRT => freed_again(),
        libc::SIGSEGV | libc::SIGBUS => {
            let Some(block) = timeline.objects.block(fault.address, end) else { return freed_again() };
            if let Some(found) = freed_again().filter(|found| found.block.allocated == block.allocated) {
                return Some(found);
            }
            let freed = *block.freed.first()?;
            let is_use = |at: &usize| {
                let record = &run.records[*at];
                record.kind == Kind::Use && record.role == fault.role && record.a == block.address
            };
            let used = (freed..end).rev().find(is_use);
            Some(finding(timeline, Mistake::UseAfterFree, block, freed, used.unwrap_or(last), used.is_some()))
        }
        _ => None,
    }
}

/// The first mistake in the records, whether or not anybody noticed it.
pub fn first_mistake<'a>(timeline: &'a Timeline<'_>) -> Option<Finding<'a>> {
    let second_free = |block: &'a Block| Some((*block.freed.get(1)?, Mistake::DoubleFree, block));
    let late_use = |block: &'a Block| {
        let freed = *block.freed.first()?;
        let records = timeline.run.records.iter().enumerate().skip(freed);
        let mut uses = records.filter(|(_, record)| record.kind == Kind::Use && record.a == block.address);
        let (at, _) = uses.next()?;
        let still_his = timeline.objects.block(block.address, at)?.allocated == block.allocated;
        still_his.then_some((at, Mistake::UseAfterFree, block))
    };
    let blocks = &timeline.objects.blocks;
    let all = blocks.iter().filter_map(second_free).chain(blocks.iter().filter_map(late_use));
    let (at, mistake, block) = all.min_by_key(|(at, ..)| *at)?;
    Some(finding(timeline, mistake, block, block.freed[0], at, true))
}

fn finding<'a>(
    timeline: &'a Timeline<'_>,
    mistake: Mistake,
    block: &'a Block,
    freed: usize,
    last: usize,
    exact: bool,
) -> Finding<'a> {
    let place = |at: usize| timeline.place(at);
    Finding { mistake, block, allocated: place(block.allocated), freed: place(freed), last: place(last), exact }
}

/// What the server died of; `why`: the catalogue's cause, if the records bear it out.
pub fn death(page: &mut Page, timeline: &Timeline<'_>, signal: i32, why: Option<&str>) {
    let run = timeline.run;
    let name = signal_name(signal);
    let found = cause(timeline);
    let fault = run.fault.filter(|fault| fault.signal == signal);
    let address = fault.map(|fault| fault.address).filter(|_| matches!(signal, libc::SIGSEGV | libc::SIGBUS));
    let how = match (&found, address) {
        (Some(found), Some(address)) => format!("{name} at {address:#x}: {}", into(found, address)),
        (None, Some(address)) => match timeline.objects.block(address, run.records.len()) {
            Some(block) => {
                format!(
                    "{name} at {address:#x}, in {} ({}), which was not freed",
                    block.name,
                    count(block.size, "byte")
                )
            }
            None => format!("{name} at {address:#x}, which is in no block that the box knows"),
        },
        (_, None) => match last_line(&run.stderr) {
            Some(line) if signal == libc::SIGABRT => format!("{name}: {line}"),
            _ if fault.is_none() && is_fatal_mistake(signal) => {
                format!("{name}; its fault handler could not say where")
            }
            _ if fault.is_none() => format!("{name}, which came from outside"),
            _ => name.clone(),
        },
    };
    page.entry_in("died of", &how, RED);
    match &found {
        Some(found) => evidence(page, timeline, found),
        None => unknown(page, timeline, signal),
    }
    match why {
        Some(why) => page.entry("why", why),
        None if found.is_some() => page.entry("why", "not the death that the chapter explains"),
        None => {}
    }
}

/// Of what a server wrote to stderr, the line that says why it aborted: the last one of glibc's malloc, or the last of
/// all.
pub fn last_line(stderr: &str) -> Option<&str> {
    const SAYS: [&str; 8] = [
        "double free or corruption",
        "free(): ",
        "malloc(): ",
        "realloc(): ",
        "malloc_consolidate(): ",
        "munmap_chunk(): ",
        "corrupted ",
        "invalid ",
    ];
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    lines().find(|line| SAYS.iter().any(|says| line.starts_with(says))).or_else(|| lines().next())
}

/// Whether a process gets this signal for what it did itself.
fn is_fatal_mistake(signal: i32) -> bool {
    matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGABRT | libc::SIGILL | libc::SIGFPE)
}

/// `8 bytes into session 1 (16 bytes, on pages of its own, taken away when it was freed)`
fn into(found: &Finding<'_>, address: u64) -> String {
    let block = found.block;
    let Some(offset) = address.checked_sub(block.address).filter(|offset| *offset < block.size.max(1)) else {
        return format!("inside the second free of {}", block.name);
    };
    let pages = if block.own_pages { ", on pages of its own, taken away when it was freed" } else { ", freed" };
    let offset = match offset {
        0 => "at the start of".to_string(),
        offset => format!("{} into", count(offset, "byte")),
    };
    format!("{offset} {} ({}{pages})", block.name, count(block.size, "byte"))
}

/// Who allocated, freed and used the block, and where.
pub fn evidence(page: &mut Page, timeline: &Timeline<'_>, found: &Finding<'_>) {
    if found.mistake == Mistake::DoubleFree {
        let block = found.block;
        let heap = if block.own_pages { "pages of its own" } else { "malloc" };
        page.entry("block", &format!("{} ({}, {heap}), freed twice", block.name, count(block.size, "byte")));
    }
    let (last, remark) = match (found.mistake, found.exact) {
        (Mistake::DoubleFree, _) => ("again", ""),
        (Mistake::UseAfterFree, true) => ("used", ""),
        (Mistake::UseAfterFree, false) => ("used", ", or after it"),
    };
    let list = [("allocated", found.allocated, ""), ("freed", found.freed, ""), (last, found.last, remark)];
    places(page, timeline, &list);
}

fn unknown(page: &mut Page, timeline: &Timeline<'_>, signal: i32) {
    let run = timeline.run;
    if run.fault.is_some_and(|fault| fault.role < run.roles.len()) {
        let role = run.fault.map(|fault| fault.role).unwrap_or_default();
        let own = |record: &Record| record.role == role && !matches!(record.kind, Kind::Step | Kind::Refused);
        let last = run.records.iter().rposition(own);
        if let Some(last) = last {
            places(page, timeline, &[("last seen", timeline.place(last), "")]);
        }
    }
    match first_mistake(timeline) {
        Some(found) => {
            let text = format!(
                "not recognised for certain; but before, there was a {} of {}:",
                found.mistake.name(),
                found.block.name
            );
            page.entry("why", &text);
            evidence(page, timeline, &found);
        }
        None if run.fault.is_none() && !is_fatal_mistake(signal) => {}
        None => {
            page.entry("why", "the cause was not recognised: no block in the box was used or freed after it was freed")
        }
    }
    last_words(page, run);
}

/// What the server's process wrote to stderr.
pub fn last_words(page: &mut Page, run: &Run) {
    let lines: Vec<_> = run.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    for (n, line) in lines.iter().take(LAST_WORDS).enumerate() {
        page.entry(if n == 0 { "it said" } else { "" }, line);
    }
    if lines.len() > LAST_WORDS {
        page.entry("", &format!("... and {} more", count((lines.len() - LAST_WORDS) as u64, "line")));
    }
}

/// The finding as JSON.
pub fn finding_json(timeline: &Timeline<'_>, found: &Finding<'_>) -> Value {
    let last = match found.mistake {
        Mistake::UseAfterFree => "used",
        Mistake::DoubleFree => "freed_again",
    };
    let fault = timeline.run.fault.and_then(|fault| fault.address.checked_sub(found.block.address));
    json!({
        "mistake": found.mistake.name(),
        "block": {
            "name": found.block.name,
            "type": found.block.label,
            "address": address(found.block.address),
            "size": found.block.size,
            "own_pages": found.block.own_pages,
            "offset": fault.filter(|offset| *offset < found.block.size.max(1)),
        },
        "allocated": timeline.json(found.allocated),
        "freed": timeline.json(found.freed),
        last: timeline.json(found.last),
        "exact": found.exact,
    })
}
