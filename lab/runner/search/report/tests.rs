//! What a search says of its runs.

use super::super::campaign::tests::{looked, one_delay};
use super::super::making::tests::{Came, asked_too_early};
use super::*;

#[test]
fn how_far_the_delays_got_is_said_with_the_number_of_their_orders() {
    let said = |complete, orders, begun, of| delays(Bounds { complete, orders, begun, of });
    assert_eq!(said(Some(0), 1, 0, 0), "delays    every order with no delay: 1 of 1\n");
    assert_eq!(said(Some(0), 1, 3, 40), "delays    every order with no delay: 1 of 1\n          with 1: 3 of 40\n");
    assert_eq!(
        said(Some(1), 41, 2, 1641),
        "delays    every order with at most one delay: 41 of 41\n          with 2: 2 of 1,641\n"
    );
    assert_eq!(said(Some(2), 1682, 0, 0), "delays    every order with at most 2 delays: 1,682 of 1,682\n");
    assert_eq!(said(None, 0, 0, 1), "          with 0: 0 of 1\n");
}

#[test]
fn what_is_no_orders_is_said_only_where_there_was_something() {
    let campaign = |otherwise, came: fn(&str, bool) -> Came| looked(&one_delay(), otherwise, came).1;
    let calm = campaign(0..0, |_, _| Came::Lives);
    assert_eq!((by_chance(&calm), by_luck(&calm, Heap::Malloc), diverged(&calm)), (None, None, None));
    assert_eq!(time(&calm, Duration::from_millis(1250)), "3 runs in 1.2 s, 3 different orders");

    let lucky = campaign(0..0, |passed, _| if asked_too_early(passed) { Came::Abuses } else { Came::Lives });
    let said = "luck      2 runs used freed memory, or freed it again, and survived: the black box saw it";
    assert_eq!(by_luck(&lucky, Heap::Pages), Some(format!("{said}\n")));
    assert_eq!(by_luck(&lucky, Heap::Malloc), Some(format!("{said}; --heap pages faults at it\n")));

    let said = "kernel    1 run went another way than the one that they repeat, first before `main queue 1`: that choice was \
                the kernel's\n";
    assert_eq!(diverged(&campaign(3..9, |_, _| Came::Lives)).as_deref(), Some(said));

    let mut run = 0;
    let came = |_: &str, is_over| {
        run += u64::from(is_over);
        if is_over && run == 2 { Came::Dies(libc::SIGABRT) } else { Came::Lives }
    };
    let said = "chance    1 run showed it when the order was over and everybody was free, as under --wild\n";
    assert_eq!(by_chance(&looked(&one_delay(), 0..0, came).1).as_deref(), Some(said));
}
