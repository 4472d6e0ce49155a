//! Who goes next: the one question that a director asks.

use crate::direct::outcome::{Outcome, Step};
use crate::direct::schedule::{Action, is_thread};
use crate::record::blackbox::State;
use crate::record::event::Waiting;

/// An answer to the question who goes next. The first is a schedule ([`InOrder`](super::in_order::InOrder)).
pub trait Strategy {
    /// Who of those in `now` goes next. It is asked when everybody stands, and again when that role has moved.
    fn choose(&mut self, now: &Now) -> Choice;

    /// Whether a thread that stands at a point goes past it on its way, in the step that is under way: it is no choice.
    fn is_on_the_way(&self, _thread: &Standing) -> bool {
        false
    }

    /// Whether the run goes on without a client that cannot do what is next for it. In an order that somebody wrote it is to be able to.
    fn goes_on_without_a_client(&self) -> bool {
        false
    }

    /// The steps, and what became of each. `now`: how everybody stands at the end.
    fn steps(&mut self, now: &Now) -> Vec<Step>;
}

/// Who goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This role: a thread leaves its point, whoever is outside the server does what comes next. A thread that waits for the
    /// kernel, or for a time, is given the time; that is no step.
    Role(Move),
    /// The end: from here on nobody is held.
    End,
    /// The run is not wanted any more: everybody stays where they stand, and nothing is judged.
    Leave,
}

/// A role that is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its index among the roles.
    pub role: usize,
    /// The number of its step, from 1.
    pub step: usize,
    /// Whether it was chosen before, and could not go on then.
    pub is_late: bool,
}

/// How everybody stands.
#[derive(Clone, Debug)]
pub struct Now {
    /// The roles, each at its index.
    pub roles: Vec<Standing>,
    /// What happened last; `None` at the beginning.
    pub last: Option<Last>,
    /// Whether the server's process is there.
    pub is_alive: bool,
}

/// The last step.
#[derive(Clone, Debug)]
pub struct Last {
    /// Who moved.
    pub moved: Move,
    /// For what it had to wait before it came to another point: an [`Outcome::Refused`].
    pub refused: Option<Outcome>,
}

/// One role.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Whether it stands at a point, waits, or has ended.
    pub state: State,
    /// The point at which it stands, or which it passed last.
    pub point: &'static str,
    /// The how-manieth pass of that point it is, from 1.
    pub occurrence: u64,
    /// For what it waits: an [`Outcome::Refused`].
    pub waits: Option<Outcome>,
    /// What it does next, if it is outside the server: a client, the operator.
    pub next: Option<Action>,
}

impl Now {
    /// The index of the role of this name.
    pub fn role(&self, name: &str) -> Option<usize> {
        self.roles.iter().position(|role| role.name == name)
    }

    /// Who could move.
    pub fn movable(&self) -> impl Iterator<Item = usize> {
        (0..self.roles.len()).filter(|role| self.roles[*role].can_move())
    }

    /// What a thread does, in words.
    pub fn doing(&self, role: usize) -> String {
        let Standing { state, point, occurrence, waits, .. } = &self.roles[role];
        match state {
            State::Running => format!("runs, past its point `{point}`"),
            State::Parked => format!("stands at its point `{point}` (occurrence {occurrence})"),
            State::Ended => "has ended".to_string(),
            State::Asleep => "sleeps in epoll_wait".to_string(),
            State::Blocked => match waits {
                Some(Outcome::Refused { waiting, address, holder }) => {
                    waiting.text(*address, holder.map(|role| self.roles[role].name.as_str()))
                }
                _ => "waits for a thread".to_string(),
            },
        }
    }
}

impl Standing {
    /// For what it waits.
    pub fn waiting(&self) -> Option<Waiting> {
        match self.waits {
            Some(Outcome::Refused { waiting, .. }) => Some(waiting),
            _ => None,
        }
    }

    /// Whether it could move: it stands at a point, its time can run out, or it is outside and has something to do.
    pub fn can_move(&self) -> bool {
        if !is_thread(&self.name) {
            return self.next.is_some();
        }
        self.state == State::Parked || self.waiting() == Some(Waiting::NoticeOrTime)
    }
}

#[cfg(test)]
mod tests;
