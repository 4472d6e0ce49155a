//! How the program ends after each run that there can be, right or wrong.

use super::*;
use crate::catalogue::exhibits;
use crate::direct::client::ClientTotals;
use crate::direct::outcome::{Hang, Stuck};
use crate::direct::quiescence::tests::{FutexSleeper, TestProcess};
use crate::direct::schedule;
use crate::record::blackbox::{CLIENT, MAIN};
use crate::record::event::Waiting;
use crate::record::wakeups::{Counts, Herd};
use crate::runner::tests::{self, GET, alone, alone_and_well, ends, options, setup, stage, went_well};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::panic::Location;

const SEGV: Ending = Ending::Signal(libc::SIGSEGV);
const LIVED: Ending = Ending::Exit(0);

fn run(name: &str, ending: Ending) -> Run {
    let stage = stage(name);
    Run::of(&Blackbox::new(1).expect("there is a memfd"), stage, stage.heap, ending)
}

fn end(run: &Run) -> End {
    judge(run, &Direction::Over, false)
}

/// The same under an order of the reader's own.
fn own(run: &Run) -> End {
    judge(run, &Direction::Over, true)
}

fn panicked(said: &str) -> End {
    End::Said(1, format!("the server panicked: {said}"))
}

fn failed(why: &str) -> End {
    End::Failed(why.to_string())
}

/// A broken stage that outlives its order shows something too.
fn survived(name: &str, why: &str) -> End {
    let path = crate::catalogue::find(name).expect("it is in the catalogue").schedule.path;
    End::Said(0, format!("it survived the order of {path}: {why}"))
}

const NOTHING: &str = "nothing of what was to be shown came of it";

fn hang() -> Hang {
    Hang { session: 0, fd: 0, unread: 1, owed: 1, doing: vec![], proof: None, serves_another: false }
}

fn stuck() -> Stuck {
    Stuck { doing: vec![], joins: None, asleep: vec![] }
}

fn shown() -> [Evidence; 3] {
    let wrong = Misdelivery { client: 0, got: vec![], due: vec![], made_for: None };
    let loss = Loss { client: 0, owed: 1, error: 0, closed: true };
    [Evidence::Hangs(hang()), Evidence::Misdelivers(wrong), Evidence::Loses(loss)]
}

fn with_step(mut run: Run, outcome: Outcome) -> Run {
    let step = |role: &str, outcome| Step { role: role.to_string(), what: "read".to_string(), outcome };
    run.steps = vec![step("main", Outcome::Passed), step("worker-1", outcome)];
    run
}

#[test]
fn the_labs_own_failure_is_said_before_anything_else() {
    let why = Direction::Failed("a limit was reached".to_string());
    for ending in [LIVED, SEGV, Ending::Exit(70)] {
        let mut run = with_step(run("stage3_broken", ending), Outcome::Unmet(String::new()));
        run.evidence = Some(Evidence::Hangs(hang()));
        assert_eq!(judge(&run, &why, false), failed("a limit was reached"));
    }
}

#[test]
fn what_was_shown_is_status_1_and_a_death_after_it_is_a_death() {
    for evidence in shown() {
        let mut run = with_step(run("stage5_broken", LIVED), Outcome::Unmet(String::new()));
        run.evidence = Some(evidence);
        assert_eq!((end(&run), own(&run)), (End::Code(1), End::Code(1)));
        run.steps.clear();
        run.ending = SEGV;
        assert_eq!(end(&run), End::Signal(libc::SIGSEGV), "{:?}", run.evidence);
        run.ending = Ending::Exit(PANICKED);
        assert_eq!(end(&run), panicked(""));
    }
    // Of a server that never stops the lab itself makes an end.
    let mut run = run("stage7_broken", Ending::Signal(libc::SIGKILL));
    run.evidence = Some(Evidence::NeverStops(stuck()));
    assert_eq!(end(&run), End::Code(1));
    run.ending = LIVED;
    assert_eq!(end(&run), End::Code(1));
}

#[test]
fn a_step_that_never_came_is_named_unless_an_own_order_ended_in_a_death() {
    let unmet = || Outcome::Unmet("waits for a task".to_string());
    let named = || End::Unmet("worker-1 read".to_string());
    for ending in [LIVED, SEGV, Ending::Exit(1)] {
        assert_eq!(end(&with_step(run("stage3_broken", ending), unmet())), named());
    }
    let own_order = |ending| own(&with_step(run("stage3_broken", ending), unmet()));
    assert_eq!((own_order(SEGV), own_order(LIVED)), (End::Signal(libc::SIGSEGV), named()));
    // A server that panicked cannot come to its steps.
    let panic = with_step(run("stage3_broken", Ending::Exit(PANICKED)), unmet());
    assert_eq!((end(&panic), own(&panic)), (panicked(""), panicked("")));
    let refused = Outcome::Refused { waiting: Waiting::Lock, address: 0, holder: None };
    for other in [Outcome::Passed, refused, Outcome::HeldBack, Outcome::NotReached] {
        assert_eq!(end(&with_step(run("stage4_fixed", LIVED), other)), End::Code(0));
    }
}

#[test]
fn a_death_is_ended_by_the_same_signal() {
    for signal in [libc::SIGSEGV, libc::SIGABRT, libc::SIGKILL] {
        for name in ["stage3_broken", "stage3_fixed"] {
            assert_eq!(end(&run(name, Ending::Signal(signal))), End::Signal(signal));
        }
    }
}

#[test]
fn a_server_that_gave_up_is_quoted() {
    let mut run = run("stage3_fixed", Ending::Exit(5));
    assert_eq!(end(&run), failed("the server ended"));
    run.stderr = "panicked at lab/stages/stage3_fixed.rs:7:9:\nno more\n".to_string();
    assert_eq!(end(&run), failed("panicked at lab/stages/stage3_fixed.rs:7:9:"));
    // A panic is the server's own, and no failure of the lab.
    run.ending = Ending::Exit(PANICKED);
    assert_eq!(end(&run), panicked("panicked at lab/stages/stage3_fixed.rs:7:9: no more"));
}

#[test]
fn a_survival_is_right_for_a_fixed_stage_and_told_of_a_broken_one() {
    for stage in exhibits() {
        let lived = run(stage.name, LIVED);
        let right = matches!(stage.expect, crate::catalogue::Verdict::Serves);
        assert_eq!(end(&lived) == End::Code(0), right, "{}: {:?}", stage.name, end(&lived));
        assert!(right || matches!(end(&lived), End::Said(0, _)), "{}", stage.name);
        // Under an order, or on a heap, of the reader's own it may well be.
        assert_eq!(own(&lived), End::Code(0), "{}", stage.name);
        let heap = if stage.heap == Heap::Pages { Heap::Malloc } else { Heap::Pages };
        assert_eq!(end(&Run { heap, ..lived }), End::Code(0), "{}", stage.name);
    }
    assert_eq!(end(&run("stage3_broken", LIVED)), survived("stage3_broken", NOTHING));
}

fn herd(counts: &[(u64, u64, u64)]) -> Herd {
    let one = |&(woken, empty, accepted): &(u64, u64, u64)| Counts { woken, empty, accepted, ..Counts::default() };
    Herd { reactors: counts.iter().map(one).collect() }
}

#[test]
fn a_herd_is_counted_and_wrong_where_there_must_be_none() {
    let ends = |name, counts: &[(u64, u64, u64)]| {
        let mut run = run(name, LIVED);
        run.herd = herd(counts);
        (end(&run), own(&run))
    };
    let (all, one) = ([(1, 0, 1), (1, 1, 0)], [(1, 0, 1), (0, 0, 0)]);
    assert_eq!(ends("stage8_broken", &all), (End::Code(1), End::Code(1)));
    let none = survived("stage8_broken", "not everybody was woken: 1 for 1 connection; none in vain");
    assert_eq!(ends("stage8_broken", &one), (none, End::Code(0)));
    assert_eq!(ends("stage8_broken", &[(1, 0, 1)]), (End::Code(0), End::Code(0)), "one reactor is no herd");
    let wrong = || End::Said(1, "the fixed server woke everybody for one connection".to_string());
    assert_eq!(ends("stage8_fixed", &all), (wrong(), wrong()));
    assert_eq!(ends("stage8_fixed", &one), (End::Code(0), End::Code(0)));
}

#[test]
fn who_comes_later_and_finds_a_connection_waiting_was_woken_by_nobody() {
    let blackbox = Blackbox::new(64).expect("there is a memfd");
    let roles = ["reactor-1", "reactor-2"].map(|name| blackbox.add_role(name).expect("there is room"));
    let note = |role, kind, label| blackbox.record(role, kind, label, Location::caller(), 0, 0, 0);
    let ends = |name| {
        let stage = stage(name);
        let run = Run::of(&blackbox, stage, stage.heap, LIVED);
        end(&Run { herd: herd(&[(1, 0, 1), (1, 1, 0)]), ..run })
    };
    note(roles[0], Kind::Point, "wait");
    note(roles[1], Kind::Point, "wait");
    note(CLIENT, Kind::ClientConnect, "");
    assert!(matches!(ends("stage8_fixed"), End::Said(1, _)), "both slept");
    assert_eq!(ends("stage8_broken"), End::Code(1));
    // A second one comes when one of them has been woken, and is on its way.
    note(roles[1], Kind::Ready, "");
    note(CLIENT, Kind::ClientConnect, "");
    assert_eq!(ends("stage8_fixed"), End::Code(0));
    assert!(matches!(ends("stage8_broken"), End::Said(0, _)));
}

fn plan<'a>(name: &str, schedule: &'a Schedule) -> super::Plan<'a> {
    super::Plan { stage: stage(name), setup: setup(name, ends), schedule, limit: None, grace: GRACE, own_order: false }
}

fn order(text: &str) -> Schedule {
    Schedule::parse(text, &["wait"], 1).expect("it is well formed")
}

#[test]
fn the_director_stays_where_there_is_something_to_see_at_the_end() {
    let (plain, stops) = (order("main wait\n"), order("main wait\noperator stop\n"));
    for (name, stays) in [
        ("stage6_broken", true),
        ("stage2_reactor --lose-edge", true),
        ("stage7_broken", false),
        ("stage3_fixed", false),
    ] {
        assert_eq!(plan(name, &plain).stays(), stays, "{name}");
        assert!(plan(name, &stops).stays(), "{name}");
    }
}

/// A client that has sent the whole of its plan, and the server's end.
fn client(wants: schedule::Plan) -> (Client, TcpStream) {
    let blackbox = Blackbox::new(64).expect("there is a memfd");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let mut client = Client::new(blackbox, listener.local_addr().expect("it is bound").port(), wants, PATIENCE);
    client.connect().expect("it listens");
    let (server, _) = listener.accept().expect("somebody has connected");
    client.send(wants.length().expect("it has an end")).expect("there is room");
    (client, server)
}

#[test]
fn a_loss_is_of_a_client_that_came_to_its_end_at_a_server_that_drains() {
    let order = order("main wait\n");
    let error = |errno| io::Error::from_raw_os_error(errno);
    let (mut client, _server) = client(GET);
    let lost = |client: &Client, name, error: &io::Error| loss(&plan(name, &order), client, error);
    let end = io::Error::from(io::ErrorKind::UnexpectedEof);
    assert_eq!(lost(&client, "stage7_broken", &end), None, "it has not closed its side");
    client.fin().expect("it is connected");
    let is = |error| Some(Loss { client: CLIENT, owed: 1, error, closed: true });
    assert_eq!(lost(&client, "stage7_broken", &end), is(0));
    assert_eq!(lost(&client, "stage7_fixed --tail", &end), is(0));
    assert_eq!(lost(&client, "stage7_broken", &error(libc::ECONNRESET)), is(libc::ECONNRESET));
    assert_eq!(lost(&client, "stage5_broken", &end), None, "no server that drains");
    // What did not come within the limit is not known to be lost.
    assert_eq!(lost(&client, "stage7_broken", &error(libc::EAGAIN)), None);
    assert_eq!(lost(&client, "stage7_broken", &io::ErrorKind::TimedOut.into()), None);
}

/// An oracle that nobody asks.
fn nobody() -> HangOracle {
    let blackbox = Blackbox::new(1).expect("there is a memfd");
    HangOracle { blackbox, server: libc::pid_t::MAX, port: 1, limit: Duration::ZERO }
}

#[test]
fn under_an_order_that_is_not_the_stages_own_a_cut_client_has_lost_something() {
    let (plain, stops) = (order("main wait\n"), order("main wait\noperator stop\n"));
    let (mut client, _server) = client(GET);
    let end = io::ErrorKind::UnexpectedEof.into();
    let lost = |client: &Client, name: &str, schedule: &Schedule, error: &io::Error| {
        loss(&super::Plan { own_order: true, ..plan(name, schedule) }, client, error)
    };
    let is = |closed, error| Some(Loss { client: CLIENT, owed: 1, error, closed });
    for name in ["stage2_reactor", "stage5_fixed", "stage7_fixed"] {
        assert_eq!(lost(&client, name, &plain, &end), is(false, 0), "{name}");
        assert_eq!(
            lost(&client, name, &stops, &end),
            None,
            "{name}: told to stop, it may cut who has not come to its end"
        );
    }
    assert_eq!(lost(&client, "stage5_fixed", &plain, &io::ErrorKind::TimedOut.into()), None);
    assert_eq!(
        lost(&client, "stage5_fixed", &plain, &io::Error::from_raw_os_error(libc::EPIPE)),
        is(false, libc::EPIPE)
    );
    client.fin().expect("it is connected");
    for order in [&plain, &stops] {
        assert_eq!(lost(&client, "stage5_fixed", order, &end), is(true, 0));
    }
}

#[test]
fn the_director_stays_for_an_order_of_ones_own_unless_much_is_left_to_send() {
    let stays = |text: &str| super::Plan { own_order: true, ..plan("stage3_fixed", &order(text)) }.stays();
    assert!(stays("main wait\n") && stays("client plan GET 2\nclient connect\n"));
    assert!(stays("client plan POST 65000\nclient connect\n"));
    assert!(!stays("client plan POST 70000\nclient connect\n"));
    assert!(stays("client plan POST 70000\nclient connect\nclient send 16384\n"));
    assert!(stays("client plan POST 70000\nclient connect\noperator stop\n"), "what is to be seen comes at the end");
}

#[test]
fn a_client_that_is_not_served_is_the_labs_failure_or_its_servers_death() {
    let order = order("main wait\n");
    let finished = |name, closes: bool, alive: bool, reply: &[u8]| {
        let (mut client, mut server) = client(GET);
        if closes {
            client.fin().expect("it is connected");
        }
        server.write_all(reply).expect("there is room");
        server.shutdown(Shutdown::Write).expect("it is connected");
        let mut verdict = Direction::Over;
        finish(std::slice::from_mut(&mut client), &mut verdict, &plan(name, &order), nobody(), &mut || alive);
        verdict
    };
    let why = Direction::Failed("the client was not served: unexpected end of file".to_string());
    assert_eq!(finished("stage5_fixed", false, true, b""), why);
    assert_eq!(finished("stage5_fixed", false, false, b""), Direction::Died);
    assert_eq!(finished("stage7_fixed", false, true, b""), why);
    for alive in [true, false] {
        assert_eq!(finished("stage5_fixed", false, alive, &GET.reply()), Direction::Over);
        assert_eq!(
            finished("stage5_fixed", false, alive, b"a stranger's"),
            Direction::Over,
            "it is evidence, and no failure"
        );
    }
    // A loss is evidence too, of a server that lives.
    assert_eq!(finished("stage7_fixed", true, true, b""), Direction::Over);
    assert_eq!(finished("stage7_fixed", true, false, b""), Direction::Died);
}

#[test]
fn after_bytes_that_went_to_the_wrong_client_nobody_does_anything() {
    let order = order("main wait\n");
    let (mut first, mut server) = client(GET);
    let (second, _other) = client(GET);
    server.write_all(b"a stranger's").expect("there is room");
    assert!(first.receive().is_err());
    let (mut verdict, clients) = (Direction::Over, &mut [second, first]);
    finish(clients, &mut verdict, &plan("stage5_fixed", &order), nobody(), &mut || true);
    assert_eq!((verdict, clients[0].totals().received), (Direction::Over, 0));
    assert!(clients[0].failure().is_none());
}

fn oracle(scene: &TestProcess, limit: Duration) -> HangOracle {
    let port = scene.listener.local_addr().expect("it is bound").port();
    HangOracle { blackbox: scene.blackbox, server: scene.child.id() as libc::pid_t, port, limit }
}

fn confirmed(scene: &mut TestProcess, oracle: HangOracle) -> Direction {
    let mut verdict = Direction::Shown(Evidence::Hangs(hang()));
    confirm(&mut verdict, std::slice::from_mut(&mut scene.client), oracle);
    verdict
}

#[test]
fn a_hang_is_proved_by_the_kernel_which_names_the_descriptor_and_so_the_session() {
    let mut scene = TestProcess::holding("exec cat", GET);
    scene.client.send(29).expect("there is room");
    // The number was given out twice, and to others in between.
    for fd in [2, 7, 2, 9] {
        scene.blackbox.record(MAIN, Kind::Accept, "", Location::caller(), fd, 0, 0);
    }
    let oracle = oracle(&scene, PATIENCE);
    let Direction::Shown(Evidence::Hangs(found)) = confirmed(&mut scene, oracle) else { panic!("it hangs") };
    assert_eq!((found.fd, found.session, found.serves_another), (2, 3, false));
    assert_eq!(found.proof.map(|proof| (proof.fd, proof.connection.unread)), Some((Some(2), 29)));
    // Nobody has accepted that number.
    let mut other = TestProcess::holding("exec cat", GET);
    other.client.send(29).expect("there is room");
    other.blackbox.record(MAIN, Kind::Accept, "", Location::caller(), 7, 0, 0);
    let oracle = self::oracle(&other, PATIENCE);
    let Direction::Shown(Evidence::Hangs(found)) = confirmed(&mut other, oracle) else { panic!("it hangs") };
    assert_eq!((found.fd, found.session), (2, 0));
}

#[test]
fn another_client_may_be_served_meanwhile() {
    let mut scene = TestProcess::with("exec cat", GET);
    scene.client.send(29).expect("there is room");
    let (oracle, listener) = (oracle(&scene, PATIENCE), scene.listener.try_clone().expect("a descriptor is left"));
    let served = std::thread::spawn(move || {
        let (mut another, _) = listener.accept().expect("it comes");
        another.read_exact(&mut [0; 29]).expect("it asks");
        another.write_all(&ANOTHER.reply()).expect("there is room");
    });
    let Direction::Shown(Evidence::Hangs(found)) = confirmed(&mut scene, oracle) else { panic!("it hangs") };
    served.join().expect("no panic");
    assert!(found.serves_another && found.proof.is_some());
    assert_eq!((found.fd, found.session), (0, 0), "where the kernel does not say, it is as the director saw it");
}

#[test]
fn what_cannot_be_proved_is_the_labs_failure() {
    let mut scene = TestProcess::with("exec cat", GET);
    scene.client.send(29).expect("there is room");
    scene.server.write_all(&GET.reply()).expect("there is room");
    let why = Direction::Failed("the director saw a hang, and without it that could not be proved".to_string());
    let oracle = oracle(&scene, PATIENCE);
    assert_eq!(confirmed(&mut scene, oracle), why, "its reply came");
    // With nobody who waits there is nothing to prove.
    assert_eq!(confirmed(&mut scene, oracle), Direction::Shown(Evidence::Hangs(hang())));
    for other in [Direction::Over, Direction::Died] {
        let mut verdict = other.clone();
        let mut waits = TestProcess::with("exec cat", GET);
        confirm(&mut verdict, std::slice::from_mut(&mut waits.client), oracle);
        assert_eq!(verdict, other);
    }
}

#[test]
fn that_it_never_stops_is_proved_by_threads_that_sleep_in_futex() {
    let mut scene = TestProcess::new("exec cat");
    let stuck = || Direction::Shown(Evidence::NeverStops(stuck()));
    let (mut verdict, short) = (stuck(), oracle(&scene, Duration::from_millis(20)));
    confirm(&mut verdict, std::slice::from_mut(&mut scene.client), short);
    let why = "the director saw a server that cannot stop; without it nobody could prove that it sleeps";
    assert_eq!(verdict, Direction::Failed(why.to_string()), "a read ends with a packet");
    let sleeper = FutexSleeper::new(scene.blackbox);
    let mut verdict = stuck();
    confirm(&mut verdict, &mut [], HangOracle { server: sleeper.0, ..oracle(&scene, PATIENCE) });
    let Direction::Shown(Evidence::NeverStops(found)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(found.asleep.iter().map(|thread| thread.call).collect::<Vec<_>>(), ["futex"]);
}

#[test]
fn what_is_gathered_is_of_the_schedules_clients_only() {
    let order = order("main wait\n");
    let (mut one, mut server) = client(GET);
    let (two, _other) = client(schedule::Plan::Post(9));
    server.write_all(&GET.reply()).expect("there is room");
    one.receive().expect("it is its own");
    let sent = 29 + schedule::Plan::Post(9).length().expect("it has an end");
    let blackbox = Blackbox::new(8).expect("there is a memfd");
    let clients = [one, two];
    let gathered =
        |verdict: &Direction| gather(&plan("stage6_broken", &order), &blackbox, &clients, vec![], LIVED, verdict);
    assert_eq!(gathered(&Direction::Over).served, None);
    blackbox.serve_ended(ServedCounts { received: 129, replies: 3 });
    let run = gathered(&Direction::Over);
    assert_eq!(run.client, ClientTotals { sent, received: 52, replies: 1 });
    assert_eq!((run.served, run.evidence), (Some(ServedCounts { received: 129, replies: 3 }), None));
    // Who was served after the hang is in the server's counts, and not in the clients'.
    let hangs = |serves_another| Direction::Shown(Evidence::Hangs(Hang { serves_another, ..hang() }));
    assert_eq!(gathered(&hangs(true)).served, Some(ServedCounts { received: 100, replies: 2 }));
    let run = gathered(&hangs(false));
    assert_eq!(run.served, Some(ServedCounts { received: 129, replies: 3 }));
    assert_eq!(run.evidence, Some(Evidence::Hangs(hang())));
}

#[test]
fn evidence_that_only_the_clients_have_is_found() {
    let order = order("main wait\n");
    let (mut one, server) = client(GET);
    one.fin().expect("it is connected");
    server.shutdown(Shutdown::Write).expect("it is connected");
    assert!(one.finish().is_err());
    let blackbox = Blackbox::new(8).expect("there is a memfd");
    let evidence = |name, clients: &[Client]| {
        gather(&plan(name, &order), &blackbox, clients, vec![], LIVED, &Direction::Over).evidence
    };
    let lost = Loss { client: CLIENT, owed: 1, error: 0, closed: true };
    assert_eq!(evidence("stage7_broken", std::slice::from_ref(&one)), Some(Evidence::Loses(lost)));
    assert_eq!(evidence("stage5_broken", std::slice::from_ref(&one)), None);
    let (mut two, mut server) = client(GET);
    server.write_all(b"a stranger's").expect("there is room");
    assert!(two.receive().is_err());
    assert!(matches!(evidence("stage7_broken", &[one, two]), Some(Evidence::Misdelivers(_))), "it comes first");
}

#[test]
fn each_plan_of_the_schedule_has_a_client_in_its_own_role() {
    let order = order("client plan GET 2\nclient-2 plan POST 9\nclient connect\nclient-2 connect\nmain wait\n");
    let blackbox = Blackbox::new(8).expect("there is a memfd");
    blackbox.add_role("worker-1").expect("there is room");
    let second = blackbox.add_client("client-2").expect("there is room");
    let clients = new_clients(&plan("stage5_fixed", &order), blackbox, 1);
    let found: Vec<_> = clients.iter().map(|client| (client.role(), client.plan())).collect();
    assert_eq!(found, [(CLIENT, schedule::Plan::Get(2)), (second, schedule::Plan::Post(9))]);
}

#[test]
fn under_glibc_no_other_malloc_is_to_blame() {
    if cfg!(target_env = "gnu") {
        assert_eq!(foreign_malloc(), None);
        assert_eq!(end(&run("stage4_broken", LIVED)), survived("stage4_broken", NOTHING));
        let library = library_of(libc::malloc as *const libc::c_void).expect("it is loaded from a file");
        assert!(is_glibc(&library), "{library}");
    }
    assert_eq!(library_of(std::ptr::without_provenance(1)), None);
}

#[test]
fn glibc_is_known_by_the_name_of_its_file() {
    for (path, is) in [
        ("/lib/x86_64-linux-gnu/libc.so.6", true),
        ("/lib/libc-2.31.so", true),
        ("/usr/lib/libjemalloc.so.2", false),
        ("/usr/lib/libmimalloc.so", false),
        ("target/debug/stage4_broken", false),
        ("", false),
    ] {
        assert_eq!(is_glibc(path), is, "{path}");
    }
}

#[test]
fn a_double_free_that_was_survived_is_another_mallocs_where_that_was_asked() {
    let end = |heap, why: Option<&str>, malloc: Option<&str>| {
        let run = Run { heap, ..run("stage4_broken", LIVED) };
        super::survived(&run, why.map(str::to_string), malloc.map(str::to_string))
    };
    let other = "libjemalloc.so.2";
    let impossible =
        "the block was freed twice, and this malloc (libjemalloc.so.2) took no notice: glibc's would have aborted";
    let (malloc, pages) = (Heap::Malloc, Heap::Pages);
    for (heap, why, found, told) in [
        (malloc, None, Some(other), End::Impossible(impossible.to_string())),
        (malloc, Some("why"), Some(other), End::Impossible(impossible.to_string())),
        (pages, None, Some(other), survived("stage4_broken", NOTHING)),
        (pages, Some("why"), Some(other), survived("stage4_broken", "why")),
        (malloc, None, None, survived("stage4_broken", NOTHING)),
        (malloc, Some("why"), None, survived("stage4_broken", "why")),
    ] {
        assert_eq!(end(heap, why, found), told, "{heap:?} {why:?} {found:?}");
    }
}

/// What is said of a run by how its server ended: each verdict of the director, each end, in time and too late.
#[test]
fn a_verdict_holds_unless_the_server_did_not_stop_or_was_killed_by_somebody_else() {
    let killed = "the server was killed from outside (SIGKILL): by the kernel, if memory ran out, or by hand";
    let unable = || Direction::Unable(killed.to_string());
    let late = || Direction::Failed("the server did not stop in 10s".to_string());
    let [hangs, misdelivers, loses] = shown().map(Direction::Shown);
    let never = Direction::Shown(Evidence::NeverStops(stuck()));
    let (failed, lacks) = (Direction::Failed("a limit".to_string()), Direction::Unable("no memory".to_string()));
    // Who has done what it did whatever the end; who was killed by the lab; and all others.
    for (verdicts, of_late, of_a_kill) in [
        (vec![failed, lacks], None, None),
        (vec![Direction::Left, Direction::Restless, never], Some(late()), None),
        (vec![Direction::Over, Direction::Died, hangs, misdelivers, loses], Some(late()), Some(unable())),
    ] {
        for verdict in verdicts {
            let or_same = |other: &Option<Direction>| other.clone().unwrap_or(verdict.clone());
            for ending in [LIVED, SEGV, Ending::Exit(PANICKED), Ending::Signal(libc::SIGTERM)] {
                assert_eq!(settled(verdict.clone(), ending, true), verdict, "{ending:?}");
                assert_eq!(settled(verdict.clone(), ending, false), or_same(&of_late), "{verdict:?} {ending:?}");
            }
            let kill = Ending::Signal(libc::SIGKILL);
            assert_eq!(settled(verdict.clone(), kill, true), or_same(&of_a_kill), "{verdict:?}");
            assert_eq!(settled(verdict.clone(), kill, false), or_same(&of_late), "{verdict:?}");
        }
    }
}

#[test]
fn who_stops_at_rest_and_who_may_be_kept_from_its_end() {
    let (plain, stops) = (order("main wait\n"), order("main wait\noperator stop\n"));
    for (name, schedule, own_order, at_rest, kept) in [
        ("stage7_fixed", &plain, false, true, false),
        ("stage7_fixed", &plain, true, true, false),
        ("stage7_fixed", &stops, true, false, false),
        ("stage4_fixed", &plain, false, false, false),
        ("stage4_fixed", &plain, true, false, true),
        ("stage4_fixed", &stops, true, false, true),
    ] {
        let plan = super::Plan { own_order, ..plan(name, schedule) };
        assert_eq!((plan.stops_at_rest(), plan.may_keep_it(&Direction::Over)), (at_rest, kept), "{name} {own_order}");
        for other in [Direction::Died, Direction::Left, Direction::Shown(Evidence::Hangs(hang()))] {
            assert!(!plan.may_keep_it(&other), "{name} {other:?}");
        }
    }
    let limited = super::Plan { limit: Some(Duration::from_secs(3)), ..plan("stage4_fixed", &plain) };
    assert_eq!(limited.patience(), Duration::from_secs(3));
    assert!(plan("stage4_fixed", &plain).patience() > Duration::from_secs(1 << 40), "that is for ever");
}

#[test]
fn all_that_stand_outside_have_a_role_in_the_box() {
    let one = order("client plan GET 1\nclient connect\nmain wait\n");
    let two =
        order("client plan GET 1\nclient-2 plan GET 1\nclient connect\nclient-2 connect\nmain wait\noperator stop\n");
    for (schedule, more) in [(&one, &[][..]), (&two, &["client-2", "operator"])] {
        let blackbox = Blackbox::new(8).expect("there is a memfd");
        let before = blackbox.roles();
        add_outside(&plan("stage5_fixed", schedule), blackbox);
        assert_eq!(blackbox.roles()[before.len()..], *more);
    }
}

#[test]
fn whoever_waits_is_named_with_the_call_that_it_waits_in() {
    let sleeper = |name: &str, call| Sleeper { name: name.to_string(), call, switches: 1 };
    assert_eq!(waiting_in(&[]), []);
    let told = waiting_in(&[sleeper("main", "epoll_wait"), sleeper("worker-1", "futex")]);
    let words = [("main", "waits in epoll_wait"), ("worker-1", "waits in futex")];
    assert_eq!(told, words.map(|(name, call)| (name.to_string(), call.to_string())));
}

/// A server in a process of its own under this order, with what came of it.
fn directed(name: &str, serve: crate::server::Serve, text: &str, own_order: bool) -> (Run, Direction) {
    let schedule = Schedule::parse(text, &["accept", "read"], 1).expect("it is well formed");
    let blackbox = process::new_blackbox().expect("there is a memfd");
    let plan = super::Plan { setup: setup(name, serve), own_order, ..plan(name, &schedule) };
    add_outside(&plan, blackbox);
    in_process(&plan, blackbox, &mut InOrder::new(&schedule)).expect("the server starts")
}

#[test]
fn a_run_is_told_by_how_its_server_ended_and_by_what_its_client_saw() {
    let name = "runner::exhibit::judged::a_run_is_told_by_how_its_server_ended_and_by_what_its_client_saw";
    alone_and_well(name, || {
        let visit = "client plan GET 1\nmain accept\nclient connect\nmain read\n";
        for own_order in [false, true] {
            let directed = |serve| directed("stage4_fixed", serve, visit, own_order);
            let (run, verdict) = directed(tests::serves);
            assert_eq!((run.ending, &verdict, run.client.replies), (LIVED, &Direction::Over, 1), "{:?}", run.stderr);
            assert_eq!(judge(&run, &verdict, own_order), End::Code(0));
            let (run, verdict) = directed(tests::panics);
            assert_eq!((run.ending, &verdict), (Ending::Exit(PANICKED), &Direction::Died));
            assert!(matches!(judge(&run, &verdict, own_order), End::Said(1, _)));
            let (run, verdict) = directed(tests::faults);
            assert_eq!((run.ending, &verdict), (SEGV, &Direction::Died));
            let (run, verdict) = directed(tests::is_killed);
            assert!(matches!(verdict, Direction::Unable(_)), "{verdict:?} {:?}", run.ending);
        }
        // What an order of the reader's own leaves behind is looked at when the server does not end.
        let (run, verdict) = directed("stage4_fixed", tests::never_stops, visit, true);
        let Direction::Shown(Evidence::NeverStops(stuck)) = &verdict else { panic!("{verdict:?}") };
        assert_eq!(stuck.doing.iter().map(|(_, doing)| doing.as_str()).collect::<Vec<_>>(), ["waits in futex"]);
        assert_eq!((run.ending, judge(&run, &verdict, true)), (Ending::Signal(libc::SIGKILL), End::Code(1)));
    });
}

#[test]
fn who_has_stopped_under_a_debugger_may_sleep_and_that_is_not_held_against_it() {
    let mut command = std::process::Command::new("true");
    // SAFETY: one system call, between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    // A sandbox may forbid it.
    let Ok(mut child) = command.spawn() else { return };
    let stuck = || Direction::Shown(Evidence::NeverStops(stuck()));
    let (mut verdict, server) = (stuck(), child.id() as libc::pid_t);
    confirm(&mut verdict, &mut [], HangOracle { server, ..nobody() });
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    assert_eq!(verdict, stuck());
}

#[test]
fn a_schedule_has_at_most_so_many_bytes_and_not_one_more() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("own.schedule");
    let read = |length: u64| {
        let text = format!("main wait\n#{}\n", "x".repeat(length as usize - 12));
        assert_eq!(text.len() as u64, length);
        std::fs::write(&path, text).expect("it can be written");
        let path = path.to_str().expect("UTF-8");
        read_schedule(stage("stage6_broken"), &options("stage6_broken", &["--schedule", path]))
    };
    assert_eq!(read(MAX_LENGTH).expect("it is short enough").steps.len(), 1);
    for longer in [MAX_LENGTH + 1, 2 * MAX_LENGTH] {
        let error = read(longer).expect_err("it is too long").to_string();
        assert!(error.contains("a schedule has at most"), "{error}");
    }
}

#[test]
fn in_one_process_the_client_is_served_to_its_end_too() {
    let name = "runner::exhibit::judged::in_one_process_the_client_is_served_to_its_end_too";
    alone_and_well(name, || {
        // What is left of the plan is the client's own to finish.
        let text = "client plan GET 1\nmain accept\nclient connect\nmain read\n";
        let schedule = Schedule::parse(text, &["accept", "read"], 1).expect("it is well formed");
        let blackbox = process::new_blackbox().expect("there is a memfd");
        let plan = super::Plan { setup: setup("stage4_fixed", tests::serves), ..plan("stage4_fixed", &schedule) };
        let (run, verdict) = bare(&plan, blackbox, &options("stage4_fixed", &["--bare"])).expect("it serves");
        assert_eq!((run.ending, verdict, run.client.replies), (LIVED, Direction::Over, 1));
        assert_eq!(run.served, Some(ServedCounts { received: 29, replies: 1 }));
    });
}

#[test]
fn the_last_line_is_for_a_reader_and_not_in_the_json() {
    let name = "runner::exhibit::judged::the_last_line_is_for_a_reader_and_not_in_the_json";
    let Some(output) = alone(name) else {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("own.schedule");
        let path = path.to_str().expect("UTF-8");
        std::fs::write(path, "client connect\n").expect("it can be written");
        for more in [&["--json"][..], &[]] {
            let options = options("stage4_fixed", &[&["--schedule", path], more].concat());
            assert_eq!(super::run(stage("stage4_fixed"), tests::serves, &options).expect("it ends"), End::Code(0));
        }
        return;
    };
    went_well(&output);
    let said = tests::text(&output.stdout);
    let json = said[said.find('{').expect("it comes first")..].to_string();
    let mut values = serde_json::Deserializer::from_str(&json).into_iter::<serde_json::Value>();
    assert_eq!(values.next().expect("it is there").expect("it is JSON")["stage"], "stage4_fixed");
    let rest = &json[values.byte_offset()..];
    assert!(rest.starts_with("\nstage4_fixed"), "{rest}");
    assert_eq!(rest.matches("  ending with exit status 0\n").count(), 1, "{rest}");
}

#[test]
fn a_client_that_never_came_is_not_missed() {
    let order = order("main wait\n");
    for (own_order, alive) in [(false, false), (false, true), (true, false), (true, true)] {
        let blackbox = Blackbox::new(64).expect("there is a memfd");
        let (mut clients, mut verdict) = ([Client::new(blackbox, 1, GET, PATIENCE)], Direction::Over);
        let plan = super::Plan { own_order, ..plan("stage5_fixed", &order) };
        finish(&mut clients, &mut verdict, &plan, nobody(), &mut || alive);
        assert_eq!(verdict, Direction::Over, "{own_order} {alive}");
    }
}

#[test]
fn each_end_of_a_server_has_its_status_and_its_words_whatever_its_stage_is_to_do() {
    let (panic, gave_up) = ("the server panicked: a mistake", "the lab itself failed: a mistake");
    let signal = Ending::Signal;
    let [hangs, misdelivers, loses] = shown().map(Some);
    let never_stops = Some(Evidence::NeverStops(stuck()));
    let ends = [
        (signal(libc::SIGSEGV), None, 139, None),
        (signal(libc::SIGABRT), None, 134, None),
        (signal(libc::SIGKILL), None, 137, None),
        (Ending::Exit(PANICKED), None, 1, Some(panic)),
        (Ending::Exit(5), None, 70, Some(gave_up)),
        (LIVED, hangs.clone(), 1, None),
        (LIVED, misdelivers.clone(), 1, None),
        (LIVED, loses.clone(), 1, None),
        (LIVED, never_stops.clone(), 1, None),
        (signal(libc::SIGKILL), never_stops, 1, None),
        // A death after what was shown is told as the death.
        (signal(libc::SIGSEGV), hangs, 139, None),
        (signal(libc::SIGABRT), loses, 134, None),
        (Ending::Exit(PANICKED), misdelivers, 1, Some(panic)),
    ];
    for stage in exhibits() {
        for (ending, evidence, status, words) in ends.clone() {
            let run = Run { evidence, stderr: "a mistake\n".to_string(), ..run(stage.name, ending) };
            let told = (status, words.map(str::to_string));
            for own_order in [false, true] {
                let end = judge(&run, &Direction::Over, own_order);
                assert_eq!(end.told(), told, "{} {ending:?} {own_order} {:?}", stage.name, run.evidence);
            }
        }
        // Who lives has served, as it must, or survived what was to break it.
        let (status, words) = end(&run(stage.name, LIVED)).told();
        let survived = format!("it survived the order of {}: ", stage.schedule.path);
        assert_eq!(status, 0);
        let serves = stage.expect == crate::catalogue::Verdict::Serves;
        assert!(words.map_or(serves, |words| !serves && words.starts_with(&survived)), "{}", stage.name);
    }
}
