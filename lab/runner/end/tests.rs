//! What is said of an error, how wide, and with which status all ends.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::direct::outcome::Ending;
use crate::runner::tests::{alone, text, went_well};

fn said(errno: i32) -> String {
    format!("{:#}", explain(io::Error::from_raw_os_error(errno), "the server could not go on"))
}

#[test]
fn an_error_that_is_known_says_what_to_do() {
    let files = "the server could not go on: the limit on open files is reached; raise it (`ulimit -n 65536`): ";
    for errno in [libc::EMFILE, libc::ENFILE] {
        assert!(said(errno).starts_with(files), "{}", said(errno));
    }
    let threads = "the server could not go on: the kernel gives no more threads; do with fewer";
    assert!(said(libc::EAGAIN).starts_with(threads), "{}", said(libc::EAGAIN));
    let memory = "the server could not go on: the kernel has no memory for it; raise the limit";
    assert!(said(libc::ENOMEM).starts_with(memory), "{}", said(libc::ENOMEM));
    let plain = format!("the server could not go on: {}", io::Error::from_raw_os_error(libc::EINVAL));
    assert_eq!(said(libc::EINVAL), plain);
    let own = explain(io::Error::new(io::ErrorKind::Unsupported, "no such kernel"), "it");
    assert_eq!(format!("{own:#}"), "it: no such kernel");
    assert_eq!(own.root_cause().to_string(), "no such kernel");
}

#[test]
fn each_end_has_a_status_and_a_sentence_unless_it_is_the_servers_own() {
    let why = || "why".to_string();
    for (end, status, words) in [
        (End::Code(0), 0, None),
        (End::Code(1), 1, None),
        (End::Signal(libc::SIGSEGV), 139, None),
        (End::Signal(libc::SIGABRT), 134, None),
        (End::Said(0, why()), 0, Some("why")),
        (End::Said(1, why()), 1, Some("why")),
        (End::Said(2, why()), 2, Some("why")),
        (End::Impossible(why()), 3, Some("this cannot happen on this machine: why")),
        (
            End::Unmet("main wait".to_string()),
            70,
            Some("a step of the schedule never came: main wait; the report says what happened instead"),
        ),
        (End::Failed(why()), 70, Some("the lab itself failed: why")),
    ] {
        assert_eq!(end.told(), (status, words.map(str::to_string)), "{end:?}");
    }
}

#[test]
fn it_ends_by_the_signal_that_the_server_died_of() {
    let Some(output) = alone("runner::end::tests::it_ends_by_the_signal_that_the_server_died_of") else {
        return die_of(libc::SIGSEGV);
    };
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
    assert!(!output.status.core_dumped());
}

/// Standard output goes there from now on.
fn say_to(file: impl AsRawFd) {
    // SAFETY: dup2(2) has no preconditions.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), libc::STDOUT_FILENO) }, libc::STDOUT_FILENO);
}

#[test]
fn what_is_said_is_written_a_reader_who_has_gone_is_no_error_and_a_full_disk_is_one() {
    let name = "runner::end::tests::what_is_said_is_written_a_reader_who_has_gone_is_no_error_and_a_full_disk_is_one";
    let Some(output) = alone(name) else {
        say("a line\n").expect("somebody reads");
        for end in [End::Signal(libc::SIGABRT), End::Code(7), End::Failed("no last line".to_string())] {
            say_ending(&end).expect("somebody reads");
        }
        assert_eq!(say_all("program", "a whole text\n"), 0);
        say_to(std::io::pipe().expect("there are pipes").1);
        say("nobody reads this\n").expect("it is no error");
        assert_eq!(say_all("program", "nor this\n"), 0);
        say_to(std::fs::File::options().write(true).open("/dev/full").expect("Linux has it"));
        std::process::exit(say_all("program", "there is no room for this\n").into());
    };
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let ends = "  ending as the server did: SIGABRT (6)\n  ending with exit status 7\n";
    assert!(out.ends_with(&format!("a line\n{ends}a whole text\n")), "{out}");
    let full = io::Error::from_raw_os_error(libc::ENOSPC);
    assert_eq!(err, format!("program: cannot write to standard output: {full}\n"));
    assert_eq!(output.status.code(), Some(2));
}

/// The two ends of a terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (0, 0);
    // SAFETY: openpty(3) writes two descriptors that nobody else owns.
    unsafe {
        let (none, no_modes, no_size) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        assert_eq!(libc::openpty(&mut ours, &mut theirs, none, no_modes, no_size), 0);
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

fn set_columns(terminal: &OwnedFd, columns: u16) {
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a winsize.
    assert_eq!(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
}

#[test]
fn a_line_is_as_wide_as_the_terminal_and_80_columns_without_one() {
    let (ours, theirs) = terminal();
    // One of no columns does not know how many it has.
    for (columns, width) in [(1, 1), (40, 40), (80, 80), (200, 200), (0, 80)] {
        set_columns(&ours, columns);
        assert_eq!(width_of(theirs.as_raw_fd()), width, "{columns}");
    }
    assert_eq!(width_of(std::io::pipe().expect("there are pipes").0.as_raw_fd()), 80);
}

#[test]
fn it_is_standard_output_that_is_or_is_not_a_terminal() {
    let Some(output) = alone("runner::end::tests::it_is_standard_output_that_is_or_is_not_a_terminal") else {
        assert_eq!((width(), colour()), (80, false));
        let (ours, theirs) = terminal();
        set_columns(&ours, 44);
        say_to(theirs);
        assert_eq!((width(), colour()), (44, takes_colour(true, std::env::var_os("NO_COLOR"))));
        // Nobody reads what is said after this.
        std::process::exit(0);
    };
    went_well(&output);
}

#[test]
fn only_a_terminal_takes_colour_and_not_if_a_word_forbids_it() {
    for (is_terminal, no_color, takes) in [
        (true, None, true),
        (true, Some(""), true),
        (true, Some("1"), false),
        (true, Some("0"), false),
        (false, None, false),
        (false, Some(""), false),
        (false, Some("1"), false),
    ] {
        assert_eq!(takes_colour(is_terminal, no_color.map(OsString::from)), takes, "{is_terminal} {no_color:?}");
    }
}

#[test]
fn a_trace_is_written_in_the_format_that_was_asked_for_and_first_of_all() {
    let stage = crate::catalogue::find("stage3_broken").expect("it is in the catalogue");
    let blackbox = crate::record::blackbox::Blackbox::new(8).expect("there is a memfd");
    let run = Run::of(&blackbox, stage, stage.heap, Ending::Exit(0));
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("trace.json");
    assert!(write_trace(&run, None).is_ok() && !path.exists());
    for (format, value) in [(Format::Json, autopsy::trace_json(&run)), (Format::Perfetto, autopsy::perfetto_json(&run))]
    {
        write_trace(&run, Some(&Trace { path: path.clone(), format })).expect("there is room");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), format!("{value:#}\n"), "{format:?}");
    }
    let nowhere = Trace { path: folder.path().join("no/trace.json"), format: Format::Json };
    let error = publish(&run, Some(&nowhere), true).expect_err("there is no such folder");
    assert_eq!(error.to_string(), format!("cannot write {}", nowhere.path.display()));
}
