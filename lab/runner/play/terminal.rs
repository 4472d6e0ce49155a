//! The reader's terminal: a screen of its own, which is left as it was found however the program ends; or lines of text.
//!
//! The keys come one by one (`termios(3)`, without `ICANON` and `ECHO`), but Ctrl-C stays a signal: so it is heard also while
//! the director waits for a thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::{Context, Result};

use super::super::end::{colour, say, width};
use super::super::process::handle;

/// Columns and rows.
pub type Size = (usize, usize);

/// What the reader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Number(usize),
    Undo,
    Hint,
    Save,
    /// The rest runs calmly.
    Rest,
    /// The rest runs in a random order.
    Random,
    Help,
    Quit,
    /// There is nothing more to read.
    End,
    Other,
}

/// The other screen, cleared, and no cursor (`console_codes(4)`); and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// Lines of text are as many as a screen has.
const ROWS: usize = 24;

/// Where the reader's keys come from, and where it looks at.
pub enum Reader {
    Screen(Screen),
    Lines(RefCell<Lines>),
}

/// Standard input as words.
#[derive(Default)]
pub struct Lines {
    /// Those that were read and not used yet.
    words: VecDeque<String>,
    is_over: bool,
}

/// What draws a view in so many columns and rows, with or without colour.
pub type Draw<'d> = &'d dyn Fn(Size, bool) -> String;

impl Reader {
    /// A screen, if standard input and output are a terminal that can have one.
    pub fn new() -> Result<Reader> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if is_dumb || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Reader::Lines(RefCell::default()));
        }
        Screen::enter().map(Reader::Screen).context("cannot change the terminal")
    }

    /// Draws, and reads a key. Numbers go up to `choices`.
    ///
    /// # Errors
    /// Those of `write(2)` and `read(2)`.
    pub fn ask(&self, draw: Draw<'_>, choices: usize) -> Result<Key> {
        match self {
            Reader::Screen(screen) => screen.ask(draw, choices),
            Reader::Lines(lines) => {
                say(&format!("{}\n", draw((width(), ROWS), colour())))?;
                let word = lines.borrow_mut().next(io::stdin().lock()).context("cannot read from standard input")?;
                if let Some(word) = &word {
                    say(&format!("> {word}\n\n"))?;
                }
                Ok(word.map_or(Key::End, |word| key(&word)))
            }
        }
    }

    /// Whether nobody is there who could be asked.
    pub fn is_over(&self) -> bool {
        matches!(self, Reader::Lines(lines) if lines.borrow().is_over)
    }

    /// Says what takes a while.
    pub fn tell(&self, message: &str) {
        let _ = match self {
            Reader::Screen(screen) => screen.tell(message),
            Reader::Lines(_) => say(&format!("{message}\n")),
        };
    }
}

fn key(word: &str) -> Key {
    match word {
        "u" => Key::Undo,
        "h" => Key::Hint,
        "s" => Key::Save,
        "a" => Key::Rest,
        "r" => Key::Random,
        "?" => Key::Help,
        "q" => Key::Quit,
        number => number.parse().map_or(Key::Other, Key::Number),
    }
}

/// What a byte means after the digits of `number`; `None` where another digit may follow.
fn pressed(byte: u8, number: &mut usize, choices: usize) -> Option<Key> {
    match byte {
        b'0'..=b'9' => {
            *number = *number * 10 + usize::from(byte - b'0');
            // No further digit could follow.
            (*number == 0 || *number * 10 > choices).then_some(Key::Number(*number))
        }
        b'\n' | b'\r' if *number > 0 => Some(Key::Number(*number)),
        // The end of a transmission, from the keyboard.
        4 => Some(Key::Quit),
        _ => Some(key(&char::from(byte).to_string())),
    }
}

impl Lines {
    /// The next word of `input`; `None` at the end.
    fn next(&mut self, mut input: impl BufRead) -> io::Result<Option<String>> {
        while self.words.is_empty() && !self.is_over {
            let mut line = String::new();
            self.is_over = input.read_line(&mut line)? == 0;
            self.words.extend(line.split_whitespace().map(str::to_string));
        }
        Ok(self.words.pop_front())
    }
}

/// The terminal while it shows the game. Its drop gives it back.
pub struct Screen {
    /// The bytes that were read and not used yet.
    typed: RefCell<VecDeque<u8>>,
}

/// How the terminal was found.
static FOUND: OnceLock<libc::termios> = OnceLock::new();
/// The process that has changed it, and is to give it back; 0 for none. A server inherits the handlers, but not this duty.
static CHANGED_BY: AtomicI32 = AtomicI32::new(0);
/// Whether the size has changed.
static RESIZED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_resize(_: libc::c_int) {
    RESIZED.store(true, Ordering::Relaxed);
}

extern "C" fn on_end(signal: libc::c_int) {
    give_back();
    // SAFETY: both are in signal-safety(7). The signal comes again once this handler has returned, and ends the process; the
    // kernel then ends the server (PR_SET_PDEATHSIG).
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Gives the terminal back, once. Also called in a signal handler.
fn give_back() {
    // SAFETY: getpid(2), write(2) and tcsetattr(3) are in signal-safety(7), and the pointers are to statics.
    unsafe {
        let this = libc::getpid();
        if CHANGED_BY.compare_exchange(this, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        libc::write(libc::STDOUT_FILENO, LEAVE.as_ptr().cast(), LEAVE.len());
        if let Some(found) = FOUND.get() {
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, found);
        }
    }
}

impl Screen {
    fn enter() -> io::Result<Screen> {
        // SAFETY: a zeroed termios and sigset are valid, and the calls write to them or read them.
        let (mut keys, mut resize) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, &mut keys) } != 0 {
            return Err(io::Error::last_os_error());
        }
        FOUND.get_or_init(|| keys);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            hook(panic);
        }));
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
            handle(signal, on_end as *const () as libc::sighandler_t, 0);
        }
        handle(libc::SIGWINCH, on_resize as *const () as libc::sighandler_t, 0);
        keys.c_lflag &= !(libc::ICANON | libc::ECHO);
        // A stopped program would leave the other screen behind.
        keys.c_cc[libc::VSUSP] = 0;
        (keys.c_cc[libc::VMIN], keys.c_cc[libc::VTIME]) = (1, 0);
        CHANGED_BY.store(std::process::id() as i32, Ordering::Release);
        let screen = Screen { typed: RefCell::default() };
        // SAFETY: as above. It is heard of a new size only while a key is waited for, in ppoll(2).
        let changed = unsafe {
            libc::sigemptyset(&mut resize);
            libc::sigaddset(&mut resize, libc::SIGWINCH);
            libc::pthread_sigmask(libc::SIG_BLOCK, &resize, std::ptr::null_mut());
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &keys)
        };
        if changed != 0 {
            return Err(io::Error::last_os_error());
        }
        write(ENTER)?;
        Ok(screen)
    }

    fn ask(&self, draw: Draw<'_>, choices: usize) -> Result<Key> {
        let mut number = 0;
        loop {
            write(&page(&draw(size(), colour())))?;
            let byte = self.read().context("cannot read from the terminal")?;
            if let Some(key) = byte.and_then(|byte| pressed(byte, &mut number, choices)) {
                return Ok(key);
            }
        }
    }

    fn tell(&self, message: &str) -> Result<()> {
        let (width, rows) = size();
        let message: String = message.chars().take(width).collect();
        Ok(write(&format!("\x1b[{rows};1H{message}\x1b[K"))?)
    }

    /// The next byte that was typed, or that the terminal has another size. Keys that send a sequence are none of the game's.
    fn read(&self) -> io::Result<Option<u8>> {
        let mut typed = self.typed.borrow_mut();
        loop {
            match typed.pop_front() {
                Some(0x1b) if matches!(typed.front(), Some(b'[' | b'O')) => {
                    typed.pop_front();
                    while typed.pop_front().is_some_and(|byte| !(0x40..=0x7e).contains(&byte)) {}
                }
                Some(byte) => return Ok(Some(byte)),
                None if RESIZED.swap(false, Ordering::Relaxed) => return Ok(None),
                None => wait_for_keys(&mut typed)?,
            }
        }
    }
}

/// Waits for a key or another size.
fn wait_for_keys(typed: &mut VecDeque<u8>) -> io::Result<()> {
    let mut wanted = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    let mut buffer = [0; 64];
    // SAFETY: a zeroed sigset is valid; the calls read and write locals.
    let got = unsafe {
        let mut all = std::mem::zeroed();
        libc::sigemptyset(&mut all);
        match libc::ppoll(&mut wanted, 1, std::ptr::null(), &all) {
            1.. => libc::read(libc::STDIN_FILENO, buffer.as_mut_ptr().cast(), buffer.len()),
            failed => failed as isize,
        }
    };
    match got {
        1.. => typed.extend(&buffer[..got as usize]),
        // A signal: a new size, or the end of a server.
        -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
        -1 => return Err(io::Error::last_os_error()),
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    Ok(())
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Each line over the one that was there, and nothing below them.
fn page(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("{line}\x1b[K")).collect();
    format!("\x1b[H{}\x1b[J", lines.join("\r\n"))
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The columns and rows of the terminal.
fn size() -> Size {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a winsize; where it cannot, the zeros stay.
    unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    usable(size.ws_col, size.ws_row)
}

/// Some terminals say that they have no size.
fn usable(columns: u16, rows: u16) -> Size {
    if columns > 0 && rows > 0 { (columns.into(), rows.into()) } else { (80, ROWS) }
}

#[cfg(test)]
mod tests;
