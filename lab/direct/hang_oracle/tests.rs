//! The judge beside a client, at a server that sleeps, answers, or does neither.

use super::*;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::direct::quiescence::tests::TestProcess;

const GET: Plan = Plan::Get(1);

fn oracle(scene: &TestProcess, limit: Duration) -> HangOracle {
    let port = scene.listener.local_addr().expect("it is bound").port();
    HangOracle { blackbox: scene.blackbox, server: scene.pid(), port, limit }
}

const LONG: Duration = Duration::from_secs(20);

/// What is said of a client at a server that does this; and how often the judge had a proof.
fn judged(program: &str, body: impl FnOnce(&mut TestProcess)) -> (Judged, u32) {
    let mut scene = TestProcess::with(program, GET);
    body(&mut scene);
    let (oracle, proofs) = (oracle(&scene, LONG), AtomicU32::new(0));
    let result = oracle.play(&mut scene.client, Client::finish, || {
        proofs.fetch_add(1, Ordering::Relaxed);
    });
    (result, proofs.into_inner())
}

#[test]
fn a_client_that_waits_at_a_server_that_sleeps_hangs() {
    let (result, proofs) = judged("exec cat", |_| ());
    let Judged::Hangs(proof) = result else { panic!("it waits for ever") };
    assert_eq!((proof.connection.unread, proof.threads.len(), proofs), (29, 1, 1));
}

#[test]
fn a_client_that_is_served_or_dismissed_does_not_hang() {
    let (result, proofs) = judged("exec cat", |scene| {
        scene.server.write_all(&GET.reply()).expect("there is room");
    });
    assert!(matches!(result, Judged::Served) && proofs == 0);
    let (result, proofs) = judged("exec cat", |scene| scene.server.shutdown(Shutdown::Write).expect("it is connected"));
    assert!(matches!(result, Judged::Wrong(error) if error.kind() == io::ErrorKind::UnexpectedEof) && proofs == 0);
    let (result, _) = judged("exec cat", |scene| {
        scene.server.write_all(b"another's").expect("there is room");
    });
    assert!(matches!(result, Judged::Wrong(error) if error.kind() == io::ErrorKind::InvalidData));
}

#[test]
fn a_client_without_a_connection_is_no_hang() {
    let scene = TestProcess::with("exec cat", GET);
    let mut client = Client::new(scene.blackbox, 1, GET, LONG);
    let result = oracle(&scene, LONG).play(&mut client, |_| panic!("there is nothing to do"), || panic!("no proof"));
    assert!(matches!(result, Judged::Wrong(error) if error.kind() == io::ErrorKind::NotConnected));
}

#[test]
fn a_server_that_computes_is_never_said_to_hang() {
    let mut scene = TestProcess::with("while :; do :; done", GET);
    let mut server = scene.server.try_clone().expect("it is open");
    let oracle = oracle(&scene, LONG);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(20 * PAUSE);
            server.write_all(&GET.reply()).expect("there is room");
        });
        assert!(matches!(oracle.play(&mut scene.client, Client::finish, || panic!("it moves")), Judged::Served));
    });
}

#[test]
fn another_client_is_served_only_if_it_gets_its_reply() {
    // Who answers is no thread of the process that is looked at, so that must not sleep.
    let busy = TestProcess::with("while :; do :; done", GET);
    let answer = |reply: &[u8]| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut server, _) = busy.listener.accept().expect("another comes");
                io::Read::read_exact(&mut server, &mut [0; 29]).expect("it asks");
                server.write_all(reply).expect("there is room");
            });
            oracle(&busy, LONG).serves_another()
        })
    };
    assert!(answer(&ANOTHER.reply()));
    assert!(!answer(&ANOTHER.reply()[1..]) && !answer(b""));
    // Nobody accepts it, and the server sleeps.
    let scene = TestProcess::with("exec cat", GET);
    let oracle = oracle(&scene, LONG);
    assert!(!oracle.serves_another());
    assert!(!HangOracle { port: 1, ..oracle }.serves_another(), "nobody listens there");
}

#[test]
fn a_proof_is_of_a_client_to_which_nothing_has_come_meanwhile() {
    let mut scene = TestProcess::with("exec cat", GET);
    scene.client.send(29).expect("there is room");
    let proof = oracle(&scene, LONG).prove(&mut scene.client).expect("it waits for ever");
    assert_eq!(proof.connection.unread, 29);
    let connection = scene.client.connection().expect("it is there");
    assert_eq!(connection.unread, 29, "the client is still connected");
    // Its reply was on its way.
    scene.server.write_all(&GET.reply()).expect("there is room");
    assert!(oracle(&scene, LONG).prove(&mut scene.client).is_none());
    assert!(scene.client.is_served());
    let mut wrong = TestProcess::with("exec cat", GET);
    wrong.client.send(29).expect("there is room");
    wrong.server.write_all(b"another's").expect("there is room");
    assert!(oracle(&wrong, LONG).prove(&mut wrong.client).is_none());
    let mut none = Client::new(wrong.blackbox, 1, GET, LONG);
    assert!(oracle(&wrong, LONG).prove(&mut none).is_none());
    // Who computes may still answer.
    let mut busy = TestProcess::with("while :; do :; done", GET);
    assert!(oracle(&busy, Duration::from_millis(20)).prove(&mut busy.client).is_none());
}

#[test]
fn a_deadlock_is_looked_for_until_the_limit_and_rest_is_waited_for() {
    let scene = TestProcess::new("exec cat");
    let oracle = oracle(&scene, Duration::from_millis(20));
    assert_eq!(oracle.prove_inside(), None, "a read ends with a packet");
    let start = Instant::now();
    HangOracle { limit: LONG, ..oracle }.wait_for_rest();
    assert!(start.elapsed() < LONG);
    let sleeper = || at_rest(scene.blackbox, scene.pid());
    let mut looks = 0;
    let third = |_, _| Ok(None);
    assert_eq!(oracle.until_asleep(third), None);
    while sleeper().is_ok_and(|rest| rest.is_none()) {
        looks += 1;
    }
    assert_eq!(looks, 0, "it was at rest");
    assert!(oracle.until_asleep(at_rest).is_some_and(|asleep| asleep.len() == 1));
    assert_eq!(oracle.until_asleep(|_, _| Err(io::ErrorKind::NotFound.into())), None);
}
