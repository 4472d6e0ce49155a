//! The reader as a strategy.

use std::fs;

use super::super::cli::Options;
use super::super::search::kept::new_file;
use super::hint::question;
use super::panel::{Shown, View};
use super::terminal::{Key, Reader};
use crate::catalogue::{Stage, Verdict};
use crate::direct::explore::delays::Delays;
use crate::direct::explore::random::Walk;
use crate::direct::explore::{Choices, Scheduler};
use crate::direct::outcome::{self, Ending, Run};
use crate::direct::schedule::{Schedule, Step};
use crate::direct::strategy::{Choice, Now, Strategy};
use crate::record::blackbox::Blackbox;
use crate::world::heap::Heap;

const KEYS: &str = "1, 2 ...  that one goes on to its next point, or does what it has to do
u  take your last choice back    h  a hint; again: a better one
a  let the rest run calmly       r  let the rest run in a random order
s  write the order to a file     q  leave (so does Ctrl-C)";

/// What is kept from run to run.
pub struct Game<'a> {
    pub stage: &'static Stage,
    pub script: &'a Schedule,
    pub reader: Reader,
    heap: Heap,
    workers: usize,
    /// The choices so far, which the next run begins with.
    pub order: Vec<Step>,
    /// How many there were before each that the reader has made; the others followed from it.
    marks: Vec<Mark>,
    /// The step that leads to the aim from here, once it was looked for; in it nothing if none was found.
    pub found: Option<Option<Step>>,
    /// How often a hint was asked for here.
    grade: usize,
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
    fn moved(&mut self) {
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
    fn hint(&mut self, ready: &[Step]) -> bool {
        if self.grade >= 1 && self.found.is_none() && self.stage.expect != Verdict::Serves {
            self.message = "looking for an order from here ...".to_string();
            return true;
        }
        self.hints += u64::from(self.grade < 3);
        self.grade += 1;
        self.message = match (self.grade, &self.found) {
            (1, _) => question(self.stage).to_string(),
            (_, None) => "every order is served: that is what the fix is for".to_string(),
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
struct Mark {
    at: usize,
    is_rest: bool,
}

/// Why a run is not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Another one with what is left of the order.
    Again,
    /// The same, once a step was looked for.
    Hint,
    Quit,
}

/// One run of the game.
pub struct Player<'g, 'a> {
    game: &'g mut Game<'a>,
    blackbox: Blackbox,
    choices: Choices,
    /// Who chooses the rest, if it is not the reader.
    rest: Option<Box<dyn Scheduler>>,
    wants: Option<Wants>,
}

impl<'g, 'a> Player<'g, 'a> {
    pub fn new(game: &'g mut Game<'a>, blackbox: Blackbox) -> Player<'g, 'a> {
        Player { game, blackbox, choices: Choices::default(), rest: None, wants: None }
    }

    /// Why the run was left, if it was.
    pub fn wants(&self) -> Option<Wants> {
        self.wants
    }

    fn take(&mut self, ready: &(Vec<usize>, Vec<Step>), chosen: usize) -> Choice {
        let at = self.choices.taken.len();
        if at == self.game.order.len() {
            self.game.order.push(ready.1[chosen].clone());
        }
        self.choices.take(ready, chosen)
    }

    fn leave(&mut self, wants: Wants) -> Choice {
        self.wants = Some(wants);
        Choice::Leave
    }

    /// The step of the order that is to be played again, if this is one; what comes after one that did not come is forgotten.
    fn again(&mut self, ready: &[Step]) -> Option<usize> {
        let at = self.choices.taken.len();
        let step = self.game.order.get(at)?;
        let found = ready.iter().position(|ready| ready == step);
        if found.is_none() {
            let message = format!("`{} {}` did not come again: the kernel chose otherwise", step.role, step.action);
            self.game.moved();
            self.game.message = message;
            self.game.order.truncate(at);
            self.game.marks.retain(|mark| mark.at < at);
        }
        found
    }

    fn ask(&mut self, now: &Now, ready: &[Step]) -> Key {
        let steps = self.choices.steps(now);
        let run = Run { steps, ..Run::of(&self.blackbox, self.game.stage, self.game.heap, Ending::Exit(0)) };
        let shown = Shown::Choices { now, ready, blackbox: self.blackbox };
        let view = View { game: self.game, run: &run, shown, message: &self.game.message };
        // A terminal that is not there any more asks nothing.
        self.game.reader.ask(&|size, colour| view.draw(size, colour), ready.len()).unwrap_or(Key::Quit)
    }
}

impl Strategy for Player<'_, '_> {
    fn choose(&mut self, now: &Now) -> Choice {
        let ready = self.choices.ready(now);
        let steps = &ready.1;
        if steps.is_empty() {
            self.game.reader.tell("nobody can move: looking what comes of it ...");
            return Choice::End;
        }
        if let Some(chosen) = self.again(steps) {
            return self.take(&ready, chosen);
        }
        // A step was looked for: now it is told.
        if self.game.found.is_some() && self.game.grade == 1 {
            self.game.hint(steps);
        }
        while self.rest.is_none() {
            match self.ask(now, steps) {
                Key::Number(number) if (1..=steps.len()).contains(&number) => {
                    self.game.marks.push(Mark { at: self.choices.taken.len(), is_rest: false });
                    self.game.moved();
                    return self.take(&ready, number - 1);
                }
                Key::Rest | Key::End => self.rest = Some(Box::new(Delays::new(&[]))),
                Key::Random => self.rest = Some(Box::new(Walk::new(1 + self.game.taken_back))),
                Key::Undo if self.game.take_back() => return self.leave(Wants::Again),
                Key::Hint if self.game.hint(steps) => {
                    self.game.reader.tell(&self.game.message);
                    return self.leave(Wants::Hint);
                }
                Key::Save => self.game.save(),
                Key::Help => self.game.message = KEYS.to_string(),
                Key::Quit => return self.leave(Wants::Quit),
                Key::Undo | Key::Hint => {}
                Key::Number(_) | Key::Other => self.game.message = "that is no key here; ? explains them".to_string(),
            }
            if self.rest.is_some() {
                self.game.marks.push(Mark { at: self.choices.taken.len(), is_rest: true });
                self.game.moved();
            }
        }
        let rest = self.rest.as_mut().expect("it was chosen");
        let chosen = if steps.len() == 1 { 0 } else { rest.pick(steps, self.choices.last(steps)) };
        rest.moves(steps, chosen);
        self.take(&ready, chosen)
    }

    fn goes_on_without_a_client(&self) -> bool {
        true
    }

    fn steps(&mut self, now: &Now) -> Vec<outcome::Step> {
        self.choices.steps(now)
    }
}

#[cfg(test)]
mod tests;
