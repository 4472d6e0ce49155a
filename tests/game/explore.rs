//! Every order of the moves of a small scenario: a depth-first walk by re-execution. A state is reached by playing the
//! moves that lead to it once more, in a fresh world.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use real::schedule::{CLIENTS, OPERATOR, Plan};

use crate::check::{Check, Part, Refusal};
use crate::kernel::{Listener, Stop, grouped, mask_names, source_name};
use crate::net::{Client, Fd};
use crate::runner::{Flags, LISTENER, Serve, Server};
use crate::world::{QUEUE, Role, Stand, State, Until, World, act, is_of_interest};

/// What the client does, in order. It can always go on. Where it connects again, that is another client, and whatever
/// comes after it is done by that one.
#[derive(Clone, Debug)]
pub enum Act {
    Connect,
    Send(Vec<u8>),
    Fin,
    Reset,
    /// The operator's: the server is told to stop.
    Stop,
}

/// A small server and its client.
pub struct Scenario {
    pub serve: Serve,
    pub workers: usize,
    pub client: Vec<Act>,
    /// What each client sends in all; it may break off before.
    pub plans: Vec<Plan>,
    /// The bytes that each connection is owed, where that is what the play is about.
    pub owed: Vec<Vec<u8>>,
    /// What is not looked for.
    pub off: Option<Check>,
    /// What two states that are the same may differ in.
    pub without: Vec<Part>,
}

impl Scenario {
    /// Everything is looked for, and nobody is owed anything.
    pub fn new(serve: Serve, workers: usize, client: Vec<Act>) -> Scenario {
        Scenario { serve, workers, client, plans: Vec::new(), owed: Vec::new(), off: None, without: Vec::new() }
    }
}

pub const CLIENT: usize = 0;

/// One state, as the reader sees it.
#[derive(Clone, Debug)]
pub struct Node {
    /// The moves that are possible.
    pub moves: Vec<Move>,
    /// What there is to see.
    pub panel: Panel,
    /// Where each role stands, by role; the client first.
    pub stands: Vec<String>,
    /// The line of the stage's file at which each role stands, by role; 0 outside of it.
    pub lines: Vec<u32>,
    pub facts: Facts,
    /// How it ended, where nobody can move.
    pub end: Option<End>,
}

/// What the goals of the game ask of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where each role stands, by role: its point; empty for the client, for who waits inside a call,
    /// and for who has ended.
    pub at: Vec<&'static str>,
    /// Whether it is in plain memory that threads share, by role.
    pub inside: Vec<bool>,
    /// Whether it sleeps, until it is notified or in the kernel, by role.
    pub asleep: Vec<bool>,
    /// From which connection it has read last, since it asked for its task, by role.
    pub read_from: Vec<Option<usize>>,
    /// The sessions and buffers that were freed.
    pub freed: Vec<String>,
    /// How many tasks are queued.
    pub queued: usize,
    /// How many sources are on the interest list, and not armed.
    pub unarmed: usize,
    /// By client: the number of its open socket.
    pub sockets: Vec<Option<Fd>>,
    /// A client has broken off.
    pub reset: bool,
    /// Some flag is set.
    pub flag: bool,
    /// How many sleepers a connection has woken.
    pub woken: usize,
    /// How often somebody has found nobody to accept.
    pub in_vain: usize,
}

#[derive(Clone, Debug)]
pub struct Move {
    pub role: usize,
    /// What it is about to do: a point, or an act of the client.
    pub next: String,
    /// The step of a schedule that is this move. `None` for who waits inside a call: it goes on by itself.
    pub step: Option<String>,
    /// The line of the stage's file; 0 for the client.
    pub line: u32,
    /// What it then did.
    pub did: String,
    /// The state after it.
    pub to: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct End {
    pub crash: bool,
    pub text: String,
    /// Which check says so; none has anything to say of a server that has served.
    pub check: Option<Check>,
}

/// What there is to see: sections of rows of (name, detail, tone). Tones: `on`, `off`, `gone`, `bad`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Panel(pub [Vec<Row>; 4]);

const SECTIONS: [&str; 4] = ["Interest list", "Task queue", "Memory", "Socket"];
/// Where several wait for the listener.
const OF_REACTORS: [&str; 4] = ["The listener's wait queue", "Reactors", "Wake-ups", "Socket"];

/// How a play ends well where several wait for the listener: whether one alone has heard of the client.
pub const ALONE: &str = "the client is accepted, and nobody else has heard of it";
pub const LATE: &str = "the client is accepted, and another reactor has asked for nothing";

pub type Row = (String, String, &'static str);

/// The whole of it.
pub struct Graph {
    pub roles: Vec<String>,
    /// What the clients send in all, as a schedule says it.
    pub plans: Vec<String>,
    /// What the sections of its panels are called.
    pub sections: [&'static str; 4],
    /// The first one is where the play begins.
    pub nodes: Vec<Node>,
}

struct Play<'a> {
    scenario: &'a Scenario,
    world: Arc<World>,
    client: usize,
    /// The stop event, which the operator raises.
    stop: Fd,
}

impl Drop for Play<'_> {
    fn drop(&mut self) {
        self.world.end();
    }
}

impl<'a> Play<'a> {
    /// A server that is up: the reactor waits for events, the workers for tasks.
    fn new(scenario: &'a Scenario) -> Play<'a> {
        let world = World::new();
        let mut state = world.lock();
        state.owed.clone_from(&scenario.owed);
        state.off = scenario.off;
        // The standard streams have the first numbers.
        (0..3).for_each(|_| _ = state.net.eventfd());
        let (listener, stop) = (state.net.listen(), state.net.eventfd());
        drop(state);
        let (serve, workers) = (scenario.serve, scenario.workers);
        world.start("main", move || {
            let (listener, stop) = (Listener { fd: listener }, Stop { fd: stop });
            if let Err(error) = serve(Server { listener, stop, workers, drain: 1, flags: Flags::default() }) {
                act(Until::Always, |state, _| state.refuse(Check::Refused, format!("the server gives up: {error}")));
            }
        });
        for role in 0..=workers {
            world.go(role);
        }
        Play { scenario, world, client: 0, stop }
    }

    /// Moves `role`, and says what it did.
    fn go(&mut self, role: usize) -> String {
        if role != CLIENT {
            return self.world.go(role - 1).join("; ");
        }
        let state = &mut *self.world.lock();
        let net = &mut state.net;
        let act = &self.scenario.client[self.client];
        self.client += 1;
        let newest = net.clients().saturating_sub(1);
        match act {
            Act::Connect => _ = net.connect(),
            Act::Send(bytes) => net.send(newest, bytes),
            Act::Fin => net.fin(newest),
            Act::Reset => net.reset(newest),
            Act::Stop => {
                // Whether or not the server still has its end.
                _ = net.raise(self.stop);
                state.stopped = true;
            }
        }
        let clients = net.clients();
        let woken = state.wake();
        let names: Vec<_> = woken.iter().map(|role| state.roles[*role].name.clone()).collect();
        if matches!(act, Act::Connect) {
            state.woken.extend(woken);
        }
        let wakes = if names.is_empty() { String::new() } else { format!(": wakes {}", names.join(", ")) };
        let did = match act {
            Act::Connect if clients > 1 => "is another client now, and connects".to_string(),
            Act::Connect => "connects".to_string(),
            Act::Send(bytes) => format!("sends {} bytes", grouped(bytes.len())),
            Act::Fin => "closes its sending side: FIN".to_string(),
            Act::Reset => "breaks the connection off: RST".to_string(),
            Act::Stop => "tells the server to stop".to_string(),
        };
        did + &wakes
    }

    fn fingerprint(&self) -> (u128, usize) {
        let without = &self.scenario.without;
        let client = if without.contains(&Part::Client) { 0 } else { self.client };
        (self.world.lock().fingerprint(without), client)
    }

    fn node(&self) -> Node {
        let state = self.world.lock();
        let mut moves = Vec::new();
        let possible = |role, next: &str, step: Option<String>, line| Move {
            role,
            next: next.to_string(),
            step,
            line,
            did: String::new(),
            to: 0,
        };
        let of_thread = |role: usize, point: &str, inside: bool, line| {
            let step = (!inside).then(|| format!("{:<9} {point}", state.roles[role].name));
            possible(role + 1, point, step, line)
        };
        if let Some(act) = self.scenario.client.get(self.client)
            && state.verdict.is_none()
        {
            let next = match act {
                Act::Connect => "connect".to_string(),
                Act::Send(bytes) => format!("send {}", bytes.len()),
                Act::Fin => "fin".to_string(),
                Act::Reset => "reset".to_string(),
                Act::Stop => "stop".to_string(),
            };
            let before = self.scenario.client[..self.client].iter().filter(|act| matches!(act, Act::Connect)).count();
            let who = match act {
                Act::Stop => OPERATOR,
                Act::Connect => CLIENTS[before],
                _ => CLIENTS[before - 1],
            };
            moves.push(possible(CLIENT, &next, Some(format!("{who:<9} {next}")), 0));
        }
        for (role, player) in state.roles.iter().enumerate() {
            if let Stand::Parked { point, at, inside, .. } = player.stand
                && state.can_move(role)
            {
                moves.push(of_thread(role, point, inside, at.line()));
            }
        }
        if moves.is_empty() && state.verdict.is_none() {
            // Nobody else can move: whoever does not wait for ever has waited too long.
            for (role, player) in state.roles.iter().enumerate() {
                if let Stand::Parked { point, at, inside, until: Until::NotifiedInTime(_) } = player.stand {
                    moves.push(of_thread(role, point, inside, at.line()));
                }
            }
        }
        let end = moves.is_empty().then(|| end(&state));
        let mut stands = vec![match self.scenario.client.len() - self.client {
            _ if state.verdict.is_some() => "comes too late: the play is over".to_string(),
            0 => "has done all it does".to_string(),
            _ => "can go on".to_string(),
        }];
        stands.extend((0..state.roles.len()).map(|role| stand(&state, role)));
        let lines = std::iter::once(0).chain(state.roles.iter().map(|role| match role.stand {
            Stand::Parked { at, .. } => at.line(),
            Stand::Running | Stand::Ended => 0,
        }));
        Node { moves, panel: panel(&state), stands, lines: lines.collect(), facts: facts(&state), end }
    }
}

fn facts(state: &State) -> Facts {
    // The client stands nowhere.
    fn by_role<T>(state: &State, client: T, of: impl Fn(usize, &Role) -> T) -> Vec<T> {
        std::iter::once(client).chain(state.roles.iter().enumerate().map(|(at, role)| of(at, role))).collect()
    }
    let (net, blocks) = (&state.net, state.blocks.iter());
    Facts {
        at: by_role(state, "", |_, role| match role.stand {
            Stand::Parked { point, inside: false, until, .. }
                if !matches!(until, Until::Woken(_)) || state.is_met(until) =>
            {
                point
            }
            Stand::Parked { .. } | Stand::Running | Stand::Ended => "",
        }),
        inside: by_role(state, false, |_, role| role.is_inside()),
        asleep: by_role(state, false, |at, _| {
            state.is_in_a_wait(at) || state.sleepers.iter().any(|(_, sleeper)| *sleeper == at)
        }),
        read_from: by_role(state, None, |_, role| role.read_from),
        freed: blocks.filter(|block| block.freed.is_some()).map(|block| block.name()).collect(),
        queued: state.queues.iter().map(Vec::len).sum(),
        unarmed: net.watched().filter(|watched| !watched.armed).count(),
        sockets: (0..net.clients()).map(|client| net.socket_of(client)).collect(),
        reset: (0..net.clients()).any(|client| net.has_left(client)),
        flag: state.flags.contains(&true),
        woken: state.woken.len(),
        in_vain: state.in_vain.len(),
    }
}

fn stand(state: &State, role: usize) -> String {
    match state.roles[role].stand {
        Stand::Ended if state.verdict.is_none() => "has ended".to_string(),
        Stand::Ended | Stand::Running => "has crashed".to_string(),
        Stand::Parked { point, until, .. } => match until {
            _ if state.is_met(until) => format!("stands at {point}"),
            Until::Event(_) | Until::Woken(_) => "sleeps in epoll_wait: there is no event".to_string(),
            Until::Task(_) => "sleeps: the task queue is empty".to_string(),
            Until::Lock(lock) => {
                let holder = state.locks[lock].map_or("nobody", |holder| &state.roles[holder].name);
                let name = state.lock_names[lock];
                format!("waits for {name}'s lock, held by {holder}")
            }
            Until::Notified(_) => "sleeps until it is notified".to_string(),
            Until::NotifiedInTime(_) => "sleeps until it is notified, or its time is over".to_string(),
            Until::Ended(other) => format!("waits for the end of {}", state.roles[other].name),
            Until::Always => format!("waits at {point}"),
        },
    }
}

/// The verdict on a state in which nobody can move.
fn end(state: &State) -> End {
    if let Some(Refusal { check, text }) = &state.verdict {
        return End { crash: true, text: text.clone(), check: Some(*check) };
    }
    let check = remaining(state).into_iter().find(|check| state.off != Some(*check));
    let text = match check {
        Some(Check::NeverStops) => "never stops: nobody is left who could wake anybody",
        Some(Check::Unanswered) => "a client is dismissed without its reply",
        Some(Check::Leak) => "the server has stopped, and its memory was not freed",
        Some(Check::Herd) => "herd: one connection wakes every reactor, and all but one for nothing",
        Some(Check::SessionWaits) => "served; the session waits for more",
        Some(_) => "hang: something waits, and nobody will move",
        None if state.stopped => "the server has stopped",
        None if is_shared(state) && !state.in_vain.is_empty() => LATE,
        None if is_shared(state) => ALONE,
        None => "served, nothing left",
    };
    let crash = check.is_some_and(|check| check != Check::SessionWaits);
    End { crash, text: text.to_string(), check }
}

/// What is left to do in such a state, the weightiest first.
fn remaining(state: &State) -> Vec<Check> {
    let (net, roles) = (&state.net, &state.roles);
    let of_any = |what: &dyn Fn(Client) -> bool| (0..net.clients()).any(what);
    let open = |client| net.socket_of(client).is_some();
    let stuck = |role: &Role| matches!(role.stand, Stand::Parked { until: Until::Lock(_), .. });
    let owed = |client| state.owed.get(client).map_or(0, Vec::len);
    let lives = state.blocks.iter().any(|block| is_of_interest(block.label) && block.freed.is_none());
    let stops = state.stopped;
    let found = [
        (Check::NeverStops, stops && roles.iter().any(|role| !matches!(role.stand, Stand::Ended))),
        (Check::Unread, of_any(&|client| open(client) && net.unread(client) > 0)),
        (Check::Ended, of_any(&|client| open(client) && (net.has_ended(client) || net.has_left(client)))),
        // Who comes while the server stops need not be served.
        (Check::Unaccepted, !stops && of_any(&|client| !net.was_accepted(client) && !net.has_left(client))),
        (Check::Discarded, of_any(&|client| net.was_discarded(client))),
        (Check::Stuck, roles.iter().any(stuck)),
        (Check::Queued, state.queues.iter().any(|queue| !queue.is_empty())),
        (Check::Unanswered, of_any(&|client| !net.has_left(client) && net.replies(client).len() < owed(client))),
        (Check::Herd, !state.woken.is_empty() && state.woken.len() == state.net.asking(LISTENER).count()),
        (Check::Leak, lives && stops),
        (Check::SessionWaits, lives && !stops),
    ];
    found.into_iter().filter(|(_, holds)| *holds).map(|(check, _)| check).collect()
}

fn panel(state: &State) -> Panel {
    let interest = state.net.watched().map(|watched| {
        let tone = if watched.armed { "on" } else { "off" };
        let armed = if watched.armed { "" } else { "reported, not armed: " };
        (source_name(watched.token), format!("{armed}{}", mask_names(watched.mask)), tone)
    });
    // The stop event is on the list in every state; that it was raised is a move. No limit is ever over here.
    let interest = interest.filter(|(name, ..)| name != "the stop event" && name != "the limit").collect();
    let tasks = state.queues.iter().flatten().map(|name| (name.clone(), String::new(), "on"));
    // Where the stage owns its queue: its lock, the stop flag beside it, and who sleeps in it.
    let locks = state.locks.iter().zip(&state.lock_names).filter(|(_, name)| **name == QUEUE);
    let locks = locks.map(|(holder, _)| match holder {
        Some(holder) => ("lock".to_string(), format!("held by {}", state.roles[*holder].name), "on"),
        None => ("lock".to_string(), "free".to_string(), "off"),
    });
    let flags = state.flags.iter().map(|set| {
        let value = if *set { "set" } else { "not set" };
        ("flag".to_string(), value.to_string(), "on")
    });
    let sleepers = state.sleepers.iter();
    let sleepers =
        sleepers.map(|(_, role)| (state.roles[*role].name.clone(), "sleeps until notified".to_string(), "off"));
    let queue = tasks.chain(locks).chain(flags).chain(sleepers).collect();
    let memory = state.blocks.iter().filter(|block| is_of_interest(block.label)).map(|block| {
        let owners = match block.owners {
            Some(1) => ", 1 owner".to_string(),
            Some(owners) => format!(", {owners} owners"),
            None => String::new(),
        };
        let lock = (block.label == "Session").then(|| state.session_lock(block.number)).flatten();
        let lock = match lock {
            Some(Some(holder)) => format!(", locked by {}", state.roles[holder].name),
            Some(None) => ", unlocked".to_string(),
            None => String::new(),
        };
        match block.freed {
            None => (block.name(), format!("live{owners}{lock}"), "on"),
            Some((role, _)) => {
                let fatal = state.verdict.as_ref().is_some_and(|verdict| verdict.text.ends_with(&block.name()));
                let tone = if fatal { "bad" } else { "gone" };
                (block.name(), format!("freed by {}", state.roles[role].name), tone)
            }
        }
    });
    let memory = memory.collect();
    let net = &state.net;
    let socket = (0..net.clients()).map(|client| {
        let unread = grouped(net.unread(client));
        let over = if net.has_left(client) {
            ", RST"
        } else if net.has_ended(client) {
            ", FIN"
        } else {
            ""
        };
        match net.socket_of(client) {
            Some(fd) => (format!("fd {fd}"), format!("{unread} bytes unread{over}"), "on"),
            None if !net.was_accepted(client) && net.unread(client) == 0 && over.is_empty() => {
                ("new".to_string(), "waits to be accepted".to_string(), "on")
            }
            None => ("connection".to_string(), format!("{unread} bytes unread{over}"), "off"),
        }
    });
    let socket = socket.collect();
    if is_shared(state) {
        let [waits, reactors, wakeups] = reactors(state);
        return Panel([waits, reactors, wakeups, socket]);
    }
    Panel([interest, queue, memory, socket])
}

/// Whether several instances wait for the listener.
fn is_shared(state: &State) -> bool {
    state.net.asking(LISTENER).count() > 1
}

/// Who waits for the listener and how, what each of them does, and whom the connection has woken.
fn reactors(state: &State) -> [Vec<Row>; 3] {
    let roles = || state.roles.iter().enumerate().filter(|(_, role)| role.name.starts_with("reactor-"));
    let all = roles().count();
    // They all wait in the same way.
    let waits = state.net.asking(LISTENER).take(1);
    let waits = waits.map(|watched| (format!("{all} reactors"), mask_names(watched.mask), "on"));
    let reactors = roles().map(|(at, role)| {
        let (woken, in_vain) = (state.woken.contains(&at), state.in_vain.contains(&at));
        let (does, tone) = match role.stand {
            _ if in_vain && woken => ("woken for nothing: EAGAIN", "bad"),
            _ if in_vain => ("came too late: EAGAIN", "bad"),
            _ if state.is_in_a_wait(at) => ("asleep in epoll_wait", "off"),
            Stand::Parked { point: "wait", .. } => ("awake", "on"),
            _ if woken => ("woken", "on"),
            _ => ("has an event", "on"),
        };
        (role.name.clone(), does.to_string(), tone)
    });
    let counts = [("woken", state.woken.len(), "on"), ("found nobody", state.in_vain.len(), "bad")];
    let counts = counts.into_iter().filter(|(_, count, _)| *count > 0);
    let counts = counts.map(|(name, count, tone)| (name.to_string(), format!("{count} of {all}"), tone));
    [waits.collect(), reactors.collect(), counts.collect()]
}

/// What is known so far.
#[derive(Default)]
struct Walk {
    nodes: Vec<Node>,
    /// By each state's fingerprint and the client's place in its script.
    known: HashMap<(u128, usize), usize>,
    /// The moves that first led to each state.
    paths: Vec<Vec<usize>>,
    /// Moves that nobody has tried: a state, and which of its moves.
    untried: Vec<(usize, usize)>,
}

impl Walk {
    /// The state in which `play` stands after `path`, and whether it is new.
    fn meet(&mut self, play: &Play<'_>, path: &[usize]) -> (usize, bool) {
        let node = self.nodes.len();
        match self.known.entry(play.fingerprint()) {
            Entry::Occupied(known) => return (*known.get(), false),
            Entry::Vacant(place) => place.insert(node),
        };
        self.nodes.push(play.node());
        self.paths.push(path.to_vec());
        self.untried.extend((0..self.nodes[node].moves.len()).rev().map(|at| (node, at)));
        (node, true)
    }
}

/// Walks through every order of the moves.
///
/// # Errors
/// If the same moves lead to different states, or if there are more than `limit` states.
pub fn explore(scenario: &Scenario, limit: usize) -> Result<Graph, Refusal> {
    let refuse = |check, text| if scenario.off == Some(check) { Ok(()) } else { Err(Refusal { check, text }) };
    let mut walk = Walk::default();
    let mut play = Play::new(scenario);
    let roles: Vec<_> = play.world.lock().roles.iter().map(|role| role.name.clone()).collect();
    let mut path = Vec::new();
    walk.meet(&play, &path);
    // The state in which `play` stands.
    let mut here = Some(0);
    while let Some((node, at)) = walk.untried.pop() {
        if here != Some(node) {
            play = Play::new(scenario);
            path.clone_from(&walk.paths[node]);
            for role in &path {
                play.go(*role);
            }
            if walk.known.get(&play.fingerprint()) != Some(&node) {
                refuse(Check::Nondeterministic, "the same moves, another state".to_string())?;
            }
        }
        let role = walk.nodes[node].moves[at].role;
        let did = play.go(role);
        path.push(role);
        let (to, new) = walk.meet(&play, &path);
        if walk.nodes.len() > limit {
            refuse(Check::TooManyStates, format!("more than {limit} states"))?;
        }
        let chosen = &mut walk.nodes[node].moves[at];
        (chosen.did, chosen.to) = (if did.is_empty() { format!("passes {}", chosen.next) } else { did }, to);
        here = new.then_some(to);
    }
    let first = if scenario.client.iter().any(|act| matches!(act, Act::Stop)) { "operator" } else { "client" };
    let plans = CLIENTS.iter().zip(&scenario.plans).map(|(client, plan)| format!("{client:<9} plan {plan}"));
    Ok(Graph {
        roles: std::iter::once(first.to_string()).chain(roles).collect(),
        plans: plans.collect(),
        sections: if is_shared(&play.world.lock()) { OF_REACTORS } else { SECTIONS },
        nodes: walk.nodes,
    })
}

/// Plays one order in a fresh world, as `choose` has it (of so many moves, which), and compares each step with the
/// graph.
///
/// # Errors
/// If the graph has told anything else.
pub fn replay(scenario: &Scenario, graph: &Graph, mut choose: impl FnMut(usize) -> usize) -> Result<(), Refusal> {
    fn same<T: PartialEq + std::fmt::Debug>(
        off: Option<Check>,
        check: Check,
        found: T,
        told: T,
    ) -> Result<(), Refusal> {
        if found == told || off == Some(check) {
            return Ok(());
        }
        Err(Refusal { check, text: format!("{found:?}, and the graph has told {told:?}") })
    }
    let off = scenario.off;
    let mut play = Play::new(scenario);
    let mut told = &graph.nodes[0];
    loop {
        let found = play.node();
        let moves = |node: &Node| {
            let moves = node.moves.iter();
            let moves = moves.map(|chosen| (chosen.role, chosen.next.clone(), chosen.step.clone(), chosen.line));
            moves.collect::<Vec<_>>()
        };
        same(off, Check::OtherMoves, moves(&found), moves(told))?;
        same(off, Check::OtherPanel, &found.panel, &told.panel)?;
        let stands = |node: &Node| (node.stands.clone(), node.lines.clone(), node.facts.clone());
        same(off, Check::OtherStands, stands(&found), stands(told))?;
        same(off, Check::OtherEnd, &found.end, &told.end)?;
        if told.moves.is_empty() {
            return Ok(());
        }
        let chosen = &told.moves[choose(told.moves.len())];
        let did = play.go(chosen.role);
        let did = if did.is_empty() { format!("passes {}", chosen.next) } else { did };
        same(off, Check::OtherDeed, &did, &chosen.did)?;
        told = &graph.nodes[chosen.to];
    }
}
