//! A schedule: the order of events of a directed run, as a text file.
//!
//! One step a line; `#` begins a comment.
//!
//! ```text
//! client    plan GET 1        # what the client will send, in all; takes no step
//! client    connect
//! client    send 16384        # the next 16,384 bytes of its plan, and wait until they have arrived
//! main      wait              # main passes its next point `wait`
//! worker-1  read 2            # worker-1 passes its second `read` since it began
//! client    fin               # closes its sending side
//! client    reset             # breaks the connection off with an RST
//! client    receive           # takes the replies that are there
//! reactors  wait              # where there are several reactors: `reactor-1 wait`, `reactor-2 wait` and so on
//! client-2  connect           # a second client, with a plan of its own; there may be a third, `client-3`
//! operator  stop              # the server is told to stop, as SIGTERM tells it
//! ```
//!
//! A role runs from the point of its step to the point of its next step, and passes the points between them freely;
//! everybody else stands still meanwhile. A role that has no step waits at its first point, and one that has had its
//! last waits at its next, until the list is over. Then all run freely, and the client finishes its plan.

use std::collections::VecDeque;
use std::fmt;

use crate::http;
use crate::record::blackbox::{MAX_ROLES, MAX_THREADS};
use crate::server::Threads;

/// The longest directed send, in bytes: a longer one may arrive in two pieces.
pub const MAX_SEND: u64 = 16 * 1024;
/// The most requests of a plan.
pub const MAX_REQUESTS: u64 = 1_000_000;
/// The longest schedule, in bytes.
pub const MAX_LENGTH: u64 = 1 << 20;
/// The most characters of a word that an error shows.
const MAX_SHOWN: usize = 40;

/// A list of steps, and what the client sends in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// In order.
    pub steps: Vec<Step>,
    /// What each client has to send, in the order of [`CLIENTS`]: for the first client, and for all up to the last that
    /// is named.
    pub plans: Vec<Plan>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who: `main`, `worker-1`, `conn-1`, one of [`CLIENTS`].
    pub role: String,
    /// What.
    pub action: Action,
    /// Its line in the file, from 1.
    pub line: usize,
}

/// What a role does in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A thread of the server passes a point: its next of that name, or just the one of that occurrence.
    Pass {
        /// The point.
        point: String,
        /// Counted from 1, since the thread began.
        occurrence: Option<u64>,
    },
    /// The client connects.
    Connect,
    /// The client sends so many bytes.
    Send(u64),
    /// The client closes its sending side.
    Fin,
    /// The client breaks the connection off.
    Reset,
    /// The client takes what the server has sent.
    Receive,
    /// The server is told to stop.
    Stop,
}

/// What a client sends, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Bytes without a meaning, as many as the steps ask for.
    Raw,
    /// So many `GET` requests.
    Get(u64),
    /// One `POST` with a body of so many bytes.
    Post(u64),
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line, from 1.
    pub line: usize,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Pass { point, occurrence: None } => f.write_str(point),
            Action::Pass { point, occurrence: Some(occurrence) } => write!(f, "{point} {occurrence}"),
            Action::Connect => f.write_str("connect"),
            Action::Send(bytes) => write!(f, "send {bytes}"),
            Action::Fin => f.write_str("fin"),
            Action::Reset => f.write_str("reset"),
            Action::Receive => f.write_str("receive"),
            Action::Stop => f.write_str("stop"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plan::Raw => f.write_str("RAW"),
            Plan::Get(requests) => write!(f, "GET {requests}"),
            Plan::Post(bytes) => write!(f, "POST {bytes}"),
        }
    }
}

/// The text of the schedule, which [`Schedule::parse`] reads back.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plans = CLIENTS.iter().zip(&self.plans).filter(|(_, plan)| **plan != Plan::Raw);
        plans.try_for_each(|(client, plan)| writeln!(f, "{client:<9} plan {plan}"))?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{:<9} {}", step.role, step.action))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// In a line's place of a role: the line stands for one of each reactor, in their order.
const REACTORS: &str = "reactors";
/// The names of the clients.
pub const CLIENTS: [&str; 3] = ["client", "client-2", "client-3"];

// `main`, each client and the operator have a role beside the threads.
const _: () = assert!(MAX_ROLES == MAX_THREADS + CLIENTS.len() + 2);

/// Who tells the server to stop.
pub const OPERATOR: &str = "operator";

/// Whether that is a thread of the server.
pub fn is_thread(role: &str) -> bool {
    client_of(role).is_none() && role != OPERATOR
}

/// Which client that is; `None` for a thread of the server.
pub fn client_of(role: &str) -> Option<usize> {
    CLIENTS.iter().position(|client| *client == role)
}

const CLIENT_STEPS: [&str; 6] = ["plan", "connect", "send", "fin", "reset", "receive"];

impl Schedule {
    /// Reads a schedule for a server whose stage has these `points` (any, if none is known) and so many `workers`.
    ///
    /// ```
    /// use lab::schedule::{Action, Plan, Schedule};
    ///
    /// let text = "client    plan GET 1    # takes no step\nclient    connect\nworker-1  read 2\n";
    /// let schedule = Schedule::parse(text, &["read"], 2).expect("it is well formed");
    /// assert_eq!(schedule.plans, [Plan::Get(1)]);
    /// assert_eq!(schedule.steps.len(), 2);
    /// assert_eq!(schedule.steps[1].action, Action::Pass { point: "read".to_string(), occurrence: Some(2) });
    ///
    /// let error = Schedule::parse("worker-1 raed", &["read"], 2).expect_err("there is no such point");
    /// assert_eq!(error.to_string(), "line 1: this stage has no point `raed`; did you mean `read`?");
    /// ```
    ///
    /// # Errors
    /// The first line that cannot be kept, and why; with the nearest name where a name is unknown.
    pub fn parse(text: &str, points: &[&str], workers: usize) -> Result<Schedule, Error> {
        Schedule::parse_for(text, points, Threads::Workers, workers)
    }

    /// As [`Schedule::parse`], for a server with these `threads`; `workers` counts only where there are any.
    ///
    /// # Errors
    /// As those of [`Schedule::parse`].
    pub fn parse_for(text: &str, points: &[&str], threads: Threads, workers: usize) -> Result<Schedule, Error> {
        let mut schedule = Schedule { steps: Vec::new(), plans: vec![Plan::Raw] };
        let mut roles = CLIENTS.into_iter().chain(["main"]).map(str::to_string).collect::<Vec<_>>();
        let mut stopped = false;
        let others = match threads {
            Threads::Workers => {
                roles.extend((1..=workers).map(|n| format!("worker-{n}")));
                format!("there are {workers} workers")
            }
            Threads::PerConnection => {
                roles.extend((1..=MAX_THREADS).map(|n| format!("conn-{n}")));
                format!("the threads of connections are `conn-1` to `conn-{MAX_THREADS}`")
            }
            Threads::None => "this server has one thread".to_string(),
            Threads::Reactors | Threads::Shards => {
                roles.extend((1..=workers).map(|n| format!("reactor-{n}")));
                format!("there are {workers} reactors, and `reactors` for each of them")
            }
        };
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, text) in (1..).zip(text.lines()) {
            let fail = |reason: String| Error { line, reason };
            let words: Vec<&str> = text.split('#').next().unwrap_or_default().split_whitespace().collect();
            let Some((&role, rest)) = words.split_first() else { continue };
            let all = role == REACTORS && matches!(threads, Threads::Reactors | Threads::Shards);
            if !all && !roles.iter().any(|known| known == role) && role != OPERATOR {
                if role.strip_prefix("client-").is_some_and(|number| number.parse::<u64>().is_ok()) {
                    let (count, known) = (CLIENTS.len(), CLIENTS.map(|client| format!("`{client}`")).join(", "));
                    let role = shown(role);
                    return Err(fail(format!("no such role: `{role}`; at most {count} clients can come: {known}")));
                }
                // The first thread is enough to choose from, and to be named where none is like it.
                let known = roles.iter().map(String::as_str);
                let first = if threads == Threads::PerConnection { CLIENTS.len() + 2 } else { usize::MAX };
                let known = known.take(first);
                return Err(fail(format!("no such role: `{}`{} ({others})", shown(role), nearest(role, known))));
            }
            let Some((&name, arguments)) = rest.split_first() else {
                return Err(fail(format!("`{role}` does what? A step is a role and a point: `main wait`")));
            };
            let client = client_of(role);
            if let Some(client) = client {
                let clients = schedule.plans.len().max(client + 1);
                schedule.plans.resize(clients, Plan::Raw);
            }
            if let (Some(client), "plan") = (client, name) {
                schedule.plans[client] = parse_plan(arguments).map_err(fail)?;
                continue;
            }
            let action = if client.is_some() {
                client_action(name, arguments).map_err(fail)?
            } else if role == OPERATOR {
                if (name, arguments) != ("stop", &[]) {
                    return Err(fail(format!("an operator can only `stop`, not `{}`", shown(&words[1..].join(" ")))));
                }
                if std::mem::replace(&mut stopped, true) {
                    return Err(fail("the server is told to stop already".to_string()));
                }
                Action::Stop
            } else {
                if !points.is_empty() && !points.contains(&name) {
                    let known = points.iter().copied();
                    return Err(fail(format!("this stage has no point `{}`{}", shown(name), nearest(name, known))));
                }
                let occurrence = match arguments {
                    [] => None,
                    [number] => Some(parse_number(number).filter(|n| *n > 0).ok_or_else(|| {
                        fail(format!("`{}` is no occurrence: they are counted 1, 2, 3", shown(number)))
                    })?),
                    _ => return Err(fail(format!("too many words after `{role} {name}`"))),
                };
                Action::Pass { point: name.to_string(), occurrence }
            };
            let whose = if all {
                roles.iter().filter(|role| role.starts_with("reactor-")).cloned().collect()
            } else {
                vec![role.to_string()]
            };
            schedule.steps.extend(whose.into_iter().map(|role| Step { role, action: action.clone(), line }));
        }
        if schedule.steps.is_empty() {
            return Err(Error { line: 1, reason: "there is no step in it".to_string() });
        }
        for (client, plan) in CLIENTS.into_iter().zip(&schedule.plans) {
            schedule.check_client(client, *plan)?;
        }
        Ok(schedule)
    }

    /// What those outside the server do, each in its order: the clients and the operator, by name.
    pub fn outside(&self) -> Vec<(String, VecDeque<Action>)> {
        let of = |name: &str| -> VecDeque<Action> {
            self.steps.iter().filter(|step| step.role == name).map(|step| step.action.clone()).collect()
        };
        CLIENTS.into_iter().chain([OPERATOR]).map(|name| (name.to_string(), of(name))).collect()
    }

    /// Bytes of the plans that no step sends.
    pub fn unsent(&self) -> u64 {
        let sent = |client: &str| -> u64 {
            let bytes = |step: &Step| if let Action::Send(bytes) = step.action { bytes } else { 0 };
            self.steps.iter().filter(|step| step.role == client).map(bytes).sum()
        };
        let plans = CLIENTS.iter().zip(&self.plans);
        plans.map(|(client, plan)| plan.length().map_or(0, |length| length.saturating_sub(sent(client)))).sum()
    }

    /// Whether the server is told to stop by a step.
    pub fn stops(&self) -> bool {
        self.steps.iter().any(|step| step.action == Action::Stop)
    }

    /// A client connects first, sends no more than its plan has, and says nothing after its end.
    fn check_client(&self, client: &str, plan: Plan) -> Result<(), Error> {
        let (mut connected, mut closed, mut reset, mut left) = (false, false, false, plan.length());
        for step in self.steps.iter().filter(|step| step.role == client) {
            let fail = |reason: &str| Err(Error { line: step.line, reason: reason.to_string() });
            match step.action {
                Action::Connect if connected => return fail("the client is connected already"),
                Action::Connect => connected = true,
                _ if !connected => return fail(&format!("the client connects first: `{client} connect`")),
                _ if reset => return fail("the client has broken the connection off already"),
                Action::Send(_) | Action::Fin if closed => return fail("the client has closed its side already"),
                Action::Send(bytes) => match left.as_mut() {
                    Some(left) if *left < bytes => {
                        return fail(&format!("the plan has not so many bytes left: see `{client} plan`"));
                    }
                    Some(left) => *left -= bytes,
                    None => {}
                },
                Action::Fin => closed = true,
                Action::Reset => reset = true,
                Action::Receive | Action::Stop | Action::Pass { .. } => {}
            }
        }
        Ok(())
    }
}

fn parse_number(text: &str) -> Option<u64> {
    text.replace([',', '_'], "").parse().ok()
}

fn parse_plan(arguments: &[&str]) -> Result<Plan, String> {
    let number = |text: &str| parse_number(text).ok_or_else(|| format!("`{}` is no number", shown(text)));
    match arguments {
        ["GET", requests] => match number(requests)? {
            requests @ 0..=MAX_REQUESTS => Ok(Plan::Get(requests)),
            _ => Err(format!("a plan has at most {MAX_REQUESTS} requests")),
        },
        ["POST", bytes] => {
            let bytes = number(bytes)?;
            if bytes > http::MAX_BODY {
                return Err(format!("the server takes a body of at most {} bytes", http::MAX_BODY));
            }
            Ok(Plan::Post(bytes))
        }
        _ => Err("a plan is `GET` and how many, or `POST` and how many bytes of body".to_string()),
    }
}

fn client_action(name: &str, arguments: &[&str]) -> Result<Action, String> {
    match (name, arguments) {
        ("connect", []) => Ok(Action::Connect),
        ("fin", []) => Ok(Action::Fin),
        ("reset", []) => Ok(Action::Reset),
        ("receive", []) => Ok(Action::Receive),
        ("send", [bytes]) => match parse_number(bytes) {
            Some(bytes @ 1..=MAX_SEND) => Ok(Action::Send(bytes)),
            _ => {
                let bytes = shown(bytes);
                Err(format!("`send {bytes}`: a directed send is 1 to {MAX_SEND} bytes; more may arrive in two pieces"))
            }
        },
        ("send", _) => Err("`send` takes a number of bytes: `client send 16384`".to_string()),
        (name, _) if CLIENT_STEPS.contains(&name) => Err(format!("too many words after `client {name}`")),
        _ => Err(format!("a client cannot `{}`{}", shown(name), nearest(name, CLIENT_STEPS.into_iter()))),
    }
}

/// A word of the file as an error shows it: the beginning of a long one, and nothing that a terminal would obey.
fn shown(word: &str) -> String {
    let escaped = |letter: char| match letter {
        ' '..='~' => letter.to_string(),
        _ if letter.is_alphanumeric() => letter.to_string(),
        _ => letter.escape_default().to_string(),
    };
    let more = if word.chars().nth(MAX_SHOWN).is_some() { "..." } else { "" };
    word.chars().take(MAX_SHOWN).map(escaped).chain([more.to_string()]).collect()
}

/// `; did you mean ...?` with the known name that is most like `name`, if one is like it at all.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let beginning: String = name.chars().take(MAX_SHOWN).collect();
    let best =
        known.clone().map(|other| (strsim::jaro_winkler(&beginning, other), other)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, other)) if likeness > 0.7 => format!("; did you mean `{other}`?"),
        _ => format!("; there are {}", known.map(|other| format!("`{other}`")).collect::<Vec<_>>().join(", ")),
    }
}

impl Plan {
    /// The request's head, or the whole request.
    pub fn head(self) -> String {
        match self {
            Plan::Raw => String::new(),
            Plan::Get(_) => "GET / HTTP/1.1\r\nHost: lab\r\n\r\n".to_string(),
            Plan::Post(bytes) => format!("POST /upload HTTP/1.1\r\nHost: lab\r\nContent-Length: {bytes}\r\n\r\n"),
        }
    }

    /// How many bytes the client sends in all; `None` for as many as it is told to.
    pub fn length(self) -> Option<u64> {
        let head = self.head().len() as u64;
        match self {
            Plan::Raw => None,
            Plan::Get(requests) => Some(head * requests),
            Plan::Post(bytes) => Some(head + bytes),
        }
    }

    /// The bytes from `offset` on, `out.len()` of them.
    pub fn fill(self, offset: u64, out: &mut [u8]) {
        let head = self.head().into_bytes();
        match self {
            // Whole heads are copied: there may be megabytes of them, and a byte at a time takes seconds.
            Plan::Get(_) => {
                let start = (offset % head.len() as u64) as usize;
                let mut rest = out;
                let mut piece = &head[start..];
                while !rest.is_empty() {
                    let length = piece.len().min(rest.len());
                    let (filled, behind) = rest.split_at_mut(length);
                    filled.copy_from_slice(&piece[..length]);
                    (rest, piece) = (behind, &head[..]);
                }
            }
            Plan::Raw | Plan::Post(_) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(head.len());
                let length = (head.len() - start).min(out.len());
                let (of_head, body) = out.split_at_mut(length);
                of_head.copy_from_slice(&head[start..start + length]);
                body.fill(b'x');
            }
        }
    }

    /// How many replies it is owed for its first `sent` bytes.
    pub fn replies_to(self, sent: u64) -> u64 {
        match self {
            Plan::Raw => 0,
            Plan::Get(_) => sent / self.head().len() as u64,
            Plan::Post(_) => u64::from(self.length().is_some_and(|length| sent >= length)),
        }
    }

    /// The bytes of one reply to it.
    pub fn reply(self) -> Vec<u8> {
        let reply = match self {
            Plan::Post(bytes) => http::Reply::Stored(bytes),
            Plan::Get(_) | Plan::Raw => http::Reply::Hello,
        };
        let mut whole = vec![0; 256];
        let length = reply.write_to(&mut whole);
        whole.truncate(length);
        whole
    }

    /// How many replies it is owed in all.
    pub fn replies(self) -> u64 {
        match self {
            Plan::Raw => 0,
            Plan::Get(requests) => requests,
            Plan::Post(_) => 1,
        }
    }
}

#[cfg(test)]
mod rules;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::record::blackbox::Blackbox;

    const POINTS: [&str; 4] = ["wait", "queue", "read", "rearm"];

    fn error(text: &str) -> String {
        Schedule::parse(text, &POINTS, 2).expect_err("it is malformed").to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = "client    plan GET 2\nclient    connect\nclient    send 40\nmain      wait\nworker-1  read 2\n";
        let schedule = Schedule::parse(text, &POINTS, 2).expect("it is well formed");
        assert_eq!(schedule.to_string(), text);
        assert_eq!(schedule.steps[3].action, Action::Pass { point: "read".into(), occurrence: Some(2) });
        assert_eq!(schedule.steps[3].line, 5);
    }

    #[test]
    fn where_no_point_is_known_any_word_is_one() {
        let schedule = Schedule::parse("main anything 3", &[], 2).expect("it may be a point");
        assert_eq!(schedule.steps[0].action, Action::Pass { point: "anything".into(), occurrence: Some(3) });
        Schedule::parse("main anything 0", &[], 2).expect_err("that is no occurrence");
    }

    #[test]
    fn a_second_client_has_a_plan_and_rules_of_its_own() {
        let text =
            "client    plan GET 2\nclient-2  plan POST 9\nclient    connect\nclient-2  connect\nclient-2  send 60\n";
        let schedule = Schedule::parse(text, &POINTS, 2).expect("it is well formed");
        assert_eq!(schedule.to_string(), text);
        assert_eq!(schedule.plans, [Plan::Get(2), Plan::Post(9)]);
        assert_eq!(Schedule::parse("client connect", &POINTS, 2).expect("it is well formed").plans, [Plan::Raw]);
        assert_eq!(error("client connect\nclient-2 send 1"), "line 2: the client connects first: `client-2 connect`");
        assert_eq!(
            error("client-2 plan GET 1\nclient-2 connect\nclient-2 send 1000"),
            "line 3: the plan has not so many bytes left: see `client-2 plan`"
        );
    }

    #[test]
    fn three_clients_can_come_each_with_a_plan_of_its_own_and_no_fourth() {
        let text = "client    plan GET 2\nclient-2  plan POST 9\nclient-3  plan GET 1\nclient-3  connect\n\
                    client    connect\nclient-2  connect\nclient-3  send 29\nclient-2  fin\n";
        let schedule = Schedule::parse(text, &POINTS, 2).expect("it is well formed");
        assert_eq!(schedule.to_string(), text);
        assert_eq!(schedule.plans, [Plan::Get(2), Plan::Post(9), Plan::Get(1)]);
        // Whom nobody names, before the last that is named, is there and does nothing.
        let third = Schedule::parse("client-3 plan GET 1\nclient-3 connect", &POINTS, 2).expect("it is well formed");
        assert_eq!(third.plans, [Plan::Raw, Plan::Raw, Plan::Get(1)]);
        assert_eq!(error("client connect\nclient-3 send 1"), "line 2: the client connects first: `client-3 connect`");
        let fourth = "no such role: `client-4`; at most 3 clients can come: `client`, `client-2`, `client-3`";
        assert_eq!(error("client connect\nclient-4 connect"), format!("line 2: {fourth}"));
    }

    #[test]
    fn every_thread_has_a_role_beside_all_clients_and_the_operator_and_nobody_else_has() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        for outside in CLIENTS.into_iter().skip(1).chain([OPERATOR]) {
            assert!(blackbox.add_client(outside).is_some());
        }
        let added = (0..100).filter(|n| blackbox.add_role(&format!("worker-{n}")).is_some()).count();
        assert_eq!((added, blackbox.role_count()), (78, MAX_ROLES));
    }

    #[test]
    fn the_operator_tells_the_server_to_stop_once_and_does_nothing_else() {
        let text = "main      wait\noperator  stop\n";
        let schedule = Schedule::parse(text, &POINTS, 2).expect("it is well formed");
        assert_eq!((schedule.to_string().as_str(), schedule.stops()), (text, true));
        assert!(!Schedule::parse("main wait", &POINTS, 2).expect("it is well formed").stops());
        assert_eq!(error("operator read 2"), "line 1: an operator can only `stop`, not `read 2`");
        assert_eq!(error("operator stop now"), "line 1: an operator can only `stop`, not `stop now`");
        assert_eq!(error("operator stop\noperator stop"), "line 2: the server is told to stop already");
    }

    #[test]
    fn the_built_in_schedules_fit_their_stages() {
        for stage in catalogue::exhibits() {
            Schedule::parse_for(stage.schedule.text, &stage.points(), stage.threads, 4)
                .unwrap_or_else(|e| panic!("{}: {e}", stage.name));
        }
    }

    #[test]
    fn a_malformed_line_is_named_with_its_reason() {
        assert_eq!(error("main wiat"), "line 1: this stage has no point `wiat`; did you mean `wait`?");
        assert_eq!(
            error("\n# a comment\nmain frobnicate"),
            "line 3: this stage has no point `frobnicate`; there are `wait`, `queue`, `read`, `rearm`"
        );
        assert_eq!(
            error("worker-3 read"),
            "line 1: no such role: `worker-3`; did you mean `worker-2`? (there are 2 workers)"
        );
        assert_eq!(error("main"), "line 1: `main` does what? A step is a role and a point: `main wait`");
        assert_eq!(error("main wait x"), "line 1: `x` is no occurrence: they are counted 1, 2, 3");
        assert_eq!(error("main wait 0"), "line 1: `0` is no occurrence: they are counted 1, 2, 3");
        assert_eq!(error("main wait 1 2"), "line 1: too many words after `main wait`");
        assert_eq!(error("client send 5"), "line 1: the client connects first: `client connect`");
        assert_eq!(
            error("client jump"),
            "line 1: a client cannot `jump`; there are `plan`, `connect`, `send`, `fin`, `reset`, `receive`"
        );
        assert_eq!(error("client sned 4"), "line 1: a client cannot `sned`; did you mean `send`?");
        assert_eq!(error("client connect\nclient connect"), "line 2: the client is connected already");
        assert_eq!(
            error("client connect\nclient reset\nclient send 1"),
            "line 3: the client has broken the connection off already"
        );
        assert_eq!(
            error("client plan GET 1\nclient connect\nclient send 1000"),
            "line 3: the plan has not so many bytes left: see `client plan`"
        );
        assert_eq!(
            error("client connect\nclient send 16385"),
            "line 2: `send 16385`: a directed send is 1 to 16384 bytes; more may arrive in two pieces"
        );
        assert_eq!(error("client plan POST x"), "line 1: `x` is no number");
        assert_eq!(error("client plan POST 99999999999"), "line 1: the server takes a body of at most 10485760 bytes");
        assert_eq!(error("# nothing\n"), "line 1: there is no step in it");
    }

    #[test]
    fn the_roles_are_those_of_the_stages_own_threads() {
        let error = |text: &str, threads| {
            Schedule::parse_for(text, &POINTS, threads, 4).expect_err("it is malformed").to_string()
        };
        let connections = "(the threads of connections are `conn-1` to `conn-78`)";
        assert_eq!(
            error("cnon-1 read", Threads::PerConnection),
            format!("line 1: no such role: `cnon-1`; did you mean `conn-1`? {connections}")
        );
        assert_eq!(
            error("worker-1 read", Threads::PerConnection),
            format!(
                "line 1: no such role: `worker-1`; there are `client`, `client-2`, `client-3`, `main`, `conn-1` {connections}"
            )
        );
        assert_eq!(
            error("conn-79 read", Threads::PerConnection),
            format!("line 1: no such role: `conn-79`; did you mean `conn-1`? {connections}")
        );
        assert_eq!(
            error("worker-1 read", Threads::None),
            "line 1: no such role: `worker-1`; there are `client`, `client-2`, `client-3`, `main` (this server has one thread)"
        );
        Schedule::parse_for("conn-78 read", &POINTS, Threads::PerConnection, 4)
            .expect("it is the last that has a role");
    }

    #[test]
    fn a_reply_is_owed_for_what_was_sent_whole() {
        let head = Plan::Get(3).head().len() as u64;
        assert_eq!([0, head - 1, head, 2 * head, 3 * head].map(|sent| Plan::Get(3).replies_to(sent)), [0, 0, 1, 2, 3]);
        let post = Plan::Post(10);
        let whole = post.length().expect("it has an end");
        assert_eq!([whole - 1, whole].map(|sent| post.replies_to(sent)), [0, 1]);
        assert_eq!(Plan::Raw.replies_to(1000), 0);
    }
}
