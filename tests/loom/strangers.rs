//! Whose bytes a client gets, and whose tasks a worker has. A number that names a descriptor names another connection
//! after the next `accept(2)`; this keeps count by connection.

use crate::check::Check;
use crate::net::{Client, Fd};
use crate::world::{Role, World};

/// What each connection is owed in all, and the tasks that its events have made.
#[derive(Default, Hash)]
pub struct Strangers {
    /// By connection: all that it can ever be owed.
    pub owed: Vec<Vec<u8>>,
    /// Whether two tasks from one arming are a finding.
    pub counts_tasks: bool,
    /// A key has a descriptor's number in it.
    pub keys: bool,
    tasks: Vec<Task>,
}

/// An input event of a one-shot socket, from its report until its own worker arms the socket again.
#[derive(Hash)]
struct Task {
    connection: Client,
    key: u64,
    worker: Option<Role>,
}

impl World {
    /// A write has reached its connection.
    pub fn written(&self, me: Role, fd: Fd) -> Option<(Check, String)> {
        let connection = self.net.stream_of(fd)?;
        let owed = self.strangers.owed.get(connection)?;
        let wrong = !owed.starts_with(self.net.replies(connection));
        let who = || self.who(me, self.place());
        wrong.then(|| {
            (
                Check::ToAStranger,
                format!("session {} gets bytes that are not its own: written by {}", connection + 1, who()),
            )
        })
    }

    /// A wait has reported input on a one-shot socket.
    pub fn reported(&mut self, key: u64, fd: Fd) -> Option<(Check, String)> {
        let connection = self.net.stream_of(fd)?;
        let before = self.strangers.tasks.iter().any(|task| task.connection == connection);
        self.strangers.tasks.push(Task { connection, key, worker: None });
        let text = "is reported again before its own worker has armed it: two tasks from one one-shot event";
        (before && self.strangers.counts_tasks)
            .then(|| (Check::ReportedTwice, format!("session {} {text}", connection + 1)))
    }

    /// A worker asks for its next task: it is done with the others.
    pub fn leaves_tasks(&mut self, worker: Role) {
        self.strangers.tasks.retain(|task| task.worker != Some(worker));
    }

    /// A worker has taken the oldest task of that key.
    pub fn takes_task(&mut self, worker: Role, key: u64) {
        let mut waiting = self.strangers.tasks.iter_mut().filter(|task| task.worker.is_none());
        if let Some(task) = waiting.find(|task| task.key == key) {
            task.worker = Some(worker);
        }
    }

    /// A worker has armed a socket for input, or for its end. It is the task's own worker, or a stranger.
    pub fn arms(&mut self, worker: Role, fd: Fd) {
        let connection = self.net.stream_of(fd);
        self.strangers.tasks.retain(|task| Some(task.connection) != connection || task.worker != Some(worker));
    }
}
