//! The reader as a strategy.

use super::game::{Game, KEYS, Mark};
use super::panel::{Shown, View};
use super::terminal::Key;
use crate::direct::explore::delays::Delays;
use crate::direct::explore::random::Walk;
use crate::direct::explore::{Choices, Scheduler};
use crate::direct::outcome::{self, Ending, Run};
use crate::direct::schedule::Step;
use crate::direct::strategy::{Choice, Now, Strategy};
use crate::record::blackbox::Blackbox;

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

    /// What a key chooses; `None` where the reader is to be asked again, or asked no more.
    fn pressed(&mut self, key: Key, ready: &(Vec<usize>, Vec<Step>)) -> Option<Choice> {
        let steps = &ready.1;
        match key {
            Key::Number(number) if (1..=steps.len()).contains(&number) => {
                self.game.marks.push(Mark { at: self.choices.taken.len(), is_rest: false });
                self.game.moved();
                return Some(self.take(ready, number - 1));
            }
            Key::Rest | Key::End => self.rest = Some(Box::new(Delays::new(&[]))),
            Key::Random => self.rest = Some(Box::new(Walk::new(1 + self.game.taken_back))),
            Key::Undo if self.game.take_back() => return Some(self.leave(Wants::Again)),
            Key::Hint if self.game.hint(steps) => {
                self.game.reader.tell(&self.game.message);
                return Some(self.leave(Wants::Hint));
            }
            Key::Save => self.game.save(),
            Key::Help => self.game.message = KEYS.to_string(),
            Key::Quit => return Some(self.leave(Wants::Quit)),
            Key::Undo | Key::Hint => {}
            Key::Number(_) | Key::Other => self.game.message = "that is no key here; ? explains them".to_string(),
        }
        if self.rest.is_some() {
            self.game.marks.push(Mark { at: self.choices.taken.len(), is_rest: true });
            self.game.moved();
        }
        None
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
        // The run was left to look for a step: this is where it is told.
        if self.game.found.is_some() && self.game.grade == 1 {
            self.game.hint(steps);
        }
        while self.rest.is_none() {
            let key = self.ask(now, steps);
            if let Some(choice) = self.pressed(key, &ready) {
                return choice;
            }
        }
        let rest = self.rest.as_mut().expect("it was chosen");
        let chosen = self.choices.pick(steps, rest.as_mut());
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
