//! The director: lets the threads of the server, and the clients, go on one at a time, and asks a strategy who is next.
//!
//! It runs in the parent and knows the server's threads through their slots in the black box. One role moves at a time:
//! a step is over when its role has come to a point that is not on the way, waits for something, or has ended. So the same
//! choices give the same run on one core, on many, and under load.
//!
//! Nothing here goes on for ever, not with a server that never comes to rest either: each wait has the limit of
//! [`Director::limit`], which does not run under a debugger.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::Location;
use std::time::{Duration, Instant};

use crate::direct::client::{Client, ClientTotals, SocketQueues, lacks};
use crate::direct::outcome::{Evidence, Hang, Outcome, Step, Stuck};
use crate::direct::schedule::{Action, client_of, is_thread};
use crate::direct::strategy::{Choice, Last, Move, Now, Standing, Strategy};
use crate::record::blackbox::{Blackbox, State, futex_wait, futex_wake};
use crate::record::event::{Kind, Waiting};

/// How long a role that waits for an event may take to notice one that the kernel is still delivering.
pub const GRACE: Duration = Duration::from_millis(200);

/// How long a role that sleeps in the kernel is looked at before it counts as not woken. Only for kernels that spread packets
/// over cores (RPS): elsewhere whoever is woken was woken before the client's step ended.
const LOOK: Duration = Duration::from_millis(1);

/// Who has passed so many points since anybody else did something comes to no rest: what a client may send at once is read in a
/// few.
const RESTLESS: usize = 4_000;

/// How a direction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Every step passed, was refused and passed later, or is unmet; the points are open.
    Over,
    /// The server's process died, or ended by itself.
    Died,
    /// After the steps nobody could move.
    Shown(Evidence),
    /// The server passed point after point, and came to no rest.
    Restless,
    /// The lab itself failed: what did not come in time, or what the client could not do.
    Failed(String),
    /// The machine does not allow what the client was to do; a sentence says what it lacks.
    Unable(String),
    /// The strategy wanted no more of it ([`Choice::Leave`]). Everybody still stands.
    Left,
}

/// Directs one run.
pub struct Director<'a> {
    /// The server's box.
    pub blackbox: Blackbox,
    /// Who says who goes next.
    pub strategy: &'a mut dyn Strategy,
    /// What those outside the server do, each in its order: see [`Schedule::outside`](crate::direct::schedule::Schedule::outside).
    pub outside: Vec<(String, VecDeque<Action>)>,
    /// The longest wait for one step; `None` for no limit.
    pub limit: Option<Duration>,
    /// Whether the server's process is still there.
    pub alive: &'a mut dyn FnMut() -> bool,
    /// Whether a debugger has stopped time.
    pub traced: &'a dyn Fn() -> bool,
    /// Whether to stay after the steps, until the client is served or nobody can move.
    pub stays: bool,
    /// Tells the server to stop.
    pub stop: &'a dyn Fn(),
    /// How long nothing must move before it is a hang: a packet may be on its way. [`GRACE`], unless there are many runs to make.
    pub grace: Duration,
}

/// What ends a direction early.
enum Stop {
    Died,
    Restless,
    Failed(String),
    Unable(String),
    Left,
}

struct Directing<'a, 'b> {
    director: &'b mut Director<'a>,
    /// In the order of [`crate::direct::schedule::CLIENTS`].
    clients: &'b mut [Client],
    last: Option<Last>,
}

impl Director<'_> {
    /// Directs the server and its clients to the end of the strategy, and says what became of each step.
    pub fn run(&mut self, clients: &mut [Client]) -> (Vec<Step>, Direction) {
        let stops = self.outside.iter().any(|(_, actions)| actions.contains(&Action::Stop));
        let mut run = Directing { director: self, clients, last: None };
        let stayed = run.steps().and_then(|()| match stops {
            true => run
                .run_to_the_servers_end()
                .map(|stuck| stuck.map(|stuck| Direction::Shown(Evidence::NeverStops(stuck)))),
            false => run.run_to_quiescence().map(|hang| hang.map(|hang| Direction::Shown(Evidence::Hangs(hang)))),
        });
        let verdict = match stayed {
            Ok(None) => Direction::Over,
            Ok(Some(verdict)) => verdict,
            Err(Stop::Died) => Direction::Died,
            Err(Stop::Restless) => Direction::Restless,
            Err(Stop::Failed(why)) => Direction::Failed(why),
            Err(Stop::Unable(why)) => Direction::Unable(why),
            Err(Stop::Left) => Direction::Left,
        };
        let now = Now { is_alive: verdict != Direction::Died, ..run.now() };
        let steps = self.strategy.steps(&now);
        if verdict != Direction::Left {
            self.blackbox.end_schedule();
            self.blackbox.open();
        }
        (steps, verdict)
    }
}

impl Directing<'_, '_> {
    fn steps(&mut self) -> Result<(), Stop> {
        self.run_to_stable_state()?;
        loop {
            let now = self.now();
            match self.director.strategy.choose(&now) {
                Choice::Role(chosen) => self.move_on(chosen, &now.roles[chosen.role])?,
                Choice::End => break,
                Choice::Leave => return Err(Stop::Left),
            }
        }
        self.director.blackbox.end_schedule();
        Ok(())
    }

    fn now(&self) -> Now {
        let names = self.director.blackbox.roles();
        let roles = names.into_iter().enumerate().map(|(role, name)| self.standing(role, name)).collect();
        Now { roles, last: self.last.clone(), is_alive: true }
    }

    fn standing(&self, role: usize, name: String) -> Standing {
        let slot = self.director.blackbox.slot(role);
        let next = self.director.outside.iter().find(|(other, _)| *other == name);
        Standing {
            state: slot.state(),
            point: slot.point(),
            occurrence: slot.occurrence.load(std::sync::atomic::Ordering::Relaxed),
            waits: self.blocked(role),
            next: next.and_then(|(_, actions)| actions.front().cloned()),
            name,
        }
    }

    /// The role that was chosen moves, or is given the time that it waits for.
    fn move_on(&mut self, chosen: Move, stands: &Standing) -> Result<(), Stop> {
        match stands.waiting() {
            _ if !is_thread(&stands.name) || stands.state == State::Parked => self.pass(chosen, stands),
            Some(Waiting::NoticeOrTime) => self.let_time_run_out(chosen.role),
            Some(waiting) if waiting.is_for_the_kernel() => self.wait_for_the_kernel(chosen.role),
            _ => Err(Stop::Failed(format!("{} was to go next, and cannot move", stands.name))),
        }
    }

    fn pass(&mut self, chosen: Move, stands: &Standing) -> Result<(), Stop> {
        let Move { role, step, is_late } = chosen;
        self.director.blackbox.begin_step(role, step as u32);
        self.note(role, Kind::Step, [step as u64, 0, 0]);
        self.last = Some(Last { moved: chosen, refused: None });
        if is_thread(&stands.name) {
            self.grant(role);
            self.run_to_stable_state()?;
            // Who has fallen asleep in the kernel has done what its step is.
            let asleep = self.director.blackbox.slot(role).state() == State::Asleep;
            let refused = self.blocked(role).filter(|_| !is_late && !asleep);
            if let Some(Outcome::Refused { waiting, address, .. }) = refused {
                self.note(role, Kind::Refused, [step as u64, waiting as u64, address]);
            }
            self.last = Some(Last { moved: chosen, refused });
        } else if let Err((what, error)) = self.act(&stands.name, role) {
            // A client that gets what it is not owed is not the lab's failure, nor one that finds its server dead.
            if self.clients.iter().any(|client| client.misdelivery().is_some()) {
                return self.retry_the_blocked();
            }
            if !(self.director.alive)() {
                return Err(Stop::Died);
            }
            if lacks(&error).is_none() && self.director.strategy.goes_on_without_a_client() {
                self.director
                    .outside
                    .iter_mut()
                    .filter(|(name, _)| *name == stands.name)
                    .for_each(|(_, rest)| rest.clear());
                return self.retry_the_blocked();
            }
            let said = |why: &dyn fmt::Display| format!("step {step}: the client could not {what}: {why}");
            return Err(match lacks(&error) {
                Some(why) => Stop::Unable(said(&why)),
                // The server listens, or has closed its listener in the order that was asked for.
                None if what == Action::Connect => Stop::Unable(said(&error)),
                None => Stop::Failed(said(&error)),
            });
        } else {
            // Whom the kernel has woken comes to its next point.
            self.run_to_stable_state()?;
        }
        self.retry_the_blocked()
    }

    /// What is next for somebody outside the server; an error comes with what could not be done.
    fn act(&mut self, name: &str, role: usize) -> Result<(), (Action, io::Error)> {
        let mut outside = self.director.outside.iter_mut();
        let action = outside.find(|(other, _)| other == name).and_then(|(_, actions)| actions.pop_front());
        let action = action.expect("who has nothing to do is not chosen");
        if action == Action::Stop {
            self.note(role, Kind::Stop, [0; 3]);
            (self.director.stop)();
            return Ok(());
        }
        let client = &mut self.clients[client_of(name).expect("only a client acts")];
        let done = match &action {
            Action::Connect => client.connect(),
            Action::Send(bytes) => client.send(*bytes),
            Action::Fin => client.fin(),
            Action::Reset => client.reset(),
            Action::Receive => client.receive(),
            Action::Stop | Action::Pass { .. } => unreachable!("not a client's"),
        };
        done.map_err(|error| (action, error))
    }

    #[track_caller]
    fn note(&self, role: usize, kind: Kind, [a, b, c]: [u64; 3]) {
        self.director.blackbox.record(role, kind, "", Location::caller(), a, b, c);
    }

    /// What a blocked role waits for.
    fn waits_for(&self, role: usize) -> Option<Waiting> {
        match self.blocked(role)? {
            Outcome::Refused { waiting, .. } => Some(waiting),
            _ => None,
        }
    }

    /// As what a step of this role is refused, if it is blocked.
    fn blocked(&self, role: usize) -> Option<Outcome> {
        use std::sync::atomic::Ordering::Relaxed;
        let slot = self.director.blackbox.slot(role);
        let waiting = Waiting::from_u8(slot.waiting.load(Relaxed) as u8)?;
        let holder = slot.holder.load(Relaxed) as usize;
        let holder = (waiting == Waiting::Lock || waiting == Waiting::Thread).then_some(holder);
        let address = slot.address.load(Relaxed);
        matches!(slot.state(), State::Blocked | State::Asleep).then_some(Outcome::Refused { waiting, address, holder })
    }

    /// A packet may still be on its way through the kernel: a role that waits for an event is asked again for a while.
    fn wait_for_the_kernel(&mut self, role: usize) -> Result<(), Stop> {
        let start = Instant::now();
        while self.waits_for(role).is_some_and(Waiting::is_for_the_kernel) {
            let looked = start.elapsed();
            if looked > GRACE || (looked > LOOK && self.was_not_woken(role)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(200));
            self.retry_the_blocked()?;
        }
        Ok(())
    }

    fn let_time_run_out(&mut self, role: usize) -> Result<(), Stop> {
        self.director.blackbox.slot(role).end_time();
        self.grant(role);
        self.run_to_stable_state()?;
        self.retry_the_blocked()
    }

    /// Whether a thread waits for a time, or spins: then it moves again without anybody's help, and nothing hangs for sure.
    fn somebody_waits_for_a_time(&self) -> bool {
        (0..self.director.blackbox.role_count()).any(|role| self.waits_for(role).is_some_and(Waiting::is_for_a_time))
    }

    /// Whether this role sleeps in the kernel, and what the client did so far has certainly not woken it. That is so once
    /// bytes have arrived: the kernel held the new connection's lock until it had woken whoever waits at the listener.
    fn was_not_woken(&self, role: usize) -> bool {
        self.clients.iter().all(|client| client.totals().sent > 0) && self.director.blackbox.slot(role).sleeps()
    }

    fn grant(&self, role: usize) {
        let slot = self.director.blackbox.slot(role);
        slot.set_state(State::Running);
        slot.grant.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        futex_wake(&slot.grant);
    }

    /// Lets each role that is blocked try again, until none of them gets any further.
    fn retry_the_blocked(&mut self) -> Result<(), Stop> {
        loop {
            let mut moved = false;
            for role in 0..self.director.blackbox.role_count() {
                if self.director.blackbox.slot(role).state() == State::Blocked {
                    self.grant(role);
                    self.run_to_stable_state()?;
                    moved |= self.director.blackbox.slot(role).state() != State::Blocked;
                }
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// Lets a role pass a point that nobody chose; `passed`: how many were passed like that.
    fn pass_on(&self, role: usize, passed: &mut usize) -> Result<(), Stop> {
        if *passed == RESTLESS {
            return Err(Stop::Restless);
        }
        *passed += 1;
        self.grant(role);
        Ok(())
    }

    /// Waits until nobody runs, and lets go on who stands at a point that is on its way.
    fn run_to_stable_state(&mut self) -> Result<(), Stop> {
        let (mut passed, mut start) = (0, Instant::now());
        loop {
            self.wait_until_all_parked_or_blocked(&mut start)?;
            let names = self.director.blackbox.roles();
            let on_the_way = names.into_iter().enumerate().find(|(role, name)| {
                self.director.blackbox.slot(*role).state() == State::Parked
                    && self.director.strategy.is_on_the_way(&self.standing(*role, name.clone()))
            });
            match on_the_way.map(|(role, _)| role) {
                Some(role) => self.pass_on(role, &mut passed)?,
                None => return Ok(()),
            }
        }
    }

    /// Whether the limit is over, for what began at `start`; a debugger that has stopped time begins it anew.
    fn is_over(&self, start: &mut Instant) -> bool {
        let is_over = self.director.limit.is_some_and(|limit| start.elapsed() > limit);
        if is_over && (self.director.traced)() {
            *start = Instant::now();
            return false;
        }
        is_over
    }

    /// `start`: since when nobody was to run any more. A thread that passes point after point does not begin it anew.
    fn wait_until_all_parked_or_blocked(&mut self, start: &mut Instant) -> Result<(), Stop> {
        let blackbox = self.director.blackbox;
        loop {
            let seen = blackbox.doorbell().load(std::sync::atomic::Ordering::Acquire);
            let runs = |role: &usize| match blackbox.slot(*role).state() {
                State::Running => true,
                State::Asleep => !blackbox.slot(*role).sleeps(),
                _ => false,
            };
            let running = (0..blackbox.role_count()).find(runs);
            if !(self.director.alive)() {
                return Err(Stop::Died);
            }
            let Some(role) = running else { return Ok(()) };
            if self.is_over(start) {
                let why = format!("{} did not come to rest in {:?}", blackbox.roles()[role], start.elapsed());
                return Err(Stop::Failed(why));
            }
            if blackbox.slot(role).state() == State::Asleep {
                // On its way into the kernel, or out of it: neither rings.
                std::thread::sleep(Duration::from_micros(50));
            } else {
                futex_wait(blackbox.doorbell(), seen, Some(100));
            }
        }
    }

    /// After the steps: everybody goes on, the client too, until it has its replies or nobody can move. What cannot move
    /// now can never move again, since all that could wake it is in this room: a hang is seen, not waited for. Only time is not
    /// in the room: as soon as somebody waits for it, the points are opened, and the clock decides.
    fn run_to_quiescence(&mut self) -> Result<Option<Hang>, Stop> {
        let limit = self.director.limit.unwrap_or(Duration::MAX).max(2 * self.director.grace);
        let mut still_since: Option<(Instant, SocketQueues)> = None;
        let mut served_since = Instant::now();
        while let Some(waits) = self.clients.iter().position(|client| !client.is_served())
            && self.director.stays
        {
            let before = self.progress();
            for client in self.clients.iter_mut().filter(|client| !client.is_served()) {
                // What a client gets that it is not owed, or loses, is judged when all is over.
                if client.go_on().is_err() {
                    return Ok(None);
                }
            }
            self.run_undirected()?;
            if self.somebody_waits_for_a_time() {
                return Ok(None);
            }
            let moved = self.has_moved(&before, &mut served_since)?;
            let Ok(connection) = self.clients[waits].connection() else { return Ok(None) };
            match still_since {
                Some((since, then)) if !moved && then == connection => {
                    // A packet may still be on its way through the kernel.
                    if since.elapsed() > self.director.grace && connection.untaken == 0 {
                        let hang = self.hang(waits, connection);
                        self.note(self.clients[waits].role(), Kind::Hang, [hang.owed, hang.unread, 0]);
                        return Ok(Some(hang));
                    }
                    if since.elapsed() > limit {
                        let why = format!("{} bytes of the server did not reach the client", connection.untaken);
                        return Err(Stop::Failed(why));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => still_since = (!moved).then(|| (Instant::now(), connection)),
            }
        }
        Ok(None)
    }

    /// After the steps of a schedule in which the server is told to stop: everybody goes on, the clients too, until the server
    /// has ended or nobody can move. Who then waits for another thread waits for ever: a packet wakes the reactor at most, and
    /// it is not there any more. Who waits for a time is left to the clock, as in `run_to_quiescence`.
    fn run_to_the_servers_end(&mut self) -> Result<Option<Stuck>, Stop> {
        let mut served_since = Instant::now();
        while self.director.stays {
            let before = self.progress();
            for client in self.clients.iter_mut().filter(|client| !client.is_served()) {
                // A server that stops may end a stream; what its client lost by that is not judged here.
                if client.go_on().is_err() {
                    break;
                }
            }
            self.run_undirected()?;
            if self.somebody_waits_for_a_time() {
                return Ok(None);
            }
            if self.has_moved(&before, &mut served_since)? {
                continue;
            }
            let Some((role, other)) = self.waits_for_an_end() else { return Ok(None) };
            self.note(role, Kind::Stuck, [other as u64, 0, 0]);
            let doing = self.all_doing();
            return Ok(Some(Stuck { doing, joins: Some((role, other)), asleep: Vec::new() }));
        }
        Ok(None)
    }

    /// How far everybody has come: what the server has recorded, and what each client has done.
    fn progress(&self) -> (u64, Vec<ClientTotals>) {
        (self.director.blackbox.written(), self.clients.iter().map(Client::totals).collect())
    }

    /// Whether anybody has moved since `before`. A server that goes on, and serves no client of ours in all of the limit, is given up.
    fn has_moved(&self, before: &(u64, Vec<ClientTotals>), served_since: &mut Instant) -> Result<bool, Stop> {
        let after = self.progress();
        if after.1 != before.1 {
            *served_since = Instant::now();
        } else if after != *before && self.is_over(served_since) {
            let records = self.director.blackbox.records();
            let accepted = records.iter().filter(|record| record.kind == Kind::Accept).count();
            let strangers = if accepted > self.clients.len() { ": somebody else has connected to it" } else { "" };
            let long = served_since.elapsed();
            let why = format!("the server goes on, and no client got or sent anything in {long:?}{strangers}");
            return Err(Stop::Failed(why));
        }
        Ok(after != *before)
    }

    /// Who waits for whose end.
    fn waits_for_an_end(&self) -> Option<(usize, usize)> {
        (0..self.director.blackbox.role_count()).find_map(|role| match self.blocked(role) {
            Some(Outcome::Refused { waiting: Waiting::Thread, holder: Some(holder), .. }) => Some((role, holder)),
            _ => None,
        })
    }

    /// What each thread of the server does.
    fn all_doing(&self) -> Vec<(String, String)> {
        let now = self.now();
        let threads = (0..now.roles.len()).filter(|role| is_thread(&now.roles[*role].name));
        threads.map(|role| (now.roles[role].name.clone(), now.doing(role))).collect()
    }

    /// Lets everybody pass point after point, until all wait for something.
    fn run_undirected(&mut self) -> Result<(), Stop> {
        let (mut passed, mut start) = (0, Instant::now());
        loop {
            self.wait_until_all_parked_or_blocked(&mut start)?;
            let blackbox = self.director.blackbox;
            match (0..blackbox.role_count()).find(|role| blackbox.slot(*role).state() == State::Parked) {
                Some(role) => self.pass_on(role, &mut passed)?,
                None => {
                    let before = blackbox.written();
                    self.retry_the_blocked()?;
                    // Who spins may record each look, in vain or not.
                    if blackbox.written() == before || self.somebody_waits_for_a_time() {
                        return Ok(());
                    }
                    if self.is_over(&mut start) {
                        return Err(Stop::Failed(format!("the server did not come to rest in {:?}", start.elapsed())));
                    }
                }
            }
        }
    }

    fn hang(&self, waits: usize, connection: SocketQueues) -> Hang {
        let records = self.director.blackbox.records();
        // Connections are accepted in the order in which they were made.
        let mut connected = records.iter().filter(|record| record.kind == Kind::ClientConnect);
        let number = connected.position(|record| record.role == self.clients[waits].role()).unwrap_or(0);
        let accepted = records.iter().filter(|record| record.kind == Kind::Accept).nth(number);
        let fd = accepted.map_or(0, |record| record.a);
        Hang {
            session: accepted.map_or(0, |_| number as u64 + 1),
            fd,
            unread: connection.unread,
            owed: self.clients[waits].owed(),
            doing: self.all_doing(),
            proof: None,
            serves_another: false,
        }
    }
}

#[cfg(test)]
mod scripted;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::in_order::InOrder;
    use crate::direct::schedule::{Plan, Schedule};
    use crate::record::blackbox::MAIN;
    use std::sync::atomic::Ordering;

    const POINTS: [&str; 3] = ["first", "second", "third"];

    /// A thread of a server, as the director sees it: parks at each of its points, then ends.
    fn play(blackbox: Blackbox, role: usize, points: &[&'static str], passed: &std::sync::Mutex<Vec<String>>) {
        let slot = blackbox.slot(role);
        for point in points {
            let seen = slot.grant.load(Ordering::Acquire);
            slot.set_point(point, 1);
            slot.set_state(State::Parked);
            blackbox.ring_doorbell();
            while slot.grant.load(Ordering::Acquire) == seen && !blackbox.is_open() {
                futex_wait(&slot.grant, seen, None);
            }
            passed.lock().expect("no test thread panics").push(format!("{} {point}", blackbox.roles()[role]));
        }
        slot.set_state(State::Ended);
        blackbox.ring_doorbell();
    }

    /// A director that leaves after the steps, has no client to wait for, and need tell nobody to stop.
    fn director<'a>(
        blackbox: Blackbox,
        strategy: &'a mut dyn Strategy,
        limit: Option<Duration>,
        alive: &'a mut dyn FnMut() -> bool,
        traced: &'a dyn Fn() -> bool,
    ) -> Director<'a> {
        Director {
            blackbox,
            strategy,
            outside: Vec::new(),
            limit,
            alive,
            traced,
            stays: false,
            stop: &|| (),
            grace: GRACE,
        }
    }

    /// The last role that could move, at each point, until nobody can.
    #[derive(Default)]
    struct LastFirst {
        steps: Vec<Step>,
    }

    impl Strategy for LastFirst {
        fn choose(&mut self, now: &Now) -> Choice {
            let Some(role) = now.movable().last() else { return Choice::End };
            let Standing { name, point, .. } = now.roles[role].clone();
            self.steps.push(Step { role: name, what: point.to_string(), outcome: Outcome::Passed });
            Choice::Role(Move { role, step: self.steps.len(), is_late: false })
        }

        fn steps(&mut self, _: &Now) -> Vec<Step> {
            std::mem::take(&mut self.steps)
        }
    }

    /// A strategy that nobody wrote a schedule for; what it did is one, and the same run.
    #[test]
    fn a_strategy_chooses_at_each_point_and_its_steps_are_a_schedule() {
        let (steps, passed) = play_both(&mut LastFirst::default());
        let said: Vec<_> = steps.iter().map(|step| format!("{} {}", step.role, step.what)).collect();
        assert_eq!((passed.len(), &passed), (6, &said));
        let schedule = Schedule::parse(&said.join("\n"), &POINTS, 1).expect("it is well formed");
        assert_eq!(play_both(&mut InOrder::new(&schedule)).1, said);
    }

    /// A strategy that chooses who cannot move is told so, and nobody waits for ever.
    #[test]
    fn who_cannot_move_is_not_moved() {
        struct Ended;
        impl Strategy for Ended {
            fn choose(&mut self, now: &Now) -> Choice {
                let role = now.movable().next().unwrap_or(MAIN);
                Choice::Role(Move { role, step: 1, is_late: false })
            }

            fn steps(&mut self, now: &Now) -> Vec<Step> {
                vec![Step { role: now.doing(MAIN), what: String::new(), outcome: Outcome::NotReached }]
            }
        }
        let (verdict, steps, _) = play_with(&mut Ended);
        assert_eq!(verdict, Direction::Failed("main was to go next, and cannot move".to_string()));
        assert_eq!(steps[0].role, "has ended");
    }

    /// Nobody goes on by itself where the strategy wants no more.
    #[test]
    fn a_run_that_is_left_stands_still() {
        struct Leaves;
        impl Strategy for Leaves {
            fn choose(&mut self, now: &Now) -> Choice {
                match &now.last {
                    None => Choice::Role(Move { role: MAIN, step: 1, is_late: false }),
                    Some(_) => Choice::Leave,
                }
            }

            fn steps(&mut self, _: &Now) -> Vec<Step> {
                Vec::new()
            }
        }
        let blackbox = Blackbox::new(64).expect("there is a memfd");
        let passed = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| play(blackbox, MAIN, &POINTS, &passed));
            let (mut alive, traced) = (|| true, || false);
            let verdict = director(blackbox, &mut Leaves, None, &mut alive, &traced).run(&mut []).1;
            assert_eq!(verdict, Direction::Left);
            assert!(!blackbox.is_open() && !blackbox.records().iter().any(|record| record.over));
            assert_eq!(blackbox.slot(MAIN).state(), State::Parked);
            assert_eq!(*passed.lock().expect("no test thread panics"), ["main first"]);
            blackbox.open();
        });
    }

    fn play_both(strategy: &mut dyn Strategy) -> (Vec<Step>, Vec<String>) {
        let (verdict, steps, passed) = play_with(strategy);
        assert_eq!(verdict, Direction::Over);
        (steps, passed)
    }

    /// `main` and a worker, each with all points.
    fn play_with(strategy: &mut dyn Strategy) -> (Direction, Vec<Step>, Vec<String>) {
        let blackbox = Blackbox::new(256).expect("there is a memfd");
        let worker_role = blackbox.add_role("worker-1").expect("there is room");
        let passed = std::sync::Mutex::new(Vec::new());
        let (steps, verdict) = std::thread::scope(|scope| {
            scope.spawn(|| play(blackbox, MAIN, &POINTS, &passed));
            scope.spawn(|| play(blackbox, worker_role, &POINTS, &passed));
            let (mut alive, traced) = (|| true, || false);
            director(blackbox, strategy, Some(Duration::from_secs(10)), &mut alive, &traced).run(&mut [])
        });
        (verdict, steps, passed.into_inner().expect("no test thread panics"))
    }

    struct Outcomes {
        passed: Vec<String>,
        outcomes: Vec<Outcome>,
        verdict: Direction,
    }

    fn direct(text: &str, main: &[&'static str], worker: &[&'static str]) -> Outcomes {
        let blackbox = Blackbox::new(256).expect("there is a memfd");
        let worker_role = blackbox.add_role("worker-1").expect("there is room");
        let schedule = Schedule::parse(text, &POINTS, 1).expect("it is well formed");
        let passed = std::sync::Mutex::new(Vec::new());
        let mut client = Client::new(blackbox, 0, Plan::Raw, Duration::from_secs(1));
        let (steps, verdict) = std::thread::scope(|scope| {
            scope.spawn(|| play(blackbox, MAIN, main, &passed));
            scope.spawn(|| play(blackbox, worker_role, worker, &passed));
            let limit = Some(Duration::from_secs(10));
            let (mut alive, traced) = (|| true, || false);
            let mut order = InOrder::new(&schedule);
            let mut director = director(blackbox, &mut order, limit, &mut alive, &traced);
            director.run(std::slice::from_mut(&mut client))
        });
        let outcomes = steps.into_iter().map(|step| step.outcome).collect();
        Outcomes { passed: passed.into_inner().expect("no test thread panics"), outcomes, verdict }
    }

    #[test]
    fn roles_pass_in_the_order_of_the_schedule() {
        for _ in 0..50 {
            let order = "worker-1 first\nmain first\nmain second\nworker-1 second\nmain third\n";
            let run = direct(order, &POINTS, &POINTS);
            assert_eq!(run.verdict, Direction::Over);
            assert!(run.outcomes.iter().all(|outcome| *outcome == Outcome::Passed));
            let listed: Vec<&str> = run.passed.iter().map(String::as_str).filter(|p| *p != "worker-1 third").collect();
            assert_eq!(listed, ["worker-1 first", "main first", "main second", "worker-1 second", "main third"]);
        }
    }

    #[test]
    fn points_that_are_not_listed_are_passed_on_the_way() {
        let run = direct("main third\nworker-1 second\n", &POINTS, &POINTS);
        assert_eq!(run.verdict, Direction::Over);
        let at = |what: &str| run.passed.iter().position(|passed| passed == what).expect("it passed");
        assert!(at("main first") < at("main third") && at("main third") < at("worker-1 second"), "{:?}", run.passed);
    }

    #[test]
    fn a_step_whose_role_has_ended_is_unmet_by_name() {
        let run = direct("main first\nworker-1 third\nmain second\n", &POINTS, &["first", "second"]);
        assert_eq!(run.verdict, Direction::Over);
        assert_eq!(run.outcomes[0], Outcome::Passed);
        assert_eq!(run.outcomes[1], Outcome::Unmet("has ended".to_string()));
        assert_eq!(run.outcomes[2], Outcome::Passed);
    }

    #[test]
    fn a_thread_that_comes_to_no_point_ends_the_direction_at_the_limit() {
        let blackbox = Blackbox::new(16).expect("there is a memfd");
        let schedule = Schedule::parse("main first\n", &POINTS, 1).expect("it is well formed");
        let mut client = Client::new(blackbox, 0, Plan::Raw, Duration::from_secs(1));
        let (mut alive, traced) = (|| true, || false);
        let limit = Some(Duration::from_millis(20));
        let mut order = InOrder::new(&schedule);
        let mut director = director(blackbox, &mut order, limit, &mut alive, &traced);
        let (steps, verdict) = director.run(std::slice::from_mut(&mut client));
        assert!(
            matches!(&verdict, Direction::Failed(why) if why.starts_with("main did not come to rest")),
            "{verdict:?}"
        );
        assert!(matches!(&steps[0].outcome, Outcome::Unmet(doing) if doing.starts_with("runs")), "{steps:?}");
    }

    #[test]
    fn the_limit_does_not_run_under_a_debugger() {
        let blackbox = Blackbox::new(16).expect("there is a memfd");
        let schedule = Schedule::parse("main first\n", &POINTS, 1).expect("it is well formed");
        let mut client = Client::new(blackbox, 0, Plan::Raw, Duration::from_secs(1));
        let asked = std::cell::Cell::new(0);
        // A debugger is there for the first three looks, then not.
        let traced = || asked.replace(asked.get() + 1) < 3;
        let mut alive = || true;
        let limit = Some(Duration::from_millis(1));
        let mut order = InOrder::new(&schedule);
        let mut director = director(blackbox, &mut order, limit, &mut alive, &traced);
        let (_, verdict) = director.run(std::slice::from_mut(&mut client));
        assert!(matches!(verdict, Direction::Failed(_)));
        assert_eq!(asked.get(), 4);
    }

    #[test]
    fn a_server_that_dies_ends_the_direction() {
        let blackbox = Blackbox::new(16).expect("there is a memfd");
        let schedule = Schedule::parse("main first\n", &POINTS, 1).expect("it is well formed");
        let mut client = Client::new(blackbox, 0, Plan::Raw, Duration::from_secs(1));
        let (mut alive, traced) = (|| false, || false);
        let mut order = InOrder::new(&schedule);
        let mut director = director(blackbox, &mut order, None, &mut alive, &traced);
        let (steps, verdict) = director.run(std::slice::from_mut(&mut client));
        assert_eq!((steps[0].outcome.clone(), verdict), (Outcome::NotReached, Direction::Died));
    }
}
