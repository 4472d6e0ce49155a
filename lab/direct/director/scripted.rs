//! The director with threads that follow a script: each says where it stands and for what it waits, as the facades do
//! for a stage.

use super::*;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::*};

use crate::direct::in_order::InOrder;
use crate::direct::schedule::{OPERATOR, Plan, Schedule};
use crate::record::blackbox::{CLIENT, MAIN};
use crate::record::event::Record;

const POINTS: [&str; 3] = ["first", "second", "third"];
const LOCK: u64 = 0x1000;
/// The role of `worker-1`.
const WORKER: usize = 2;

/// A thread of a server, and what it has passed.
struct Thread<'a> {
    blackbox: Blackbox,
    role: usize,
    passed: &'a Mutex<Vec<String>>,
}

impl Thread<'_> {
    fn park(&self, state: State) {
        let slot = self.blackbox.slot(self.role);
        let seen = slot.grant.load(Acquire);
        slot.set_state(state);
        self.blackbox.ring_doorbell();
        while slot.grant.load(Acquire) == seen && !self.blackbox.is_open() {
            futex_wait(&slot.grant, seen, None);
        }
    }

    /// Stands at that point, for the `occurrence`th time, until it is let go.
    fn point(&self, name: &'static str, occurrence: u64) {
        if !self.blackbox.is_open() {
            self.blackbox.slot(self.role).set_point(name, occurrence);
            self.park(State::Parked);
        }
        let name = format!("{} {name}", self.blackbox.roles()[self.role]);
        self.passed.lock().expect("no test thread panics").push(name);
    }

    /// Waits for that until it is there, or nobody directs any more.
    fn wait(&self, waiting: Waiting, address: u64, holder: usize, mut is_there: impl FnMut() -> bool) {
        let slot = self.blackbox.slot(self.role);
        while !self.blackbox.is_open() && !is_there() {
            slot.waiting.store(waiting as u32, Relaxed);
            slot.address.store(address, Relaxed);
            slot.holder.store(holder as u32, Relaxed);
            self.park(State::Blocked);
        }
    }

    fn wait_for_ever(&self, waiting: Waiting) {
        self.wait(waiting, 0, 0, || false);
    }

    fn record(&self, kind: Kind, a: u64) {
        self.blackbox.record(self.role, kind, "", Location::caller(), a, 0, 0);
    }

    fn end(&self) {
        self.blackbox.slot(self.role).set_state(State::Ended);
        self.blackbox.ring_doorbell();
    }
}

/// What came of a direction.
struct Directed {
    verdict: Direction,
    outcomes: Vec<Outcome>,
    passed: Vec<String>,
    records: Vec<Record>,
}

impl Directed {
    fn of_kind(&self, kind: Kind) -> Vec<(usize, [u64; 3])> {
        let found = self.records.iter().filter(|record| record.kind == kind);
        found.map(|record| (record.role, [record.a, record.b, record.c])).collect()
    }

    fn steps(&self) -> Vec<u64> {
        self.of_kind(Kind::Step).into_iter().map(|(_, numbers)| numbers[0]).collect()
    }
}

fn new_box() -> Blackbox {
    let blackbox = Blackbox::new(1024).expect("there is a memfd");
    assert_eq!(blackbox.add_role("worker-1"), Some(WORKER));
    blackbox
}

/// Directs `main` and `worker-1`, each by its script, in that order.
fn direct(
    blackbox: Blackbox,
    text: &str,
    stays: bool,
    clients: &mut [Client],
    main: impl FnOnce(&Thread) + Send,
    worker: impl FnOnce(&Thread) + Send,
) -> Directed {
    direct_within(Duration::from_secs(20), blackbox, text, stays, clients, main, worker)
}

fn direct_within(
    limit: Duration,
    blackbox: Blackbox,
    text: &str,
    stays: bool,
    clients: &mut [Client],
    main: impl FnOnce(&Thread) + Send,
    worker: impl FnOnce(&Thread) + Send,
) -> Directed {
    let schedule = Schedule::parse(text, &POINTS, 1).expect("it is well formed");
    if schedule.stops() {
        blackbox.add_client(OPERATOR).expect("there is room");
    }
    let (passed, order) = (Mutex::new(Vec::new()), &mut InOrder::new(&schedule));
    let (steps, verdict) = std::thread::scope(|scope| {
        let passed = &passed;
        scope.spawn(move || {
            let thread = Thread { blackbox, role: MAIN, passed };
            main(&thread);
            thread.end();
        });
        scope.spawn(move || {
            let thread = Thread { blackbox, role: WORKER, passed };
            worker(&thread);
            thread.end();
        });
        let stop = || blackbox.record(MAIN, Kind::Begin, "told", Location::caller(), 0, 0, 0);
        let mut director = Director {
            blackbox,
            strategy: order,
            outside: schedule.outside(),
            limit: Some(limit),
            alive: &mut || true,
            traced: &|| false,
            stays,
            stop: &stop,
            grace: GRACE,
        };
        director.run(clients)
    });
    assert!(blackbox.is_open(), "whatever came of it, nobody is held");
    let outcomes = steps.into_iter().map(|step| step.outcome).collect();
    let passed = passed.into_inner().expect("no test thread panics");
    Directed { verdict, outcomes, passed, records: blackbox.records() }
}

fn threads_only(text: &str, main: impl FnOnce(&Thread) + Send, worker: impl FnOnce(&Thread) + Send) -> Directed {
    direct(new_box(), text, false, &mut [], main, worker)
}

fn at_all_points(thread: &Thread) {
    POINTS.iter().for_each(|point| thread.point(point, 1));
}

#[test]
fn an_occurrence_is_just_that_pass_of_a_point() {
    let three_times = |worker: &Thread| (1..=3).for_each(|n| worker.point("first", n));
    let run = threads_only("worker-1 first 2\nmain first\n", at_all_points, three_times);
    assert_eq!(run.passed[..3], ["worker-1 first", "worker-1 first", "main first"]);
    assert_eq!((&run.outcomes[..], run.steps()), (&[Outcome::Passed, Outcome::Passed][..], vec![1, 2]));
    // There is no fourth: each of the three is on the way to it.
    let run = threads_only("worker-1 first 2\nmain first\nworker-1 first 4\n", at_all_points, three_times);
    assert_eq!(run.outcomes, [Outcome::Passed, Outcome::Passed, Outcome::Unmet("has ended".to_string())]);
    assert_eq!((run.steps(), run.verdict), (vec![1, 2], Direction::Over));
}

#[test]
fn a_role_without_a_step_waits_at_its_first_point_and_one_that_had_its_last_at_the_next() {
    for _ in 0..20 {
        let run = threads_only("main first\nmain third\n", at_all_points, at_all_points);
        let main = ["main first", "main second", "main third"];
        assert_eq!((&run.passed[..3], run.passed[3].as_str()), (&main.map(String::from)[..], "worker-1 first"));
        let run = threads_only("worker-1 first\nmain first\nmain third\n", at_all_points, at_all_points);
        assert_eq!((run.passed[0].as_str(), &run.passed[1..4]), ("worker-1 first", &main.map(String::from)[..]));
        assert_eq!(run.passed[4], "worker-1 second");
    }
}

/// The worker needs the lock that `main` has given back only when it is past `second`.
fn with_a_lock(text: &str) -> Directed {
    let free = AtomicBool::new(false);
    let main = |main: &Thread| {
        main.point("first", 1);
        main.point("second", 1);
        free.store(true, SeqCst);
        main.point("third", 1);
    };
    threads_only(text, main, |worker| {
        worker.point("first", 1);
        worker.wait(Waiting::Lock, LOCK, MAIN, || free.load(SeqCst));
        worker.point("second", 1);
        worker.point("third", 1);
    })
}

#[test]
fn a_step_that_ends_in_a_wait_is_refused_with_the_lock_and_its_holder_and_what_follows_is_held_back() {
    let run = with_a_lock("main first\nworker-1 first\nworker-1 second\nmain second\nmain third\nworker-1 third\n");
    let refused = Outcome::Refused { waiting: Waiting::Lock, address: LOCK, holder: Some(MAIN) };
    let passed = || Outcome::Passed;
    assert_eq!(run.outcomes, [passed(), refused, Outcome::HeldBack, passed(), passed(), passed()]);
    assert_eq!(run.of_kind(Kind::Refused), [(WORKER, [2, Waiting::Lock as u64, LOCK])]);
    // The late step comes as soon as it can, before any other.
    assert_eq!(run.steps(), [1, 2, 4, 3, 5, 6]);
    let order = ["main first", "worker-1 first", "main second", "worker-1 second", "main third", "worker-1 third"];
    assert_eq!(run.passed, order);
    let who: Vec<_> = run.of_kind(Kind::Step).into_iter().map(|(role, _)| role).collect();
    assert_eq!(who, [MAIN, WORKER, MAIN, WORKER, MAIN, WORKER]);
}

#[test]
fn a_late_step_that_waits_again_is_not_refused_twice() {
    let run = threads_only("main first\nworker-1 first\nmain second\nmain third\n", at_all_points, |worker| {
        // It comes to its point only once `main` has passed two, and waits again after it.
        let two = || worker.passed.lock().expect("no test thread panics").len() >= 2;
        worker.wait(Waiting::Task, 0, 0, two);
        worker.point("first", 1);
        worker.wait_for_ever(Waiting::Lock);
    });
    let refused = Outcome::Refused { waiting: Waiting::Task, address: 0, holder: None };
    assert_eq!(run.outcomes, [Outcome::Passed, refused, Outcome::Passed, Outcome::Passed]);
    assert_eq!((run.of_kind(Kind::Refused), run.steps()), (vec![], vec![1, 3, 2, 4]));
}

#[test]
fn a_step_that_never_came_says_for_what_its_role_waits() {
    let run = threads_only("main first\nworker-1 first\n", at_all_points, |worker| worker.wait_for_ever(Waiting::Task));
    assert_eq!(run.outcomes, [Outcome::Passed, Outcome::Unmet("waits for a task".to_string())]);
    let run = threads_only("main third\nworker-1 first\n", at_all_points, |worker| {
        worker.wait(Waiting::Thread, 0, MAIN, || false);
    });
    assert_eq!(run.outcomes[1], Outcome::Unmet("waits for the end of main".to_string()));
    // The holder of what nobody holds is nobody.
    let run = threads_only("main first\nworker-1 first\nworker-1 second\nmain second\n", at_all_points, |worker| {
        worker.point("first", 1);
        worker.wait(Waiting::Notice, LOCK, MAIN, || false);
    });
    let refused = Outcome::Refused { waiting: Waiting::Notice, address: LOCK, holder: None };
    assert_eq!(run.outcomes[1], refused);
}

#[test]
fn whoever_waits_looks_again_after_each_step() {
    let looks = std::sync::atomic::AtomicU32::new(0);
    let run = threads_only("main first\nmain second\nmain third\n", at_all_points, |worker| {
        worker.wait(Waiting::Lock, LOCK, MAIN, || {
            looks.fetch_add(1, SeqCst);
            worker.passed.lock().expect("no test thread panics").len() == 2
        });
        worker.point("first", 1);
    });
    assert_eq!(looks.into_inner(), 3, "when it came, and after each of two steps");
    assert_eq!(run.passed, ["main first", "main second", "main third", "worker-1 first"]);
}

/// `main`, which is asked first, can go on only once the worker has, which has to be asked a second time.
#[test]
fn who_waits_is_asked_until_nobody_gets_any_further() {
    let (free, looks) = (AtomicBool::new(false), std::sync::atomic::AtomicU32::new(0));
    let main = |main: &Thread| {
        main.wait(Waiting::Lock, LOCK, WORKER, || free.load(SeqCst));
        main.point("first", 1);
    };
    let run = threads_only("worker-1 first\nmain first\nworker-1 second\n", main, |worker| {
        worker.point("first", 1);
        worker.wait(Waiting::Task, 0, 0, || looks.fetch_add(1, SeqCst) > 0);
        free.store(true, SeqCst);
        worker.point("second", 1);
    });
    let refused = Outcome::Refused { waiting: Waiting::Task, address: 0, holder: None };
    assert_eq!(run.outcomes, [refused, Outcome::Passed, Outcome::Passed]);
    assert_eq!(run.passed, ["worker-1 first", "main first", "worker-1 second"]);
}

#[test]
fn a_time_runs_out_for_the_role_whose_turn_it_is() {
    let run = threads_only("main first\nworker-1 first\nmain second\n", at_all_points, |worker| {
        let slot = worker.blackbox.slot(WORKER);
        worker.wait(Waiting::NoticeOrTime, LOCK, 0, || slot.take_time_over());
        worker.point("first", 1);
    });
    assert_eq!(run.outcomes, [Outcome::Passed, Outcome::Passed, Outcome::Passed]);
    assert_eq!(run.passed[..3], ["main first", "worker-1 first", "main second"]);
    // It is given its time once.
    let times = std::sync::atomic::AtomicU32::new(0);
    let run = threads_only("worker-1 first\nmain first\n", at_all_points, |worker| {
        let slot = worker.blackbox.slot(WORKER);
        let over = || slot.take_time_over() && times.fetch_add(1, SeqCst) > 1;
        worker.wait(Waiting::NoticeOrTime, LOCK, 0, over);
    });
    assert_eq!((times.into_inner(), &run.outcomes[1]), (1, &Outcome::Passed));
    assert_eq!(run.outcomes[0], Outcome::Unmet("waits for a notification, for a time".to_string()));
}

#[test]
fn a_packet_that_the_kernel_still_delivers_is_waited_for() {
    for (after, came) in [(20, true), (100_000, false)] {
        let start = Instant::now();
        let run = threads_only("worker-1 first\nmain first\n", at_all_points, |worker| {
            worker.wait(Waiting::Event, 5, 0, || start.elapsed() > Duration::from_millis(after));
            worker.point("first", 1);
        });
        assert_eq!(run.outcomes[0] == Outcome::Passed, came, "{:?}", run.outcomes);
        assert_eq!(run.passed[0] == "worker-1 first", came);
        assert_eq!(run.outcomes[1], Outcome::Passed);
    }
}

/// The client's kernel has acknowledged its bytes: whoever still sleeps then was not woken.
#[test]
fn a_thread_that_sleeps_on_in_the_kernel_is_refused_and_not_missing() {
    let blackbox = new_box();
    let (mut client, _server) = connected(blackbox, Plan::Get(1));
    client.send(29).expect("there is room");
    let (wake, woken) = std::io::pipe().map(|(read, write)| (Mutex::new(Some(write)), read)).expect("there are pipes");
    let start = Instant::now();
    let run = direct(
        blackbox,
        "worker-1 first\nworker-1 second\nmain first\nmain second\n",
        false,
        &mut [client],
        |main| {
            main.point("first", 1);
            main.point("second", 1);
            drop(wake.lock().expect("no test thread panics").take());
        },
        |worker| {
            worker.point("first", 1);
            worker.blackbox.slot(WORKER).fall_asleep();
            worker.blackbox.ring_doorbell();
            let _ = std::io::Read::read(&mut &woken, &mut [0]);
            worker.blackbox.slot(WORKER).set_state(State::Running);
            worker.point("second", 1);
        },
    );
    assert_eq!(run.outcomes[0], Outcome::Passed, "to fall asleep is what its step is");
    assert!(run.of_kind(Kind::Refused).is_empty());
    let refused = Outcome::Refused { waiting: Waiting::Event, address: 0, holder: None };
    assert!(run.outcomes[1] == refused || run.outcomes[1] == Outcome::Passed, "{:?}", run.outcomes);
    assert_eq!(run.outcomes[2..], [Outcome::Passed, Outcome::Passed]);
    assert!(start.elapsed() < Duration::from_secs(15));
}

/// A client, and the server's end of its connection.
fn connected(blackbox: Blackbox, plan: Plan) -> (Client, TcpStream) {
    let (mut client, listener) = listening(blackbox, plan);
    client.connect().expect("it listens");
    (client, listener.accept().expect("somebody has connected").0)
}

fn listening(blackbox: Blackbox, plan: Plan) -> (Client, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it is bound").port();
    (Client::new(blackbox, port, plan, Duration::from_secs(20)), listener)
}

#[test]
fn a_clients_steps_are_done_in_their_places() {
    let blackbox = new_box();
    let (client, listener) = listening(blackbox, Plan::Get(2));
    let text = "client plan GET 2\nclient connect\nmain first\nclient send 29\nmain second\nclient receive\nclient fin\n\
                main third\n";
    let main = |main: &Thread| {
        main.point("first", 1);
        let (mut server, _) = listener.accept().expect("it has connected");
        main.point("second", 1);
        std::io::Read::read_exact(&mut server, &mut [0; 29]).expect("it has arrived");
        server.write_all(&Plan::Get(2).reply()).expect("there is room");
        main.point("third", 1);
        assert_eq!(std::io::Read::read(&mut server, &mut [0; 8]).expect("the end has arrived"), 0);
    };
    let clients = &mut [client];
    let run = direct(blackbox, text, false, clients, main, |_| ());
    assert!(run.outcomes.iter().all(|outcome| *outcome == Outcome::Passed), "{:?}", run.outcomes);
    assert_eq!((run.verdict, run.outcomes.len(), clients[0].totals().replies), (Direction::Over, 7, 1));
    let seen: Vec<_> = run.records.iter().filter(|record| record.role == CLIENT).map(|record| record.kind).collect();
    use Kind::*;
    assert_eq!(seen, [Step, ClientConnect, Step, ClientSend, Step, ClientReceive, Step, ClientFin]);
    let steps: Vec<_> = run.records.iter().filter(|record| record.kind != Step).map(|record| record.step).collect();
    assert_eq!(steps, [Some(1), Some(3), Some(5), Some(6)]);
}

#[test]
fn a_client_that_cannot_do_its_step_is_the_machines_failure_or_the_servers_death() {
    for (dies, verdict) in
        [(false, Direction::Unable("step 2: the client could not connect: ".to_string())), (true, Direction::Died)]
    {
        let (mut client, listener) = listening(new_box(), Plan::Raw);
        drop(listener);
        let blackbox = new_box();
        blackbox.slot(WORKER).set_state(State::Ended);
        blackbox.slot(MAIN).set_state(State::Ended);
        let schedule = Schedule::parse("main first\nclient connect\nmain second\n", &POINTS, 1).expect("well formed");
        let mut asked = 0;
        // The first look is that of the director itself, before any step.
        let mut alive = || {
            asked += 1;
            asked == 1 || !dies
        };
        let mut director = Director {
            blackbox,
            strategy: &mut InOrder::new(&schedule),
            outside: schedule.outside(),
            limit: None,
            alive: &mut alive,
            traced: &|| false,
            stays: false,
            stop: &|| (),
            grace: GRACE,
        };
        let (steps, found) = director.run(std::slice::from_mut(&mut client));
        match (&found, &verdict) {
            (Direction::Unable(why), Direction::Unable(begins)) => assert!(why.starts_with(begins), "{why}"),
            _ => assert_eq!(found, verdict),
        }
        // Of a server that is dead nobody can say what it does instead.
        let last = if dies { Outcome::NotReached } else { Outcome::Unmet("has ended".to_string()) };
        assert_eq!(steps[2].outcome, last);
    }
}

#[test]
fn bytes_that_are_not_its_own_end_the_clients_step_and_not_the_direction() {
    let blackbox = new_box();
    let (client, mut server) = connected(blackbox, Plan::Get(1));
    server.write_all(b"a stranger's").expect("there is room");
    let text = "client plan GET 1\nclient connect\nclient receive\nmain first\n";
    let schedule = Schedule::parse(text, &POINTS, 1).expect("well formed");
    let clients = &mut [client];
    let passed = Mutex::new(Vec::new());
    let (steps, verdict) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let main = Thread { blackbox, role: MAIN, passed: &passed };
            main.point("first", 1);
            main.end();
        });
        blackbox.slot(WORKER).set_state(State::Ended);
        let mut outside = schedule.outside();
        outside[0].1.pop_front();
        outside[0].1.push_front(Action::Send(29));
        let mut director = Director {
            blackbox,
            strategy: &mut InOrder::new(&schedule),
            outside,
            limit: None,
            alive: &mut || true,
            traced: &|| false,
            stays: false,
            stop: &|| (),
            grace: GRACE,
        };
        director.run(clients)
    });
    assert_eq!((verdict, steps[2].outcome.clone()), (Direction::Over, Outcome::Passed));
    assert!(clients[0].misdelivery().is_some());
}

#[test]
fn the_operator_tells_the_server_to_stop_in_its_place() {
    let run = threads_only("main first\noperator stop\nmain second\n", at_all_points, |_| ());
    let kinds: Vec<_> = run.records.iter().map(|record| (record.role, record.kind)).collect();
    // The director of this file has the order to stop recorded as `Begin`.
    let (step, operator) = (Kind::Step, 3);
    assert_eq!(kinds, [(MAIN, step), (operator, step), (operator, Kind::Stop), (MAIN, Kind::Begin), (MAIN, step)]);
    let run = threads_only("main first\n", at_all_points, |_| ());
    assert!(run.of_kind(Kind::Begin).is_empty(), "nobody has said so");
}

/// `main` has been told to stop, and waits for the worker's end.
fn told_to_stop(stays: bool, worker: impl FnOnce(&Thread) + Send) -> Directed {
    let main = |main: &Thread| {
        main.point("first", 1);
        main.wait(Waiting::Thread, 0, WORKER, || main.blackbox.slot(WORKER).state() == State::Ended);
    };
    direct(new_box(), "main first\noperator stop\n", stays, &mut [], main, worker)
}

#[test]
fn who_waits_for_the_end_of_one_who_waits_for_ever_never_stops() {
    let run = told_to_stop(true, |worker| worker.wait_for_ever(Waiting::Notice));
    let doing = [("main", "waits for the end of worker-1"), ("worker-1", "waits for a notification")];
    let doing = doing.map(|(role, doing)| (role.to_string(), doing.to_string())).to_vec();
    let stuck = Stuck { doing, joins: Some((MAIN, WORKER)), asleep: Vec::new() };
    assert_eq!(run.verdict, Direction::Shown(Evidence::NeverStops(stuck)));
    assert_eq!(run.of_kind(Kind::Stuck), [(MAIN, [WORKER as u64, 0, 0])]);
    assert_eq!(run.outcomes[1], Outcome::Passed);
}

#[test]
fn who_can_still_move_stops() {
    // It comes to its end by itself, point after point.
    let run = told_to_stop(true, |worker| {
        at_all_points(worker);
        worker.record(Kind::End, 0);
    });
    assert_eq!((run.verdict, run.passed.len()), (Direction::Over, 4));
    // Its time will be over.
    let run = told_to_stop(true, |worker| worker.wait_for_ever(Waiting::NoticeOrTime));
    assert_eq!(run.verdict, Direction::Over);
    // Nobody waits for an end: then it is not seen that there will be none.
    let run = direct(
        new_box(),
        "main first\noperator stop\n",
        true,
        &mut [],
        |main| {
            main.point("first", 1);
            main.wait_for_ever(Waiting::Event);
        },
        |worker| worker.wait_for_ever(Waiting::Notice),
    );
    assert_eq!(run.verdict, Direction::Over);
    // A director that does not stay does not see it.
    let run = told_to_stop(false, |worker| worker.wait_for_ever(Waiting::Notice));
    assert_eq!((&run.verdict, run.of_kind(Kind::Stuck)), (&Direction::Over, vec![]));
}

/// `main` has accepted two clients and waits for events; only the second one has nothing to wait for.
#[test]
fn nobody_moves_and_a_client_is_owed_a_reply_that_is_a_hang() {
    let blackbox = new_box();
    let second = blackbox.add_client("client-2").expect("there is room");
    let (mut first, _first) = connected(blackbox, Plan::Get(1));
    let (other, mut its) = connected(blackbox, Plan::Get(1));
    let mut other = other.playing(second);
    // As if the second client had come first.
    let connect = |role| blackbox.record(role, Kind::ClientConnect, "", Location::caller(), 1, 0, 0);
    let accept = |fd| blackbox.record(MAIN, Kind::Accept, "", Location::caller(), fd, 0, 0);
    let before = blackbox.written();
    assert_eq!(before, 2, "both have said that they connect, as `client`");
    first.send(29).expect("there is room");
    other.send(29).expect("there is room");
    its.write_all(&Plan::Get(1).reply()).expect("there is room");
    other.receive().expect("it is its own");
    connect(second);
    (7..10).for_each(accept);
    let clients = &mut [first, other];
    let worker = |worker: &Thread| worker.wait_for_ever(Waiting::Task);
    let run = direct(
        blackbox,
        "main first\n",
        true,
        clients,
        |main| {
            main.point("first", 1);
            main.wait_for_ever(Waiting::Event);
        },
        worker,
    );
    let doing = [("main", "waits for an event"), ("worker-1", "waits for a task")];
    let doing = doing.map(|(role, doing)| (role.to_string(), doing.to_string())).to_vec();
    let hang = Hang { session: 1, fd: 7, unread: 29, owed: 1, doing, proof: None, serves_another: false };
    assert_eq!(run.verdict, Direction::Shown(Evidence::Hangs(hang)));
    assert_eq!(run.of_kind(Kind::Hang), [(CLIENT, [1, 29, 0])]);
}

#[test]
fn a_hang_is_that_of_the_client_that_waits_by_the_order_in_which_they_came() {
    let blackbox = new_box();
    let second = blackbox.add_client("client-2").expect("there is room");
    let accept = |fd| blackbox.record(MAIN, Kind::Accept, "", Location::caller(), fd, 0, 0);
    let (mut first, mut its) = connected(blackbox, Plan::Get(1));
    accept(7);
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it is bound").port();
    let mut other = Client::new(blackbox, port, Plan::Get(2), Duration::from_secs(20)).playing(second);
    other.connect().expect("it listens");
    let _server = listener.accept().expect("somebody has connected");
    accept(9);
    first.send(29).expect("there is room");
    its.write_all(&Plan::Get(1).reply()).expect("there is room");
    first.receive().expect("it is its own");
    let clients = &mut [first, other];
    let run = direct(
        blackbox,
        "main first\n",
        true,
        clients,
        |main| {
            main.point("first", 1);
            main.wait_for_ever(Waiting::Event);
        },
        |_| (),
    );
    let Direction::Shown(Evidence::Hangs(hang)) = &run.verdict else { panic!("{:?}", run.verdict) };
    assert_eq!((hang.session, hang.fd, hang.owed, hang.unread), (2, 9, 2, 58));
    assert_eq!(run.of_kind(Kind::Hang), [(second, [2, 58, 0])]);
}

/// A server with one client, whose reply `main` writes or not.
fn serving(stays: bool, waiting: Waiting, mut answers: impl FnMut(&mut TcpStream) -> bool + Send) -> (Directed, u64) {
    let blackbox = new_box();
    let (client, mut server) = connected(blackbox, Plan::Get(1));
    let clients = &mut [client];
    let main = |main: &Thread| {
        main.point("first", 1);
        main.wait(waiting, 0, 0, || answers(&mut server));
        main.wait_for_ever(waiting);
        // Nobody directs any more: the connection stays open until the test has looked.
        std::mem::forget(server);
    };
    let run = direct(blackbox, "main first\n", stays, clients, main, |_| ());
    (run, clients[0].totals().replies)
}

#[test]
fn a_client_that_is_served_after_the_steps_is_no_hang() {
    let mut looks = 0;
    let (run, replies) = serving(true, Waiting::Event, |server| {
        looks += 1;
        looks > 3 && server.write_all(&Plan::Get(1).reply()).is_ok()
    });
    assert_eq!((run.verdict, replies), (Direction::Over, 1));
}

#[test]
fn who_waits_for_a_time_does_not_hang_and_who_does_not_stay_sees_nothing() {
    for waiting in [Waiting::NoticeOrTime, Waiting::Turn] {
        let (run, replies) = serving(true, waiting, |_| false);
        assert_eq!((&run.verdict, replies, run.of_kind(Kind::Hang)), (&Direction::Over, 0, vec![]));
    }
    let (run, _) = serving(false, Waiting::Event, |_| false);
    assert_eq!((&run.verdict, run.of_kind(Kind::Hang)), (&Direction::Over, vec![]));
}

#[test]
fn a_server_that_dismisses_a_client_without_its_reply_is_no_hang() {
    let (run, _) = serving(true, Waiting::Event, |server| server.shutdown(std::net::Shutdown::Write).is_ok());
    // What that client has lost is judged when all is over.
    assert_eq!((&run.verdict, run.of_kind(Kind::Hang)), (&Direction::Over, vec![]));
}

/// What a strategy is told of the last step.
#[derive(Default)]
struct Told {
    choices: VecDeque<Move>,
    told: Vec<(Option<Move>, bool)>,
}

impl Strategy for Told {
    fn choose(&mut self, now: &Now) -> Choice {
        let last = now.last.as_ref();
        self.told.push((last.map(|last| last.moved), last.is_some_and(|last| last.refused.is_some())));
        self.choices.pop_front().map_or(Choice::End, Choice::Role)
    }

    fn steps(&mut self, _: &Now) -> Vec<Step> {
        Vec::new()
    }
}

#[test]
fn a_strategy_is_told_who_moved_and_whether_it_had_to_wait() {
    let blackbox = new_box();
    blackbox.slot(WORKER).set_state(State::Ended);
    let passed = Mutex::new(Vec::new());
    let step = |step, is_late| Move { role: MAIN, step, is_late };
    let mut strategy = Told { choices: [step(5, false), step(6, true), step(7, false)].into(), ..Told::default() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let main = Thread { blackbox, role: MAIN, passed: &passed };
            let blocked = AtomicBool::new(false);
            for point in ["first", "second", "third"] {
                main.point(point, 1);
                // Once in vain.
                blocked.store(true, SeqCst);
                main.wait(Waiting::Lock, LOCK, WORKER, || !blocked.swap(false, SeqCst));
            }
            main.end();
        });
        let mut director = Director {
            blackbox,
            strategy: &mut strategy,
            outside: Vec::new(),
            limit: Some(Duration::from_secs(20)),
            alive: &mut || true,
            traced: &|| false,
            stays: false,
            stop: &|| (),
            grace: GRACE,
        };
        assert_eq!(director.run(&mut []).1, Direction::Over);
    });
    let told =
        [(None, false), (Some(step(5, false)), true), (Some(step(6, true)), false), (Some(step(7, false)), true)];
    assert_eq!(strategy.told, told);
    let refused: Vec<_> = blackbox.records().iter().filter(|r| r.kind == Kind::Refused).map(|r| r.a).collect();
    assert_eq!(refused, [5, 7], "a late step is not refused again");
}

#[test]
fn what_comes_after_the_steps_is_of_no_step() {
    let run = threads_only(
        "main first\n",
        |main| {
            main.record(Kind::Push, 1);
            main.point("first", 1);
            main.record(Kind::Push, 2);
            main.point("second", 1);
            main.record(Kind::Push, 3);
        },
        |_| (),
    );
    let pushes = run.records.iter().filter(|record| record.kind == Kind::Push);
    let made: Vec<_> = pushes.map(|record| (record.step, record.over)).collect();
    assert_eq!(made, [(None, false), (Some(1), false), (None, true)]);
}

/// What those outside are about to do, as a strategy sees it.
#[test]
fn a_strategy_sees_what_each_outside_the_server_does_next() {
    struct Next(Vec<(String, Option<Action>, bool)>);
    impl Strategy for Next {
        fn choose(&mut self, now: &Now) -> Choice {
            let one =
                |(n, role): (usize, &Standing)| (role.name.clone(), role.next.clone(), now.movable().any(|m| m == n));
            self.0 = now.roles.iter().enumerate().map(one).collect();
            assert!(now.is_alive && now.last.is_none());
            Choice::End
        }

        fn steps(&mut self, now: &Now) -> Vec<Step> {
            assert!(!now.is_alive || now.roles.len() == 5);
            Vec::new()
        }
    }
    let blackbox = new_box();
    blackbox.add_client("client-2").expect("there is room");
    blackbox.add_client(OPERATOR).expect("there is room");
    [MAIN, WORKER].iter().for_each(|role| blackbox.slot(*role).set_state(State::Ended));
    let mut strategy = Next(Vec::new());
    let actions = |actions: &[Action]| actions.iter().cloned().collect();
    let mut director = Director {
        blackbox,
        strategy: &mut strategy,
        outside: vec![
            ("client".to_string(), actions(&[])),
            ("client-2".to_string(), actions(&[Action::Send(7), Action::Fin])),
            (OPERATOR.to_string(), actions(&[Action::Stop])),
        ],
        limit: None,
        alive: &mut || true,
        traced: &|| false,
        stays: false,
        stop: &|| (),
        grace: GRACE,
    };
    director.run(&mut []);
    let none = |name: &str| (name.to_string(), None, false);
    let next = |name: &str, action| (name.to_string(), Some(action), true);
    let all = [
        none("client"),
        none("main"),
        none("worker-1"),
        next("client-2", Action::Send(7)),
        next(OPERATOR, Action::Stop),
    ];
    assert_eq!(strategy.0, all);
}

#[test]
fn who_waits_for_another_thread_cannot_be_moved() {
    for waiting in [Waiting::Lock, Waiting::Task, Waiting::Notice, Waiting::Turn] {
        let blackbox = new_box();
        blackbox.slot(MAIN).set_state(State::Ended);
        let choices = [Move { role: WORKER, step: 1, is_late: false }].into();
        let passed = Mutex::new(Vec::new());
        let (_, verdict) = std::thread::scope(|scope| {
            scope.spawn(|| {
                let worker = Thread { blackbox, role: WORKER, passed: &passed };
                worker.wait_for_ever(waiting);
                worker.end();
            });
            let mut director = Director {
                blackbox,
                strategy: &mut Told { choices, ..Told::default() },
                outside: Vec::new(),
                limit: Some(Duration::from_secs(20)),
                alive: &mut || true,
                traced: &|| false,
                stays: false,
                stop: &|| (),
                grace: GRACE,
            };
            director.run(&mut [])
        });
        let why = Direction::Failed("worker-1 was to go next, and cannot move".to_string());
        assert_eq!(verdict, why, "{waiting:?}");
    }
}

/// What came of a server that has nothing to do but does not come to rest either.
fn restless(limit: Duration, text: &str, worker: impl FnOnce(&Thread) + Send) -> Direction {
    let blackbox = new_box();
    let (client, _server) = connected(blackbox, Plan::Get(1));
    direct_within(limit, blackbox, text, true, &mut [client], |main| main.point("first", 1), worker).verdict
}

#[test]
fn who_passes_point_after_point_and_never_rests_is_given_up() {
    let round_and_round = |worker: &Thread| {
        (1..).take_while(|_| !worker.blackbox.is_open()).for_each(|n| worker.point("first", n));
    };
    // On the way to a step that never comes, and after the steps.
    for text in ["main first\nworker-1 second\n", "main first\n", "main first\noperator stop\n"] {
        assert_eq!(restless(Duration::from_secs(60), text, round_and_round), Direction::Restless, "{text}");
    }
}

#[test]
fn who_tells_of_each_look_in_vain_or_serves_strangers_is_given_up() {
    for (every, kind, begins) in [
        (1, Kind::AtomicLoad, "the server did not come to rest in "),
        (2, Kind::AtomicLoad, "the server goes on, and no client got "),
        (2, Kind::Accept, "the server goes on, and no client got "),
    ] {
        for text in ["main first\n", "main first\noperator stop\n"] {
            let why = |limit| {
                let verdict = restless(limit, text, |worker| {
                    let mut looks = 0;
                    worker.wait(Waiting::Task, 0, 0, || {
                        looks += 1;
                        if looks % every == 0 {
                            worker.record(kind, 0);
                        }
                        false
                    });
                });
                let Direction::Failed(why) = verdict else { panic!("{text}: {verdict:?}") };
                why
            };
            // A thread that gets no core for so long is what is named then: a longer limit tells.
            let mut said = Vec::new();
            for limit in [300, 3_000, 30_000] {
                said.push(why(Duration::from_millis(limit)));
                if said.last().is_some_and(|why| why.starts_with(begins)) {
                    break;
                }
            }
            let why = said.last().expect("there is a limit");
            assert!(why.starts_with(begins), "{text}: {said:?}");
            assert_eq!(why.ends_with("somebody else has connected to it"), kind == Kind::Accept, "{why}");
        }
    }
}

#[test]
fn a_client_goes_on_with_a_server_that_was_told_to_stop() {
    let blackbox = new_box();
    let (client, mut server) = connected(blackbox, Plan::Get(1));
    server.set_nonblocking(true).expect("a socket has the option");
    let main = |main: &Thread| {
        main.point("first", 1);
        let mut got = [0; 64];
        main.wait(Waiting::Event, 0, 0, || matches!(std::io::Read::read(&mut server, &mut got), Ok(29)));
        main.end();
        server.write_all(&Plan::Get(1).reply()).expect("there is room");
    };
    let clients = &mut [client];
    let run = direct(blackbox, "main first\noperator stop\n", true, clients, main, |_| ());
    assert_eq!((run.verdict, clients[0].totals().sent), (Direction::Over, 29));
}
