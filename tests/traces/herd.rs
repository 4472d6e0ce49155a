//! What there is to see where several reactors wait for one listener: who sleeps, whom a connection has woken, and who was
//! woken for nothing.

use serde_json::{Value, json};

pub const SECTIONS: [&str; 4] = ["The listener's wait queue", "Reactors", "Wake-ups", "Socket"];

pub struct Herd {
    /// In the order in which they were put into the listener's wait queue.
    reactors: Vec<Reactor>,
    /// What each wait gave: the record's number, the role, the token.
    waits: Vec<(u64, String, i64)>,
}

struct Reactor {
    name: String,
    asked: String,
    stand: Stand,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stand {
    Awake,
    Asleep,
    /// By a connection.
    Woken,
    Accepts(u64),
    InVain,
}

impl Herd {
    /// Of the run with these records; `None` if it has fewer than two reactors.
    pub fn new(records: &[Value]) -> Option<Herd> {
        let of_kind = |kind: &'static str| records.iter().filter(move |record| record["kind"] == kind);
        let role = |record: &Value| record["role"].as_str().unwrap_or_default().to_string();
        let mut names: Vec<_> = of_kind("begin").map(role).filter(|role| role.starts_with("reactor-")).collect();
        names.sort_unstable();
        // `main` puts the listener on their lists, one after the other.
        let lists = of_kind("epoll_add").filter(|record| record["token"] == 0);
        let reactors = names.into_iter().zip(lists).map(|(name, record)| {
            let how = if record["exclusive"] == true { " EXCLUSIVE" } else { "" };
            let asked = format!("{}{how}", record["events"].as_str().unwrap_or_default());
            Reactor { name, asked, stand: Stand::Awake }
        });
        let waits = of_kind("ready").map(|record| {
            let number = record["number"].as_u64().unwrap_or_default();
            (number, role(record), record["token"].as_i64().unwrap_or_default())
        });
        let herd = Herd { reactors: reactors.collect(), waits: waits.collect() };
        (herd.reactors.len() > 1).then_some(herd)
    }

    pub fn tell(&mut self, record: &Value) {
        let role = record["role"].as_str().unwrap_or_default();
        if record["kind"] == "client_connect" {
            // Who sleeps in the kernel records nothing; what its wait then gives says who was woken.
            let number = record["number"].as_u64().unwrap_or_default();
            for reactor in self.reactors.iter_mut().filter(|reactor| reactor.stand == Stand::Asleep) {
                let next = self.waits.iter().find(|(at, role, _)| *at > number && *role == reactor.name);
                if next.is_some_and(|(_, _, token)| *token == 0) {
                    reactor.stand = Stand::Woken;
                }
            }
        }
        let Some(reactor) = self.reactors.iter_mut().find(|reactor| reactor.name == role) else { return };
        match record["kind"].as_str().unwrap_or_default() {
            "point" if record["point"] == "wait" => reactor.stand = Stand::Asleep,
            "accept" => reactor.stand = record["fd"].as_u64().map_or(Stand::InVain, Stand::Accepts),
            // It was awake, and has found the connection by itself.
            "ready" if reactor.stand == Stand::Asleep => reactor.stand = Stand::Awake,
            _ => {}
        }
    }

    /// Who was woken, and if it was for nothing.
    pub fn arrows(&self) -> Value {
        let woken = self.reactors.iter().filter_map(|reactor| match reactor.stand {
            Stand::Woken | Stand::Accepts(_) => Some(json!(["listener", reactor.name, "on"])),
            Stand::InVain => Some(json!(["listener", reactor.name, "bad"])),
            Stand::Awake | Stand::Asleep => None,
        });
        woken.collect()
    }

    /// The rows of the first three sections.
    pub fn panel(&self) -> [Value; 3] {
        let waits = self.reactors.iter().map(|reactor| json!([reactor.name, reactor.asked, "on"]));
        let reactors = self.reactors.iter().map(|reactor| {
            let (detail, tone) = match reactor.stand {
                Stand::Awake => ("is awake".to_string(), "on"),
                Stand::Asleep => ("sleeps in epoll_wait".to_string(), "off"),
                Stand::Woken => ("is woken".to_string(), "on"),
                Stand::Accepts(fd) => (format!("accepts fd {fd}"), "on"),
                Stand::InVain => ("is woken for nothing".to_string(), "bad"),
            };
            json!([reactor.name, detail, tone])
        });
        let count = |is: fn(Stand) -> bool| self.reactors.iter().filter(|reactor| is(reactor.stand)).count();
        let woken = count(|stand| !matches!(stand, Stand::Awake | Stand::Asleep));
        let in_vain = count(|stand| stand == Stand::InVain);
        let all = self.reactors.len();
        let wakeups = [("woken", woken, "on"), ("for nothing", in_vain, "bad")].into_iter().filter(|(_, n, _)| *n > 0);
        let wakeups = wakeups.map(|(name, n, tone)| json!([name, format!("{n} of {all}"), tone]));
        [waits.collect(), reactors.collect(), wakeups.collect()]
    }
}
