//! `--wild`: nobody directs. The scenario again and again, and the odds.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::arrivals;
use super::cli::Options;
use super::end::{End, explain, say, width};
use super::process::{self, Process, Setup};
use crate::autopsy::lanes::{length, wrap};
use crate::autopsy::verdicts;
use crate::catalogue::{Stage, Wild};
use crate::direct::client::{self, Client, lacks};
use crate::direct::hang_oracle::{HangOracle, Judged};
use crate::direct::outcome::Ending;
use crate::direct::quiescence::{Proof, find_futex_deadlock};
use crate::direct::schedule::Plan;
use crate::http;
use crate::record::blackbox::{Blackbox, Mode};
use crate::record::event::Kind;
use crate::record::wakeups::Herd;
use crate::server::Serve;
use crate::words::{count, percent, share, signal_name};
use crate::world::heap::Heap;
use crate::world::kernel::any_port;
use crate::world::sync::spawn_scoped;

/// The bytes of one round.
const BYTES: u64 = http::MAX_BODY;
/// The longest single wait: a safety net. Whether a server hangs is seen, not timed.
const ROUND: Duration = Duration::from_secs(5);

/// A crowd, and how often each of it comes in a round.
const CLIENTS: u64 = 8;
const VISITS: u64 = 25;
/// The requests of a visit that breaks off: 58 KB, which the server can hold unread. Their replies take long to
/// prepare.
const BURST: u64 = 2000;

/// What came of all rounds.
#[derive(Default)]
struct Odds {
    rounds: u64,
    survived: u64,
    /// Rounds in which the box saw freed memory used, or freed again, whether or not anything came of it.
    abused: u64,
    /// How the others ended, and how often.
    ends: BTreeMap<String, u64>,
    /// The rounds in which a server's life ended, counted from its start.
    lives: Vec<u64>,
    /// What the reactors counted, where several share a port.
    herd: Herd,
}

/// Plays rounds until there were enough, and reports.
pub fn run(stage: &'static Stage, serve: Serve, options: &Options, rounds: u64, seconds: u64) -> Result<End> {
    let heap = options.heap.unwrap_or(Heap::Malloc);
    let (workers, flags, drain) = (options.workers, options.flags, options.drain);
    let threads = stage.threads;
    let (mode, address) = (Mode::Recorded, any_port());
    let setup = Setup { serve, workers, flags, drain, threads, heap, mode, address, core: false, aloud: true };
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
    let mut odds = Odds::default();
    let more = |odds: &Odds| odds.rounds < rounds && start.elapsed() < limit;
    while more(&odds) {
        life(stage, setup, &mut odds, more)?;
    }
    if options.json {
        say(&format!("{:#}\n", odds.json(stage, heap)))?;
    } else {
        say(&folded(&odds.report(stage, heap), width()))?;
    }
    Ok(End::Code(0))
}

/// One server, until it dies or there were enough rounds.
fn life(stage: &Stage, setup: Setup, odds: &mut Odds, more: impl Fn(&Odds) -> bool) -> Result<()> {
    let blackbox = process::new_blackbox()?;
    let mut process = Process::start(setup, blackbox)?;
    let port = process.listening(ROUND)?;
    let (mut played, mut watch) = (0, Watch::default());
    while more(odds) && process.is_alive() {
        (played, odds.rounds) = (played + 1, odds.rounds + 1);
        progress(odds);
        let client = |plan| Client::new(blackbox, port, plan, ROUND);
        let oracle = HangOracle { blackbox, server: process.pid(), port, limit: ROUND };
        let mut hang = None;
        let mut play = |plan, body: fn(&mut Client) -> io::Result<()>| {
            let mut client = client(plan);
            if let Err(error) = client.connect() {
                return Some(error);
            }
            let mut another = false;
            match oracle.play(&mut client, body, || another = oracle.serves_another()) {
                Judged::Served => None,
                Judged::Wrong(error) => Some(error),
                Judged::Hangs(proof) => {
                    hang = Some(hang_of(&proof, another));
                    None
                }
            }
        };
        let mut wrong = match stage.wild {
            Wild::StreamAndReset => {
                let mut client = client(Plan::Raw);
                match client.connect() {
                    Ok(()) => {
                        client.stream_and_reset(BYTES);
                        None
                    }
                    Err(error) => Some(error),
                }
            }
            Wild::Arrivals => arrivals::round(port, ROUND).err(),
            Wild::Crowd => crowd(port).err(),
            Wild::Upload => play(Plan::Post(BYTES), Client::finish),
            Wild::LastWords => play(Plan::Get(1), Client::send_rest_and_half_close),
            Wild::Stop => play(Plan::Get(1), Client::finish),
            Wild::InTwoWrites => play(Plan::Get(1), Client::finish_in_two_writes),
        };
        if let Some(hang) = hang {
            process.kill();
            process.end(ROUND);
            process.stderr();
            return odds.died(hang, played);
        }
        if let Some(error) = wrong.take_if(|error| lacks(error).is_some()) {
            return Err(explain(error, "the client could not connect"));
        }
        // A death may be on its way while the client already sees the broken connection.
        if wrong.is_some() {
            process.wait_for(Duration::from_millis(500), |_| false);
        }
        odds.abused += u64::from(watch.saw_abuse(&blackbox));
        if stage.wild == Wild::Stop && wrong.is_none() {
            process.stop();
            if never_stops(&mut process, &oracle) {
                process.kill();
                process.end(ROUND);
                process.stderr();
                let end = "it does not stop: all that is left of it waits for each other, asleep in futex";
                return odds.died(end.to_string(), played);
            }
            odds.survived += 1;
            break;
        }
        match wrong {
            _ if !process.is_alive() => {}
            None => odds.survived += 1,
            Some(error) => {
                process.kill();
                process.end(ROUND);
                process.stderr();
                let end = match error.kind() {
                    io::ErrorKind::InvalidData => "a wrong reply".to_string(),
                    io::ErrorKind::UnexpectedEof => "a client is dismissed without a reply".to_string(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        format!("the client was not served in {ROUND:?}, and no hang was proved")
                    }
                    _ => format!("the client failed: {error}"),
                };
                return odds.died(end, played);
            }
        }
    }
    process.stop();
    let (ending, in_time) = process.end(ROUND);
    odds.herd.add(&blackbox.herd());
    let text = process.stderr();
    process::check(ending, &blackbox)?;
    match ending {
        Ending::Exit(0) => Ok(()),
        _ if !in_time => odds.died_after("it does not stop".to_string(), played),
        Ending::Exit(_) => odds.died_after(format!("panic: {}", text.lines().nth(1).unwrap_or_default()), played),
        Ending::Signal(signal) => {
            let text = verdicts::last_line(&text).unwrap_or_default();
            let end = format!("{} {text}", signal_name(signal));
            odds.died_after(end.trim_end().to_string(), played)
        }
    }
}

/// Whether a server that was told to stop never does, which is proved; `false` if it has ended, or nothing could be
/// proved.
fn never_stops(process: &mut Process, oracle: &HangOracle) -> bool {
    let start = Instant::now();
    while start.elapsed() < ROUND {
        if process.wait_for(Duration::from_millis(2), |_| false) || !process.is_alive() {
            return false;
        }
        if let Ok(Some(_)) = find_futex_deadlock(oracle.blackbox, oracle.server) {
            return true;
        }
    }
    false
}

/// How a round ended in which nobody could move any more, proved by what the kernel says.
fn hang_of(proof: &Proof, serves_another: bool) -> String {
    let armed = match proof.armed {
        None => "the socket is on no interest list".to_string(),
        Some(armed) if armed.is_empty() => format!("the socket is not armed ({armed})"),
        Some(armed) if armed.is_edge() => format!("the socket is armed for a new edge ({armed})"),
        Some(armed) => format!("the socket is armed ({armed})"),
    };
    let bytes = if proof.connection.unread > 0 { "bytes wait" } else { "no bytes wait" };
    let another = if serves_another { "another client is served" } else { "no other client is served" };
    format!("hang: all asleep, {bytes}, {armed}; {another}")
}

fn plan_of(number: u64, visit: u64, stays: bool) -> Plan {
    if stays { Plan::Post(number * VISITS + visit + 1) } else { Plan::Get(BURST) }
}

/// One round of visits. Half of the clients send many requests at once and break off at once, which leaves the server
/// with replies to prepare for nobody. The others each upload a length of their own, so that none takes another's reply
/// for its own, and check what they get.
fn crowd(port: u16) -> io::Result<()> {
    let one = |number: u64| {
        for visit in 0..VISITS {
            let stays = number.is_multiple_of(2);
            client::visit(port, plan_of(number, visit, stays), stays, ROUND)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| spawn_scoped(scope, move || one(number))).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
    })
}

/// Follows the box from round to round: which blocks are freed.
#[derive(Default)]
pub(super) struct Watch {
    next: u64,
    freed: HashSet<u64>,
}

impl Watch {
    /// Whether a freed block was used, or freed again, since the last call.
    pub(super) fn saw_abuse(&mut self, blackbox: &Blackbox) -> bool {
        let mut abused = false;
        for record in blackbox.records_from(self.next) {
            self.next = record.number + 1;
            abused |= match record.kind {
                Kind::Alloc => {
                    self.freed.remove(&record.a);
                    false
                }
                Kind::Free => !self.freed.insert(record.a),
                Kind::Use => self.freed.contains(&record.a),
                _ => false,
            };
        }
        abused
    }
}

/// No text is folded into fewer columns than this.
const NARROW: usize = 20;

/// Lines that are too wide go on under their text: what stands behind the first gap of two blanks.
fn folded(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let body = line.trim_start();
        let label = body.find("  ").map_or(body, |gap| body[gap..].trim_start());
        let indent = if label.len() < body.len() { line.len() - label.len() } else { line.len() - body.len() };
        if length(line) <= width || indent + NARROW > width {
            out += line;
        } else {
            let lines = wrap(&line[indent..], width - indent, 0);
            out += &line[..indent];
            out += &lines.join(&format!("\n{:indent$}", ""));
        }
        out.push('\n');
    }
    out
}

fn progress(odds: &Odds) {
    let mut err = io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\rround {}, {} survived\x1b[K\r", odds.rounds, odds.survived);
    }
}

impl Odds {
    fn died(&mut self, end: String, played: u64) -> Result<()> {
        *self.ends.entry(end).or_default() += 1;
        self.lives.push(played);
        Ok(())
    }

    /// It died of a round that had looked survived, or of the one that was being played.
    fn died_after(&mut self, end: String, played: u64) -> Result<()> {
        self.survived = self.survived.min(self.rounds - 1 - self.ends.values().sum::<u64>());
        self.died(end, played)
    }

    fn scenario(stage: &Stage) -> &'static str {
        match stage.wild {
            Wild::StreamAndReset => "10 MiB streamed, then an RST",
            Wild::Upload => "10 MiB uploaded",
            Wild::Arrivals => "32 connections one after another, then 32 at once",
            Wild::InTwoWrites => "a request in two writes",
            Wild::Crowd => "200 visits of 8 clients at a time, every other one breaking off after 2,000 requests",
            Wild::Stop => "a GET, and then the server is told to stop",
            Wild::LastWords => "a GET, and at once the end of the client's side",
        }
    }

    fn failed(&self) -> u64 {
        self.rounds.saturating_sub(self.survived)
    }

    /// What so many rounds say of the next one.
    fn share(&self) -> String {
        let (failed, rounds) = (self.failed(), self.rounds);
        let (low, high) = share(failed, rounds);
        let rounds = count(rounds, "round");
        match (failed, self.survived) {
            (0, _) => format!("none of {rounds} failed: at 95% at most {} of all do", percent(high)),
            (_, 0) => format!("all of {rounds} failed: at 95% at least {} of all do", percent(low)),
            _ => {
                let now = percent(failed as f64 / self.rounds as f64);
                format!("{now} of {rounds} failed; at 95% {} to {} of all do", percent(low), percent(high))
            }
        }
    }

    fn report(&self, stage: &Stage, heap: Heap) -> String {
        let mut text = format!(
            "{} --wild: {}, {} rounds; {}, nobody directing\n\n  {:>6}  survived\n",
            stage.name,
            Odds::scenario(stage),
            self.rounds,
            heap.name(),
            self.survived
        );
        for (end, count) in &self.ends {
            text += &format!("  {count:>6}  {end}\n");
        }
        text += &format!("\n  odds      {}\n", self.share());
        let release = if cfg!(debug_assertions) { "; a build with --release plays more rounds" } else { "" };
        text += &format!("  next      {} --search looks for the order in which it fails{release}\n", stage.program());
        if !self.herd.reactors.is_empty() {
            let (ratio, wakeups, spread) = (self.herd.ratio(), self.herd.wakeups(), self.herd.spread());
            let sleeps = self.herd.sleeps();
            text +=
                &format!("\n  herd      {ratio}\n  wake-ups  {wakeups}\n  slept     {sleeps}\n  accepted  {spread}\n");
        }
        if self.abused > 0 {
            let more = "of these rounds used freed memory, or freed it again: the black box saw it";
            text += &format!("\n  {:>6}  {more}\n", self.abused);
        }
        if !self.lives.is_empty() {
            let lives: Vec<_> = self.lives.iter().take(12).map(u64::to_string).collect();
            let more = if self.lives.len() > 12 { ", ..." } else { "" };
            text += &format!("\n  A server lived for so many rounds: {}{more}\n", lives.join(", "));
        }
        text
    }

    fn json(&self, stage: &Stage, heap: Heap) -> serde_json::Value {
        json!({
            "stage": stage.name,
            "scenario": Odds::scenario(stage),
            "heap": heap.name(),
            "rounds": self.rounds,
            "survived": self.survived,
            "used_freed_memory": self.abused,
            "ends": self.ends,
            "lives": self.lives,
            "failing_share_95": share(self.failed(), self.rounds),
            "herd": verdicts::herd_json(&self.herd),
        })
    }
}

#[cfg(test)]
mod tests;
