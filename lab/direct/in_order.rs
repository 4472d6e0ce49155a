//! A schedule as a strategy: its steps, one after the other.

use crate::direct::outcome::{Outcome, Step};
use crate::direct::schedule::{Action, Schedule, is_thread};
use crate::direct::strategy::{Choice, Move, Now, Standing, Strategy};
use crate::record::blackbox::State;
use crate::record::event::Waiting;

/// Keeps to a schedule. A step whose role cannot come is refused, and the order goes on; it passes as soon as its role
/// has come to it.
pub struct InOrder<'a> {
    schedule: &'a Schedule,
    outcomes: Vec<Outcome>,
    done: Vec<bool>,
    /// The first step that has not had its turn.
    next: usize,
    /// What the role of that step was given.
    given: Given,
}

/// Time for a role that cannot come to its step: once for the kernel, then once until its own time is over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Given {
    Nothing,
    ToTheKernel,
    ToItself,
}

impl<'a> InOrder<'a> {
    /// At its beginning.
    pub fn new(schedule: &'a Schedule) -> InOrder<'a> {
        let count = schedule.steps.len();
        let (outcomes, done) = (vec![Outcome::NotReached; count], vec![false; count]);
        InOrder { schedule, outcomes, done, next: 0, given: Given::Nothing }
    }

    /// The role of a step, if it is there.
    fn role<'n>(&self, now: &'n Now, step: usize) -> Option<&'n Standing> {
        now.roles.iter().find(|role| role.name == self.schedule.steps[step].role)
    }

    fn is_first_of_its_role(&self, step: usize) -> bool {
        let steps = &self.schedule.steps;
        (0..step).all(|earlier| self.done[earlier] || steps[earlier].role != steps[step].role)
    }

    /// Whether a role stands where this step of it begins (a client always does).
    fn is_at(&self, role: &Standing, step: usize) -> bool {
        let Action::Pass { point, occurrence } = &self.schedule.steps[step].action else { return true };
        self.is_first_of_its_role(step)
            && role.state == State::Parked
            && role.point == point
            && occurrence.is_none_or(|n| n == role.occurrence)
    }

    fn is_ready(&self, now: &Now, step: usize) -> bool {
        self.role(now, step).is_some_and(|role| self.is_at(role, step))
    }

    fn pass(&mut self, now: &Now, step: usize) -> Choice {
        let role = now.role(&self.schedule.steps[step].role).expect("a ready role is there");
        let is_late = self.outcomes[step] != Outcome::NotReached;
        self.done[step] = true;
        if !is_late {
            self.outcomes[step] = Outcome::Passed;
        }
        Choice::Role(Move { role, step: step + 1, is_late })
    }

    /// Whether the role of this step may come to it once it is given time: a packet may still be on its way through the
    /// kernel, and a thread that nobody has notified can come in one way only, when its time runs out.
    fn may_come(&self, now: &Now, step: usize) -> Option<Given> {
        let more = match self.role(now, step)?.waiting()? {
            Waiting::NoticeOrTime if self.is_first_of_its_role(step) => Given::ToItself,
            waiting if waiting.is_for_the_kernel() => Given::ToTheKernel,
            _ => return None,
        };
        (more > self.given).then_some(more)
    }

    /// The role of this step cannot come now: the order goes on without it.
    fn refuse(&mut self, now: &Now, step: usize) {
        let waits = self.role(now, step).and_then(|role| role.waits.clone());
        self.outcomes[step] = match waits {
            _ if !self.is_first_of_its_role(step) => Outcome::HeldBack,
            Some(_) if self.is_held_back(step) => Outcome::HeldBack,
            Some(refused) => refused,
            None => Outcome::Unmet(String::new()),
        };
    }

    /// Whether an earlier step of the same role was refused: then its role still waits for that.
    fn is_held_back(&self, step: usize) -> bool {
        let steps = &self.schedule.steps;
        let earlier = (0..step).rev().find(|earlier| steps[*earlier].role == steps[step].role);
        earlier.is_some_and(|earlier| matches!(self.outcomes[earlier], Outcome::Refused { .. } | Outcome::HeldBack))
    }

    /// What came of the last step.
    fn take_in(&mut self, now: &Now) {
        if let Some(last) = &now.last
            && let Some(refused) = &last.refused
        {
            self.outcomes[last.moved.step - 1] = refused.clone();
        }
    }

    /// Steps that never came get to know what their role was doing instead.
    fn name_unmet(&mut self, now: &Now) {
        for step in (0..self.done.len()).filter(|step| !self.done[*step]) {
            let name = &self.schedule.steps[step].role;
            let role = now.role(name).filter(|_| is_thread(name));
            // The kernel has let it sleep: that is no step that is missing, but what there is to see.
            let sleeps = role.is_some_and(|role| now.roles[role].state == State::Asleep);
            if sleeps && matches!(self.outcomes[step], Outcome::Refused { .. } | Outcome::HeldBack) {
                continue;
            }
            let doing = role.map_or("is not there".to_string(), |role| now.doing(role));
            self.outcomes[step] = Outcome::Unmet(doing);
        }
    }
}

impl Strategy for InOrder<'_> {
    fn choose(&mut self, now: &Now) -> Choice {
        self.take_in(now);
        loop {
            // A step that was refused passes as soon as its role has come to it.
            let late = (0..self.next).find(|step| !self.done[*step] && self.is_ready(now, *step));
            // A step keeps its turn while its role is given time.
            if let Some(step) = late.filter(|_| self.given == Given::Nothing) {
                return self.pass(now, step);
            }
            let step = self.next;
            if step == self.done.len() {
                return Choice::End;
            }
            let is_ready = self.is_ready(now, step);
            if !is_ready && let Some(given) = self.may_come(now, step) {
                self.given = given;
                let role = now.role(&self.schedule.steps[step].role).expect("who waits is there");
                return Choice::Role(Move { role, step: step + 1, is_late: false });
            }
            self.next += 1;
            self.given = Given::Nothing;
            if is_ready {
                return self.pass(now, step);
            }
            self.refuse(now, step);
        }
    }

    /// A point that the next step of its role does not name.
    fn is_on_the_way(&self, thread: &Standing) -> bool {
        let next =
            (0..self.done.len()).find(|step| !self.done[*step] && self.schedule.steps[*step].role == thread.name);
        next.is_some_and(|step| !self.is_at(thread, step))
    }

    fn steps(&mut self, now: &Now) -> Vec<Step> {
        self.take_in(now);
        if now.is_alive {
            self.name_unmet(now);
        }
        let steps = self.schedule.steps.iter().zip(&self.outcomes);
        let step = |(step, outcome): (&super::schedule::Step, &Outcome)| Step {
            role: step.role.clone(),
            what: step.action.to_string(),
            outcome: outcome.clone(),
        };
        steps.map(step).collect()
    }
}

#[cfg(test)]
mod tests;
