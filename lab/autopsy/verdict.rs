//! What a verdict is to the rest of the house. Each is one file in `verdicts/`.

use std::process::ExitStatus;

use serde_json::Value;

use super::page::Page;
use super::timeline::Timeline;
use crate::catalogue::Stage;
use crate::direct::outcome::Run;
use crate::world::heap::Heap;

/// What a run comes to whose server lived to its end, and of which nothing was shown on the way.
pub enum Survival {
    /// The verdict lies in what was counted: this exit status.
    Shown(u8),
    /// Not what a stage of this kind may do, whatever the order was.
    Wrong(String),
    /// It lived through the order: what is then said, if it was the stage's own; `None` for what the records say of it.
    NotShown(Option<String>),
}

/// Keys of the JSON, each with its value.
pub type Keys = Vec<(&'static str, Value)>;

/// One verdict.
pub trait Case: Sync {
    /// How it ends, in `--help`.
    fn in_help(&self) -> String;

    /// How it ends, in `lab list`.
    fn in_list(&self) -> String;

    /// How it ends, above the table of `--repeat`.
    fn in_table(&self) -> String;

    /// What a search has found that came to it.
    fn in_search(&self) -> String;

    /// Whether a run of `stage` that ended so has come to this verdict. `stderr`: what it wrote there.
    fn is_met(&self, _stage: &Stage, _heap: Heap, status: ExitStatus, _stderr: &str) -> bool {
        status.code() == Some(1)
    }

    /// Whether the director stays after the steps until nobody can move.
    fn needs_rest(&self) -> bool {
        false
    }

    /// Whether the server is killed once this is shown of it: then its end by a signal is no death.
    fn ends_by_kill(&self) -> bool {
        false
    }

    /// What a run comes to that was to show this, and whose server lived.
    fn of_a_survivor(&self, _run: &Run) -> Survival {
        Survival::NotShown(None)
    }

    /// Whether the records bear out what the catalogue says of the cause.
    fn is_borne_out(&self, timeline: &Timeline<'_>) -> bool;

    /// Writes down that it came to this.
    fn report(&self, _page: &mut Page, _story: &Timeline<'_>) {}

    /// What a run is said to be that was to show this, and did not; `None` if the report of [`Case::report`] says it.
    fn absent(&self) -> Option<&'static str>;

    /// The keys of the autopsy and of the trace, `null` where there is nothing to say.
    fn in_both(&self, _story: &Timeline<'_>) -> Keys {
        Vec::new()
    }

    /// The keys of the autopsy alone.
    fn in_autopsy(&self, _story: &Timeline<'_>) -> Keys {
        Vec::new()
    }
}
