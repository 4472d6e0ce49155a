//! The game, from its first run to its last.

use std::fs;

use super::super::cli::Options;
use super::super::search::kept::new_file;
use super::hint::question;
use super::terminal::Reader;
use crate::catalogue::{Stage, Verdict};
use crate::direct::schedule::{Schedule, Step};
use crate::world::heap::Heap;

/// What the keys do.
pub const KEYS: &str = "1, 2 ...  that one goes on to its next point, or does what it has to do
u  take your last choice back    h  a hint; again: a better one
a  let the rest run calmly       r  let the rest run in a random order
s  write the order to a file     q  leave (so does Ctrl-C)";

/// What is kept from run to run.
pub struct Game<'a> {
    pub stage: &'static Stage,
    pub script: &'a Schedule,
    pub reader: Reader,
    pub heap: Heap,
    workers: usize,
    /// The choices so far, which the next run begins with.
    pub order: Vec<Step>,
    /// How many there were before each that the reader has made; the others followed from it.
    pub marks: Vec<Mark>,
    /// The step that leads to the aim from here, once it was looked for; in it nothing if none was found.
    pub found: Option<Option<Step>>,
    /// How often a hint was asked for here.
    pub grade: usize,
    pub message: String,
    pub taken_back: u64,
    pub hints: u64,
}

impl<'a> Game<'a> {
    pub fn new(stage: &'static Stage, options: &Options, script: &'a Schedule, reader: Reader) -> Game<'a> {
        Game {
            stage,
            script,
            reader,
            heap: options.heap.unwrap_or(stage.heap),
            workers: options.workers,
            order: Vec::new(),
            marks: Vec::new(),
            found: None,
            grade: 0,
            message: "? explains the keys".to_string(),
            taken_back: 0,
            hints: 0,
        }
    }

    /// How many choices the reader has made that were not taken back.
    pub fn choices(&self) -> u64 {
        self.marks.iter().filter(|mark| !mark.is_rest).count() as u64
    }

    /// Whether the end was left to somebody else.
    pub fn rest_ran(&self) -> bool {
        self.marks.last().is_some_and(|mark| mark.is_rest)
    }

    /// Takes the reader's last choice back; whether there was one.
    pub fn take_back(&mut self) -> bool {
        let Some(mark) = self.marks.pop() else {
            self.message = "there is nothing to take back".to_string();
            return false;
        };
        self.order.truncate(mark.at);
        self.taken_back += 1;
        self.moved();
        true
    }

    /// What was said of the place before does not hold here.
    pub fn moved(&mut self) {
        (self.found, self.grade) = (None, 0);
        self.message.clear();
    }

    /// Writes the order to a new file.
    pub fn save(&mut self) {
        let (stage, order) = (self.stage, Schedule { steps: self.order.clone(), plans: self.script.plans.clone() });
        if order.steps.is_empty() {
            self.message = "there is no order to write yet".to_string();
            return;
        }
        let text = format!("# {}: played, with {} workers.\n\n{order}", stage.name, self.workers);
        let written = new_file(stage.program(), "played").and_then(|path| fs::write(&path, text).map(|()| path));
        self.message = match written {
            Ok(path) => format!("written to {} (--schedule runs it)", path.display()),
            Err(error) => format!("cannot write to this folder: {error}"),
        };
    }

    /// The next hint; whether a step must be looked for first.
    pub fn hint(&mut self, ready: &[Step]) -> bool {
        if self.grade >= 1 && self.found.is_none() && self.stage.expect != Verdict::Serves {
            self.message = "looking for an order from here ...".to_string();
            return true;
        }
        self.hints += u64::from(self.grade < 3);
        self.grade += 1;
        self.message = match (self.grade, &self.found) {
            (1, _) => question(self.stage).to_string(),
            (_, None) => "no order is known that breaks this one".to_string(),
            (_, Some(None)) => "no order was found from here that does it; u takes a choice back".to_string(),
            (2, Some(Some(step))) => format!("look at {}", step.role),
            (_, Some(Some(step))) => {
                let number = ready.iter().position(|ready| ready == step).map_or(0, |at| at + 1);
                format!("{number}: {} {}", step.role, step.action)
            }
        };
        false
    }
}

/// How many steps there were, and whether those that followed were left to somebody else.
pub struct Mark {
    pub at: usize,
    pub is_rest: bool,
}

#[cfg(test)]
pub(super) mod tests;
