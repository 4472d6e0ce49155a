//! What the reader is to aim at: what the stage is there to show.

use super::super::search::making::Shown;
use crate::catalogue::{Stage, Verdict};
use crate::words::signal_name;

/// What the reader is to aim at.
pub fn aim(stage: &Stage) -> String {
    match stage.expect {
        Verdict::Signal { signal, .. } => format!("make it die of {}", signal_name(signal)),
        Verdict::Serves => "nothing you do will break it; try".to_string(),
        Verdict::Hangs => "make a client wait for ever".to_string(),
        Verdict::Herds => "let one connection wake everybody".to_string(),
        Verdict::Misdelivers => "let a client get what was made for another".to_string(),
        Verdict::NeverStops => "tell it to stop, and let it never end".to_string(),
        Verdict::Loses => "let a client lose what it is owed".to_string(),
    }
}

/// Whether that is what the stage is to show.
pub fn is_aim(stage: &Stage, shown: &Shown) -> bool {
    match (stage.expect, shown) {
        (Verdict::Signal { signal, .. }, Shown::Died(died_of, _)) => signal == *died_of,
        (expected, Shown::Verdict(verdict)) => expected == *verdict,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
