//! What the modelled epoll reports, call by call, as `epoll(7)` has it. (`tests/kernel_model.rs` asks Linux.)

use crate::kernel::{Interest, mask_names};
use crate::net::{Errno, Fd, Net};

const IN: u32 = libc::EPOLLIN as u32;
const RDHUP: u32 = libc::EPOLLRDHUP as u32;
const ET: u32 = libc::EPOLLET as u32;
const ONESHOT: u32 = libc::EPOLLONESHOT as u32;

/// The machine with an epoll instance, a listener and a stop event.
struct Machine {
    net: Net,
    epoll: Fd,
    listener: Fd,
    stop: Fd,
}

impl Machine {
    fn new() -> Machine {
        let mut net = Net::default();
        let (epoll, listener, stop) = (net.epoll_create(), net.listen(), net.eventfd());
        Machine { net, epoll, listener, stop }
    }

    fn add(&mut self, fd: Fd, token: u64, mask: u32) {
        self.net.add(self.epoll, fd, token, mask).expect("it is not on the list");
    }

    fn modify(&mut self, fd: Fd, token: u64, mask: u32) {
        self.net.modify(self.epoll, fd, token, mask).expect("it is on the list");
    }

    fn accept(&mut self) -> Option<Fd> {
        self.net.accept(self.listener).expect("it listens")
    }

    fn events(&mut self) -> Vec<(u64, u32)> {
        let might = self.net.has_event(self.epoll);
        let events = self.net.poll(self.epoll, 16).expect("an instance");
        assert_eq!(might, !events.is_empty(), "it knows before it is asked");
        events
    }
}

/// One client, one socket, which is watched under the token 7. Each letter is a call: connect, accept and add, 3 bytes
/// of data, FIN, RST, modify, read 2 bytes, write 5, shut the sending side, delete, close; `e` asks for events. What
/// `e`, `r` and `w` gave, in order.
fn play(interest: u32, calls: &str) -> String {
    let (mut machine, mut fd, mut gave) = (Machine::new(), 0, Vec::new());
    let told = |result: Result<usize, Errno>| match result {
        Ok(count) => count.to_string(),
        Err(libc::EAGAIN) => "EAGAIN".to_string(),
        Err(libc::ECONNRESET) => "ECONNRESET".to_string(),
        Err(libc::EPIPE) => "EPIPE".to_string(),
        Err(other) => unreachable!("no error {other}"),
    };
    for call in calls.chars() {
        match call {
            'c' => _ = machine.net.connect(),
            'a' => {
                fd = machine.accept().expect("somebody waits");
                machine.add(fd, 7, interest);
            }
            'd' => machine.net.send(0, b"abc"),
            'F' => machine.net.fin(0),
            'R' => machine.net.reset(0),
            'm' => machine.modify(fd, 7, interest),
            'r' => gave.push(told(machine.net.read(fd, &mut [0; 2]))),
            'w' => gave.push(told(machine.net.write(fd, b"reply"))),
            's' => machine.net.shutdown_write(fd).expect("a socket"),
            'x' => machine.net.delete(machine.epoll, fd).expect("it is on the list"),
            'X' => machine.net.close(fd).expect("it is open"),
            'e' => {
                let events = machine.events();
                assert!(events.iter().all(|(token, _)| *token == 7) && events.len() < 2, "{events:?}");
                gave.push(events.first().map_or("-".to_string(), |(_, mask)| mask_names(*mask)));
            }
            other => unreachable!("no call {other}"),
        }
    }
    gave.join(", ")
}

const LEVEL: u32 = IN | RDHUP;
const EDGE: u32 = LEVEL | ET;
const ONCE: u32 = LEVEL | ONESHOT;
const EDGE_ONCE: u32 = EDGE | ONESHOT;

#[test]
fn a_level_is_reported_as_long_as_it_is_there() {
    assert_eq!(play(LEVEL, "caedeerere"), "-, IN, IN, 2, IN, 1, -");
    assert_eq!(play(LEVEL, "caFeere"), "IN RDHUP, IN RDHUP, 0, IN RDHUP");
    assert_eq!(play(LEVEL, "cadxede"), "-, -");
}

#[test]
fn an_edge_is_reported_once_for_each_arrival() {
    assert_eq!(play(EDGE, "caedeedee"), "-, IN, -, IN, -");
    assert_eq!(play(EDGE, "caddee"), "IN, -");
    // What is there when it is added or modified counts as one.
    assert_eq!(play(EDGE, "cdaeeme"), "IN, -, IN");
    assert_eq!(play(EDGE, "cadrre"), "2, 1, -");
    assert_eq!(play(EDGE, "cadeFe"), "IN, IN RDHUP");
}

#[test]
fn a_one_shot_is_silent_until_it_is_modified() {
    for once in [ONCE, EDGE_ONCE] {
        assert_eq!(play(once, "caedeedeme"), "-, IN, -, -, IN");
        assert_eq!(play(once, "cadeFeme"), "IN, -, IN RDHUP");
        // Not even an error is reported.
        assert_eq!(play(once, "cadeReme"), "IN, -, IN RDHUP HUP ERR");
    }
}

#[test]
fn the_end_is_reported_to_who_asks_for_it_and_a_break_to_everybody() {
    assert_eq!(play(RDHUP | ET, "cadeFee"), "-, RDHUP, -");
    assert_eq!(play(IN | ET, "caFe"), "IN");
    for nothing in [0, ET, ONESHOT] {
        assert_eq!(play(nothing, "cadeFeRe"), "-, -, HUP ERR");
    }
    assert_eq!(play(Interest::WRITE.edge_triggered().bits(), "cade"), "-");
    // Both sides have ended.
    assert_eq!(play(EDGE, "cadFese"), "IN RDHUP, IN RDHUP HUP");
    assert_eq!(play(EDGE, "casFeRe"), "IN RDHUP HUP, -");
}

#[test]
fn what_came_before_a_break_is_read_first_and_the_error_is_told_once() {
    assert_eq!(play(EDGE, "cadRrrrrw"), "2, 1, ECONNRESET, 0, EPIPE");
    assert_eq!(play(EDGE, "caRwwr"), "ECONNRESET, EPIPE, 0");
    assert_eq!(play(EDGE, "caFRrww"), "0, EPIPE, EPIPE");
    assert_eq!(play(LEVEL, "caRere"), "IN RDHUP HUP ERR, ECONNRESET, IN RDHUP HUP");
    assert_eq!(play(LEVEL, "cawswR"), "5, EPIPE");
    assert_eq!(play(LEVEL, "caswRer"), "EPIPE, IN RDHUP HUP ERR, ECONNRESET");
    assert_eq!(play(LEVEL, "cardFrrr"), "EAGAIN, 2, 1, 0");
}

/// Hang-up and error are asked for in any case: to add or to arm finds them too.
#[test]
fn what_is_broken_is_reported_to_who_asks_for_nothing_as_soon_as_it_asks() {
    for nothing in [ET, ONESHOT] {
        assert_eq!(play(nothing, "cRaeme"), "HUP ERR, HUP ERR");
        assert_eq!(play(nothing, "cFasemeFe"), "HUP, HUP, -");
    }
}

#[test]
fn sources_are_reported_in_the_order_of_their_wake_ups() {
    let mut machine = Machine::new();
    let (listener, stop) = (machine.listener, machine.stop);
    machine.add(stop, 1, IN | ET);
    machine.add(listener, 2, IN | ET);
    machine.net.connect();
    machine.net.raise(stop).expect("it is open");
    assert_eq!(machine.events(), [(2, IN), (1, IN)]);
    let (first, second) = (machine.accept().expect("it waits"), machine.accept());
    assert_eq!(second, None);
    machine.net.connect();
    let second = machine.accept().expect("it waits");
    assert_eq!((first, second), (stop + 1, stop + 2));
    machine.add(first, 11, RDHUP | ET);
    machine.add(second, 12, IN | RDHUP | ET);
    // No wake-up for the first, which asks for the end only.
    machine.net.send(0, b"a");
    machine.net.send(1, b"a");
    machine.net.fin(0);
    let events = machine.events();
    assert_eq!(events[events.len() - 2..], [(12, IN), (11, RDHUP)]);
    // The lowest number that is free, for the connection that came first.
    machine.net.close(first).expect("it is open");
    machine.net.connect();
    machine.net.connect();
    assert_eq!((machine.net.socket_of(0), machine.net.socket_of(2)), (None, None));
    assert_eq!(machine.accept(), Some(first));
    assert_eq!((machine.net.socket_of(2), machine.net.stream_of(first)), (Some(first), Some(2)));
    assert!(machine.net.was_accepted(2) && !machine.net.was_accepted(3));
    let watched: Vec<_> = machine.net.watched().map(|watched| watched.token).collect();
    assert_eq!(watched, [2, 1, 12], "closing has taken it off the list");
}

#[test]
fn what_is_armed_or_added_again_stands_at_the_end() {
    let mut machine = Machine::new();
    let (listener, stop) = (machine.listener, machine.stop);
    let raise = |machine: &mut Machine| machine.net.raise(stop).expect("it is open");
    machine.add(stop, 1, IN | ONESHOT);
    machine.add(listener, 2, IN | ET);
    raise(&mut machine);
    assert_eq!(machine.events(), [(1, IN)]);
    // Nobody is told while it is not armed.
    raise(&mut machine);
    machine.net.connect();
    machine.modify(stop, 1, IN | ONESHOT);
    assert_eq!(machine.events(), [(2, IN), (1, IN)]);
    machine.modify(stop, 1, IN);
    machine.net.connect();
    machine.net.delete(machine.epoll, stop).expect("it is on the list");
    machine.add(stop, 1, IN);
    assert_eq!(machine.events(), [(2, IN), (1, IN)]);
}

/// What a reader sees of the list: as it was asked for, armed or not.
#[test]
fn what_is_watched_is_shown_as_it_was_asked_for() {
    let mut machine = Machine::new();
    let stop = machine.stop;
    let shown = |machine: &Machine| {
        let watched = machine.net.watched().map(|watched| (watched.token, mask_names(watched.mask), watched.armed));
        watched.collect::<Vec<_>>()
    };
    machine.add(stop, 1, IN | ONESHOT);
    assert_eq!(shown(&machine), [(1, "IN ONESHOT".to_string(), true)]);
    machine.net.raise(stop).expect("it is open");
    machine.events();
    assert_eq!(shown(&machine), [(1, "IN ONESHOT".to_string(), false)]);
    machine.modify(stop, 3, IN | ET);
    assert_eq!(shown(&machine), [(3, "IN ET".to_string(), true)]);
}

#[test]
fn what_is_closed_with_bytes_in_it_is_discarded() {
    let discarded = |close: bool, reset: bool, bytes: &[u8]| {
        let mut machine = Machine::new();
        machine.net.connect();
        let fd = machine.accept().expect("it waits");
        machine.net.send(0, bytes);
        if reset {
            machine.net.reset(0);
        }
        if close {
            machine.net.close(fd).expect("it is open");
        }
        machine.net.was_discarded(0)
    };
    assert!(discarded(true, false, b"a"));
    assert!(!discarded(false, false, b"a") && !discarded(true, true, b"a") && !discarded(true, false, b""));
}
