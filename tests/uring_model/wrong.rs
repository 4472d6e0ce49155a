//! A wrong server for each check: the proof that it finds what it looks for, and that no other check would speak first.

use std::collections::{BTreeSet, HashMap};
use std::io;

use lab::http::{Connection, Expired, Timeouts};
use lab::kernel;
use lab::runner::{LISTENER, STOP, Served, Server, server};
use lab::uring::{Event, Outcome, Ring, Room, Socket};

use crate::check::Check;
use crate::world::{Client as Visitor, Manner, Play, Seen, play, slow_clients};
use crate::{HASTY, PATIENT};

type Serve = fn(Server, Timeouts) -> io::Result<Served>;

/// So many requests have more replies than may wait.
const HUNGRY: usize = 7_000;

/// Something that a check refuses.
enum Program {
    /// A server, which clients it has, and how far it is played.
    Serves(Serve, fn() -> Vec<Visitor>, Play),
    /// What the server of a play that has ended by itself has left behind. No server of ours would.
    Leaves(fn(&mut Visitor)),
    /// Plays in which something did not happen often enough.
    HasSeen(Seen),
}

/// The program that violates this check, and no other before it.
fn tripper(check: Check) -> Program {
    use Program::{HasSeen, Leaves, Serves};
    const OFTEN: Seen = Seen {
        partial_sends: 1_001,
        stalls: 1_001,
        stops: 501,
        went_on: 1_001,
        went_out: 1_001,
        refused_accepts: 501,
        answers_for_the_gone: 501,
        answers_after_the_place_was_taken: 51,
        served_at_stop: 0,
    };
    let one: fn() -> Vec<Visitor> = || vec![visitor(Manner::Stays, 3)];
    let many: fn() -> Vec<Visitor> = || (0..9).map(|n| visitor(Manner::Stays, n % 4)).collect();
    let hungry: fn() -> Vec<Visitor> = || vec![visitor(Manner::Stays, HUNGRY)];
    let to_the_end = |serve, visitors| Serves(serve, visitors, Play::ToTheEnd);
    // Before all that these send is received.
    let stopped = |serve| Serves(serve, || (0..9).map(|_| visitor(Manner::Stays, 4)).collect(), Play::Stopped(30));
    let slow = |serve| Serves(serve, slow_clients, Play::Slow);
    match check {
        Check::GivesUp => to_the_end(serve::<{ Check::GivesUp as u8 }>, one),
        Check::NeverStops => to_the_end(serve::<{ Check::NeverStops as u8 }>, one),
        Check::TokenChanges => to_the_end(serve::<{ Check::TokenChanges as u8 }>, one),
        Check::AcceptsTwice => to_the_end(serve::<{ Check::AcceptsTwice as u8 }>, one),
        Check::AcceptsAtOnce => to_the_end(serve::<{ Check::AcceptsAtOnce as u8 }>, many),
        Check::EmptySend => to_the_end(serve::<{ Check::EmptySend as u8 }>, one),
        Check::TwoSends => to_the_end(serve::<{ Check::TwoSends as u8 }>, one),
        Check::BehindTheEnd => to_the_end(serve::<{ Check::BehindTheEnd as u8 }>, one),
        Check::LeavesAnswers => to_the_end(serve::<{ Check::LeavesAnswers as u8 }>, many),
        Check::OwesTooMuch => to_the_end(serve::<{ Check::OwesTooMuch as u8 }>, hungry),
        Check::ReceivesTooMuch => to_the_end(serve::<{ Check::ReceivesTooMuch as u8 }>, hungry),
        Check::ReceivesTheRest => to_the_end(serve::<{ Check::ReceivesTheRest as u8 }>, one),
        Check::ReceivesNothing => to_the_end(serve::<{ Check::ReceivesNothing as u8 }>, one),
        Check::Stranger => to_the_end(serve::<{ Check::Stranger as u8 }>, one),
        Check::Unsent => Leaves(|client| client.sent -= 1),
        Check::Unanswered => to_the_end(serve::<{ Check::Unanswered as u8 }>, one),
        Check::Untaken => Leaves(|client| client.read -= 1),
        Check::Unreceived => Leaves(|client| client.received -= 1),
        Check::NoEnd => to_the_end(serve::<{ Check::NoEnd as u8 }>, || vec![visitor(Manner::Finishes, 1)]),
        Check::KeepsTheBroken => {
            to_the_end(serve::<{ Check::KeepsTheBroken as u8 }>, || vec![visitor(Manner::Resets, 9)])
        }
        Check::MiscountsBytes => to_the_end(serve::<{ Check::MiscountsBytes as u8 }>, one),
        Check::MiscountsReplies => to_the_end(serve::<{ Check::MiscountsReplies as u8 }>, one),
        Check::StrangerAtStop => stopped(serve::<{ Check::StrangerAtStop as u8 }>),
        Check::UnreceivedAtStop => stopped(serve::<{ Check::UnreceivedAtStop as u8 }>),
        Check::UnansweredAtStop => stopped(serve::<{ Check::UnansweredAtStop as u8 }>),
        Check::KeptAtStop => stopped(serve::<{ Check::KeptAtStop as u8 }>),
        Check::BreaksSilence => slow(serve::<{ Check::BreaksSilence as u8 }>),
        Check::SpoilsReply => slow(serve::<{ Check::SpoilsReply as u8 }>),
        Check::NoTimeout => slow(serve::<{ Check::NoTimeout as u8 }>),
        Check::NoEndOfTimeout => slow(serve::<{ Check::NoEndOfTimeout as u8 }>),
        Check::KeptInVain => slow(serve::<{ Check::KeptInVain as u8 }>),
        Check::MiscountsSlow => slow(serve::<{ Check::MiscountsSlow as u8 }>),
        // One less than what is enough.
        Check::FewPartialSends => HasSeen(Seen { partial_sends: 1_000, ..OFTEN }),
        Check::FewStalls => HasSeen(Seen { stalls: 1_000, ..OFTEN }),
        Check::FewStops => HasSeen(Seen { stops: 500, ..OFTEN }),
        Check::FewGoOn => HasSeen(Seen { went_on: 1_000, ..OFTEN }),
        Check::FewGoOut => HasSeen(Seen { went_out: 1_000, ..OFTEN }),
        Check::FewRefusals => HasSeen(Seen { refused_accepts: 500, ..OFTEN }),
        Check::FewAnswersForTheGone => HasSeen(Seen { answers_for_the_gone: 500, ..OFTEN }),
        Check::FewAnswersAfterThePlaceWasTaken => HasSeen(Seen { answers_after_the_place_was_taken: 50, ..OFTEN }),
    }
}

/// It sends that many requests.
fn visitor(manner: Manner, requests: usize) -> Visitor {
    Visitor::new(manner, b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n".repeat(requests), 1_000)
}

/// What the checks but `off` say of it, with so many seeds.
fn judge(program: &Program, off: Option<Check>) -> BTreeSet<Check> {
    const SEEDS: u64 = 12;
    let found = |result: Result<Seen, crate::check::Refusal>| result.err().map(|refusal| refusal.check);
    match program {
        Program::Serves(serve, visitors, how) => {
            let timeouts = if *how == Play::Slow { HASTY } else { PATIENT };
            let play = |seed| play(seed, visitors(), *how, off, || serve(server(), timeouts));
            (0..SEEDS).filter_map(|seed| found(play(seed))).collect()
        }
        Program::Leaves(how) => {
            let mut client = visitor(Manner::Stays, 1).after_all();
            how(&mut client);
            let received = client.received as u64;
            let served = || Ok(Served { received, replies: 1 });
            found(play(0, vec![client], Play::ToTheEnd, off, served)).into_iter().collect()
        }
        Program::HasSeen(seen) => found(seen.is_enough(off).map(|()| *seen)).into_iter().collect(),
    }
}

#[test]
fn each_check_refuses_its_program_before_any_other_and_without_it_says_nothing() {
    for check in Check::ALL.iter().copied() {
        let program = tripper(check);
        assert_eq!(judge(&program, None), BTreeSet::from([check]));
        assert!(!judge(&program, Some(check)).contains(&check), "without {check:?}");
    }
}

#[test]
fn the_right_server_passes() {
    let right: Serve = serve::<RIGHT>;
    let manners =
        || [Manner::Stays, Manner::Finishes, Manner::Resets, Manner::Lazy].map(|manner| visitor(manner, 40)).into();
    for how in [Play::ToTheEnd, Play::Stopped(10), Play::Stopped(60)] {
        assert_eq!(judge(&Program::Serves(right, manners, how), None), BTreeSet::new());
    }
    assert_eq!(judge(&Program::Serves(right, slow_clients, Play::Slow), None), BTreeSet::new());
    assert_eq!(judge(&Program::Leaves(|_| ()), None), BTreeSet::new());
}

/// Where one check looks for two things, there is another server for the other.
#[test]
fn what_else_each_check_looks_for_is_found() {
    let is_all = |program: Program, off: Option<Check>, check: Check| {
        assert_eq!(judge(&program, off), BTreeSet::from([check]));
    };
    // One byte of a reply.
    let lacks = |client: &mut Visitor| {
        client.delivered.pop();
        client.read -= 1;
    };
    is_all(Program::Leaves(lacks), None, Check::Unanswered);
    // Who has its last reply waits for the end, though it has not ended itself.
    let asks_for_the_end = || {
        let last = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
        vec![Visitor::new(Manner::Stays, last.to_vec(), 1_000)]
    };
    let never_shuts: Serve = serve::<{ Check::NoEndOfTimeout as u8 }>;
    is_all(Program::Serves(never_shuts, asks_for_the_end, Play::ToTheEnd), None, Check::NoEnd);
    // More than its reply.
    is_all(tripper(Check::BreaksSilence), Some(Check::BreaksSilence), Check::SpoilsReply);
    // Nobody is late for a server that never looks at the clock.
    is_all(Program::Serves(serve::<NO_CLOCK>, slow_clients, Play::Slow), None, Check::KeptInVain);
}

/// What was received of a client that broke off may be counted or not.
#[test]
fn the_counts_are_between_those_without_the_broken_and_those_with_them() {
    let found = |received, replies| {
        let mut broken = visitor(Manner::Resets, 1).after_all();
        broken.reset = true;
        let clients = vec![visitor(Manner::Stays, 1).after_all(), broken];
        play(0, clients, Play::ToTheEnd, None, || Ok(Served { received, replies })).err().map(|refusal| refusal.check)
    };
    // A request is 29 bytes.
    for (received, expected) in
        [(28, Some(Check::MiscountsBytes)), (29, None), (58, None), (59, Some(Check::MiscountsBytes))]
    {
        assert_eq!(found(received, 1), expected, "{received} bytes");
    }
    for (replies, expected) in
        [(0, Some(Check::MiscountsReplies)), (1, None), (2, None), (3, Some(Check::MiscountsReplies))]
    {
        assert_eq!(found(29, replies), expected, "{replies} replies");
    }
}

/// Here no token comes again, so no place is taken by another.
#[test]
fn who_has_gone_is_told_from_whose_place_is_taken() {
    let mut seen = Seen::default();
    for seed in 0..20 {
        let clients = (0..8).map(|_| visitor(Manner::Resets, 20)).collect();
        let play = play(seed, clients, Play::ToTheEnd, None, || serve::<RIGHT>(server(), PATIENT));
        seen.add(&play.expect("it is right"));
    }
    assert!(seen.answers_for_the_gone > 0, "{seen:?}");
    assert_eq!(seen.answers_after_the_place_was_taken, 0);
}

/// No check's number.
const RIGHT: u8 = u8::MAX;
/// Nor this: it sleeps without a limit.
const NO_CLOCK: u8 = u8::MAX - 1;

struct Client {
    socket: Socket,
    connection: Connection,
    /// Nothing more is received: it has ended, or all that had arrived is here.
    ended: bool,
    shut: bool,
}

struct Reactor<const FAULT: u8> {
    ring: Ring,
    clients: HashMap<u64, Client>,
    accepted: u64,
    replies: Vec<u8>,
    now: u32,
    full: bool,
    stopped: bool,
    served: Served,
    timeouts: Timeouts,
}

/// A small server on a ring, of one thread; but for the fault. It knows no generations: here no token comes again.
fn serve<const FAULT: u8>(server: Server, timeouts: Timeouts) -> io::Result<Served> {
    let mut reactor = Reactor::<FAULT> {
        ring: Ring::new(Room::default())?,
        clients: HashMap::new(),
        accepted: LISTENER,
        replies: Vec::new(),
        now: 0,
        full: false,
        stopped: false,
        served: Served { received: 0, replies: 0 },
        timeouts,
    };
    reactor.run(&server)?;
    let Served { received, replies } = reactor.served;
    Ok(match () {
        () if FAULT == Check::MiscountsBytes as u8 => Served { received: received + 1, replies },
        () if [Check::MiscountsReplies, Check::MiscountsSlow].map(|check| check as u8).contains(&FAULT) => {
            Served { received, replies: replies + 1 }
        }
        () => reactor.served,
    })
}

fn is<const FAULT: u8>(check: Check) -> bool {
    FAULT == check as u8
}

impl<const FAULT: u8> Reactor<FAULT> {
    fn run(&mut self, server: &Server) -> io::Result<()> {
        self.ring.watch(&server.stop, STOP)?;
        self.ring.accept(&server.listener, LISTENER)?;
        if is::<FAULT>(Check::AcceptsTwice) {
            self.ring.accept(&server.listener, LISTENER)?;
        }
        while !self.stopped || !self.clients.is_empty() || is::<FAULT>(Check::NeverStops) {
            let late = (self.full || !self.clients.is_empty()) && FAULT != NO_CLOCK;
            self.ring.wait_for(late.then_some(1))?;
            if is::<FAULT>(Check::LeavesAnswers) {
                self.ring.wait_for(None)?;
            }
            let before = std::mem::replace(&mut self.now, kernel::seconds());
            while let Some(event) = self.ring.next_event() {
                match event.token {
                    STOP => self.stop()?,
                    LISTENER => self.accepted(event, server)?,
                    _ => self.turn(event)?,
                }
            }
            if self.now != before {
                self.look_at_the_clock(server)?;
            }
            if self.stopped && is::<FAULT>(Check::UnreceivedAtStop) {
                // As if nothing more had arrived.
                self.clients.values_mut().for_each(|client| client.ended = true);
                self.ask_for_all()?;
            }
        }
        Ok(())
    }

    fn accepted(&mut self, event: Event, server: &Server) -> io::Result<()> {
        match event.outcome {
            Outcome::Accepted(Ok(socket)) => {
                self.accepted += 1;
                let client = Client { socket, connection: Connection::new(self.now), ended: false, shut: false };
                self.clients.insert(self.accepted, client);
                self.ask(self.accepted)?;
            }
            _ => self.full = !is::<FAULT>(Check::AcceptsAtOnce),
        }
        if event.more || self.full { Ok(()) } else { self.ring.accept(&server.listener, LISTENER) }
    }

    fn turn(&mut self, event: Event) -> io::Result<()> {
        if is::<FAULT>(Check::GivesUp) {
            return Err(io::ErrorKind::Other.into());
        }
        let Some(client) = self.clients.get_mut(&event.token) else { return Ok(()) };
        match event.outcome {
            Outcome::Received(Ok(bytes)) => {
                client.ended |= bytes.is_empty();
                self.served.received += bytes.len() as u64;
                self.served.replies += client.connection.receive(&bytes, self.now, &mut self.replies);
                let wrong = [Check::Stranger, Check::StrangerAtStop, Check::SpoilsReply].map(|check| check as u8);
                if wrong.contains(&FAULT) {
                    self.replies.fill(b'?');
                }
            }
            Outcome::Sent(Ok(count), bytes) => {
                let left = client.connection.complete_send(count, self.now);
                if left > 0 && !is::<FAULT>(Check::TwoSends) {
                    let from = bytes.len() - left;
                    self.ring.send(&client.socket, event.token, bytes, from)?;
                }
            }
            Outcome::Stalled if is::<FAULT>(Check::ReceivesNothing) && !self.stopped => return Ok(()),
            Outcome::Stalled => {}
            Outcome::Emptied => client.ended |= self.stopped,
            // It is broken.
            _ => {
                if !is::<FAULT>(Check::KeepsTheBroken) || self.stopped {
                    self.clients.remove(&event.token);
                }
                return Ok(());
            }
        }
        self.ask(event.token)
    }

    /// Asks for what the client needs next.
    fn ask(&mut self, token: u64) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&token) else { return Ok(()) };
        let mute = [Check::OwesTooMuch, Check::ReceivesTooMuch, Check::Unanswered].map(|check| check as u8);
        if mute.contains(&FAULT) || (self.stopped && is::<FAULT>(Check::UnansweredAtStop)) {
            self.replies.clear();
        }
        if let Some(bytes) = client.connection.begin_send(&mut self.replies) {
            self.send(token, bytes)?;
        }
        let Some(client) = self.clients.get_mut(&token) else { return Ok(()) };
        if client.connection.is_over() && !client.shut && !is::<FAULT>(Check::NoEndOfTimeout) {
            client.socket.shutdown_write();
            client.shut = true;
        }
        if client.ended {
            let stays = is::<FAULT>(Check::NoEnd) && !self.stopped;
            if !stays && !client.connection.wants_write() {
                let client = self.clients.remove(&token).expect("it was asked for");
                if is::<FAULT>(Check::KeptAtStop) {
                    // Its descriptor stays open.
                    std::mem::forget(client.socket);
                }
            }
            return Ok(());
        }
        // Each of these brings what is there, and is stopped before anybody looks.
        if is::<FAULT>(Check::OwesTooMuch) && self.served.replies < HUNGRY as u64 {
            self.ring.receive(&client.socket, token)?;
            return self.ring.stop_receiving(&client.socket);
        }
        // Until something comes.
        let rest = self.stopped || (is::<FAULT>(Check::ReceivesTheRest) && self.served.received == 0);
        match client.connection.wants_read() {
            false => self.ring.stop_receiving(&client.socket),
            true if rest => self.ring.receive_rest(&client.socket, token),
            true => self.ring.receive(&client.socket, token),
        }
    }

    fn send(&mut self, token: u64, bytes: Vec<u8>) -> io::Result<()> {
        let client = &self.clients[&token];
        if is::<FAULT>(Check::BehindTheEnd) {
            client.socket.shutdown_write();
        }
        let from = if is::<FAULT>(Check::EmptySend) { bytes.len() } else { 0 };
        let named = if is::<FAULT>(Check::TokenChanges) { token + 1 } else { token };
        if is::<FAULT>(Check::TwoSends) {
            let (one, other) = bytes.split_at(1);
            self.ring.send(&client.socket, named, one.to_vec(), 0)?;
            return self.ring.send(&client.socket, named, other.to_vec(), 0);
        }
        self.ring.send(&client.socket, named, bytes, from)
    }

    fn stop(&mut self) -> io::Result<()> {
        self.stopped = true;
        self.ask_for_all()
    }

    fn ask_for_all(&mut self) -> io::Result<()> {
        let tokens: Vec<_> = self.clients.keys().copied().collect();
        tokens.into_iter().try_for_each(|token| self.ask(token))
    }

    fn look_at_the_clock(&mut self, server: &Server) -> io::Result<()> {
        let tokens: Vec<_> = self.clients.keys().copied().collect();
        for token in tokens {
            let Some(client) = self.clients.get_mut(&token) else { continue };
            let before = self.replies.len();
            match client.connection.expire(self.now, self.timeouts, &mut self.replies) {
                Expired::No => {}
                Expired::Request if is::<FAULT>(Check::NoTimeout) => {
                    self.replies.truncate(before);
                    self.clients.remove(&token);
                }
                Expired::Request => self.ask(token)?,
                Expired::Close if is::<FAULT>(Check::KeptInVain) => {}
                Expired::Close if is::<FAULT>(Check::BreaksSilence) && !client.shut => {
                    client.shut = true;
                    self.replies.extend_from_slice(b"well?");
                    self.ask(token)?;
                }
                Expired::Close => _ = self.clients.remove(&token),
            }
        }
        if std::mem::take(&mut self.full) { self.ring.accept(&server.listener, LISTENER) } else { Ok(()) }
    }
}
