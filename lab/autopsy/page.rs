//! The page that a report is written on.

use super::lanes::{BOLD, DIM, length, paint, wrap};
use super::timeline::{Place, Timeline};
use crate::direct::outcome::Run;

/// Where the text of an entry begins.
const COLUMN: usize = 13;
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
    for (key, place, remark) in places {
        let step = match step_width {
            0 => String::new(),
            width => format!("{:<width$}  ", step(place)),
        };
        let role = timeline.role(place.role);
        let text = format!("{role:<role_width$}  {step}{}:{}{remark}", place.file, place.line);
        // Aligned with blanks, which wrapping would swallow: a line that is too long gives its columns up.
        if COLUMN + length(&text) <= page.width {
            let head = paint(&format!("{:<COLUMN$}", format!("  {key}")), DIM, page.colour);
            page.text += &format!("{head}{text}\n");
        } else {
            page.entry(key, &text);
        }
    }
}
