//! What the reader sees before a choice: the lanes so far, who could move, and who waits.

use std::panic::Location;

use super::aim::aim;
use super::game::Game;
use super::terminal::Size;
use crate::autopsy;
use crate::autopsy::lanes::{BOLD, DIM, RED, length, paint, wrap};
use crate::direct::outcome::Run;
use crate::direct::schedule::{Action, Step, is_thread};
use crate::direct::strategy::Now;
use crate::record::blackbox::{Blackbox, State};
use crate::words::count;

/// Lines of lanes that are there, however many could move.
const LANES: usize = 4;

/// What a screen is about.
pub struct View<'v> {
    pub game: &'v Game<'v>,
    pub run: &'v Run,
    pub shown: Shown<'v>,
    pub message: &'v str,
}

/// What stands below the lanes.
pub enum Shown<'v> {
    Choices { now: &'v Now, ready: &'v [Step], blackbox: Blackbox },
    Over { over: &'v str, red: bool },
}

impl View<'_> {
    /// At most so many columns wide and so many rows high; each line ends with a newline.
    pub fn draw(&self, (width, height): Size, colour: bool) -> String {
        let stage = self.game.stage;
        let made = count(self.game.choices(), "choice");
        let mut head = vec![
            paint(&cut(&format!("{}: {}", stage.name, stage.title), width), BOLD, colour),
            cut(&format!("aim: {}   ({made} so far)", aim(stage)), width),
            String::new(),
        ];
        let mut foot = vec![String::new()];
        for line in self.message.lines() {
            let lines = if length(line) <= width { vec![line.to_string()] } else { wrap(line, width, 2) };
            foot.extend(lines.iter().map(|line| paint(line, BOLD, colour)));
        }
        let keys = match self.shown {
            Shown::Choices { .. } => "number: goes next  u back  h hint  a rest  s save  ? keys  q leave",
            Shown::Over { .. } => "u back  s save  any other key: the autopsy",
        };
        foot.push(paint(&cut(keys, width), DIM, colour));
        let room = height.saturating_sub(head.len() + foot.len() + LANES + 1);
        let mut panel = vec![String::new()];
        panel.extend(fold(self.below(width, colour), room));
        let room = height.saturating_sub(head.len() + panel.len() + foot.len());
        head.extend(newest(&autopsy::lanes_of(self.run, width, colour), room));
        let mut lines: Vec<String> = head.into_iter().chain(panel).chain(foot).collect();
        lines.truncate(height);
        lines.join("\n") + "\n"
    }

    fn below(&self, width: usize, colour: bool) -> Vec<String> {
        match &self.shown {
            Shown::Over { over, red } => vec![paint(&cut(over, width), if *red { RED } else { "" }, colour)],
            Shown::Choices { now, ready, blackbox } => {
                let mut lines = self.ready(now, ready, *blackbox, width, colour);
                lines.extend(waiting(now, *blackbox, width, colour));
                lines
            }
        }
    }

    /// A line for each that could move: its number, its name, its step, where it stands, and what comes there.
    fn ready(&self, now: &Now, ready: &[Step], blackbox: Blackbox, width: usize, colour: bool) -> Vec<String> {
        let rows: Vec<[String; 4]> = ready
            .iter()
            .map(|step| {
                let place = now.role(&step.role).and_then(|role| blackbox.slot(role).place());
                let (place, does) = match place.filter(|_| is_thread(&step.role)) {
                    Some(place) => (shown_place(place), self.code_at(place)),
                    None => (String::new(), self.does_then(now, &step.role)),
                };
                [step.role.clone(), step.action.to_string(), place, does]
            })
            .collect();
        let widest = |column: usize| rows.iter().map(|row| length(&row[column])).max().unwrap_or(0);
        let (role, action, place) = (widest(0), widest(1), widest(2));
        let digits = ready.len().to_string().len();
        let line = |(number, row): (usize, &[String; 4])| {
            let start = format!(" {number:>digits$}  {:role$}  {:action$}", row[0], row[1]);
            let rest = format!("  {:place$}  {}", row[2], row[3]);
            let start = cut(&start, width);
            let rest = cut(rest.trim_end(), width - length(&start));
            match rest.is_empty() {
                true => paint(start.trim_end(), BOLD, colour),
                false => paint(&start, BOLD, colour) + &paint(&rest, DIM, colour),
            }
        };
        (1..).zip(&rows).map(line).collect()
    }

    /// The line of the stage's source that comes at a point; nothing where the point is not in the stage.
    fn code_at(&self, place: &Location<'_>) -> String {
        let source = self.game.stage.source;
        let is_there = place.file().ends_with(source.path);
        let lines = source.text.lines().filter(|_| is_there).skip(place.line() as usize).map(str::trim);
        lines.into_iter().find(|line| !line.is_empty() && !line.starts_with("//")).unwrap_or_default().to_string()
    }

    /// What somebody outside the server has to do after that.
    fn does_then(&self, now: &Now, role: &str) -> String {
        let is_left = |step: &&Step| step.role == role;
        let all: Vec<&Action> = self.game.script.steps.iter().filter(is_left).map(|step| &step.action).collect();
        let done = self.game.order.iter().filter(|step| step.role == role).count();
        let rest: Vec<String> = all.iter().skip(done + 1).map(ToString::to_string).collect();
        let is_last = rest.is_empty() || now.role(role).is_none();
        if is_last { String::new() } else { format!("then {}", rest.join(", ")) }
    }
}

/// Who could not move, and why.
fn waiting(now: &Now, blackbox: Blackbox, width: usize, colour: bool) -> Vec<String> {
    let waits = |role: &usize| is_thread(&now.roles[*role].name) && now.roles[*role].state != State::Parked;
    let waiting: Vec<usize> = (0..now.roles.len()).filter(waits).collect();
    let names = waiting.iter().map(|role| length(&now.roles[*role].name)).max().unwrap_or(0);
    let line = |role: usize| {
        let place = match blackbox.slot(role).place() {
            Some(place) if now.roles[role].state != State::Ended => format!("   (past {})", shown_place(place)),
            _ => String::new(),
        };
        let text = format!("    {:names$}  {}{place}", now.roles[role].name, now.doing(role));
        paint(&cut(&text, width), DIM, colour)
    };
    waiting.into_iter().map(line).collect()
}

/// `stage3_broken.rs:130`
fn shown_place(place: &Location<'_>) -> String {
    let file = place.file().rsplit('/').next().unwrap_or_default();
    format!("{file}:{}", place.line())
}

/// A text of at most `width` columns.
fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_string();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).take(width).collect()
}

/// At most `room` lines; the last one says how many more there are.
fn fold(mut lines: Vec<String>, room: usize) -> Vec<String> {
    if lines.len() > room && room > 0 {
        let more = lines.len() + 1 - room;
        lines.truncate(room - 1);
        lines.push(format!("    and {more} more"));
    }
    lines
}

/// The heads of the lanes, and the newest of their lines.
fn newest(lanes: &str, room: usize) -> Vec<String> {
    let lines: Vec<&str> = lanes.lines().collect();
    if lines.len() <= room {
        return lines.into_iter().map(str::to_string).collect();
    }
    // Where the lanes are folded into one they have no heads.
    let heads =
        lines.first().filter(|line| room > 1 && line.trim_start_matches([' ', '\x1b', '[', '2', 'm']).starts_with('#'));
    let newest = &lines[lines.len() - (room - heads.iter().count())..];
    heads.into_iter().chain(newest).map(|line| (*line).to_string()).collect()
}

#[cfg(test)]
mod tests;
