//! What the reactors of a stage count that has several: how often a connection woke one, and how often in vain.

pub use crate::terms::Counts;
use crate::words::{count, thousands};

/// What all of them counted: `reactor-1` first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Herd {
    /// One entry for each reactor; none for a stage that has no reactors of that kind.
    pub reactors: Vec<Counts>,
}

impl Herd {
    /// All of them together.
    pub fn total(&self) -> Counts {
        self.reactors.iter().fold(Counts::default(), |sum, one| Counts {
            woken: sum.woken + one.woken,
            empty: sum.empty + one.empty,
            accepted: sum.accepted + one.accepted,
            exhausted: sum.exhausted + one.exhausted,
            slept: sum.slept + one.slept,
        })
    }

    /// Adds what as many reactors counted in another life of the server.
    pub(crate) fn add(&mut self, other: &Herd) {
        self.reactors.resize(self.reactors.len().max(other.reactors.len()), Counts::default());
        for (sum, one) in self.reactors.iter_mut().zip(&other.reactors) {
            *sum = Herd { reactors: vec![*sum, *one] }.total();
        }
    }

    /// Whether every connection woke every reactor, in vain but for one: a herd. One reactor is none.
    pub fn is_stampede(&self) -> bool {
        let total = self.total();
        let others = self.reactors.len() as u64 - u64::from(!self.reactors.is_empty());
        others > 0 && total.accepted > 0 && total.empty >= others * total.accepted
    }

    /// `4 for 1 connection; 3 of them found nobody to accept`
    pub fn wakeups(&self) -> String {
        let total = self.total();
        let found = match total.empty {
            0 => "none in vain".to_string(),
            empty => format!("{} of them found nobody to accept", thousands(empty)),
        };
        let limit = match total.exhausted {
            0 => String::new(),
            n => format!("; {} found no descriptor left", thousands(n)),
        };
        format!("{} for {}; {found}{limit}", thousands(total.woken), count(total.accepted, "connection"))
    }

    /// `3.00 wake-ups in vain a connection`
    pub fn ratio(&self) -> String {
        let total = self.total();
        if total.accepted == 0 {
            return "no connection came".to_string();
        }
        format!("{:.2} wake-ups in vain a connection", total.empty as f64 / total.accepted as f64)
    }

    /// `5,213 times, 4.07 a connection`
    pub fn sleeps(&self) -> String {
        let Counts { slept, accepted, .. } = self.total();
        format!("{} times, {:.2} a connection", thousands(slept), slept as f64 / accepted.max(1) as f64)
    }

    /// How evenly they share: `1,000 by 4 reactors: 241 to 260 each, 24% to 26%`
    pub fn spread(&self) -> String {
        let all = self.total().accepted;
        let accepted = || self.reactors.iter().map(|one| one.accepted);
        let (least, most) = (accepted().min().unwrap_or(0), accepted().max().unwrap_or(0));
        let (by, share) = (count(self.reactors.len() as u64, "reactor"), |n: u64| n * 100 / all.max(1));
        if self.reactors.len() < 2 {
            return format!("{} by {by}", thousands(all));
        }
        let range = format!("{} to {} each, {}% to {}%", thousands(least), thousands(most), share(least), share(most));
        format!("{} by {by}: {range}", thousands(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn herd(counts: &[(u64, u64, u64)]) -> Herd {
        let one = |&(woken, empty, accepted)| Counts { woken, empty, accepted, exhausted: 0, slept: 4 * woken };
        Herd { reactors: counts.iter().map(one).collect() }
    }

    #[test]
    fn all_but_one_in_vain_is_a_stampede() {
        assert!(herd(&[(1, 0, 1), (1, 1, 0), (1, 1, 0)]).is_stampede());
        assert!(!herd(&[(1, 0, 1), (1, 1, 0), (0, 0, 0)]).is_stampede(), "one of them slept on");
        assert!(!herd(&[(2, 0, 2)]).is_stampede(), "one reactor is no herd");
        assert!(!herd(&[(0, 0, 0), (0, 0, 0)]).is_stampede(), "nobody came");
        assert!(!herd(&[]).is_stampede());
    }

    #[test]
    fn what_was_counted_is_said_in_one_line_each() {
        let some = herd(&[(3, 1, 2), (2, 1, 1)]);
        assert_eq!(some.wakeups(), "5 for 3 connections; 2 of them found nobody to accept");
        assert_eq!(some.ratio(), "0.67 wake-ups in vain a connection");
        assert_eq!(some.spread(), "3 by 2 reactors: 1 to 2 each, 33% to 66%");
        assert_eq!(some.sleeps(), "20 times, 6.67 a connection");
        let none = herd(&[(1, 0, 1), (0, 0, 0)]);
        assert_eq!(none.wakeups(), "1 for 1 connection; none in vain");
        let full = Herd { reactors: vec![Counts { woken: 2, empty: 0, accepted: 1, exhausted: 1, slept: 0 }] };
        assert_eq!(full.wakeups(), "2 for 1 connection; none in vain; 1 found no descriptor left");
        assert_eq!(
            (herd(&[]).ratio(), full.spread()),
            ("no connection came".to_string(), "1 by 1 reactor".to_string())
        );
    }

    #[test]
    fn each_number_is_added_to_its_own() {
        let one = Counts { woken: 1, empty: 10, accepted: 100, exhausted: 1000, slept: 10_000 };
        let two = Counts { woken: 2, empty: 20, accepted: 200, exhausted: 2000, slept: 20_000 };
        let three = Counts { woken: 3, empty: 30, accepted: 300, exhausted: 3000, slept: 30_000 };
        assert_eq!(Herd { reactors: vec![one, two] }.total(), three);
        assert_eq!(Herd::default().total(), Counts::default());
        // Another life of the server may have had more reactors, or fewer.
        let mut lives = Herd { reactors: vec![one] };
        lives.add(&Herd { reactors: vec![two, one] });
        assert_eq!(lives.reactors, [three, one]);
        lives.add(&Herd { reactors: vec![one] });
        assert_eq!(lives.reactors.len(), 2);
        assert_eq!((lives.reactors[0].woken, lives.reactors[1]), (4, one));
    }

    #[test]
    fn a_stampede_is_one_of_every_connection() {
        assert!(herd(&[(2, 1, 1), (2, 1, 1)]).is_stampede());
        assert!(!herd(&[(2, 0, 2), (1, 1, 0)]).is_stampede(), "one of two connections woke one reactor only");
        assert!(herd(&[(2, 0, 2), (2, 2, 0), (2, 2, 0)]).is_stampede());
        assert!(!herd(&[(2, 0, 2), (2, 2, 0), (1, 1, 0)]).is_stampede());
        assert!(!herd(&[(1, 1, 0), (1, 1, 0)]).is_stampede(), "nobody was accepted");
    }

    #[test]
    fn shares_are_of_all_connections_and_nobody_divides_by_none() {
        let none = herd(&[(0, 0, 0), (0, 0, 0)]);
        assert_eq!(
            (none.spread(), none.sleeps()),
            ("0 by 2 reactors: 0 to 0 each, 0% to 0%".into(), "0 times, 0.00 a connection".to_string())
        );
        assert_eq!(herd(&[]).spread(), "0 by 0 reactors");
        assert_eq!(
            herd(&[(0, 0, 30), (0, 0, 10), (0, 0, 60)]).spread(),
            "100 by 3 reactors: 10 to 60 each, 10% to 60%"
        );
        assert_eq!(
            herd(&[(1500, 1000, 500)]).wakeups(),
            "1,500 for 500 connections; 1,000 of them found nobody to accept"
        );
        assert_eq!(herd(&[(1500, 1000, 500)]).ratio(), "2.00 wake-ups in vain a connection");
    }
}
