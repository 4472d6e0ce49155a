//! A kernel that answers as a seed says, and the clients on the other side of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use lab::http::{Connection, HELLO, MAX_PENDING};
use lab::uring::{Bytes, Event, Outcome, Socket};

use crate::check::{Check, Refusal};
use crate::runner::Served;

/// The longest piece that one receive brings, in bytes.
const PIECE: usize = 2048;

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new(0, Vec::new(), Play::ToTheEnd));
}

pub fn with<T>(body: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(body)
}

/// How far a play goes, and what is looked at then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Play {
    /// Until nobody can move.
    ToTheEnd,
    /// Until the server is told to stop, after so many moves.
    Stopped(usize),
    /// With [`slow_clients`].
    Slow,
}

/// What the kernel is busy with.
pub enum Work {
    Watch,
    Accept,
    Receive {
        client: usize,
        stopped: bool,
    },
    /// What has arrived, and no more.
    Rest {
        client: usize,
    },
    Send {
        client: usize,
        bytes: Vec<u8>,
        from: usize,
    },
}

struct Request {
    token: u64,
    work: Work,
}

/// How often something happened that a test is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub partial_sends: u64,
    pub stalls: u64,
    pub stops: u64,
    /// Answers after which a request for more than one went on, and after which it did not.
    pub went_on: u64,
    pub went_out: u64,
    pub refused_accepts: u64,
    pub answers_for_the_gone: u64,
    /// Of those, the ones that came when the slot had another client.
    pub answers_after_the_place_was_taken: u64,
    /// Clients that were there when the server was told to stop, and did not break off.
    pub served_at_stop: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        self.partial_sends += other.partial_sends;
        self.stalls += other.stalls;
        self.stops += other.stops;
        self.went_on += other.went_on;
        self.went_out += other.went_out;
        self.refused_accepts += other.refused_accepts;
        self.answers_for_the_gone += other.answers_for_the_gone;
        self.served_at_stop += other.served_at_stop;
        self.answers_after_the_place_was_taken += other.answers_after_the_place_was_taken;
    }

    /// What was to happen did happen, many times over.
    ///
    /// # Errors
    /// With what did not.
    pub fn is_enough(&self, off: Option<Check>) -> Result<(), Refusal> {
        let least = [
            (Check::FewPartialSends, self.partial_sends, 1_000),
            (Check::FewStalls, self.stalls, 1_000),
            (Check::FewStops, self.stops, 500),
            (Check::FewGoOn, self.went_on, 1_000),
            (Check::FewGoOut, self.went_out, 1_000),
            (Check::FewRefusals, self.refused_accepts, 500),
            (Check::FewAnswersForTheGone, self.answers_for_the_gone, 500),
            (Check::FewAnswersAfterThePlaceWasTaken, self.answers_after_the_place_was_taken, 50),
        ];
        match least.into_iter().find(|(check, seen, least)| seen <= least && off != Some(*check)) {
            Some((check, ..)) => Err(Refusal { check, text: format!("{self:?}") }),
            None => Ok(()),
        }
    }
}

/// How a client goes about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Sends, reads, and stays.
    Stays,
    /// Ends its side when it has sent everything, and reads to the end.
    Finishes,
    /// Breaks the connection off at some moment.
    Resets,
    /// Reads only when nobody else can move.
    Lazy,
}

pub struct Client {
    manner: Manner,
    /// All that it will send, and how much of it is sent.
    script: Vec<u8>,
    pub sent: usize,
    /// All that it must be answered, and, for each byte that it was sent, what is answered by then.
    expected: Vec<u8>,
    connected: bool,
    finished: bool,
    pub reset: bool,
    /// What the server has not received yet starts here in `script`.
    pub received: usize,
    /// What the kernel has taken from the server, and how much of it the client has read.
    pub delivered: Vec<u8>,
    pub read: usize,
    /// Bytes that fit between the two.
    room: usize,
    /// The server's: it has ended its direction, or both.
    pub told_the_end: bool,
    let_go: bool,
    /// Its token, once the server has asked for something.
    token: Option<u64>,
    /// What the server would answer to what it has received; replies to that.
    oracle: Connection,
    due: Vec<u8>,
    replies: u64,
}

pub struct World {
    seed: u64,
    play: Play,
    /// What is not looked for: the proof that it is this check which speaks.
    off: Option<Check>,
    refused: Option<Refusal>,
    /// Nobody can go on: the ring gives errors from here on.
    pub over: bool,
    pub clock: u32,
    pub stopped: bool,
    /// So many moves are made before somebody raises the stop; then for each client what it had sent, if it was
    /// accepted.
    stop_in: usize,
    /// When the listener last had no descriptor to give.
    refused_at: Option<u32>,
    /// Whether an answer about a client has come since the last wait began.
    has_answers: bool,
    stopped_at: Option<Vec<Option<usize>>>,
    pub clients: Vec<Client>,
    backlog: VecDeque<usize>,
    requests: Vec<Request>,
    pub completions: VecDeque<Event>,
    seen: Seen,
}

#[derive(Clone, Copy)]
enum Move {
    Connect(usize),
    Send(usize),
    Finish(usize),
    Reset(usize),
    Read(usize),
    /// The request of that index is answered.
    Answer(usize),
}

/// Lets `serve` serve these clients, and looks at what came of it. The same seed makes the same choices.
///
/// # Errors
/// With the first thing that was wrong, of all but `off`.
pub fn play(
    seed: u64,
    clients: Vec<Client>,
    play: Play,
    off: Option<Check>,
    serve: impl FnOnce() -> io::Result<Served>,
) -> Result<Seen, Refusal> {
    WORLD.set(World { off, ..World::new(seed, clients, play) });
    let served = serve();
    // What it left unread: sockets among it.
    let left = with(|world| std::mem::take(&mut world.completions));
    drop(left);
    with(|world| world.judge(served))
}

fn random(seed: &mut u64) -> u64 {
    // splitmix64
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Some clients with something to send.
pub fn clients(seed: u64) -> Vec<Client> {
    let mut seed = seed ^ 0xc11e_4715;
    (0..2 + random(&mut seed) % 20)
        .map(|_| {
            let manner = match random(&mut seed) % 12 {
                0 => Manner::Lazy,
                1..3 => Manner::Stays,
                3..6 => Manner::Finishes,
                _ => Manner::Resets,
            };
            let mut script = Vec::new();
            for _ in 0..random(&mut seed) % 12 {
                match random(&mut seed) % 16 {
                    0..6 => script.extend_from_slice(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"),
                    6..8 => script.extend_from_slice(b"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n"),
                    8..14 => {
                        let length = random(&mut seed) % 500;
                        let head = format!("POST /{length} HTTP/1.1\r\nHost: lab\r\nContent-Length: {length}\r\n\r\n");
                        script.extend_from_slice(head.as_bytes());
                        script.resize(script.len() + length as usize, b'x');
                    }
                    14 => script.extend_from_slice(b"GET /nobody HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"),
                    _ => script.extend_from_slice(b"BREW / HTTP/1.1\r\nHost: lab\r\n\r\n"),
                }
            }
            if manner == Manner::Lazy {
                // Enough to fill what may wait.
                for _ in 0..random(&mut seed) % 6_000 {
                    script.extend_from_slice(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n");
                }
            }
            // Many replies through little room would be many steps that are all alike.
            let least = if manner == Manner::Lazy { 16_384 } else { 1 };
            Client::new(manner, script, least + (random(&mut seed) % 3_000) as usize)
        })
        .collect()
}

/// Clients that are waited for too long, each in its own way.
pub fn slow_clients() -> Vec<Client> {
    let scripts: [&[u8]; 4] = [
        b"",
        b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 10\r\n\r\nhalf",
    ];
    scripts.into_iter().map(|script| Client::new(Manner::Stays, script.to_vec(), 1_000)).collect()
}

impl Client {
    pub fn new(manner: Manner, script: Vec<u8>, room: usize) -> Client {
        let mut expected = Vec::new();
        Connection::new(0).receive(&script, 0, &mut expected);
        Client {
            manner,
            script,
            sent: 0,
            expected,
            connected: false,
            finished: false,
            reset: false,
            received: 0,
            delivered: Vec::new(),
            read: 0,
            room,
            told_the_end: false,
            let_go: false,
            token: None,
            oracle: Connection::new(0),
            due: Vec::new(),
            replies: 0,
        }
    }

    /// When it has sent and been sent everything, and has read it.
    pub fn after_all(self) -> Client {
        let (sent, read) = (self.script.len(), self.expected.len());
        Client { sent, received: sent, delivered: self.expected.clone(), read, replies: 1, ..self }
    }

    /// Bytes of replies that are due and not in the kernel yet.
    fn outstanding(&self) -> usize {
        // A 408 is sent without having been asked for.
        self.due.len().saturating_sub(self.delivered.len())
    }
}

impl World {
    fn new(seed: u64, clients: Vec<Client>, play: Play) -> World {
        World {
            seed,
            play,
            off: None,
            refused: None,
            over: false,
            clock: 0,
            stopped: false,
            stop_in: if let Play::Stopped(moves) = play { moves } else { usize::MAX },
            refused_at: None,
            has_answers: false,
            stopped_at: None,
            clients,
            backlog: VecDeque::new(),
            requests: Vec::new(),
            completions: VecDeque::new(),
            seen: Seen::default(),
        }
    }

    /// If it does not hold, the server is refused. What is found first is the reason.
    pub fn hold(&mut self, holds: bool, check: Check, text: impl FnOnce() -> String) {
        if !holds && self.off != Some(check) && self.refused.is_none() {
            self.refused = Some(Refusal { check, text: text() });
            self.over = true;
        }
    }

    fn judge(&mut self, served: io::Result<Served>) -> Result<Seen, Refusal> {
        self.hold(served.is_ok() || self.over, Check::GivesUp, || format!("{served:?}"));
        let served = served.unwrap_or(Served { received: 0, replies: 0 });
        match self.play {
            Play::ToTheEnd => self.end(served),
            Play::Stopped(_) => self.end_of_the_stopped(),
            Play::Slow => self.end_of_the_slow(served),
        }
        self.refused.take().map_or(Ok(self.seen), Err)
    }

    /// Nobody can move, or the server has ended.
    fn is_served(&mut self) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let (delivered, expected) = (client.delivered.len(), client.expected.len());
            let over = client.finished || client.oracle.is_over();
            let ended = client.reset || client.told_the_end || client.let_go || !over;
            let answered = client.reset || delivered == expected;
            let kept = client.reset && client.token.is_some() && !client.let_go;
            self.hold(!kept, Check::KeepsTheBroken, || format!("client {index}"));
            self.hold(answered, Check::Unanswered, || format!("client {index}: {delivered} of {expected} bytes"));
            self.hold(ended, Check::NoEnd, || format!("client {index} waits for the end"));
        }
    }

    fn end(&mut self, served: Served) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let is_its_own = client.expected.starts_with(&client.delivered);
            let (sent, script) = (client.sent, client.script.len());
            let (read, delivered) = (client.read, client.delivered.len());
            // What comes behind the last reply need not be received.
            let (received, over) = (client.received, client.oracle.is_over());
            let reset = client.reset;
            let who = || format!("client {index}");
            self.hold(is_its_own, Check::Stranger, who);
            self.hold(reset || sent == script, Check::Unsent, || format!("{}: {sent} of {script} bytes", who()));
            self.hold(reset || read == delivered, Check::Untaken, || format!("{}: {read} of {delivered} bytes", who()));
            self.hold(reset || over || received == sent, Check::Unreceived, || {
                format!("{}: {received} of {sent} bytes", who())
            });
        }
        self.is_served();
        // What was brought of a client that is gone by then is not looked at.
        let sum = |count: fn(&Client) -> u64| {
            let of = |all: bool| self.clients.iter().filter(|client| all || !client.reset).map(count).sum();
            of(false)..=of(true)
        };
        let (bytes, replies) = (sum(|client| client.received as u64), sum(|client| client.replies));
        self.hold(bytes.contains(&served.received), Check::MiscountsBytes, || format!("{served:?}, not {bytes:?}"));
        self.hold(replies.contains(&served.replies), Check::MiscountsReplies, || {
            format!("{served:?}, not {replies:?}")
        });
    }

    /// Who had been accepted has the replies to all that had arrived.
    fn end_of_the_stopped(&mut self) {
        // A server that has ended by itself has left everybody.
        let stopped_at = self.stopped_at.take().unwrap_or_default();
        for (index, had_sent) in stopped_at.into_iter().enumerate() {
            let client = &self.clients[index];
            let is_its_own = client.expected.starts_with(&client.delivered);
            let (received, kept) = (client.received, !client.let_go);
            let (delivered, due) = (client.delivered.len(), client.due.len());
            let had_sent = had_sent.filter(|_| !client.reset);
            let who = || format!("client {index}");
            self.hold(is_its_own, Check::StrangerAtStop, who);
            let Some(had_sent) = had_sent else { continue };
            self.seen.served_at_stop += 1;
            self.hold(received >= had_sent, Check::UnreceivedAtStop, || format!("{}: {received} bytes", who()));
            self.hold(delivered == due, Check::UnansweredAtStop, || format!("{}: {delivered} of {due} bytes", who()));
            self.hold(!kept, Check::KeptAtStop, who);
        }
    }

    /// Of [`slow_clients`]: nobody can move any more.
    fn is_let_go(&mut self) {
        for index in 0..self.clients.len() {
            let is_over = self.clients[index].let_go;
            self.hold(is_over, Check::KeptInVain, || format!("client {index} is still there"));
        }
    }

    fn end_of_the_slow(&mut self, served: Served) {
        let said = |index: usize| String::from_utf8_lossy(&self.clients[index].delivered).into_owned();
        let said: Vec<_> = (0..self.clients.len()).map(said).collect();
        self.hold(said[0].is_empty(), Check::BreaksSilence, || said[0].clone());
        self.hold(said[1].as_bytes() == HELLO, Check::SpoilsReply, || said[1].clone());
        for half in [2, 3] {
            let is_told = said[half].starts_with("HTTP/1.1 408 Request Timeout\r\n");
            self.hold(is_told, Check::NoTimeout, || said[half].clone());
            self.hold(self.clients[half].told_the_end, Check::NoEndOfTimeout, || format!("client {half}"));
        }
        self.hold(served.replies == 1, Check::MiscountsSlow, || format!("{served:?}"));
    }

    fn up_to(&mut self, limit: usize) -> usize {
        (random(&mut self.seed) % limit as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.up_to(times) == 0
    }

    pub fn ask(&mut self, token: u64, work: Work) {
        if let Work::Receive { client, .. } | Work::Rest { client } | Work::Send { client, .. } = work {
            let same = self.clients[client].token.is_none_or(|known| known == token);
            self.hold(same, Check::TokenChanges, || format!("client {client}"));
            self.clients[client].token = Some(token);
        }
        self.requests.push(Request { token, work });
    }

    pub fn is_asked_to_accept(&mut self) {
        self.hold(!self.accepts(), Check::AcceptsTwice, String::new);
        self.hold(self.refused_at != Some(self.clock) || self.has_answers, Check::AcceptsAtOnce, String::new);
    }

    pub fn is_asked_to_send(&mut self, client: usize, bytes: usize) {
        let who = || format!("client {client}");
        self.hold(bytes > 0, Check::EmptySend, who);
        self.hold(!self.sends_to(client), Check::TwoSends, who);
    }

    fn accepts(&self) -> bool {
        self.requests.iter().any(|request| matches!(request.work, Work::Accept))
    }

    /// What receives from this client.
    pub fn receive_of(&mut self, client: usize) -> Option<&mut Work> {
        self.requests.iter_mut().map(|request| &mut request.work).find(|work| match work {
            Work::Receive { client: other, .. } | Work::Rest { client: other } => *other == client,
            _ => false,
        })
    }

    pub fn stop_receiving(&mut self, client: usize) {
        if let Some(Work::Receive { stopped, .. }) = self.receive_of(client) {
            *stopped = true;
            self.seen.stops += 1;
        }
    }

    fn sends_to(&self, client: usize) -> bool {
        self.requests.iter().any(|request| matches!(request.work, Work::Send { client: other, .. } if other == client))
    }

    pub fn let_go(&mut self, client: usize) {
        self.clients[client].let_go = true;
    }

    /// Lets somebody move until there is an answer.
    pub fn wait(&mut self, milliseconds: Option<u32>) {
        let left = self.completions.len();
        self.hold(left == 0, Check::LeavesAnswers, || format!("{left} of them"));
        self.has_answers = false;
        self.nobody_is_forgotten();
        if self.over {
            return;
        }
        let mut more = self.up_to(4);
        loop {
            if self.stopped && self.stopped_at.is_none() {
                let accepted = |client: &Client| client.token.map(|_| client.sent);
                self.stopped_at = Some(self.clients.iter().map(accepted).collect());
            }
            if !self.completions.is_empty() {
                if more == 0 {
                    return;
                }
                more -= 1;
            }
            let moves = self.moves();
            if !moves.is_empty() {
                let choice = self.up_to(moves.len());
                self.play(moves[choice]);
                self.stop_in = self.stop_in.wrapping_sub(1);
                self.stopped |= self.stop_in == 0;
            } else if !self.completions.is_empty() {
                return;
            } else if milliseconds.is_some() && self.clock < 40 {
                // Nothing but time is left.
                self.clock += 1;
                return;
            } else {
                // Everybody waits for somebody else; this kernel has answered what it could.
                assert!(!self.requests.iter().any(|request| matches!(request.work, Work::Send { .. })));
                if self.stopped {
                    self.hold(false, Check::NeverStops, String::new);
                    self.over = true;
                    return;
                }
                if self.play == Play::Slow {
                    self.is_let_go()
                } else {
                    self.is_served()
                }
                self.stopped = true;
            }
        }
    }

    /// Before it sleeps: a client that leaves its replies untaken is not received from, and everybody else is.
    fn nobody_is_forgotten(&mut self) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            if client.token.is_none() || client.let_go || client.reset || client.finished {
                continue;
            }
            let (full, outstanding) = (client.outstanding() >= MAX_PENDING, client.outstanding());
            // What one receive brought before it was stopped comes on top: 18 bytes are answered by 52.
            let limit = MAX_PENDING + 40 * PIECE * 3;
            let stops = self.stopped_at.is_some();
            let (received, too_much, rest) = match self.receive_of(index) {
                Some(Work::Receive { stopped, .. }) => (true, full && !*stopped, false),
                Some(_) => (true, false, true),
                None => (false, false, false),
            };
            let who = || format!("client {index}, which is owed {outstanding} bytes");
            self.hold(outstanding < limit, Check::OwesTooMuch, who);
            self.hold(!too_much, Check::ReceivesTooMuch, who);
            self.hold(!rest || stops, Check::ReceivesTheRest, who);
            self.hold(received || full || stops, Check::ReceivesNothing, who);
        }
    }

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        let mut lazy = Vec::new();
        for (index, client) in self.clients.iter().enumerate() {
            if !client.connected {
                // Somebody stands at the door all the time, and comes in when another has gone.
                if self.backlog.len() < 3 {
                    moves.push(Move::Connect(index));
                }
                continue;
            }
            if client.reset {
                continue;
            }
            if client.manner == Manner::Resets && client.sent > client.script.len() / 2 {
                moves.push(Move::Reset(index));
            }
            if client.sent < client.script.len() {
                moves.push(Move::Send(index));
            } else if client.manner == Manner::Finishes && !client.finished {
                moves.push(Move::Finish(index));
            }
            if client.read < client.delivered.len() {
                if client.manner == Manner::Lazy { &mut lazy } else { &mut moves }.push(Move::Read(index));
            }
        }
        for (index, request) in self.requests.iter().enumerate() {
            let ready = match &request.work {
                Work::Watch => self.stopped,
                Work::Accept => !self.backlog.is_empty(),
                Work::Receive { client, stopped } => {
                    let client = &self.clients[*client];
                    *stopped || client.let_go || client.reset || client.finished || client.received < client.sent
                }
                Work::Rest { .. } => true,
                Work::Send { client, .. } => {
                    let client = &self.clients[*client];
                    client.let_go || client.reset || client.delivered.len() - client.read < client.room
                }
            };
            if ready {
                moves.push(Move::Answer(index));
            }
        }
        if moves.is_empty() { lazy } else { moves }
    }

    fn play(&mut self, step: Move) {
        match step {
            Move::Connect(index) => {
                self.clients[index].connected = true;
                self.backlog.push_back(index);
            }
            Move::Send(index) => {
                let left = self.clients[index].script.len() - self.clients[index].sent;
                let longest = if self.one_in(2) { 3 * PIECE } else { 20 };
                let count = 1 + self.up_to(left.min(longest));
                self.clients[index].sent += count;
            }
            Move::Finish(index) => self.clients[index].finished = true,
            Move::Reset(index) => self.clients[index].reset = true,
            Move::Read(index) => {
                let left = self.clients[index].delivered.len() - self.clients[index].read;
                let count = if self.one_in(2) { left } else { 1 + self.up_to(left) };
                self.clients[index].read += count;
            }
            Move::Answer(index) => self.answer(index),
        }
    }

    fn answer(&mut self, index: usize) {
        let Request { token, work } = self.requests.swap_remove(index);
        let goes_on = !self.one_in(6);
        self.has_answers |= !matches!(work, Work::Watch | Work::Accept);
        let (again, more, outcome) = match work {
            Work::Watch => (None, false, Outcome::Raised),
            Work::Accept if self.one_in(8) => {
                self.seen.refused_accepts += 1;
                self.refused_at = Some(self.clock);
                (None, false, Outcome::Accepted(Err(io::Error::from_raw_os_error(libc::EMFILE))))
            }
            Work::Accept => {
                self.refused_at = None;
                let client = self.backlog.pop_front().expect("somebody waits");
                (Some(Work::Accept), goes_on, Outcome::Accepted(Ok(Socket(Rc::new(client)))))
            }
            Work::Receive { client, .. } | Work::Rest { client } => {
                self.look_for_the_gone(client);
                let waits = matches!(work, Work::Receive { .. });
                let stalls = self.one_in(10);
                let state = &mut self.clients[client];
                if state.let_go {
                    (None, false, Outcome::Received(Ok(Bytes(Vec::new()))))
                } else if state.reset {
                    let error = io::Error::from_raw_os_error(libc::ECONNRESET);
                    (None, false, Outcome::Received(Err(error)))
                } else if state.received == state.sent && state.finished {
                    (None, false, Outcome::Received(Ok(Bytes(Vec::new()))))
                } else if state.received == state.sent && !waits {
                    (None, false, Outcome::Emptied)
                } else if state.received == state.sent || stalls {
                    self.seen.stalls += 1;
                    (None, false, Outcome::Stalled)
                } else {
                    let bytes = self.bring(client);
                    // One that is stopped may bring something more before its end.
                    (Some(work), goes_on, Outcome::Received(Ok(Bytes(bytes))))
                }
            }
            Work::Send { client, bytes, from } => {
                self.look_for_the_gone(client);
                let state = &self.clients[client];
                if state.let_go || state.reset {
                    (None, false, Outcome::Sent(Err(io::Error::from_raw_os_error(libc::EPIPE)), bytes))
                } else {
                    let room = state.room - (state.delivered.len() - state.read);
                    let most = room.min(bytes.len() - from);
                    let count = if self.one_in(3) && most > 0 { 1 + self.up_to(most) } else { most };
                    self.seen.partial_sends += u64::from(from + count < bytes.len());
                    let ended = self.clients[client].told_the_end;
                    self.hold(!ended, Check::BehindTheEnd, || format!("client {client}"));
                    let state = &mut self.clients[client];
                    state.delivered.extend_from_slice(&bytes[from..from + count]);
                    assert!(state.delivered.len() - state.read <= state.room, "more than fits");
                    (None, false, Outcome::Sent(Ok(count), bytes))
                }
            }
        };
        match again {
            Some(work) if more => {
                self.seen.went_on += 1;
                self.requests.push(Request { token, work });
            }
            Some(_) => self.seen.went_out += 1,
            None => {}
        }
        self.completions.push_back(Event { token, more, outcome });
    }

    /// The next piece of what a client has sent.
    fn bring(&mut self, client: usize) -> Vec<u8> {
        let state = &self.clients[client];
        let most = (state.sent - state.received).min(PIECE);
        let count = if self.one_in(3) { 1 + self.up_to(most) } else { most };
        let state = &mut self.clients[client];
        let bytes = state.script[state.received..state.received + count].to_vec();
        state.received += count;
        state.replies += state.oracle.receive(&bytes, 0, &mut state.due);
        bytes
    }

    fn look_for_the_gone(&mut self, client: usize) {
        let gone = &self.clients[client];
        if !gone.let_go {
            return;
        }
        self.seen.answers_for_the_gone += 1;
        let slot = gone.token.map(|token| token as u32);
        let taken = self.clients.iter().any(|other| !other.let_go && other.token.map(|token| token as u32) == slot);
        self.seen.answers_after_the_place_was_taken += u64::from(taken);
    }
}
