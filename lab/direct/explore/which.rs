//! The ways of choosing orders, by name.

/// How the runs are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// All single delays; then pairs of delays and random orders in turn.
    Several,
    /// Delays only.
    Delays,
    /// Random orders of one kind only.
    Sampled(Kind),
}

/// A kind of random order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// See [`super::pct`].
    Pct,
    /// See [`super::pos`].
    Pos,
    /// See [`super::random::Surw`].
    Surw,
    /// See [`super::random::Walk`].
    Walk,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Pct, Kind::Pos, Kind::Surw, Kind::Walk];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pct => "pct",
            Kind::Pos => "pos",
            Kind::Surw => "surw",
            Kind::Walk => "random",
        }
    }
}

impl Which {
    /// All of them, by their names on the command line.
    pub fn all() -> impl Iterator<Item = (&'static str, Which)> {
        let sampled = Kind::ALL.map(|kind| (kind.name(), Which::Sampled(kind)));
        [("several", Which::Several), ("delays", Which::Delays)].into_iter().chain(sampled)
    }
}
