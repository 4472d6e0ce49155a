//! What the keys mean, and that the terminal is given back by a panic.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

use super::*;

#[test]
fn each_key_is_its_own() {
    let keys = ["1", "12", "u", "h", "s", "a", "r", "?", "q", "x", "A", "", "-1"].map(key);
    let known = [Key::Undo, Key::Hint, Key::Save, Key::Rest, Key::Random, Key::Help, Key::Quit];
    assert_eq!(keys[..2], [Key::Number(1), Key::Number(12)]);
    assert_eq!(keys[2..9], known);
    assert_eq!(keys[9..], [Key::Other; 4]);
}

#[test]
fn a_page_leaves_nothing_of_the_one_before_it() {
    assert_eq!(page("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
}

/// Set for a process that is to panic on a screen of its own.
const PANICS: &str = "LAB_TEST_PANICS";

/// No test by itself: what the next one starts.
#[test]
fn it_panics_where_it_is_told_to() {
    if std::env::var_os(PANICS).is_some() {
        let _screen = Screen::enter().expect("it has a terminal");
        panic!("on a screen");
    }
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_is_told() {
    let (mut ours, mut theirs) = (0, 0);
    // SAFETY: openpty(3) writes two descriptors that nobody else owns.
    let (mut ours, theirs) = unsafe {
        let (none, no_modes, no_size) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        assert_eq!(libc::openpty(&mut ours, &mut theirs, none, no_modes, no_size), 0);
        (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    };
    let modes = || {
        // SAFETY: a zeroed termios is valid, and the kernel writes it.
        unsafe {
            let mut modes: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(theirs.as_raw_fd(), &mut modes), 0);
            (modes.c_lflag, modes.c_cc)
        }
    };
    let before = modes();
    let end = || Stdio::from(theirs.try_clone().expect("a descriptor is left"));
    let mut command = Command::new(std::env::current_exe().expect("it is known"));
    let name = "runner::play::terminal::tests::it_panics_where_it_is_told_to";
    command.args(["--exact", name, "--nocapture"]).env(PANICS, "1").stdin(end()).stdout(end()).stderr(end());
    let status = command.status().expect("it starts");
    let mut written = [0; 16 * 1024];
    let n = ours.read(&mut written).expect("it said something");
    let said = String::from_utf8_lossy(&written[..n]).into_owned();
    assert_eq!(status.code(), Some(101), "{said}");
    assert_eq!(modes(), before);
    let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("no {text:?} in {said:?}"));
    assert!(place(ENTER) < place(LEAVE) && place(LEAVE) < place("on a screen"), "{said:?}");
    assert_eq!(said.matches(LEAVE).count(), 1, "{said:?}");
}
