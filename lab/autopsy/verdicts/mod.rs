//! The verdicts: how a run ends, a file each.

mod hang;
mod herd;
mod loss;
mod memory;
mod misdelivery;
mod never_stops;
mod serves;

use super::timeline::Timeline;
pub use super::verdict::{Case, Keys, Survival};
use crate::catalogue::Verdict;
use crate::direct::outcome::Ending;
pub(crate) use herd::json as herd_json;
pub(super) use herd::slept_on;
pub(super) use loss::cuts;
pub use memory::last_line;
pub(super) use memory::{cause, death, finding_json, first_mistake, last_words};
pub use serves::outlived;
pub(super) use serves::{leaks, survival};

/// All that show something in the JSON.
const ALL: [&dyn Case; 6] =
    [&hang::Hangs, &herd::Herds, &misdelivery::Misdelivers, &never_stops::NeverStops, &loss::Loses, &serves::Serves];

/// The file of a verdict.
pub fn case(verdict: Verdict) -> Box<dyn Case> {
    match verdict {
        Verdict::Signal { signal, text } => Box::new(memory::Signal { signal, text }),
        Verdict::Serves => Box::new(serves::Serves),
        Verdict::Hangs => Box::new(hang::Hangs),
        Verdict::Herds => Box::new(herd::Herds),
        Verdict::Misdelivers => Box::new(misdelivery::Misdelivers),
        Verdict::NeverStops => Box::new(never_stops::NeverStops),
        Verdict::Loses => Box::new(loss::Loses),
    }
}

/// The keys of all of them for the autopsy and the trace.
pub(super) fn in_both(timeline: &Timeline<'_>) -> Keys {
    ALL.iter().flat_map(|case| case.in_both(timeline)).collect()
}

/// The keys of all of them for the autopsy alone.
pub(super) fn in_autopsy(timeline: &Timeline<'_>) -> Keys {
    ALL.iter().flat_map(|case| case.in_autopsy(timeline)).collect()
}

/// The catalogue's cause, if the records bear it out.
pub(super) fn why(timeline: &Timeline<'_>) -> Option<&'static str> {
    let stage = timeline.run.stage;
    let ended = match (stage.expect, timeline.run.ending) {
        (Verdict::Signal { .. }, ending) => matches!(ending, Ending::Signal(_)),
        (expect, ending) => ending == Ending::Exit(0) || case(expect).ends_by_kill(),
    };
    (ended && case(stage.expect).is_borne_out(timeline)).then_some(stage.why)
}
