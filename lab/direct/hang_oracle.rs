//! A client that waits, and a judge beside it, who looks whether anybody can still move.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::direct::client::Client;
use crate::direct::quiescence::{ObservedProcess, Proof, Sleeper, Thread, at_rest, find_futex_deadlock, look};
use crate::direct::schedule::Plan;
use crate::record::blackbox::Blackbox;
use crate::world::sync::spawn_scoped;

/// The judge looks when the box has stood still for so long. It decides when to look, never what is seen.
const PAUSE: Duration = Duration::from_millis(5);

/// What another client sends to a server that hangs for one: a whole request.
pub const ANOTHER: Plan = Plan::Get(1);

type Look = fn(Blackbox, libc::pid_t) -> io::Result<Option<Vec<Sleeper>>>;

/// A server, as the judge knows it.
#[derive(Clone, Copy)]
pub struct HangOracle {
    pub blackbox: Blackbox,
    /// The server's process.
    pub server: libc::pid_t,
    /// The port it listens on.
    pub port: u16,
    /// The longest single wait of a client: a safety net.
    pub limit: Duration,
}

/// What became of a client.
pub enum Judged {
    /// It has all that it is owed.
    Served,
    /// It was not served, and that is no hang, or none that could be proved.
    Wrong(io::Error),
    /// Nobody can move any more, and it is not served.
    Hangs(Proof),
}

impl HangOracle {
    /// Lets a connected `client` do what `body` says, and judges meanwhile. With a proof in hand `after` is called,
    /// while the client still waits; then its connection is cut.
    pub fn play(
        &self,
        client: &mut Client,
        body: impl FnOnce(&mut Client) -> io::Result<()> + Send,
        after: impl FnOnce(),
    ) -> Judged {
        let wire = match client.wire() {
            Ok(wire) => wire,
            Err(error) => return Judged::Wrong(error),
        };
        let (tell, told) = mpsc::channel();
        let (done, over) = mpsc::channel();
        std::thread::scope(|scope| {
            spawn_scoped(scope, move || {
                let _ = tell.send(Thread::current());
                let _ = done.send(body(client));
            });
            let room =
                ObservedProcess { blackbox: self.blackbox, server: self.server, wire: &wire, client: told.recv().ok() };
            let mut seen = None;
            loop {
                match over.recv_timeout(PAUSE) {
                    Ok(Ok(())) => return Judged::Served,
                    Ok(Err(error)) => return Judged::Wrong(error),
                    Err(RecvTimeoutError::Disconnected) => return Judged::Wrong(io::ErrorKind::Other.into()),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                let written = self.blackbox.written();
                if seen.replace(written) != Some(written) {
                    continue;
                }
                // What cannot be read now (the server may just have died) proves nothing.
                if let Ok(Some(proof)) = look(&room) {
                    after();
                    wire.cut();
                    return Judged::Hangs(proof);
                }
            }
        })
    }

    /// Whether a client that comes now, with one whole request, gets its reply.
    pub fn serves_another(&self) -> bool {
        let mut client = Client::new(self.blackbox, self.port, ANOTHER, self.limit);
        client.connect().is_ok() && matches!(self.play(&mut client, Client::finish, || ()), Judged::Served)
    }

    /// Looks until there is a proof that the server's threads wait for each other only; `None` if there was none within
    /// the limit.
    pub fn prove_inside(&self) -> Option<Vec<Sleeper>> {
        self.until_asleep(find_futex_deadlock)
    }

    /// Waits until all threads of the server sleep, for an event or for each other; `None` if they did not within the limit.
    pub fn wait_for_rest(&self) -> Option<Vec<Sleeper>> {
        self.until_asleep(at_rest)
    }

    fn until_asleep(&self, look: Look) -> Option<Vec<Sleeper>> {
        let start = Instant::now();
        loop {
            match look(self.blackbox, self.server) {
                Ok(Some(asleep)) => return Some(asleep),
                _ if start.elapsed() > self.limit => return None,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Looks until there is a proof that this client waits; `None` if it was served after all, or there was none within
    /// the limit.
    pub fn prove(&self, client: &mut Client) -> Option<Proof> {
        let wire = client.wire().ok()?;
        let room = ObservedProcess { blackbox: self.blackbox, server: self.server, wire: &wire, client: None };
        let (start, before) = (Instant::now(), client.totals());
        loop {
            let proof = look(&room);
            // What the server had written at that look is there now.
            client.receive().ok()?;
            match proof {
                _ if client.totals() != before || start.elapsed() > self.limit => return None,
                Ok(Some(proof)) => return Some(proof),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
