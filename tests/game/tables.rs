//! What the modelled epoll reports, call by call, as `epoll(7)` has it. (`tests/kernel_model.rs` asks Linux.)

use crate::kernel::mask_names;
use crate::net::{ET, Failure, IN, LISTENER_FD, Net, ONESHOT, OUT, RDHUP, STOP_FD};

/// One client, one socket, which is watched under the token 7. Each letter is a call: connect, accept and add, 3 bytes of
/// data, FIN, RST, modify, read 2 bytes, write 5, shut the sending side, delete, close; `e` asks for events. What `e`, `r`
/// and `w` gave, in order.
fn play(interest: u32, calls: &str) -> String {
    let (mut net, mut fd, mut gave) = (Net::default(), 0, Vec::new());
    let told = |result: Result<usize, Failure>| match result {
        Ok(count) => count.to_string(),
        Err(failure) => format!("{failure:?}"),
    };
    for call in calls.chars() {
        match call {
            'c' => net.connect(),
            'a' => {
                fd = net.accept().expect("somebody waits");
                net.control(fd, 7, interest);
            }
            'd' => net.arrive(0, b"abc"),
            'F' => net.fin(0),
            'R' => net.reset(0),
            'm' => net.control(fd, 7, interest),
            'r' => gave.push(told(net.read(fd, &mut [0; 2]))),
            'w' => gave.push(told(net.write(fd, 5))),
            's' => net.shutdown_write(fd),
            'x' => net.forget(fd),
            'X' => net.close(fd),
            'e' => {
                let might = net.has_event();
                let events = net.events();
                assert_eq!(might, !events.is_empty(), "it knows before it is asked");
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
    assert_eq!(play(OUT | ET, "cade"), "-");
    // Both sides have ended.
    assert_eq!(play(EDGE, "cadFese"), "IN RDHUP, IN RDHUP HUP");
    assert_eq!(play(EDGE, "casFeRe"), "IN RDHUP HUP, -");
}

#[test]
fn what_came_before_a_break_is_read_first_and_the_error_is_told_once() {
    assert_eq!(play(EDGE, "cadRrrrrw"), "2, 1, Reset, 0, BrokenPipe");
    assert_eq!(play(EDGE, "caRwwr"), "Reset, BrokenPipe, 0");
    assert_eq!(play(EDGE, "caFRrww"), "0, BrokenPipe, BrokenPipe");
    assert_eq!(play(LEVEL, "caRere"), "IN RDHUP HUP ERR, Reset, IN RDHUP HUP");
    assert_eq!(play(LEVEL, "cawswR"), "5, BrokenPipe");
    assert_eq!(play(LEVEL, "caswRer"), "BrokenPipe, IN RDHUP HUP ERR, Reset");
    assert_eq!(play(LEVEL, "cardFrrr"), "WouldBlock, 2, 1, 0");
}

#[test]
fn sources_are_reported_in_the_order_of_their_wake_ups() {
    let mut net = Net::default();
    net.control(STOP_FD, 1, IN | ET);
    net.control(LISTENER_FD, 2, IN | ET);
    net.connect();
    net.stop();
    assert_eq!(net.events(), [(2, IN), (1, IN)]);
    let (first, second) = (net.accept().expect("it waits"), net.accept());
    assert_eq!(second, None);
    net.connect();
    let second = net.accept().expect("it waits");
    assert_eq!((first, second), (LISTENER_FD + 1, LISTENER_FD + 2));
    net.control(first, 11, RDHUP | ET);
    net.control(second, 12, IN | RDHUP | ET);
    // No wake-up for the first, which asks for the end only.
    net.arrive(0, b"a");
    net.arrive(1, b"a");
    net.fin(0);
    let events = net.events();
    assert_eq!(events[events.len() - 2..], [(12, IN), (11, RDHUP)]);
    // The lowest number that is free, for the connection that came first.
    net.close(first);
    net.connect();
    net.connect();
    assert!(net.waits(2) && net.waits(3));
    assert_eq!(net.accept(), Some(first));
    assert_eq!(net.of(first), Some(2));
    assert!(!net.waits(2) && net.waits(3));
    assert!(!net.interest.contains_key(&first), "closing has taken it off the list");
}

#[test]
fn what_is_armed_or_added_again_stands_at_the_end() {
    let mut net = Net::default();
    net.control(STOP_FD, 1, IN | ONESHOT);
    net.control(LISTENER_FD, 2, IN | ET);
    net.stop();
    assert_eq!(net.events(), [(1, IN)]);
    // Nobody is told while it is not armed.
    net.stop();
    net.connect();
    net.control(STOP_FD, 1, IN | ONESHOT);
    assert_eq!(net.events(), [(2, IN), (1, IN)]);
    net.control(STOP_FD, 1, IN);
    net.connect();
    net.forget(STOP_FD);
    net.control(STOP_FD, 1, IN);
    assert_eq!(net.events(), [(2, IN), (1, IN)]);
}

#[test]
fn what_is_closed_with_bytes_in_it_is_discarded() {
    let discarded = |close: bool, reset: bool, bytes: &[u8]| {
        let mut net = Net::default();
        net.connect();
        let fd = net.accept().expect("it waits");
        net.arrive(0, bytes);
        if reset {
            net.reset(0);
        }
        if close {
            net.close(fd);
        }
        net.connections[0].is_discarded()
    };
    assert!(discarded(true, false, b"a"));
    assert!(!discarded(false, false, b"a") && !discarded(true, true, b"a") && !discarded(true, false, b""));
}
