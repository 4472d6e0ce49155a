//! An order that shows something, made shorter.
//!
//! First without the passes that say nothing, then with as few changes of who moves as will do, then by its steps, down to an
//! order of which no single step can be left out (ddmin: Zeller, Hildebrandt: Simplifying and isolating failure-inducing input,
//! IEEE TSE 2002). Whether an order still shows it is asked of whoever runs it.

use crate::direct::schedule::{Action, Schedule, Step, is_thread};

/// Asked of each order that is tried: whether it shows the same; `None` to leave it at what there is.
pub type Shows<'a> = dyn FnMut(&Schedule) -> Option<bool> + 'a;

/// A shorter order that shows the same, of these two: the first shows it, the second may, and is liked better. Both have every
/// pass of every role, each with its occurrence.
pub fn shrink(order: &Schedule, better: &Schedule, shows: &mut Shows<'_>) -> Schedule {
    let mut best = order.clone();
    let mut keep = |steps: Vec<Step>, best: &mut Schedule| -> Option<bool> {
        let tried = Schedule { steps, plans: best.plans.clone() };
        if tried.steps.is_empty() || tried == *best {
            return Some(false);
        }
        let does = shows(&tried)?;
        if does {
            *best = tried;
        }
        Some(does)
    };
    if keep(better.steps.clone(), &mut best).is_none() {
        return best;
    }
    let passes = [its_beginning, fewer_passes, fewer_switches, fewer_steps, plain_names];
    for pass in passes {
        if pass(&mut best, &mut keep).is_none() {
            break;
        }
    }
    best
}

/// Tries steps in the place of those of the best order, and says whether they are the best now.
type Keep<'a> = dyn FnMut(Vec<Step>, &mut Schedule) -> Option<bool> + 'a;

/// The longest order of which no beginning is tried.
const LONG: usize = 200;

/// Of a long order, what was shown early: a server that never comes to rest makes many steps.
fn its_beginning(best: &mut Schedule, keep: &mut Keep<'_>) -> Option<()> {
    let mut length = 4;
    while best.steps.len() > LONG && length < best.steps.len() {
        keep(best.steps[..length].to_vec(), best)?;
        length *= 2;
    }
    Some(())
}

/// Of the steps that a role makes one after another only the first says when it goes on; and of its last ones the last, how far.
fn fewer_passes(best: &mut Schedule, keep: &mut Keep<'_>) -> Option<()> {
    let steps = &best.steps;
    let is_kept = |at: &usize| {
        let step = &steps[*at];
        let goes_on = *at > 0 && steps[at - 1].role == step.role;
        let is_last = steps[at + 1..].iter().all(|later| later.role != step.role);
        !is_thread(&step.role) || !goes_on || is_last
    };
    let fewer = (0..steps.len()).filter(is_kept).map(|at| steps[at].clone()).collect();
    keep(fewer, best).map(|_| ())
}

/// The steps of one role, one after another.
fn segments(steps: &[Step]) -> Vec<&[Step]> {
    steps.chunk_by(|one, next| one.role == next.role).collect()
}

/// A role that went on later goes on at once, if it shows then too.
fn fewer_switches(best: &mut Schedule, keep: &mut Keep<'_>) -> Option<()> {
    let mut at = segments(&best.steps).len();
    while at > 1 {
        at = (at - 1).min(segments(&best.steps).len() - 1);
        let mut parts = segments(&best.steps);
        let role = &parts[at][0].role;
        if let Some(before) = parts[..at].iter().rposition(|part| part[0].role == *role) {
            let part = parts.remove(at);
            parts.insert(before + 1, part);
            keep(parts.concat(), best)?;
        }
    }
    Some(())
}

/// Without as many steps as can be done without.
fn fewer_steps(best: &mut Schedule, keep: &mut Keep<'_>) -> Option<()> {
    let mut size = best.steps.len().div_ceil(2);
    loop {
        let (mut from, mut is_shorter) = (0, false);
        while from < best.steps.len() {
            let to = (from + size).min(best.steps.len());
            let rest = [&best.steps[..from], &best.steps[to..]].concat();
            if keep(rest, best)? {
                is_shorter = true;
            } else {
                from = to;
            }
        }
        if size == 1 && !is_shorter {
            return Some(());
        }
        size = if is_shorter { size.min(best.steps.len().max(1)) } else { size.div_ceil(2) };
    }
}

/// Where it is the next pass of that point anyway, its number says nothing.
fn plain_names(best: &mut Schedule, keep: &mut Keep<'_>) -> Option<()> {
    for at in 0..best.steps.len() {
        let mut steps = best.steps.clone();
        if let Action::Pass { occurrence, .. } = &mut steps[at].action
            && occurrence.take().is_some()
        {
            keep(steps, best)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
