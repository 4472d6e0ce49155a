//! What there is to see in the world after each record of a run: who is on the interest list and armed, what is queued,
//! which memory is live and whose, what lies in the socket.

use serde_json::{Value, json};

use crate::herd::Herd;

const SECTIONS: [&str; 4] = ["Interest list", "Task queue", "Memory", "Socket"];

#[derive(Default)]
pub struct World {
    /// Several reactors that wait for one listener; what they do is told of them, and not of a queue and memory.
    herd: Option<Herd>,
    interest: Vec<Entry>,
    queue: Vec<String>,
    /// Where a stage owns its queue: who holds its lock, once somebody has taken it.
    lock: Option<Option<String>>,
    /// Who sleeps until it is notified, the longest first.
    sleepers: Vec<String>,
    /// The stop flag of a stage that has one outside of any lock.
    flag: Option<bool>,
    /// What was decided about the end: the order to stop, who was cut off, who waits for ever.
    ending: Vec<(String, String, &'static str)>,
    blocks: Vec<Block>,
    socket: Option<Socket>,
    /// The names of what has owners that are counted.
    shared: Vec<String>,
    /// The sessions that the reactor's map has: each with its descriptor, and the name that a task has for it.
    map: Vec<Known>,
    /// The descriptor that was accepted last.
    accepted: u64,
    /// The reactor takes a session out of its map.
    is_removing: bool,
    /// What each role has taken from the queue and works on.
    at_work: Vec<(String, String)>,
}

struct Known {
    fd: u64,
    name: String,
    session: String,
}

struct Entry {
    token: i64,
    fd: u64,
    events: String,
    one_shot: bool,
    armed: bool,
}

struct Block {
    name: String,
    owners: Option<u64>,
    lock: Option<Option<String>>,
    freed_by: Vec<String>,
    used_since: bool,
}

#[derive(Default)]
struct Socket {
    fd: Option<u64>,
    sent: u64,
    read: u64,
    over: &'static str,
}

/// Sessions and buffers; not the server's own household.
fn is_of_interest(name: &str) -> bool {
    name.starts_with("session") || name.starts_with("buffer")
}

impl World {
    /// Before the first of these records.
    pub fn new(records: &[Value]) -> World {
        let shared = records.iter().filter(|record| record["kind"] == "owners");
        let shared = shared.filter_map(|record| record["object"].as_str()).map(str::to_string).collect();
        World { shared, herd: Herd::new(records), ..World::default() }
    }

    /// What the sections of its panels are called.
    pub fn sections(&self) -> [&'static str; 4] {
        if self.herd.is_some() { crate::herd::SECTIONS } else { SECTIONS }
    }

    /// That has happened.
    pub fn tell(&mut self, record: &Value) {
        let text = |key: &str| record[key].as_str().unwrap_or_default();
        let number = |key: &str| record[key].as_u64().unwrap_or_default();
        let name = text("object").to_string();
        if let Some(herd) = &mut self.herd {
            herd.tell(record);
        }
        match text("kind") {
            "epoll_add" | "epoll_modify" => {
                let mut events = text("events").to_string();
                for (bit, word) in [("edge_triggered", " ET"), ("one_shot", " ONESHOT")] {
                    if record[bit] == true {
                        events += word;
                    }
                }
                let token = record["token"].as_i64().unwrap_or_default();
                let entry =
                    Entry { token, fd: number("fd"), events, one_shot: record["one_shot"] == true, armed: true };
                let known = source(token, entry.fd);
                self.map.iter_mut().filter(|other| other.fd == entry.fd).for_each(|other| other.name = known.clone());
                self.interest.retain(|other| other.fd != entry.fd);
                self.interest.push(entry);
            }
            "ready" => {
                let token = record["token"].as_i64();
                for entry in self.interest.iter_mut().filter(|entry| Some(entry.token) == token) {
                    entry.armed &= !entry.one_shot;
                }
            }
            "accept" if !record["fd"].is_null() => {
                self.accepted = number("fd");
                self.socket.get_or_insert_default().fd = Some(self.accepted);
            }
            "point" => {
                let role = text("role");
                if role == "main" {
                    self.is_removing = text("point") == "remove";
                }
                if text("point") == "take" {
                    self.at_work.retain(|(worker, _)| worker != role);
                }
            }
            "end" => self.at_work.retain(|(worker, _)| worker != text("role")),
            "read" => self.socket.get_or_insert_default().read += number("bytes"),
            "close" => {
                self.interest.retain(|entry| entry.fd != number("fd"));
                self.map.retain(|known| known.fd != number("fd"));
                if let Some(socket) = &mut self.socket {
                    socket.fd = socket.fd.filter(|fd| *fd != number("fd"));
                }
            }
            "push" => self.queue.push(name),
            "pop" if !self.queue.is_empty() => {
                let task = self.queue.remove(0);
                self.at_work.push((text("role").to_string(), task));
            }
            "allocate" if is_of_interest(&name) => {
                if name.starts_with("session") {
                    let fd = self.accepted;
                    let entry = self.interest.iter().find(|entry| entry.fd == fd);
                    let known = entry.map_or(name.clone(), |entry| source(entry.token, fd));
                    self.map.push(Known { fd, name: known, session: name.clone() });
                }
                let owners = self.shared.contains(&name).then_some(1);
                self.blocks.push(Block { name, owners, lock: None, freed_by: Vec::new(), used_since: false });
            }
            "owners" => {
                if self.is_removing && text("role") == "main" {
                    self.map.retain(|known| known.session != name);
                }
                if let Some(block) = self.block(&name) {
                    block.owners = record["owners"].as_u64();
                }
            }
            "free" => {
                let role = text("role").to_string();
                self.map.retain(|known| known.session != name);
                if let Some(block) = self.block(&name) {
                    block.freed_by.push(role);
                }
            }
            "use" => {
                if let Some(block) = self.block(&name) {
                    block.used_since |= !block.freed_by.is_empty();
                }
            }
            kind @ ("lock" | "unlock") if name == "the queue's lock" => {
                self.lock = Some((kind == "lock").then(|| text("role").to_string()));
            }
            "look" | "set" => self.flag = Some(record["set"] == true),
            "sleep" => self.sleepers.push(text("role").to_string()),
            "woken" => self.sleepers.retain(|role| role != text("role")),
            "notify" => {
                let woken = if record["all"] == true { self.sleepers.len() } else { 1 };
                self.sleepers.drain(..woken.min(self.sleepers.len()));
            }
            "stop" => self.ending.push(("order to stop".into(), "given".into(), "on")),
            "cut" => {
                let lost = format!("cut off: {} bytes, {} replies", number("unanswered"), number("replies"));
                self.ending.push((format!("fd {}", number("fd")), lost, "bad"));
            }
            "stuck" => {
                let end = format!("waits for the end of {}", text("other"));
                self.ending.push((text("role").to_string(), end, "bad"));
            }
            kind @ ("lock" | "unlock") => {
                let holder = (kind == "lock").then(|| text("role").to_string());
                if let Some(block) = self.block(name.trim_end_matches("'s lock")) {
                    block.lock = Some(holder);
                }
            }
            "client_connect" => drop(self.socket.get_or_insert_default()),
            "client_send" => self.socket.get_or_insert_default().sent = number("total"),
            "client_fin" => self.socket.get_or_insert_default().over = ", FIN",
            "client_reset" => self.socket.get_or_insert_default().over = ", RST",
            _ => {}
        }
    }

    fn block(&mut self, name: &str) -> Option<&mut Block> {
        self.blocks.iter_mut().rev().find(|block| block.name == name)
    }

    /// Who leads to which session: a list of (from, session, tone), from `map`, a task of the queue by its place
    /// (`queue 1`), or who has taken it. Tones: `on`, `key` (it has a name to look up and no pointer), `bad` (a pointer to
    /// what is freed).
    pub fn arrows(&self) -> Value {
        if let Some(herd) = &self.herd {
            return herd.arrows();
        }
        let of_map = self.map.iter().map(|known| ("map".to_string(), &known.session, &known.session));
        let queued = self.queue.iter().enumerate().map(|(at, task)| (format!("queue {}", at + 1), task));
        let taken = self.at_work.iter().map(|(role, task)| (role.clone(), task));
        let of_tasks = queued.chain(taken).filter_map(|(from, task)| {
            let known = self.map.iter().rev().find(|known| known.name == *task).map(|known| &known.session);
            // A pointer leads there whether or not the map still knows it.
            let session = if task.starts_with("session") { Some(task) } else { known };
            Some((from, task, session?))
        });
        let is_freed = |name: &str| self.blocks.iter().any(|block| block.name == name && !block.freed_by.is_empty());
        let arrow = |(from, task, session): (String, &String, &String)| match () {
            () if is_freed(session) => json!([from, session, "bad"]),
            () if task != session => json!([from, session, "key"]),
            () => json!([from, session, "on"]),
        };
        of_map.chain(of_tasks).map(arrow).collect()
    }

    /// A list of (name, detail, tone) a section. Tones: `on`, `off`, `gone`, `bad`.
    pub fn panel(&self) -> Value {
        let interest = self.interest.iter().filter(|entry| entry.token >= 0).map(|entry| {
            let armed = if entry.armed { "" } else { "reported, not armed: " };
            json!([
                source(entry.token, entry.fd),
                format!("{armed}{}", entry.events),
                if entry.armed { "on" } else { "off" }
            ])
        });
        let tasks = self.queue.iter().map(|task| json!([task, "", "on"]));
        let lock = self.lock.iter().map(|holder| match holder {
            Some(holder) => json!(["lock", format!("held by {holder}"), "on"]),
            None => json!(["lock", "free", "off"]),
        });
        let flag = self.flag.iter().map(|flag| json!(["flag", if *flag { "set" } else { "not set" }, "on"]));
        let sleepers = self.sleepers.iter().map(|role| json!([role, "sleeps until notified", "off"]));
        let ending = self.ending.iter().map(|(name, what, tone)| json!([name, what, tone]));
        let queue = tasks.chain(lock).chain(flag).chain(sleepers).chain(ending);
        let memory = self.blocks.iter().map(|block| {
            let owners = match block.owners {
                Some(1) => ", 1 owner".to_string(),
                Some(owners) => format!(", {owners} owners"),
                None => String::new(),
            };
            let lock = match &block.lock {
                Some(Some(holder)) => format!(", locked by {holder}"),
                Some(None) => ", unlocked".to_string(),
                None => String::new(),
            };
            match block.freed_by.as_slice() {
                [] => json!([block.name, format!("live{owners}{lock}"), "on"]),
                [role] => {
                    let tone = if block.used_since { "bad" } else { "gone" };
                    json!([block.name, format!("freed by {role}"), tone])
                }
                [first, again, ..] => json!([block.name, format!("freed by {first}, and again by {again}"), "bad"]),
            }
        });
        let socket = self.socket.iter().map(|socket| {
            let unread = socket.sent.saturating_sub(socket.read);
            let detail = format!("{} bytes unread{}", grouped(unread), socket.over);
            match socket.fd {
                Some(fd) => json!([format!("fd {fd}"), detail, "on"]),
                None => json!(["connection", detail, "off"]),
            }
        });
        let socket: Vec<_> = socket.collect();
        if let Some(herd) = &self.herd {
            let [waits, reactors, wakeups] = herd.panel();
            return json!([waits, reactors, wakeups, socket]);
        }
        json!([interest.collect::<Vec<_>>(), queue.collect::<Vec<_>>(), memory.collect::<Vec<_>>(), socket])
    }
}

/// What a socket is called by the number that epoll gives back for it.
fn source(token: i64, fd: u64) -> String {
    match token {
        0 => "listener".to_string(),
        -1 => "stop".to_string(),
        key if key >> 32 != 0 => format!("fd {} (gen {})", key as u32, key >> 32),
        number if number as u64 == fd => format!("fd {fd}"),
        session => format!("session {session}"),
    }
}

/// 16384 as `16,384`.
fn grouped(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}
