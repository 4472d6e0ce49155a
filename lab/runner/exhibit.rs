//! The exhibit: one directed run, its report, and its true end.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cli::Options;
use super::end::{End, publish, refuse, say, say_ending};
use super::game;
use super::process::{self, PANICKED, Process, Setup};
use crate::autopsy::verdicts::{self, Survival};
use crate::catalogue::Stage;
use crate::direct::client::{Client, Misdelivery};
use crate::direct::director::{Direction, Director, GRACE};
use crate::direct::hang_oracle::{ANOTHER, HangOracle, Judged};
use crate::direct::in_order::InOrder;
use crate::direct::outcome::{Ending, Evidence, Hang, Loss, Outcome, Run, Step, Stuck};
use crate::direct::quiescence::{Proof, Sleeper};
use crate::direct::schedule::{CLIENTS, MAX_LENGTH, OPERATOR, Schedule};
use crate::direct::strategy::Strategy;
use crate::record::blackbox::{Blackbox, Mode, ServedCounts};
use crate::record::event::Kind;
use crate::server::Serve;
use crate::words::thousands;
use crate::world::heap::Heap;
use crate::world::kernel::{Stop, any_port};
use crate::world::sync::spawn_scoped;

/// After how long a server that was told to stop, and is still there, is looked at.
const A_WHILE: Duration = Duration::from_millis(300);
/// How long a server may take to listen, or to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that clients may have to send after the steps of an order of one's own, if the director is to stay for them.
const STAYS_FOR: u64 = 64 * 1024;

/// What a run needs besides its stage.
pub struct Plan<'a> {
    pub stage: &'static Stage,
    pub setup: Setup,
    pub schedule: &'a Schedule,
    pub limit: Option<Duration>,
    /// See [`Director::grace`].
    pub grace: Duration,
    /// Whether the order is not the stage's own. Then whatever is seen of the server is a finding, and not only what it is to show.
    pub own_order: bool,
}

impl Plan<'_> {
    /// Whether the director stays after the steps, to see how it ends. It moves one at a time, so what clients have still to send
    /// is not to be much; else they are watched while everybody is free.
    pub fn stays(&self) -> bool {
        let is_short = self.own_order && self.schedule.unsent() <= STAYS_FOR;
        is_short || verdicts::case(self.stage.expect).needs_rest() || self.schedule.stops()
    }

    /// How long a client waits.
    fn patience(&self) -> Duration {
        self.limit.unwrap_or(Duration::MAX / 4)
    }

    /// Whether all are to be asleep before the server is told to stop. Where the order to stop is not what the exhibit is about,
    /// nobody can miss it then.
    fn stops_at_rest(&self) -> bool {
        self.stage.drains && !self.schedule.stops()
    }

    /// Whether what the order has left behind may keep the server from its end. Who drains may wait for its limit.
    fn may_keep_it(&self, verdict: &Direction) -> bool {
        self.own_order && !self.stage.drains && *verdict == Direction::Over
    }
}

/// Runs the exhibit as the reader asked for it.
pub fn run(stage: &'static Stage, serve: Serve, options: &Options) -> Result<End> {
    let schedule = read_schedule(stage, options)?;
    let heap = options.heap.unwrap_or(stage.heap);
    let address: SocketAddr = any_port();
    let (workers, flags, drain) = (options.workers, options.flags, options.drain);
    let threads = stage.threads;
    let setup =
        Setup { serve, workers, flags, drain, threads, heap, mode: Mode::Directed, address, core: true, aloud: true };
    let blackbox = process::new_blackbox()?;
    let own_order = options.schedule.is_some();
    let plan = Plan { stage, setup, schedule: &schedule, limit: options.limit, grace: GRACE, own_order };
    add_outside(&plan, blackbox);
    let (run, verdict) = match options.bare {
        true => bare(&plan, blackbox, options)?,
        false => in_process(&plan, blackbox, &mut InOrder::new(&schedule))?,
    };
    process::check(run.ending, &blackbox)?;
    if let Direction::Unable(why) = verdict {
        bail!(why);
    }
    publish(&run, options.trace.as_ref(), options.json)?;
    let end = judge(&run, &verdict, own_order);
    if !options.json {
        if let Some(link) = own_order.then(|| game::link(stage, &schedule, options.workers)).flatten() {
            say(&format!("  play it in the book: {link}\n"))?;
        }
        say_ending(&end)?;
    }
    Ok(end)
}

/// Gives those outside the server a role in the box. The first client's is there.
pub fn add_outside(plan: &Plan<'_>, blackbox: Blackbox) {
    for (client, _) in CLIENTS.into_iter().zip(&plan.schedule.plans).skip(1) {
        blackbox.add_client(client).expect("the box is empty");
    }
    if plan.schedule.stops() {
        blackbox.add_client(OPERATOR).expect("the box is empty");
    }
}

pub fn read_schedule(stage: &Stage, options: &Options) -> Result<Schedule> {
    let (name, text) = match &options.schedule {
        None => (stage.schedule.path.to_string(), stage.schedule.text.to_string()),
        Some(path) => {
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(MAX_LENGTH + 1).read_to_string(&mut text));
            read.with_context(|| format!("cannot read {}", path.display()))?;
            if text.len() as u64 > MAX_LENGTH {
                bail!("{}: a schedule has at most {} bytes", path.display(), thousands(MAX_LENGTH));
            }
            (path.display().to_string(), text)
        }
    };
    Schedule::parse_for(&text, &stage.points(), stage.threads, options.workers)
        .map_err(|error| anyhow::anyhow!("{name}, {error}"))
}

/// The server in a process of its own, director and client here.
pub fn in_process(plan: &Plan<'_>, blackbox: Blackbox, strategy: &mut dyn Strategy) -> Result<(Run, Direction)> {
    let mut process = Process::start(plan.setup, blackbox)?;
    let mut clients = Vec::new();
    let (mut steps, mut verdict) = (Vec::new(), Direction::Died);
    if let Some(port) = process.port(PATIENCE) {
        let pid = process.pid();
        clients = new_clients(plan, blackbox, port);
        let traced = || process::is_traced(pid);
        let event = process.stop_event().try_clone().context("no descriptor is left")?;
        let (mut alive, stop) = (|| process.is_alive(), || event.raise());
        let (limit, stays, outside) = (plan.limit, plan.stays(), plan.schedule.outside());
        let (alive, traced, stop, grace) = (&mut alive, &traced, &stop, plan.grace);
        let mut director = Director { blackbox, strategy, outside, limit, alive, traced, stays, stop, grace };
        (steps, verdict) = director.run(&mut clients);
        let oracle = HangOracle { blackbox, server: pid, port, limit: PATIENCE };
        if verdict == Direction::Over {
            finish(&mut clients, &mut verdict, plan, oracle, &mut || process.is_alive());
        }
        confirm(&mut verdict, &mut clients, oracle);
        let is_no_end =
            matches!(verdict, Direction::Shown(Evidence::NeverStops(_)) | Direction::Restless | Direction::Left);
        if is_no_end {
            process.kill();
        } else if plan.stops_at_rest() && process.is_alive() {
            oracle.wait_for_rest();
        }
        process.stop();
        if plan.may_keep_it(&verdict)
            && !process.wait_for(A_WHILE, |_| false)
            && process.is_alive()
            && let Some(asleep) = oracle.wait_for_rest()
            && process.is_alive()
        {
            let doing = waiting_in(&asleep);
            verdict = Direction::Shown(Evidence::NeverStops(Stuck { doing, joins: None, asleep }));
            process.kill();
        }
    }
    let (ending, in_time) = process.end(PATIENCE);
    let verdict = settled(verdict, ending, in_time);
    let run = gather(plan, &blackbox, &clients, steps, ending, &verdict);
    Ok((Run { millis: process.millis(), stderr: process.stderr(), ..run }, verdict))
}

/// What is to be said of the run, once its server has ended so: `in_time`, or because the lab killed it then.
fn settled(verdict: Direction, ending: Ending, in_time: bool) -> Direction {
    match verdict {
        Direction::Failed(_) | Direction::Unable(_) => verdict,
        _ if !in_time => Direction::Failed(format!("the server did not stop in {PATIENCE:?}")),
        Direction::Left | Direction::Restless | Direction::Shown(Evidence::NeverStops(_)) => verdict,
        _ if ending == Ending::Signal(libc::SIGKILL) => {
            let why = "the server was killed from outside (SIGKILL): by the kernel, if memory ran out, or by hand";
            Direction::Unable(why.to_string())
        }
        _ => verdict,
    }
}

/// A client for each plan of the schedule.
fn new_clients(plan: &Plan<'_>, blackbox: Blackbox, port: u16) -> Vec<Client> {
    let (roles, patience) = (blackbox.roles(), plan.patience());
    let role = |name: &str| roles.iter().position(|role| role == name).expect("the client's role is there");
    let plans = CLIENTS.into_iter().zip(&plan.schedule.plans);
    plans.map(|(name, plan)| Client::new(blackbox, port, *plan, patience).playing(role(name))).collect()
}

/// The clients do what is left of their plans; after bytes that went to the wrong one, nobody does. Under an order that is not
/// the stage's own they are watched: whoever waits then may wait for ever.
fn finish(
    clients: &mut [Client],
    verdict: &mut Direction,
    plan: &Plan<'_>,
    oracle: HangOracle,
    alive: &mut dyn FnMut() -> bool,
) {
    for at in 0..clients.len() {
        if clients.iter().any(|client| client.misdelivery().is_some()) {
            return;
        }
        let client = &mut clients[at];
        let mut serves_another = false;
        let finished = match plan.own_order && !client.is_served() {
            true => oracle.play(client, Client::finish, || serves_another = oracle.serves_another()),
            false => client.finish().map_or_else(Judged::Wrong, |()| Judged::Served),
        };
        match finished {
            Judged::Served => {}
            Judged::Hangs(proof) => {
                let (unread, owed, doing) = (proof.connection.unread, client.owed(), waiting_in(&proof.threads));
                let mut hang = Hang { session: 0, fd: 0, unread, owed, doing, proof: None, serves_another };
                found_in(&mut hang, proof, oracle.blackbox);
                *verdict = Direction::Shown(Evidence::Hangs(hang));
                return;
            }
            Judged::Wrong(error) => {
                if client.misdelivery().is_none() && loss(plan, client, &error).is_none_or(|_| !alive()) {
                    let failed = || Direction::Failed(format!("the client was not served: {error}"));
                    *verdict = if alive() { failed() } else { Direction::Died };
                }
            }
        }
    }
}

/// What the kernel says that each of them does.
fn waiting_in(threads: &[Sleeper]) -> Vec<(String, String)> {
    threads.iter().map(|thread| (thread.name.clone(), format!("waits in {}", thread.call))).collect()
}

/// What the proof of a hang says of the session.
fn found_in(hang: &mut Hang, proof: Proof, blackbox: Blackbox) {
    if let Some(fd) = proof.fd {
        hang.fd = fd;
        let records = blackbox.records();
        let mut accepted = records.iter().filter(|record| record.kind == Kind::Accept);
        let last = accepted.clone().rfind(|record| record.a == fd).map(|record| record.number);
        hang.session = accepted.position(|record| Some(record.number) == last).map_or(0, |at| at as u64 + 1);
    }
    hang.proof = Some(proof);
}

/// What a client lost by this error. One that had not come to its end when the server was told to stop may be cut.
fn loss(plan: &Plan<'_>, client: &Client, error: &io::Error) -> Option<Loss> {
    let is_owed = match client.has_closed() {
        true => plan.own_order || plan.stage.drains,
        false => plan.own_order && !plan.schedule.stops(),
    };
    let number = error.raw_os_error().unwrap_or(0);
    let ended = error.kind() != io::ErrorKind::TimedOut && number != libc::EAGAIN;
    let (role, owed, closed) = (client.role(), client.owed(), client.has_closed());
    (is_owed && ended).then_some(Loss { client: role, owed, error: number, closed })
}

/// The director saw that nobody could move, and has let go of everybody. Now the kernel has its say, and another client.
fn confirm(verdict: &mut Direction, clients: &mut [Client], oracle: HangOracle) {
    if let Direction::Shown(Evidence::NeverStops(stuck)) = verdict {
        match oracle.prove_inside() {
            Some(asleep) => stuck.asleep = asleep,
            None if process::is_traced(oracle.server) => {}
            None => {
                let why = "the director saw a server that cannot stop; without it nobody could prove that it sleeps";
                *verdict = Direction::Failed(why.to_string());
            }
        }
        return;
    }
    let waits = clients.iter_mut().find(|client| !client.is_served());
    let (Direction::Shown(Evidence::Hangs(hang)), Some(client)) = (&mut *verdict, waits) else { return };
    if hang.proof.is_some() {
        return;
    }
    let Some(proof) = oracle.prove(client) else {
        // A thread that a debugger has stopped does not sleep.
        if !process::is_traced(oracle.server) {
            let why = "the director saw a hang, and without it that could not be proved";
            *verdict = Direction::Failed(why.to_string());
        }
        return;
    };
    found_in(hang, proof, oracle.blackbox);
    hang.serves_another = oracle.serves_another();
}

/// The bytes that went to the wrong client, and whose they were: the client's that waits for just these. Where several do, whose
/// they were is not known.
fn misdelivery(clients: &[Client]) -> Option<Misdelivery> {
    let found = clients.iter().find_map(Client::misdelivery)?.clone();
    let waits = |client: &&Client| {
        let owed = client.plan().replies_to(client.totals().sent) > client.totals().replies;
        client.role() != found.client && owed && found.got.starts_with(&client.plan().reply())
    };
    let mut owners = clients.iter().filter(waits);
    let (owner, other) = (owners.next(), owners.next());
    Some(match (owner, other) {
        (Some(client), None) => {
            let got = found.got[..client.plan().reply().len()].to_vec();
            Misdelivery { got, made_for: Some(client.role()), ..found }
        }
        _ => found,
    })
}

/// Everything in this process: the server in this thread, director and client in another.
fn bare(plan: &Plan<'_>, blackbox: Blackbox, options: &Options) -> Result<(Run, Direction)> {
    let stop = Stop::new().context("no eventfd(2) to stop the server with")?;
    let ours = stop.try_clone().context("no descriptor is left")?;
    let limit = plan.limit;
    let (clients, steps, verdict) = std::thread::scope(|scope| {
        let direction = spawn_scoped(scope, move || {
            while blackbox.port().is_none() && blackbox.message().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let port = blackbox.port().unwrap_or_default();
            let mut clients = new_clients(plan, blackbox, port);
            let traced = || process::is_traced(std::process::id() as libc::pid_t);
            let mut alive = || blackbox.message().is_none();
            let (stays, outside, stop) = (plan.stays(), plan.schedule.outside(), || ours.raise());
            let (strategy, alive) = (&mut InOrder::new(plan.schedule), &mut alive);
            let mut director = Director {
                blackbox,
                strategy,
                outside,
                limit,
                alive,
                traced: &traced,
                stays,
                stop: &stop,
                grace: GRACE,
            };
            let (steps, mut verdict) = director.run(&mut clients);
            let oracle = HangOracle { blackbox, server: std::process::id() as libc::pid_t, port, limit: PATIENCE };
            if verdict == Direction::Over {
                finish(&mut clients, &mut verdict, plan, oracle, &mut || true);
            }
            confirm(&mut verdict, &mut clients, oracle);
            if let Direction::Shown(Evidence::NeverStops(_)) = verdict {
                // The server's thread is this process's first, and never comes back.
                let run = gather(plan, &blackbox, &clients, steps, Ending::Signal(libc::SIGKILL), &verdict);
                let code = publish(&run, options.trace.as_ref(), options.json)
                    .map_or_else(|error| refuse(plan.stage.name, &error), |()| 1);
                std::process::exit(code.into());
            }
            ours.raise();
            (clients, steps, verdict)
        });
        let served = process::serve_here(plan.setup, blackbox, stop);
        if let Err(error) = &served {
            blackbox.set_message(&format!("{error:#}"));
        }
        let directed = direction.join().expect("the director does not panic");
        served.map(|()| directed)
    })?;
    Ok((gather(plan, &blackbox, &clients, steps, Ending::Exit(0), &verdict), verdict))
}

/// What is known of a run that the director has seen.
fn gather(
    plan: &Plan<'_>,
    blackbox: &Blackbox,
    clients: &[Client],
    steps: Vec<Step>,
    ending: Ending,
    verdict: &Direction,
) -> Run {
    let shown = if let Direction::Shown(evidence) = verdict { Some(evidence.clone()) } else { None };
    let served_another = matches!(&shown, Some(Evidence::Hangs(hang)) if hang.serves_another);
    let run = Run::of(blackbox, plan.stage, plan.setup.heap, ending);
    // The client that was served after the hang is not the one that the accounts are about.
    let another = ANOTHER.length().filter(|_| served_another);
    let served = run.served.map(|counts| match another {
        Some(bytes) => ServedCounts {
            received: counts.received.saturating_sub(bytes),
            replies: counts.replies.saturating_sub(ANOTHER.replies()),
        },
        None => counts,
    });
    Run {
        steps,
        served,
        client: clients.iter().map(Client::totals).sum(),
        evidence: shown
            .or_else(|| misdelivery(clients).map(Evidence::Misdelivers))
            .or_else(|| clients.iter().find_map(|client| loss(plan, client, client.failure()?)).map(Evidence::Loses)),
        ..run
    }
}

/// How this program ends after that run.
///
/// `own_order`: the order is not the stage's own.
pub fn judge(run: &Run, verdict: &Direction, own_order: bool) -> End {
    if let Direction::Failed(why) = verdict {
        return End::Failed(why.clone());
    }
    if *verdict == Direction::Restless {
        return End::Said(
            1,
            "the server never comes to rest: it passes point after point, and nobody asks for anything".into(),
        );
    }
    // A step that never came is of what was shown, then.
    if let Some(evidence) = &run.evidence
        && (run.ending == Ending::Exit(0) || verdicts::case(evidence.verdict()).ends_by_kill())
    {
        return End::Code(1);
    }
    if run.ending == Ending::Exit(PANICKED) {
        let said: Vec<&str> = run.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        return End::Said(1, format!("the server panicked: {}", said.join(" ")));
    }
    // A death is told as it was, also where an order of the reader's own did not get to its end.
    let told = own_order && matches!(run.ending, Ending::Signal(_));
    let unmet = run.steps.iter().find(|step| matches!(step.outcome, Outcome::Unmet(_)));
    if let Some(step) = unmet.filter(|_| !told) {
        return End::Unmet(format!("{} {}", step.role, step.what));
    }
    match run.ending {
        Ending::Signal(signal) => End::Signal(signal),
        Ending::Exit(0) => match verdicts::case(run.stage.expect).of_a_survivor(run) {
            Survival::Shown(code) => End::Code(code),
            Survival::Wrong(why) => End::Said(1, why),
            // An order, or a heap, of the reader's own may well be survived.
            Survival::NotShown(_) if own_order || run.heap != run.stage.heap => End::Code(0),
            Survival::NotShown(why) => survived(run, why, foreign_malloc()),
        },
        Ending::Exit(_) => End::Failed(run.stderr.lines().next().unwrap_or("the server ended").to_string()),
    }
}

/// A broken stage lived through its own schedule: either it is not glibc's malloc that it ran on, or it is not broken any more.
fn survived(run: &Run, why: Option<String>, malloc: Option<String>) -> End {
    match malloc {
        Some(malloc) if run.heap == Heap::Malloc => End::Impossible(format!(
            "the block was freed twice, and this malloc ({malloc}) took no notice: glibc's would have aborted"
        )),
        _ => {
            let why = why.unwrap_or_else(|| verdicts::outlived(run));
            End::Said(0, format!("it survived the order of {}: {why}", run.stage.schedule.path))
        }
    }
}

/// Where malloc comes from, if not from glibc.
fn foreign_malloc() -> Option<String> {
    if !cfg!(target_env = "gnu") {
        return Some("this build's C library is not glibc".to_string());
    }
    library_of(libc::malloc as *const libc::c_void).filter(|path| !is_glibc(path))
}

/// The file that this address was loaded from.
fn library_of(address: *const libc::c_void) -> Option<String> {
    // SAFETY: dladdr(3) fills in the struct for an address of this process.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        (libc::dladdr(address, &mut info) != 0 && !info.dli_fname.is_null())
            .then(|| std::ffi::CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned())
    }
}

fn is_glibc(path: &str) -> bool {
    path.contains("libc.so") || path.contains("libc-2")
}

#[cfg(test)]
mod judged;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::schedule::Plan;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    /// Three clients, of which each has sent the whole of its plan, and the server's ends of their connections.
    fn three(plans: [Plan; 3]) -> (Vec<Client>, Vec<TcpStream>) {
        let blackbox = Blackbox::new(64).expect("there is a memfd");
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let port = listener.local_addr().expect("it is bound").port();
        let mut servers = Vec::new();
        let clients = CLIENTS.into_iter().zip(plans).map(|(name, plan)| {
            let role = blackbox.roles().iter().position(|role| role == name);
            let role = role.or_else(|| blackbox.add_client(name)).expect("there is room");
            let mut client = Client::new(blackbox, port, plan, PATIENCE).playing(role);
            client.connect().expect("it listens");
            servers.push(listener.accept().expect("somebody has connected").0);
            client.send(plan.length().expect("it has an end")).expect("there is room");
            client
        });
        (clients.collect(), servers)
    }

    fn give(clients: &mut [Client], servers: &mut [TcpStream], at: usize, reply: &[u8]) -> io::Result<()> {
        servers[at].write_all(reply).expect("there is room");
        clients[at].receive()
    }

    #[test]
    fn whose_the_bytes_were_is_said_of_three_clients_too() {
        let plans = [Plan::Post(16), Plan::Post(8), Plan::Post(4)];
        for (got, owner) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let (mut clients, mut servers) = three(plans);
            assert_eq!(misdelivery(&clients), None);
            let reply = plans[owner].reply();
            assert!(give(&mut clients, &mut servers, got, &[&reply[..], b"HTTP"].concat()).is_err());
            let wrong = misdelivery(&clients).expect("it was not its own");
            let roles = (clients[got].role(), Some(clients[owner].role()));
            assert_eq!((wrong.client, wrong.made_for), roles, "{got} got what is {owner}'s");
            assert_eq!((wrong.got, wrong.due), (reply, plans[got].reply()));
        }
    }

    #[test]
    fn nobody_is_named_who_has_its_reply_and_nobody_where_two_wait_for_the_same() {
        let same = [Plan::Post(16), Plan::Get(1), Plan::Get(1)];
        let hello = Plan::Get(1).reply();
        let (mut clients, mut servers) = three(same);
        assert!(give(&mut clients, &mut servers, 0, &hello).is_err());
        assert_eq!(misdelivery(&clients).map(|wrong| wrong.made_for), Some(None), "it may be the one's or the other's");
        // Once client-2 has its own, they can only be client-3's.
        give(&mut clients, &mut servers, 1, &hello).expect("it is its own");
        assert_eq!(misdelivery(&clients).map(|wrong| wrong.made_for), Some(Some(clients[2].role())));
        give(&mut clients, &mut servers, 2, &hello).expect("it is its own");
        assert_eq!(misdelivery(&clients).map(|wrong| wrong.made_for), Some(None), "nobody waits for these");
    }
}
