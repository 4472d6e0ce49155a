//! A wrong server for each check: the proof that it finds what it looks for, and that no other check would.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::AtomicU64 as Outside;

use lab::heap::Raw;
use lab::kernel::{Epoll, Events, Interest, Listener, Socket};
use lab::point::point;
use lab::runner::{LISTENER, STOP, Serve, Served, Server};
use lab::sync::{self, Arc, AtomicU64, Mutex, Ordering, Queue};

use crate::check::Check;
use crate::explore::{Act, Graph, Scenario, explore};
use crate::parts::two;
use crate::replay_every_way;

const REPLY: &[u8] = b"reply";
const NOTHING: Served = Served { received: 0, replies: 0 };

/// What is explored, and what is done to the graph before it is replayed.
struct Program {
    scenario: Scenario,
    limit: usize,
    spoil: fn(&mut Graph),
}

/// The program that violates this check, and no other.
fn tripper(check: Check) -> Program {
    let (client, stop) = ([Act::Connect, Act::Send(b"request".to_vec()), Act::Fin], [Act::Stop]);
    let program = |serve: Serve, workers: usize, client: &[Act]| Program {
        scenario: Scenario::new(serve, workers, client.to_vec()),
        limit: 1_000,
        spoil: |_| {},
    };
    // Its client is owed a reply.
    let wrong = |serve: Serve| {
        let program = program(serve, 0, &client);
        Program { scenario: Scenario { owed: vec![REPLY.to_vec()], ..program.scenario }, ..program }
    };
    // The server is right, and the graph is not.
    let spoilt = |spoil: fn(&mut Graph)| Program { spoil, ..wrong(serve::<RIGHT>) };
    match check {
        Check::UseAfterFree => wrong(serve::<{ Check::UseAfterFree as u8 }>),
        Check::DoubleFree => wrong(serve::<{ Check::DoubleFree as u8 }>),
        Check::Stranger => wrong(serve::<{ Check::Stranger as u8 }>),
        Check::Panic => program(serve::<{ Check::Panic as u8 }>, 0, &stop),
        Check::Refused => program(serve::<{ Check::Refused as u8 }>, 0, &stop),
        Check::NeverStops => program(leaves_a_thread, 1, &stop),
        Check::Unread => program(takes_no_notice, 0, &client[..2]),
        Check::Ended => program(takes_no_notice, 0, &[Act::Connect, Act::Reset]),
        Check::Unaccepted => program(serve::<{ Check::Unaccepted as u8 }>, 0, &client[..1]),
        Check::Discarded => program(hangs_up, 0, &client[..2]),
        Check::Stuck => program(keeps_its_lock, 1, &[]),
        Check::Queued => program(queues_for_nobody, 0, &[]),
        Check::Unanswered => wrong(serve::<{ Check::Unanswered as u8 }>),
        Check::Herd => program(waits_twice, 2, &[Act::Connect]),
        Check::Leak => program(forgets_a_session, 0, &stop),
        Check::SessionWaits => program(serve::<RIGHT>, 0, &client[..2]),
        Check::Nondeterministic => program(looks_outside, 1, &[]),
        Check::TooManyStates => {
            let right = wrong(serve::<RIGHT>);
            let needed = explore(&right.scenario, right.limit).expect("it is right").nodes.len();
            Program { limit: needed - 1, ..right }
        }
        Check::OtherMoves => spoilt(|graph| graph.nodes[0].moves[0].line += 1),
        Check::OtherPanel => spoilt(|graph| graph.nodes[0].panel.0[0].clear()),
        Check::OtherStands => spoilt(|graph| graph.nodes[0].stands[0].clear()),
        Check::OtherEnd => spoilt(|graph| graph.nodes.iter_mut().for_each(|node| node.end = None)),
        Check::OtherDeed => spoilt(|graph| graph.nodes[0].moves[0].did.clear()),
    }
}

/// What the checks say of it.
fn judge(program: &Program) -> BTreeSet<Check> {
    let mut graph = match explore(&program.scenario, program.limit) {
        Ok(graph) => graph,
        Err(refusal) => return BTreeSet::from([refusal.check]),
    };
    let mut found: BTreeSet<_> = graph.nodes.iter().filter_map(|node| node.end.as_ref()?.check).collect();
    (program.spoil)(&mut graph);
    found.extend(replay_every_way(&program.scenario, &graph).err().map(|refusal| refusal.check));
    found
}

#[test]
fn each_check_alone_refuses_its_program_and_without_it_the_program_passes() {
    for check in Check::ALL.iter().copied() {
        let mut program = tripper(check);
        assert_eq!(judge(&program), BTreeSet::from([check]));
        program.scenario.off = Some(check);
        assert_eq!(judge(&program), BTreeSet::new(), "without {check:?}");
    }
}

#[test]
fn the_right_server_passes() {
    let right = Program { limit: 1_000, ..tripper(Check::OtherMoves) };
    assert_eq!(judge(&Program { spoil: |_| {}, ..right }), BTreeSet::new());
    let judge_of = |serve: Serve, client: &[Act]| {
        let scenario = Scenario::new(serve, 0, client.to_vec());
        judge(&Program { scenario, limit: 1_000, spoil: |_| {} })
    };
    assert_eq!(judge_of(serve::<RIGHT>, &[Act::Stop]), BTreeSet::new());
    // Who breaks off need not be accepted, nor who comes when the server stops.
    const DEAF: Serve = serve::<{ Check::Unaccepted as u8 }>;
    assert_eq!(judge_of(DEAF, &[Act::Connect, Act::Reset]), BTreeSet::new());
    assert_eq!(judge_of(waits_for_the_stop, &[Act::Stop, Act::Connect]), BTreeSet::new());
    // A connection ends in either way.
    assert_eq!(judge_of(takes_no_notice, &[Act::Connect, Act::Fin]), BTreeSet::from([Check::Ended]));
}

/// A reply goes on where the last write ended, and is owed to one client.
#[test]
fn each_write_is_compared_with_what_is_owed_from_there_on() {
    let scenario = |serve: Serve, client: Vec<Act>, owed: [&[u8]; 2]| Scenario {
        owed: owed.map(<[u8]>::to_vec).to_vec(),
        ..Scenario::new(serve, 0, client)
    };
    let said = |scenario: &Scenario| {
        let graph = explore(scenario, 1_000).expect("it is small");
        graph.nodes.iter().filter_map(|node| Some(node.end.as_ref()?.text.clone())).collect::<BTreeSet<_>>()
    };
    let send = || Act::Send(vec![b'x'; 16]);
    let twice = || vec![Act::Connect, send(), send(), Act::Fin];
    let served = BTreeSet::from(["served, nothing left".to_string()]);
    assert_eq!(said(&scenario(serve::<RIGHT>, twice(), [b"replyreply", b""])), served);
    let wrong = |who: &str| BTreeSet::from([format!("client 1 gets the reply to {who}")]);
    assert_eq!(said(&scenario(serve::<RIGHT>, twice(), [b"replyother", b""])), wrong("nobody"));
    assert_eq!(said(&scenario(serve::<RIGHT>, twice(), [b"other", b"reply"])), wrong("client 2"));
    // One byte is missing.
    let dismissed = BTreeSet::from(["a client is dismissed without its reply".to_string()]);
    assert_eq!(said(&scenario(serve::<RIGHT>, twice(), [b"replyreply!", b""])), dismissed);
    // Who breaks off is owed nothing.
    assert!(
        said(&scenario(serve::<RIGHT>, vec![Act::Connect, send(), Act::Reset], [b"reply!", b""])).is_superset(&served)
    );
}

/// No check's number.
const RIGHT: u8 = u8::MAX;

/// What is freed with its client.
struct Session;

/// One thread: it answers what it reads, and lets a client go that has ended; but for the fault.
fn serve<const FAULT: u8>(server: Server) -> io::Result<Served> {
    let is = |check: Check| FAULT == check as u8;
    let (input, mut events, mut buffer) =
        (Interest::READ.edge_triggered().one_shot(), Events::with_capacity(8), [0; 16]);
    let epoll = Epoll::new()?;
    if !is(Check::Unaccepted) {
        epoll.add(&server.listener, LISTENER, Interest::READ)?;
    }
    epoll.add(&server.stop, STOP, Interest::READ.edge_triggered())?;
    let mut client: Option<(Socket, Raw<Session>)> = None;
    loop {
        point("wait");
        epoll.wait(&mut events)?;
        for event in events.iter() {
            match event.token {
                STOP if is(Check::Refused) => return Err(io::ErrorKind::Other.into()),
                // A panic that prints nothing.
                STOP if is(Check::Panic) => std::panic::resume_unwind(Box::new("a fault")),
                STOP => return Ok(NOTHING),
                LISTENER => {
                    let Some(socket) = server.listener.accept()? else { continue };
                    epoll.add(&socket, 1, input)?;
                    client = Some((socket, Raw::new(Session)));
                }
                _ => {
                    let Some((socket, session)) = client.take() else { continue };
                    let ended = read::<FAULT>(&socket, &mut buffer)?;
                    if !ended {
                        epoll.modify(&socket, 1, input)?;
                        client = Some((socket, session));
                        continue;
                    }
                    let again = session.clone();
                    // SAFETY: nobody else has it; what comes after is the fault.
                    unsafe { session.free() };
                    if is(Check::UseAfterFree) {
                        again.get();
                    }
                    if is(Check::DoubleFree) {
                        // SAFETY: none, which is the fault; there is nothing in it to drop.
                        unsafe { again.free() };
                    }
                }
            }
        }
    }
}

/// Reads until the socket is empty, and says whether its client has ended.
fn read<const FAULT: u8>(socket: &Socket, buffer: &mut [u8]) -> io::Result<bool> {
    let is = |check: Check| FAULT == check as u8;
    loop {
        point("read");
        match socket.read(buffer) {
            Ok(1..) if is(Check::Unanswered) => {}
            Ok(1..) => _ = socket.write(if is(Check::Stranger) { b"other" } else { REPLY })?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Ok(_) | Err(_) => return Ok(true),
        }
    }
}

/// Accepts, and does not watch whom.
fn takes_no_notice(server: Server) -> io::Result<Served> {
    let mut sockets = Vec::new();
    accept_each(&server.listener, |socket| sockets.push(socket))
}

/// Accepts, and closes at once.
fn hangs_up(server: Server) -> io::Result<Served> {
    accept_each(&server.listener, drop)
}

fn accept_each(listener: &Listener, mut what: impl FnMut(Socket)) -> io::Result<Served> {
    let (epoll, mut events) = (Epoll::new()?, Events::with_capacity(8));
    epoll.add(listener, LISTENER, Interest::READ)?;
    loop {
        point("wait");
        epoll.wait(&mut events)?;
        if let Some(socket) = listener.accept()? {
            what(socket);
        }
    }
}

/// Another thread wants the lock.
fn keeps_its_lock(_: Server) -> io::Result<Served> {
    let lock = Arc::new(Mutex::new(0_u64));
    let other = lock.clone();
    let _guard = lock.lock();
    sync::spawn("worker-1", move || _ = other.lock());
    Epoll::new()?.wait(&mut Events::with_capacity(8))?;
    Ok(NOTHING)
}

fn queues_for_nobody(_: Server) -> io::Result<Served> {
    Queue::new().push(1_u64);
    Ok(NOTHING)
}

fn forgets_a_session(server: Server) -> io::Result<Served> {
    _ = Raw::new(Session);
    waits_for_the_stop(server)
}

/// Its other thread sleeps on.
fn leaves_a_thread(server: Server) -> io::Result<Served> {
    let queue = Arc::new(Queue::<u64>::new());
    sync::spawn("worker-1", move || _ = queue.pop());
    waits_for_the_stop(server)
}

/// Two instances, each with a thread that sleeps there before anybody comes.
fn waits_twice(server: Server) -> io::Result<Served> {
    let listener = Arc::new(server.listener);
    let waits = || {
        let (epoll, listener) = (Epoll::new().expect("it is made"), listener.clone());
        epoll.add(&*listener, LISTENER, Interest::READ).expect("it is new");
        move || {
            let (mut events, mut sockets) = (Events::with_capacity(8), Vec::new());
            loop {
                epoll.wait_for(&mut events, None).expect("it waits");
                sockets.extend(listener.try_accept().expect("it accepts"));
            }
        }
    };
    let (one, other) = (waits(), waits());
    two(one, other);
    Ok(NOTHING)
}

fn waits_for_the_stop(server: Server) -> io::Result<Served> {
    let epoll = Epoll::new()?;
    epoll.add(&server.stop, STOP, Interest::READ)?;
    epoll.wait(&mut Events::with_capacity(8))?;
    Ok(NOTHING)
}

/// Something is otherwise in each play.
fn looks_outside(_: Server) -> io::Result<Served> {
    static PLAYS: Outside = Outside::new(0);
    AtomicU64::new(PLAYS.fetch_add(1, Ordering::Relaxed));
    let other = sync::spawn("worker-1", sync::yield_now);
    sync::yield_now();
    other.join();
    Ok(NOTHING)
}
