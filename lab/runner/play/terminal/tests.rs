//! What the keys mean, what is read of them, and that the terminal is given back by a panic.

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

#[test]
fn a_number_is_over_when_no_further_digit_could_follow() {
    // (What was typed, how many there are to choose from, the first key that it is, how many bytes that took.)
    let cases: [(&[u8], usize, Key, usize); 11] = [
        (b"3", 9, Key::Number(3), 1),
        (b"12", 9, Key::Number(1), 1),
        (b"12", 12, Key::Number(12), 2),
        (b"10", 10, Key::Number(10), 2),
        (b"2", 12, Key::Number(2), 1),
        (b"0", 12, Key::Number(0), 1),
        (b"1\n", 12, Key::Number(1), 2),
        (b"1\r", 12, Key::Number(1), 2),
        (b"\n", 12, Key::Other, 1),
        (b"\x04", 12, Key::Quit, 1),
        (b"1u", 12, Key::Undo, 2),
    ];
    for (typed, choices, key, bytes) in cases {
        let mut number = 0;
        let pressed = (1..).zip(typed).find_map(|(n, byte)| Some((pressed(*byte, &mut number, choices)?, n)));
        assert_eq!(pressed, Some((key, bytes)), "{typed:?} of {choices}");
    }
    let mut number = 0;
    assert_eq!([b'1', b'2', b'3'].map(|byte| pressed(byte, &mut number, 200)), [None, None, Some(Key::Number(123))]);
}

#[test]
fn a_key_that_sends_a_sequence_is_none_of_the_games() {
    // An arrow, a key pad's Enter, F5; Escape itself is a key.
    let typed = b"a\x1b[Ab\x1bOMc\x1b[15~d\x1b\x1b[1;5Ce";
    let screen = Screen { typed: RefCell::new(typed.iter().copied().collect()) };
    let bytes: Vec<_> = (0..6).map(|_| screen.read().expect("nobody is waited for")).collect();
    assert_eq!(bytes, [b'a', b'b', b'c', b'd', 0x1b, b'e'].map(Some));
    RESIZED.store(true, Ordering::Relaxed);
    assert_eq!(screen.read().expect("nobody is waited for"), None, "another size is no key, and must be drawn");
}

#[test]
fn a_terminal_without_a_size_has_eighty_columns() {
    assert_eq!([usable(0, 0), usable(100, 0), usable(0, 50)], [(80, 24); 3]);
    assert_eq!([usable(1, 1), usable(132, 50)], [(1, 1), (132, 50)]);
}

#[test]
fn words_come_one_by_one_over_blank_lines_and_the_end_is_told() {
    let (mut lines, mut input) = (Lines::default(), &b"1 u\n\n  h\nq"[..]);
    let mut next = || lines.next(&mut input).expect("it can be read");
    let words: Vec<_> = (0..6).map(|_| next()).collect();
    assert_eq!(words, [Some("1"), Some("u"), Some("h"), Some("q"), None, None].map(|word| word.map(str::to_string)));
    let is_over = |lines| Reader::Lines(RefCell::new(lines)).is_over();
    assert!(is_over(lines) && !is_over(Lines::default()));
    // What is there already is given before more is read.
    let words = ["a".to_string()].into();
    let mut lines = Lines { words, is_over: false };
    let mut input = &b"b\n"[..];
    assert_eq!(lines.next(&mut input).expect("it is there"), Some("a".to_string()));
    assert_eq!(input, b"b\n");
}
