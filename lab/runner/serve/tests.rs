//! A server that is told to stop, and what it says at its end.

use std::io;
use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::record::wakeups::Counts;
use crate::runner::tests::{self, alone, options, stage, text, went_well};
use crate::world::kernel::any_port;

#[test]
fn the_account_has_the_herd_where_there_are_reactors_and_the_cut_where_there_were_any() {
    let counts = Counts { woken: 3, empty: 1, accepted: 2, exhausted: 0, slept: 8 };
    let reactors = "; wake-ups: 3 for 2 connections; 1 of them found nobody to accept; slept: 8 times, 4.00 a connection; \
                    accepted: 2 by 1 reactor";
    let cut = "cut 2 at the limit: 58 bytes without an answer, 1 replies not written\n";
    for (herd, lost, told) in [
        (vec![], [0, 0, 0], "served 29 bytes, 1 replies\n".to_string()),
        (vec![counts], [0, 0, 0], format!("served 29 bytes, 1 replies{reactors}\n")),
        (vec![], [2, 58, 1], format!("served 29 bytes, 1 replies\n{cut}")),
        (vec![counts], [2, 58, 1], format!("served 29 bytes, 1 replies{reactors}\n{cut}")),
    ] {
        assert_eq!(account(&Served { received: 29, replies: 1 }, &Herd { reactors: herd }, lost), told);
    }
}

fn is_told(stop: &Stop) -> bool {
    let mut poll = libc::pollfd { fd: stop.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: poll(2) reads and writes the one pollfd.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}

fn raise(signal: libc::c_int) {
    // SAFETY: raise(3) has no preconditions.
    unsafe { libc::raise(signal) };
}

#[test]
fn the_first_signal_is_an_order_to_stop_and_the_second_kills() {
    let Some(output) = alone("runner::serve::tests::the_first_signal_is_an_order_to_stop_and_the_second_kills") else {
        let stop = Stop::new().expect("there is an eventfd");
        stop_on_signals(&stop);
        assert!(!is_told(&stop));
        raise(libc::SIGINT);
        assert!(is_told(&stop));
        raise(libc::SIGTERM);
        panic!("nobody comes here");
    };
    assert_eq!(output.status.signal(), Some(libc::SIGTERM), "{}", text(&output.stderr));
}

/// Comes to its end by a signal to all.
fn is_stopped(server: Server) -> io::Result<Served> {
    raise(libc::SIGTERM);
    assert!(is_told(&server.stop));
    Ok(Served { received: 29, replies: 1 })
}

#[test]
fn a_plain_server_says_where_it_listens_and_what_it_has_done() {
    let Some(output) = alone("runner::serve::tests::a_plain_server_says_where_it_listens_and_what_it_has_done") else {
        let end = run(stage("stage4_fixed"), is_stopped, &options("stage4_fixed", &[]), any_port());
        assert_eq!(end.expect("it serves"), End::Code(0));
        return;
    };
    went_well(&output);
    let said = text(&output.stdout);
    assert!(said.contains("stage4_fixed listens on 127.0.0.1:"), "{said}");
    assert!(said.contains("; Ctrl-C ends it\nserved 29 bytes, 1 replies\n"), "{said}");
}

#[test]
fn a_recorded_server_ends_as_it_did_and_its_report_says_so() {
    let Some(output) = alone("runner::serve::tests::a_recorded_server_ends_as_it_did_and_its_report_says_so") else {
        let end = |serve| run(stage("stage4_fixed"), serve, &options("stage4_fixed", &["--json"]), any_port());
        let is = |serve, wanted: End| assert_eq!(end(serve).expect("it comes to an end"), wanted);
        is(tests::ends, End::Code(0));
        is(tests::faults, End::Signal(libc::SIGSEGV));
        is(tests::aborts, End::Signal(libc::SIGABRT));
        let panic = end(tests::panics).expect("it comes to an end");
        assert!(matches!(&panic, End::Failed(why) if why.contains("a mistake")), "{panic:?}");
        let error = end(tests::cannot_be).expect_err("it could not go on");
        assert!(process::is_impossible(&error) && error.to_string() == "io_uring is switched off");
        let error = end(tests::gives_up).expect_err("it could not go on");
        assert!(!process::is_impossible(&error) && error.to_string().starts_with("the server could not go on: "));
        return;
    };
    went_well(&output);
    let said = text(&output.stdout);
    let json = said[said.find('{').expect("there are reports")..].trim_end();
    let reports: Vec<serde_json::Value> =
        serde_json::Deserializer::from_str(json).into_iter().map_while(Result::ok).collect();
    // One for each that has ended; it is the only thing on standard output.
    assert_eq!(reports.len(), 4, "{said}");
    assert_eq!(text(&output.stderr).matches("stage4_fixed listens on 127.0.0.1:").count(), 6);
}
