//! One model: a stage, a client's script, and how far it is explored.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use real::http;
use real::schedule::{Action, CLIENTS, Plan};

use crate::check::{Check, Kind};
use crate::heap;
use crate::kernel::{self, Listener, Source, Stop};
use crate::net::Client;
use crate::runner::{Counts, Flags, Serve, Server};
use crate::search::{self, Explored, Limits};
use crate::sync;
use crate::turn::{self, Checker};
use crate::world::{self, Entry, MAIN, Refuted, Rules, Verdict, What};

/// Every stage has two workers here: loom takes four threads beside its first.
pub const WORKERS: usize = 2;

/// What the clients do. A `Connect` begins a new connection, which the steps after it are about.
#[derive(Clone, Debug)]
pub struct Script {
    pub name: &'static str,
    /// What each client has to send. The connections beyond these are the last one's again.
    pub plans: Vec<Plan>,
    pub actions: Vec<Action>,
}

impl Script {
    /// `d` sends the next of the plan's `pieces`, `f` is a FIN, `r` an RST, `c` another connection; `s` tells the
    /// server to stop, and `t` says that the limit for that is over.
    pub fn new(name: &'static str, plan: Plan, pieces: &[u64], letters: &str) -> Script {
        let mut pieces = pieces.iter();
        let action = |letter| match letter {
            'd' => Action::Send(*pieces.next().expect("the script has a piece for each send")),
            'f' => Action::Fin,
            'r' => Action::Reset,
            'c' => Action::Connect,
            's' => Action::Stop,
            't' => limit(),
            other => unreachable!("no such step: {other}"),
        };
        let actions = [Action::Connect].into_iter().chain(letters.chars().map(action)).collect();
        Script { name, plans: vec![plan], actions }
    }

    /// Whether the server is told to stop by a step.
    pub fn stops(&self) -> bool {
        self.actions.contains(&Action::Stop)
    }

    /// What the connection of that number has to send, counted from 0.
    fn plan_of(&self, connection: usize) -> Plan {
        self.plans[connection.min(self.plans.len() - 1)]
    }
}

/// The limit of a drain is over. No step of a schedule is like it, so a point stands for it.
fn limit() -> Action {
    Action::Pass { point: "limit".to_string(), occurrence: None }
}

/// What is explored.
#[derive(Clone)]
pub struct Model {
    pub stage: &'static str,
    pub serve: Serve,
    pub script: Script,
    pub rules: Rules,
    pub checker: Checker,
    /// A fixed stage is explored by the second checker too in a plain test run, and not only with `LAB_LONG=1`.
    pub is_searched: bool,
    /// At most so many preemptions in an execution; `None` for as many as there can be. The search heeds it if it only
    /// `looks`.
    pub bound: Option<usize>,
    pub looks: bool,
    /// More executions, or states, than this are a failure: a run that was cut off proves nothing.
    pub cap: usize,
    /// Where to note what everybody has seen in each execution.
    pub observed: Option<Arc<Mutex<BTreeSet<String>>>>,
}

/// What came of it.
pub struct Outcome {
    pub executions: usize,
    /// Of the second checker.
    pub states: usize,
    pub took: Duration,
    pub finding: Option<Finding>,
}

impl Outcome {
    /// What was found, if the exploration was not cut off before.
    pub fn refutation(&self) -> Option<&Verdict> {
        self.finding.as_ref().map(|finding| &finding.verdict).filter(|verdict| verdict.kind() != Kind::Capped)
    }
}

/// What one execution showed, and how it came to that.
#[derive(Clone, Debug)]
pub struct Finding {
    pub verdict: Verdict,
    pub roles: Vec<String>,
    pub log: Vec<Entry>,
    /// What the blocks were called.
    pub blocks: Vec<String>,
    pub plans: Vec<Plan>,
    /// Tokens have the number of a descriptor in them.
    pub keys: bool,
}

impl Model {
    /// Explores until something is found or everything was seen.
    pub fn explore(&self) -> Outcome {
        let start = Instant::now();
        let (explored, finding) = match self.checker {
            Checker::Loom => self.explore_with_loom(),
            Checker::Search => self.search_states(),
        };
        let finding = finding.filter(|finding| self.rules.off != Some(finding.verdict.check));
        Outcome { executions: explored.executions, states: explored.states, took: start.elapsed(), finding }
    }

    fn explore_with_loom(&self) -> (Explored, Option<Finding>) {
        let model = self.clone();
        let (explored, panic) = turn::with_loom(self.bound, move |number| {
            model.begin();
            if number > model.cap {
                let text = format!("not finished after {} executions: nothing is proved", model.cap);
                world::refute(Check::NotFinished, text);
            }
            model.execute();
            model.observe();
            drop(world::end());
        });
        let finding = panic.map(|panic| self.finding(&*panic));
        drop(world::end());
        (explored, finding)
    }

    fn search_states(&self) -> (Explored, Option<Finding>) {
        let (begin, end) = (|| self.begin(), || self.observe());
        let bound = if self.looks { self.bound } else { None };
        search::check(Limits { cap: self.cap, merging: true, bound }, begin, &|| self.execute(), end, |panic| {
            self.finding(panic)
        })
    }

    /// The world of a new execution.
    fn begin(&self) {
        world::begin(self.rules);
        world::with(|world| {
            world.strangers.counts_tasks = self.rules.two_tasks;
            let connections = self.script.actions.iter().filter(|action| **action == Action::Connect);
            let plans = connections.enumerate().map(|(n, _)| self.script.plan_of(n));
            world.strangers.owed = plans.map(|plan| due(plan, plan.length().unwrap_or(0)).0).collect();
        });
    }

    /// Notes what everybody has seen in this execution.
    fn observe(&self) {
        if let Some(observed) = &self.observed {
            observed.lock().expect("one thread explores").insert(world::observed());
        }
    }

    /// What the panic of an execution says, and how it came to that.
    fn finding(&self, panic: &(dyn Any + Send)) -> Finding {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let said = said.unwrap_or("without a word");
        let check = match said {
            search::CAPPED => Check::NotFinished,
            // loom's word for two accesses to a cell of which neither happens before the other.
            said if said.starts_with("Causality violation") => Check::UnorderedHandoff,
            _ => Check::Panicked,
        };
        let text = match check {
            Check::NotFinished => format!("not finished after {} states: nothing is proved", self.cap),
            _ => format!("panic: {said}"),
        };
        let (verdict, plans) = (Verdict { check, text }, self.script.plans.clone());
        world::look(|world| {
            let Some(world) = world else {
                return Finding { verdict, roles: vec![], log: vec![], blocks: vec![], plans, keys: false };
            };
            let said = world.verdict.clone().filter(|_| panic.is::<Refuted>());
            let more = CLIENTS[1..self.script.plans.len()].iter().map(|name| name.to_string());
            Finding {
                verdict: said.unwrap_or(verdict),
                roles: world.names().into_iter().chain(more).collect(),
                blocks: world.slots.iter().map(|slot| slot.name.clone()).collect(),
                log: world.log.clone(),
                plans,
                keys: world.strangers.keys,
            }
        })
    }

    /// Raises the bound from 1 until something is found; all that was seen without a finding counts too.
    pub fn search(&self, most: usize) -> (usize, Outcome) {
        let mut before = (0, Duration::ZERO);
        for bound in 1.. {
            let mut outcome = Model { bound: Some(bound), ..self.clone() }.explore();
            before = (before.0 + outcome.executions, before.1 + outcome.took);
            (outcome.executions, outcome.took) = before;
            if outcome.finding.is_some() || bound == most {
                return (bound, outcome);
            }
        }
        unreachable!("there is a last bound")
    }

    /// One execution.
    fn execute(&self) {
        let (listener, stop) = (Listener::open(), Stop::open());
        let (stop_fd, serve) = (stop.fd(), self.serve);
        let flags = Flags { reuseport: self.rules.reuseport, ..Flags::default() };
        let server = Server { listener, stop, workers: WORKERS, flags, drain: 1 };
        if self.rules.whole_life {
            turn::explore();
        }
        sync::spawn("main", move || {
            let served = serve(server).expect("no call of the model fails");
            world::with(|world| world.served = Some(served));
        });
        if !self.rules.whole_life {
            world::wait_until_quiet();
        }
        if self.rules.from_the_start {
            turn::explore();
        }
        let mut peer = Peer::default();
        for (n, action) in self.script.actions.iter().enumerate() {
            match action {
                Action::Stop => {
                    world::log(What::Stop);
                    kernel::raise(stop_fd);
                }
                limit if *limit == self::limit() => kernel::expire(),
                action => peer.act(action, &self.script),
            }
            if n == 0 && !self.rules.whole_life && !self.rules.from_the_start {
                // The first connection is accepted, and everybody idle: from here on, every order.
                world::wait_until_quiet();
                turn::explore();
            }
        }
        if self.rules.stops_early {
            kernel::raise(stop_fd);
            world::wait_for_end(MAIN);
            turn::stop_exploring();
        } else {
            world::wait_until_quiet();
            if self.script.stops() {
                // Time passes when nobody can move.
                kernel::expire();
                world::wait_for_end(MAIN);
                return peer.check_drained(&self.script);
            }
            turn::stop_exploring();
            peer.check_quiet();
            kernel::raise(stop_fd);
            world::wait_for_end(MAIN);
            peer.check_counts(self.rules.in_vain);
        }
        peer.check_end(&self.script);
    }
}

/// The clients, one after another.
#[derive(Default)]
struct Peer {
    connections: Vec<Connection>,
}

struct Connection {
    client: Client,
    sent: u64,
    reset: bool,
    ended: bool,
}

impl Peer {
    fn act(&mut self, action: &Action, script: &Script) {
        let connections = &mut self.connections;
        kernel::call(|world| {
            if *action == Action::Connect {
                world.log(What::Connect);
                connections.push(Connection {
                    client: world.net.connect_to(connections.len()),
                    sent: 0,
                    reset: false,
                    ended: false,
                });
                return;
            }
            let plan = script.plan_of(connections.len().saturating_sub(1));
            let connection = connections.last_mut().expect("a client connects first");
            match action {
                Action::Send(bytes) => {
                    let mut chunk = vec![0; *bytes as usize];
                    plan.fill(connection.sent, &mut chunk);
                    world.net.send(connection.client, &chunk);
                    connection.sent += bytes;
                    world.log(What::Send(*bytes as usize));
                }
                Action::Fin => {
                    world.net.fin(connection.client);
                    connection.ended = true;
                    world.log(What::Fin);
                }
                Action::Reset => {
                    world.net.reset(connection.client);
                    connection.ended = true;
                    connection.reset = true;
                    world.log(What::Reset);
                }
                Action::Connect | Action::Receive | Action::Stop | Action::Pass { .. } => {
                    unreachable!("no step of a client")
                }
            }
        });
    }

    /// Nobody can move any more, and nobody has told the server to stop.
    fn check_quiet(&self) {
        if world::with(|world| world.is_stuck()) {
            world::refute(Check::StuckAtALock, format!("hang: {}", world::with(|world| world.blocked())));
        }
        let waiting = world::with(|world| world.net.waiting());
        if waiting > 0 {
            let blocked = world::with(|world| world.blocked());
            world::refute(
                Check::NotAccepted,
                format!("hang: connections that nobody accepts: {waiting}, and {blocked}"),
            );
        }
        for (number, connection) in (1..).zip(&self.connections) {
            let (unread, open) =
                world::with(|world| (world.net.unread(connection.client), world.net.is_served(connection.client)));
            if unread > 0 && !connection.reset && !open {
                let text = format!("lost bytes: session {number} was closed with {unread} bytes in it");
                world::refute(Check::ClosedUnread, text);
            } else if unread > 0 && !connection.reset {
                let blocked = world::with(|world| world.blocked());
                world::refute(Check::Unread, format!("hang: {unread} bytes of session {number} wait, and {blocked}"));
            }
            if !connection.ended && !connection.reset && !open && world::with(|world| world.rules.keeps_sessions) {
                world::refute(Check::Dismissed, format!("session {number} was closed, and its client is still there"));
            }
            if connection.ended && open {
                world::refute(Check::NotClosed, format!("hang: session {number} has ended, and nobody closes it"));
            }
        }
    }

    /// The server has stopped after it had come to rest: what its reactors counted, if it has several.
    fn check_counts(&self, in_vain: bool) {
        let told = world::with(|world| world.told.clone());
        if told.is_empty() {
            return;
        }
        let sum = |what: fn(&Counts) -> u64| told.iter().map(what).sum::<u64>();
        let (woken, empty, accepted) = (sum(|one| one.woken), sum(|one| one.empty), sum(|one| one.accepted));
        let came = self.connections.len() as u64;
        if accepted != came || woken != accepted + empty {
            let text = format!("{came} connections, and the reactors counted {accepted} of them in {woken} wake-ups");
            world::refute(Check::Miscounted, text);
        }
        if empty > 0 && in_vain {
            world::refute(Check::WokenInVain, format!("{empty} of {woken} wake-ups found nobody to accept"));
        }
    }

    /// The server was told to stop by a step of the script, and has: every byte is in the accounts, and every reply. A
    /// request that was sent before the order to stop is answered, unless the limit was over first.
    fn check_drained(&self, script: &Script) {
        let served = world::with(|world| world.served).expect("the server has come to its end");
        let before = || script.actions.iter().take_while(|action| **action != Action::Stop);
        self.check_taken(before().filter(|action| **action == Action::Connect).count());
        // Whoever came after it and was not taken in has no claim.
        let taken = |one: &&Connection| world::with(|world| world.net.was_accepted(one.client));
        let sent: u64 = self.connections.iter().filter(taken).map(|one| one.sent).sum();
        let cuts = world::with(|world| world.cuts.clone());
        let mut got = 0;
        for (number, connection) in (1..).zip(&self.connections) {
            let plan = script.plan_of(number - 1);
            let replies = world::with(|world| world.replies(connection.client).to_vec());
            if !due(plan, connection.sent).0.starts_with(&replies) {
                world::refute(Check::NotOwed, format!("session {number} got what it is not owed"));
            }
            got += (replies.len() / due(plan, plan.length().unwrap_or(0)).0.len().max(1)) as u64;
        }
        // What had been sent when the order came; the limit may come before any of it is read.
        let had: u64 = before().map(|action| if let Action::Send(bytes) = action { *bytes } else { 0 }).sum();
        let owed = due(script.plans[0], had).1;
        // Nobody owes anything to a client that is gone, nor to one that was too late.
        let early = script.actions.contains(&limit()) || self.connections.iter().any(|connection| connection.reset);
        if got < owed && !early {
            world::refute(
                Check::Unanswered,
                format!("{owed} requests came before the order to stop, and {got} were answered"),
            );
        }
        if self.connections.iter().any(|connection| connection.reset) {
            return self.check_left();
        }
        if got != served.replies {
            world::refute(
                Check::RepliesMiscounted,
                format!("{got} replies were received, and {} counted", served.replies),
            );
        }
        // Those who were cut have their unread bytes in the accounts too.
        let unanswered: u64 = cuts.iter().map(|(bytes, _)| bytes).sum();
        let whole = script.plans[0].length().unwrap_or(0) / script.plans[0].replies().max(1);
        let all = if cuts.is_empty() { served.received } else { got * whole + unanswered };
        if all != sent {
            world::refute(
                Check::BytesMiscounted,
                format!("lost bytes: {sent} were sent, and {all} are in the accounts"),
            );
        }
        self.check_left();
    }

    /// The first so many had connected before the order to stop.
    fn check_taken(&self, count: usize) {
        for (number, connection) in (1..).zip(&self.connections[..count]) {
            if !world::with(|world| world.net.was_accepted(connection.client)) {
                let text = format!("client {number} had connected before the order to stop, and nobody accepted it");
                world::refute(Check::LeftWaiting, text);
            }
        }
    }

    /// The server has stopped.
    fn check_end(&self, script: &Script) {
        self.check_taken(self.connections.len());
        let served = world::with(|world| world.served).expect("the server has come to its end");
        let (mut least, mut most, mut replies) = (0, 0, 0);
        for (number, connection) in (1..).zip(&self.connections) {
            most += connection.sent;
            if connection.reset {
                continue;
            }
            least += connection.sent;
            let due = due(script.plan_of(number - 1), connection.sent);
            replies += due.1;
            if world::with(|world| world.replies(connection.client) != due.0) {
                world::refute(
                    Check::RepliesMissing,
                    format!("session {number} did not get the replies that it is owed"),
                );
            }
        }
        if !(least..=most).contains(&served.received) {
            world::refute(
                Check::BytesMissing,
                format!("lost bytes: {most} were sent, {least} of them before a FIN, and {} counted", served.received),
            );
        }
        if served.replies < replies {
            world::refute(
                Check::RepliesUncounted,
                format!("{replies} replies were due, and {} counted", served.replies),
            );
        }
        self.check_left();
    }

    /// Nothing is left of it.
    fn check_left(&self) {
        let left = heap::leaks();
        if !left.is_empty() {
            world::refute(Check::BlockLeaked, format!("leak: {} not freed", left.join(", ")));
        }
        let (files, shares) = world::with(|world| (world.net.open_files(), world.shares));
        if files > 0 {
            world::refute(Check::DescriptorLeaked, format!("leak: {files} descriptors are open"));
        }
        if shares > 0 {
            world::refute(Check::ShareLeaked, format!("leak: {shares} shares are alive"));
        }
    }
}

/// The replies to the first `sent` bytes of a plan: the bytes, and how many replies.
fn due(plan: Plan, sent: u64) -> (Vec<u8>, u64) {
    match plan {
        Plan::Raw => (Vec::new(), 0),
        Plan::Get(_) => {
            let requests = sent / plan.head().len() as u64;
            (http::HELLO.repeat(requests as usize), requests)
        }
        Plan::Post(bytes) if plan.length() == Some(sent) => {
            let mut reply = [0; 256];
            let length = http::Reply::Stored(bytes).write_to(&mut reply);
            (reply[..length].to_vec(), 1)
        }
        Plan::Post(_) => (Vec::new(), 0),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        match self.states {
            0 => write!(f, "{} executions, {seconds:.1} s", crate::thousands(self.executions)),
            states => write!(f, "{} states, {seconds:.1} s", crate::thousands(states)),
        }
    }
}
