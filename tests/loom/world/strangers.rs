//! Whose bytes a client gets, and whose tasks a worker has. A number that names a descriptor names another connection
//! after the next `accept(2)`; this keeps count by connection.

use crate::check::Check;
use crate::net::{Client, Fd};
use crate::test::{Said, Test, test};
use crate::world::{self, Role, Rules, World};

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

/// A descriptor's number is the key of two connections, one after the other, and a task of each waits. Whoever takes
/// the first and arms the second's socket has not done the second's task.
fn a_task_is_its_own_connections() -> Said {
    world::begin(Rules::DEFAULT);
    let found: Result<_, &str> = world::with(|world| {
        world.strangers.counts_tasks = true;
        let listener = world.net.listen();
        let next = |world: &mut World| {
            world.net.connect();
            world.net.accept(listener).ok().flatten().ok_or("a client has come")
        };
        let first = next(world)?;
        let (key, stranger, own) = (first as u64, 2, 3);
        let before = world.reported(key, first);
        world.net.close(first).map_err(|_| "it is open")?;
        let second = next(world)?;
        let reported = world.reported(key, second);
        world.takes_task(stranger, key);
        world.takes_task(own, key);
        world.arms(stranger, second);
        let again = world.reported(key, second).map(|(check, _)| check);
        Ok((first == second, before.is_some(), reported.is_some(), again))
    });
    drop(world::end());
    match found {
        Ok((true, false, false, Some(Check::ReportedTwice))) => Ok(String::new()),
        Ok(other) => Err(format!("{other:?}")),
        Err(why) => Err(String::from(why)),
    }
}

pub fn tests() -> Vec<Test> {
    vec![test("a_task_is_its_own_connections", 1, a_task_is_its_own_connections)]
}
