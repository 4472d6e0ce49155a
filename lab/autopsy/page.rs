//! The page that a report is written on.

use super::lanes::{BOLD, DIM, RED, length, paint, wrap};
use super::source;
use super::timeline::{Place, Timeline};
use crate::direct::outcome::Run;

/// Where the text of an entry begins.
const COLUMN: usize = 13;
/// Source is not shown in less.
const NARROWEST: usize = 24;
/// Under the line of a place that is only what the thread did before.
const DROPPED: &str = "here or later: a drop has no line of its own";
/// Prose is not wider than this, however wide the terminal is.
const PROSE: usize = 100;

pub struct Page {
    pub width: usize,
    pub colour: bool,
    pub text: String,
}

impl Page {
    /// `stage3_broken: what it does wrong          chapter 3`
    pub fn title(&mut self, run: &Run) {
        let chapter = format!("chapter {}", run.stage.chapter);
        let title = format!("{}: {}", run.stage.name, run.stage.title);
        let width = self.width.clamp(1, PROSE);
        let mut lines = wrap(&title, width, 2);
        let last = lines.last_mut().expect("a title has a line");
        if length(last) + 2 + length(&chapter) <= width {
            *last += &format!("{chapter:>room$}", room = width - length(last));
        } else {
            let chapter = chapter.chars().take(width).collect::<String>();
            lines.push(format!("{chapter:>width$}"));
        }
        for line in lines {
            self.text += &paint(&line, BOLD, self.colour);
            self.text.push('\n');
        }
        self.text.push('\n');
    }

    pub fn entry(&mut self, key: &str, text: &str) {
        self.entry_in(key, text, "");
    }

    /// `  key        text`, wrapped under itself.
    pub fn entry_in(&mut self, key: &str, text: &str, style: &'static str) {
        let width = self.width.min(PROSE);
        // Too narrow for two columns: the key stands above its text.
        let column = if width < 2 * COLUMN { 2.min(width.saturating_sub(1)) } else { COLUMN };
        let mut head = format!("{:<column$}", format!("  {key}"));
        if !key.is_empty() && (length(key) + 2 >= column || column < COLUMN) {
            head.truncate(width);
            self.text += &format!("{}\n", paint(head.trim_end(), DIM, self.colour));
            head = " ".repeat(column);
        }
        for (n, line) in wrap(text, width.saturating_sub(column), 0).iter().enumerate() {
            let start = if n == 0 { paint(&head, DIM, self.colour) } else { " ".repeat(column) };
            self.text += &format!("{start}{}", paint(line, style, self.colour));
            self.text.truncate(self.text.trim_end().len());
            self.text.push('\n');
        }
    }

    /// The line of a place, with a caret under what was called there; nothing where the source is not at hand or the
    /// page too narrow for it.
    pub fn source(&mut self, place: &Place) {
        let indent = if self.width < 2 * COLUMN { 0 } else { COLUMN - 4 };
        let room = self.width.min(PROSE + COLUMN).saturating_sub(indent);
        let Some(line) = source::line(place.file, place.line).filter(|_| room >= NARROWEST) else { return };
        let (line, caret) = snippet(place.line, place.column, &line, room);
        let (number, text) = line.split_at(4 + 3);
        let margin = " ".repeat(indent);
        self.text += &format!("{margin}{}{text}\n", paint(number, DIM, self.colour));
        let bar = paint(&format!("{:>6} ", "|"), DIM, self.colour);
        match caret {
            Some(caret) => {
                let blanks = " ".repeat(caret - 7);
                self.text += &format!("{margin}{bar}{blanks}{}\n", paint("^", RED, self.colour));
            }
            None if room >= 7 + length(DROPPED) => {
                self.text += &format!("{margin}{bar}{}\n", paint(DROPPED, DIM, self.colour));
            }
            None => {}
        }
    }
}

/// What the source shows of a line: its number, its text without the indent, and how many columns the caret stands in.
fn snippet(line: u32, column: Option<u32>, text: &str, room: usize) -> (String, Option<usize>) {
    let indent = text.chars().take_while(|c| c.is_whitespace()).count();
    let caret = column.and_then(|column| (column as usize).checked_sub(1 + indent));
    let text: String = text.chars().skip(indent).collect();
    let head = format!("{line:>4} | ");
    let room = room.saturating_sub(length(&head));
    if length(&text) <= room {
        return (head + &text, caret.map(|caret| 4 + 3 + caret));
    }
    // A line that is too long is cut, at its start too if the caret would not be seen.
    let from = caret.map_or(0, |caret| (caret + room / 2).saturating_sub(room).min(length(&text) - room));
    let mut shown: Vec<char> = text.chars().skip(from).take(room).collect();
    if from > 0 {
        shown[0] = '…';
    }
    if from + room < length(&text)
        && let Some(last) = shown.last_mut()
    {
        *last = '…';
    }
    (head + &String::from_iter(shown), caret.map(|caret| 4 + 3 + caret - from))
}

/// `worker-1  step 8   lab/stages/stage3_broken.rs:122`; the columns are as wide as `places` need them.
pub fn places(page: &mut Page, timeline: &Timeline<'_>, places: &[(&str, Place, &str)]) {
    let run = timeline.run;
    let is_over =
        |place: &Place| run.records.get(timeline.schedule_end).is_some_and(|record| record.number <= place.number);
    let step = |place: &Place| match place.step {
        Some(step) => format!("step {step}"),
        None if !run.steps.is_empty() && is_over(place) => "later".to_string(),
        None => String::new(),
    };
    let role_width = places.iter().map(|(_, place, _)| length(timeline.role(place.role))).max().unwrap_or(0);
    let step_width = places.iter().map(|(_, place, _)| length(&step(place))).max().unwrap_or(0);
    for (n, (key, place, remark)) in places.iter().enumerate() {
        let step = match step_width {
            0 => String::new(),
            width => format!("{:<width$}  ", step(place)),
        };
        let role = timeline.role(place.role);
        let before = format!("{role:<role_width$}  {step}");
        let at = format!("{}:{}", place.file, place.line);
        // Aligned with blanks, which wrapping would swallow: a line that is too long gives its columns up.
        if COLUMN + length(&before) + length(&at) + length(remark) <= page.width {
            let head = paint(&format!("{:<COLUMN$}", format!("  {key}")), DIM, page.colour);
            let at = linked(&at, place.file, page.colour);
            page.text += &format!("{head}{before}{at}{remark}\n");
        } else {
            page.entry(key, &format!("{before}{at}{remark}"));
        }
        let is_same = |(_, next, _): &(&str, Place, &str)| (next.file, next.line) == (place.file, place.line);
        if !places.get(n + 1).is_some_and(is_same) {
            page.source(place);
        }
    }
}

/// A link of a terminal (OSC 8), which takes no columns.
fn linked(text: &str, file: &str, colour: bool) -> String {
    match colour {
        true => format!("\x1b]8;;{}\x1b\\{text}\x1b]8;;\x1b\\", source::link(file)),
        false => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with the caret's line under it.
    fn shown(column: Option<u32>, text: &str, room: usize) -> String {
        let (line, caret) = snippet(7, column, text, room);
        assert!(length(&line) <= room, "{line}");
        format!("{line}\n{}", caret.map(|caret| " ".repeat(caret) + "^").unwrap_or_default())
    }

    #[test]
    fn the_caret_stands_under_what_was_called() {
        assert_eq!(shown(Some(5), "    free(it);", 40), "   7 | free(it);\n       ^");
        assert_eq!(shown(Some(10), "    free(it);", 40), "   7 | free(it);\n            ^");
        assert_eq!(shown(None, "\tfree(it);", 40), "   7 | free(it);\n");
        assert_eq!(shown(Some(2), "    free(it);", 40), "   7 | free(it);\n", "a column in the indent");
        assert_eq!(shown(Some(9), "  é(ü); free(it);", 40), "   7 | é(ü); free(it);\n             ^");
    }

    #[test]
    fn a_long_line_is_cut_where_nobody_looks() {
        let line = "  abcdefghijklmnopqrstuvwxyz";
        assert_eq!(shown(None, line, 17), "   7 | abcdefghi…\n");
        assert_eq!(shown(Some(3), line, 17), "   7 | abcdefghi…\n       ^");
        assert_eq!(shown(Some(12), line, 17), "   7 | …fghijklm…\n            ^");
        assert_eq!(shown(Some(28), line, 17), "   7 | …rstuvwxyz\n                ^");
        assert_eq!(shown(Some(28), line, 33), "   7 | abcdefghijklmnopqrstuvwxyz\n                                ^");
    }
}
