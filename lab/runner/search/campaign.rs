//! Which runs are made, one after another.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::cli::Search;
use super::super::end::End;
use super::super::wild::Watch;
use super::making::{Lab, Made, Shown, told};
use crate::direct::explore::bounded::{Bounded, Bounds, Delayed};
use crate::direct::explore::delays::Delays;
use crate::direct::explore::pct::Pct;
use crate::direct::explore::pos::Pos;
use crate::direct::explore::random::{Surw, Walk};
use crate::direct::explore::touches::Touches;
use crate::direct::explore::which::{Kind, Which};
use crate::direct::explore::{self, Scheduler, Taken};
use crate::direct::outcome::Ending;
use crate::direct::schedule::{Schedule, Step};

/// How often a run is made that leaves the order that it is to repeat.
const TRIES: usize = 3;

/// How often an order must show something when all are free.
pub const AGAIN: usize = 3;

/// The runs so far, and what they were chosen by.
pub struct Campaign {
    which: Which,
    limit: Limit,
    /// Of the first random order; the next has the next seed.
    seed: u64,
    /// Of PCT.
    depth: usize,
    bounded: Bounded,
    /// How many orders of each kind were drawn, in the order of [`Kind::ALL`].
    sampled: [u64; Kind::ALL.len()],
    /// The calm run, which says how long a run is and what its steps touch.
    calm: Option<(Vec<Taken>, Touches)>,
    runs: u64,
    orders: HashSet<u64>,
    /// What was chosen in the last run.
    last: Vec<Taken>,
    /// Runs that showed something by chance, when their order was over; and the first of them.
    by_chance: (u64, Option<Found>),
    /// Runs in which the box saw freed memory used, or freed again, and that show nothing.
    abused: u64,
    shown: bool,
}

struct Limit {
    runs: u64,
    until: Instant,
}

/// The next run.
enum Next {
    Delayed(Delayed),
    Sampled(Kind, u64),
}

/// What came of a campaign.
pub enum Looked {
    Found(Box<Found>),
    Nothing,
    /// A run could not be made, or not be judged.
    Cannot(End),
}

/// A run that showed something.
pub struct Found {
    taken: Vec<Taken>,
    pub shown: Shown,
    /// The how-manieth run it was.
    pub run: u64,
    from: Next,
    /// The run itself.
    pub made: Made,
}

impl Found {
    /// Its order, for the clients of `script`.
    pub fn order(&self, script: &Schedule) -> Schedule {
        explore::order(&self.taken, script)
    }

    /// See [`explore::without_waits`].
    pub fn without_waits(&self, script: &Schedule) -> Schedule {
        explore::without_waits(&self.taken, script)
    }

    /// `bound 1`, `pct, seed 17`.
    pub fn by(&self) -> String {
        match &self.from {
            Next::Delayed(run) => format!("bound {}", run.at.len()),
            Next::Sampled(kind, seed) => format!("{}, seed {seed}", kind.name()),
        }
    }
}

impl Campaign {
    pub fn new(search: &Search) -> Campaign {
        // More would be no time any more.
        let until = Instant::now() + Duration::from_secs(search.seconds.min(u32::MAX.into()));
        let delays = match search.which {
            Which::Sampled(_) => 0,
            _ => search.depth,
        };
        Campaign {
            which: search.which,
            limit: Limit { runs: search.runs, until },
            seed: search.seed,
            depth: search.depth,
            bounded: Bounded::new(delays),
            sampled: [0; Kind::ALL.len()],
            calm: None,
            runs: 0,
            orders: HashSet::new(),
            last: Vec::new(),
            by_chance: (0, None),
            abused: 0,
            shown: false,
        }
    }

    /// Makes runs until one shows something, there are no more, or it is enough.
    pub fn run(&mut self, lab: &mut Lab<'_>) -> Result<Looked> {
        let looked = self.look(lab);
        self.clear_progress();
        looked
    }

    fn look(&mut self, lab: &mut Lab<'_>) -> Result<Looked> {
        while let Some(next) = self.next() {
            self.show_progress();
            let (made, taken) = self.make(lab, &next)?;
            // Who ends this program may have ended its server too.
            if told().is_some() && made.run.ending == Ending::Signal(libc::SIGTERM) {
                break;
            }
            self.runs += 1;
            self.orders.insert(fingerprint(&taken));
            if self.calm.is_none() {
                self.calm = Some((taken.clone(), Touches::of(&taken, &made.run.records)));
            }
            match &next {
                Next::Delayed(run) => self.bounded.made(run, &taken, &made.run.records),
                Next::Sampled(kind, _) => self.sampled[*kind as usize] += 1,
            }
            // The calm run is none of the random orders.
            let counts = matches!((self.which, &next), (Which::Several | Which::Delays, _) | (_, Next::Sampled(..)));
            if let Some(shown) = made.shown().filter(|_| counts) {
                let found = Found { taken, shown, run: self.runs, from: next, made };
                if found.made.is_directed() || comes_again(lab, &found)? {
                    return Ok(Looked::Found(Box::new(found)));
                }
                self.by_chance.0 += 1;
                self.by_chance.1.get_or_insert(found);
                continue;
            }
            if counts && made.end != End::Code(0) {
                return Ok(Looked::Cannot(made.end));
            }
            self.abused += u64::from(Watch::default().saw_abuse(&lab.blackbox));
            self.last = taken;
        }
        // Not what was looked for, and not to be lost either.
        Ok(self.by_chance.1.take().map_or(Looked::Nothing, |found| Looked::Found(Box::new(found))))
    }

    /// The next run; `None` if there was enough.
    fn next(&mut self) -> Option<Next> {
        // The calm run says what the others are to know; where it is not what was asked for it does not count.
        let calm = u64::from(matches!(self.which, Which::Sampled(_)));
        let is_enough = self.runs >= self.limit.runs.saturating_add(calm) || Instant::now() >= self.limit.until;
        if told().is_some() || (is_enough && self.runs > 0) {
            return None;
        }
        let is_drawn = match self.which {
            _ if self.runs == 0 => false,
            Which::Sampled(_) => true,
            Which::Delays => false,
            Which::Several => self.bounded.bound() > 1 && self.runs.is_multiple_of(2),
        };
        let kind = match self.which {
            Which::Sampled(kind) => kind,
            _ => Kind::ALL[(self.sampled.iter().sum::<u64>() % Kind::ALL.len() as u64) as usize],
        };
        if is_drawn {
            return Some(Next::Sampled(kind, self.seed.wrapping_add(self.sampled[kind as usize])));
        }
        self.bounded.take_next().map(Next::Delayed)
    }

    fn make(&self, lab: &mut Lab<'_>, next: &Next) -> Result<(Made, Vec<Taken>)> {
        match next {
            Next::Delayed(run) => {
                let mut tries = 1;
                loop {
                    let (made, taken) = lab.explored(&mut Delays::new(&run.at))?;
                    if tries == TRIES || Bounded::keeps(run, &taken) {
                        return Ok((made, taken));
                    }
                    tries += 1;
                }
            }
            Next::Sampled(kind, seed) => lab.explored(&mut *self.scheduler(*kind, *seed)),
        }
    }

    fn scheduler(&self, kind: Kind, seed: u64) -> Box<dyn Scheduler> {
        let (calm, touches) = self.calm.as_ref().expect("the calm run is the first");
        match kind {
            Kind::Pct => Box::new(Pct::new(seed, self.depth, calm.len())),
            Kind::Pos => Box::new(Pos::new(seed, touches.clone())),
            Kind::Surw => Box::new(Surw::new(seed, calm)),
            Kind::Walk => Box::new(Walk::new(seed)),
        }
    }

    /// Runs that showed something by chance, when their order was over and everybody was free.
    pub fn by_chance(&self) -> u64 {
        self.by_chance.0
    }

    /// Runs in which freed memory was used, or freed again, and nothing noticed.
    pub fn abused(&self) -> u64 {
        self.abused
    }

    /// The order of the last run, for the clients of `script`.
    pub fn last_order(&self, script: &Schedule) -> Schedule {
        explore::order(&self.last, script)
    }

    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// How many different orders there were among them.
    pub fn orders(&self) -> usize {
        self.orders.len()
    }

    /// How far the delays got; `None` if they were not asked for.
    pub fn bounds(&self) -> Option<Bounds> {
        (!matches!(self.which, Which::Sampled(_))).then(|| self.bounded.bounds())
    }

    /// The number of runs that there are with as many delays as are made now, or fewer; `None` where others are made too.
    pub fn of(&self) -> Option<u64> {
        let (done, all) = self.bounded.of_bound();
        let is_alone = self.sampled().next().is_none();
        is_alone.then(|| self.runs - (done as u64).min(self.runs) + all as u64)
    }

    /// See [`Bounded::diverged`].
    pub fn diverged(&self) -> Option<&(usize, Step)> {
        self.bounded.diverged()
    }

    /// How many orders of each kind were drawn, of those that were drawn at all.
    pub fn sampled(&self) -> impl Iterator<Item = (Kind, u64)> {
        Kind::ALL.into_iter().zip(self.sampled).filter(|(_, drawn)| *drawn > 0)
    }

    fn show_progress(&mut self) {
        let mut err = io::stderr();
        if err.is_terminal() {
            let (done, all) = self.bounded.of_bound();
            let bound = self.bounded.bound();
            let _ = write!(err, "\rrun {}; bound {bound}: {done} of {all}\x1b[K", self.runs + 1);
            self.shown = true;
        }
    }

    fn clear_progress(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// What came when all were free is the order's if it comes again and again.
fn comes_again(lab: &mut Lab<'_>, found: &Found) -> Result<bool> {
    let order = found.order(lab.plan.schedule);
    for _ in 0..AGAIN {
        if lab.ordered(&order)?.shown().as_ref() != Some(&found.shown) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fingerprint(taken: &[Taken]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for Taken { step, .. } in taken {
        (&step.role, step.action.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
pub(super) mod tests;
