//! What the kernel counts: `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Sub;

use anyhow::{Context, Result};

use crate::tools::cost::field;

/// A process and its descendants that are alive.
pub fn tree(pid: u32) -> Vec<u32> {
    let numbers =
        fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = numbers.filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    let mut tree = vec![pid];
    let mut at = 0;
    while at < tree.len() {
        let parent = tree[at];
        tree.extend(parents.iter().filter(|(_, its)| *its == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    tree
}

struct Stat {
    parent: u32,
    /// A zombie, or not even that any more.
    is_over: bool,
    /// Clock ticks in user mode, and in the kernel.
    ticks: [u64; 2],
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `/proc/PID/stat`, `proc_pid_stat(5)`. The name in parentheses may have blanks and parentheses of its own.
fn parse_stat(text: &str) -> Option<Stat> {
    // What follows begins with the third field.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let is_over = matches!(*fields.first()?, "Z" | "X");
    Some(Stat { parent: number(4)? as u32, is_over, ticks: [number(14)?, number(15)?] })
}

/// Seconds of CPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpu {
    pub user: f64,
    pub kernel: f64,
}

impl Cpu {
    pub fn total(self) -> f64 {
        self.user + self.kernel
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu { user: self.user - before.user, kernel: self.kernel - before.kernel }
    }
}

/// Seconds of CPU that a process and its descendants have used: `utime` and `stime`. Of threads that have ended too, of
/// processes that have ended not.
///
/// # Errors
/// If the process is gone.
pub fn cpu_seconds(pid: u32) -> Result<Cpu> {
    // SAFETY: sysconf(3) has no preconditions.
    let a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    stat(pid).with_context(|| format!("there is no process {pid}"))?;
    let ticks: Vec<[u64; 2]> = tree(pid).into_iter().filter_map(stat).map(|stat| stat.ticks).collect();
    let [user, kernel] = [0, 1].map(|at| ticks.iter().map(|ticks| ticks[at]).sum::<u64>() as f64 / a_second);
    Ok(Cpu { user, kernel })
}

/// A server's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident set size.
    pub rss: i64,
    /// Proportional set size: a page that others map too counts in part.
    pub pss: i64,
}

/// `Rss` and `Pss` of `/proc/PID/smaps_rollup`, of a process and its descendants.
///
/// # Errors
/// If it is not ours to read.
pub fn memory(pid: u32) -> Result<Memory> {
    let mut sum = Memory { rss: 0, pss: 0 };
    for one in tree(pid) {
        let path = format!("/proc/{one}/smaps_rollup");
        let text = match fs::read_to_string(&path) {
            // A descendant may have ended since.
            Err(_) if one != pid && stat(one).is_none_or(|stat| stat.is_over) => continue,
            text => text.with_context(|| format!("cannot read {path}"))?,
        };
        let bytes = |name| Some(field(&text, name)? * 1024);
        let (rss, pss) = bytes("Rss").zip(bytes("Pss")).with_context(|| format!("{path} has no Rss and Pss"))?;
        (sum.rss, sum.pss) = (sum.rss + rss, sum.pss + pss);
    }
    Ok(sum)
}

/// What the kernel keeps, of the whole machine.
pub struct Kernel {
    /// Objects and their size in bytes, by the name of their cache. Only root may read it.
    caches: Option<BTreeMap<String, (i64, i64)>>,
    /// `Slab` of `/proc/meminfo`, in bytes.
    slab: i64,
}

/// Where the kernel's share comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The caches of `/proc/slabinfo` that gained at least an object for every two connections.
    Caches,
    /// `Slab` of `/proc/meminfo`: all caches, whoever filled them.
    Slab,
}

impl Kernel {
    /// As it is now.
    ///
    /// # Errors
    /// If `/proc/meminfo` is not there.
    pub fn now() -> Result<Kernel> {
        let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
        let slab = field(&text, "Slab").context("the kernel does not count Slab")? * 1024;
        Ok(Kernel { caches: fs::read_to_string("/proc/slabinfo").ok().map(|text| parse_slabinfo(&text)), slab })
    }

    /// Bytes that `connections` have added since `before`, and how that is known.
    pub fn since(&self, before: &Kernel, connections: usize) -> (i64, Source) {
        let Some((now, before)) = self.caches.as_ref().zip(before.caches.as_ref()) else {
            return (self.slab - before.slab, Source::Slab);
        };
        let gained = now.iter().map(|(name, (objects, size))| {
            let more = objects - before.get(name).map_or(0, |(objects, _)| *objects);
            // What others do meanwhile touches other caches, or these by little.
            if more * 2 >= connections as i64 { more * size } else { 0 }
        });
        (gained.sum(), Source::Caches)
    }
}

/// `slabinfo(5)`: name, objects in use, objects, size of one.
fn parse_slabinfo(text: &str) -> BTreeMap<String, (i64, i64)> {
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("slabinfo"));
    let cache = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        Some((fields.first()?.to_string(), (fields.get(1)?.parse().ok()?, fields.get(3)?.parse().ok()?)))
    };
    rows.filter_map(cache).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "71 (a) b (c) S 42 71 71 0 -1 4194560 90 0 0 0 250 50 7 8 20 0 4 0 100";
        let stat = parse_stat(text).expect("it is complete");
        assert_eq!((stat.parent, stat.ticks, stat.is_over), (42, [250, 50], false));
        assert!(parse_stat(&text.replace(") S ", ") Z ")).expect("it is complete").is_over);
        assert!(parse_stat("71 (a) S 42").is_none());
    }

    #[test]
    fn a_child_belongs_to_the_tree_and_its_time_counts() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep(1) is there");
        let (me, its) = (std::process::id(), child.id());
        assert!(tree(me).contains(&its) && !tree(its).contains(&me));
        let before = cpu_seconds(me).expect("we are alive").total();
        // CLOCK_PROCESS_CPUTIME is what is counted: work until a tick has passed, however long others hold the cores.
        while cpu_seconds(me).expect("we are alive").total() <= before {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
        child.kill().and_then(|()| child.wait()).expect("it is our child");
        assert!(cpu_seconds(its).is_err(), "nobody is there any more");
    }

    #[test]
    fn memory_that_is_touched_is_counted() {
        let before = memory(std::process::id()).expect("it is ours").rss;
        // It has ended, and nobody has waited for it: it has no memory that could be read.
        let mut child = std::process::Command::new("true").spawn().expect("true(1) is there");
        while !stat(child.id()).expect("nobody has waited for it").is_over {
            std::thread::yield_now();
        }
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = memory(std::process::id()).expect("it is ours").rss;
        assert!(after - before > 48 << 20, "{before} {after}");
        drop(block);
        child.wait().expect("it is our child");
    }

    #[test]
    fn only_caches_that_grew_with_the_connections_count_as_theirs() {
        let head = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n";
        let kernel = |tcp, dentry| Kernel {
            caches: Some(parse_slabinfo(&format!("{head}TCP {tcp} {tcp} 2368 13 8 : x\ndentry {dentry} 9 192 : x\n"))),
            slab: 0,
        };
        let (bytes, source) = kernel(2_010, 1_300).since(&kernel(10, 1_000), 1_000);
        assert_eq!((bytes, source), (2_000 * 2368, Source::Caches));
        let plain = |slab| Kernel { caches: None, slab };
        assert_eq!(plain(5_000).since(&plain(1_000), 10), (4_000, Source::Slab));
    }
}
