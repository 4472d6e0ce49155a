//! A figure in a sentence comes from somewhere.
//!
//! In the prose of the chapters, every number of three digits or more, and every number with a unit of time, a percent
//! sign or "times" behind it, must stand in a recording or listing that the page includes, in the page's own code, or
//! in the list below, with a reason. A short number with a unit (`10 ms`) must stand there with that unit.

use std::collections::BTreeSet;

use crate::pages::{includes, lines, pages, prose};
use crate::read;

/// Figures that no run gives, where they may stand (`*`: anywhere), and why.
const ALLOWED: [(&str, &str, &str); 22] = [
    ("*", "139 134 128", "exit statuses: 128 and the number of the signal (bash(1))"),
    ("introduction.md", "113,770 10,000", "the origin's load test; the load's own chapter measures the second"),
    ("reading.md", "110,000", "the origin's title"),
    ("load.md", "113,770 8.76 3.98 51.66 3,424,409 169.82 30_seconds", "the origin's load test"),
    ("load.md", "999 100,000 10_ms", "arithmetic: Little's law"),
    ("load.md", "28,000 20,000 1,048,576 4_%", "limits of Linux: ip(7), proc(5), epoll(7)"),
    ("load.md", "40_ms", "the delayed acknowledgement of tcp(7)"),
    ("how-to-use.md", "9112", "an RFC, in the next line"),
    ("stage7.md", "2.17", "a section of an RFC"),
    ("log.md", "105 4294967191", "ENOBUFS, and its negative as 32 bits without a sign: errno(3)"),
    ("core.md", "4,096", "the buffer, as the autopsy of stage 4 has it"),
    ("loom.md", "500 20,000 2,000", "defaults of the tests: tests/loom/programs.rs, tests/kernel_model.rs"),
    ("search.md", "300", "how long a search is tried: lab/tools/detect"),
    ("stage1.md", "100,000 100 101 30_seconds", "a thought experiment"),
    ("stage2.md", "100", "a thought experiment"),
    ("stage5.md", "4,294,967,296", "2 to the 32nd"),
    ("stage9.md", "10,000", "a thought experiment"),
    ("stage10.md", "256 1,000 1,001 50_µs", "two tests, a thought experiment, and what an earlier version waited"),
    ("limit.md", "95_% 50_µs", "the level of the interval, and what an earlier version waited"),
    ("why-not-always.md", "128 256", "M_MMAP_THRESHOLD of mallopt(3), and a thought experiment"),
    ("machines.md", "3,000 2.41 2.43 100", "`--repeat` on machines that no test has"),
    ("teachers.md", "90_minutes 100 110 130 140 150 165 175 180", "the timetable of a class"),
];

const UNITS: [&str; 12] =
    ["ms", "µs", "ns", "s", "second", "seconds", "minute", "minutes", "hour", "hours", "times", "percent"];

/// A number in a sentence, as it stands there, and its unit if it has one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Figure {
    number: String,
    unit: Option<String>,
}

impl Figure {
    fn digits(&self) -> usize {
        self.number.chars().filter(char::is_ascii_digit).count()
    }

    /// As the list of the allowed has it.
    fn name(&self) -> String {
        match &self.unit {
            Some(unit) if self.digits() < 3 => format!("{}_{unit}", self.number),
            _ => self.number.clone(),
        }
    }
}

/// A number behind one of these names a version or a document, and counts nothing.
const NAMES: [&str; 5] = ["Linux", "Rust", "glibc", "RFC", "bug"];

/// All numbers of a text that are no part of a word or of an address, and no name.
fn numbers(text: &str) -> Vec<Figure> {
    let (mut figures, mut rest, mut before) = (Vec::new(), text, ' ');
    while let Some(first) = rest.chars().next() {
        let is_start = first.is_ascii_digit() && !(before.is_alphanumeric() || "_-.,#".contains(before));
        if !is_start {
            (rest, before) = (&rest[first.len_utf8()..], first);
            continue;
        }
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ',' || c == '.')).unwrap_or(rest.len());
        let number = rest[..end].trim_end_matches(['.', ',']);
        (rest, before) = (&rest[number.len()..], '0');
        let after = rest.trim_start();
        let word: String = after.chars().take_while(|c| c.is_alphabetic()).collect();
        let unit = match after.starts_with('%') {
            true => Some("%".to_string()),
            false => UNITS.contains(&word.as_str()).then_some(word),
        };
        let is_named =
            NAMES.iter().any(|name| text[..text.len() - rest.len() - number.len()].trim_end().ends_with(name));
        if !is_named && number.matches('.').count() < 2 {
            figures.push(Figure { number: number.to_string(), unit });
        }
    }
    figures
}

/// Whether a number must come from somewhere; a year need not.
fn is_a_claim(figure: &Figure) -> bool {
    let year: Option<u32> = (figure.number.len() == 4).then(|| figure.number.parse().ok()).flatten();
    figure.unit.is_some() || (figure.digits() >= 3 && !year.is_some_and(|year| (1990..2030).contains(&year)))
}

/// The figures of a page's sentences, with their lines.
fn claims(text: &str) -> Vec<(usize, Figure)> {
    let (lines, _) = lines(text);
    let sentences = lines.iter().filter(|line| line.fence.is_none() && !line.text.contains("{{#include"));
    let claims = sentences.flat_map(|line| {
        let figures = numbers(&without_targets(&prose(line.text)));
        figures.into_iter().filter(is_a_claim).map(|figure| (line.number, figure))
    });
    claims.collect()
}

/// A line without the targets of its links and without its tags.
fn without_targets(line: &str) -> String {
    let mut parts = line.split("](");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        text += "](";
        text += part.split_once(')').map_or("", |(_, rest)| rest);
    }
    let mut parts = text.split('<');
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| text + " " + part.split_once('>').map_or(part, |(_, rest)| rest))
}

/// What a page may take its figures from: what it includes, whatever that includes, and its own code.
fn sources(page: &str, text: &str) -> String {
    let mut sources = String::new();
    for (path, _) in includes(page, text) {
        let included = read(&path);
        sources += &included;
        if path.ends_with(".md") {
            sources += &self::sources(&path, &included);
        }
    }
    let (lines, _) = lines(text);
    lines.iter().filter(|line| line.fence.is_some()).fold(sources, |sources, line| sources + line.text + "\n")
}

/// The figures of a page that come from nowhere.
fn unfounded(page: &str, text: &str) -> Vec<String> {
    let plain = |number: &str| number.replace(',', "");
    let known = numbers(&sources(page, text));
    let alone: BTreeSet<String> = known.iter().map(|figure| plain(&figure.number)).collect();
    let with_unit: BTreeSet<_> = known.iter().map(|figure| (plain(&figure.number), figure.unit.as_deref())).collect();
    let name = page.rsplit('/').next().unwrap_or(page);
    let allowed: BTreeSet<&str> = ALLOWED
        .iter()
        .filter(|(place, ..)| *place == "*" || *place == name)
        .flat_map(|(_, figures, _)| figures.split(' '))
        .collect();
    let wrong = claims(text).into_iter().filter(|(_, figure)| {
        let number = plain(&figure.number);
        let is_known = match &figure.unit {
            Some(unit) if figure.digits() < 3 => with_unit.contains(&(number, Some(unit))),
            _ => alone.contains(&number),
        };
        !is_known && !allowed.contains(figure.name().as_str())
    });
    wrong.map(|(line, figure)| format!("{page}:{line}: {}", figure.name())).collect()
}

#[test]
fn every_figure_in_a_sentence_comes_from_a_recording_or_has_a_reason() {
    let wrong: Vec<String> = pages().iter().flat_map(|(page, text)| unfounded(page, text)).collect();
    assert!(wrong.is_empty(), "figures that no recording or listing of their page has:\n{}", wrong.join("\n"));
}

#[test]
fn every_allowed_figure_is_used() {
    let pages = pages();
    for (place, figures, _) in ALLOWED {
        for figure in figures.split(' ') {
            let mut there = pages.iter().filter(|(page, _)| place == "*" || page.ends_with(&format!("/{place}")));
            let used = there.any(|(_, text)| claims(text).iter().any(|(_, claim)| claim.name() == figure));
            assert!(used, "{place}: {figure} is allowed, and stands nowhere");
        }
    }
}

/// Wrong figures that somebody could write, each into a page that is right.
#[test]
fn a_wrong_figure_is_found() {
    for (page, right, wrong) in [
        ("stage3.md", "A worker has read them", "A worker has read 16,385 bytes"),
        ("stage1.md", "Tens of kilobytes for each client", "In 12 ms, 340 megabytes for all clients"),
        ("stage8.md", "A line for `reactors` is", "Of 31,999 connections 44% are lost. A line for `reactors` is"),
        ("load.md", "this measurement does not tell the two apart,", "The lock costs 7.3 ns, 3 times as much."),
    ] {
        let page = format!("chapters/{page}");
        let text = read(&page);
        assert!(text.contains(right), "{page}: {right}");
        let planted = text.replacen(right, wrong, 1);
        assert_eq!(unfounded(&page, &text), Vec::<String>::new());
        let figures = claims(wrong).len();
        assert_eq!(unfounded(&page, &planted).len(), figures, "{page}: {:?}", unfounded(&page, &planted));
    }
}

#[test]
fn what_is_a_figure_and_what_is_none() {
    let found = |text: &str| -> Vec<String> { claims(text).iter().map(|(_, figure)| figure.name()).collect() };
    assert_eq!(
        found("It took 12 ms, 8.2 times the 1,024 of stage 3, 40% in all."),
        ["12_ms", "8.2_times", "1,024", "40_%"]
    );
    assert_eq!(
        found("In 2016, `9999` of [these](https://a.b/1234) and http#5678, steps 5 and 6."),
        Vec::<String>::new()
    );
}
