//! The README's picture of a terminal: a recording, drawn line by line in ten seconds. It needs no script and no font, and
//! whoever wants less motion, or has no animation at all, sees the end of it.

use crate::text::escaped;
use crate::{read, root};

/// What it shows, and where.
const SHOWS: &str = "stage3_broken";
pub const PICTURE: &str = "chapters/player/terminal.svg";
/// From the first line to the last, in milliseconds.
const TAKES: usize = 10_000;
/// Pixels of a line, and of a column of the usual fixed-width fonts at 14 pixels.
const LINE: usize = 19;
const COLUMN: f64 = 8.43;
const MARGIN: usize = 18;

/// The picture of the recorded run.
pub fn picture() -> String {
    draw(&format!("cargo run --bin {SHOWS}"), &read(&format!("chapters/recorded/{SHOWS}.txt")))
}

fn draw(command: &str, report: &str) -> String {
    let lines: Vec<String> =
        [format!("$ {command}"), String::new()].into_iter().chain(report.lines().map(String::from)).collect();
    let columns = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let (width, height) = ((columns as f64 * COLUMN).ceil() as usize + 2 * MARGIN, lines.len() * LINE + 2 * MARGIN);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-labelledby="title">
<title id="title">A terminal: {command} ends by a signal, and the report says who freed the session and who used it</title>
<style>
svg {{ --back: #f6f8fa; --text: #1f2328; --dim: #59636e; --red: #b3261e }}
@media (prefers-color-scheme: dark) {{ svg {{ --back: #161b22; --text: #e6edf3; --dim: #9198a1; --red: #ff8a80 }} }}
rect {{ fill: var(--back) }}
text {{ font: 14px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; fill: var(--text); animation: wait steps(1) both }}
.dim {{ fill: var(--dim) }}
.red {{ fill: var(--red); font-weight: bold }}
@keyframes wait {{ from {{ opacity: 0 }} to {{ opacity: 1 }} }}
@media (prefers-reduced-motion: reduce) {{ text {{ animation: none }} }}
</style>
<rect width="{width}" height="{height}" rx="8"/>
"##
    );
    for (n, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let (y, after) = (MARGIN + (n + 1) * LINE - 5, n * TAKES / lines.len());
        svg += &format!(
            "<text x=\"{MARGIN}\" y=\"{y}\" xml:space=\"preserve\" style=\"animation-duration:{after}ms\">{}</text>\n",
            painted(line)
        );
    }
    svg + "</svg>\n"
}

/// A line as the terminal has it in colour: the verdict and the mark in red, source lines dim.
fn painted(line: &str) -> String {
    let class = |class: &str, text: &str| format!("<tspan class=\"{class}\">{}</tspan>", escaped(text));
    if let Some(at) = line.find("<- ") {
        return escaped(&line[..at]) + &class("red", &line[at..]);
    }
    match line.trim_start() {
        body if ["died of", "ending as"].iter().any(|word| body.starts_with(word)) => class("red", line),
        body if body.starts_with('|') || body.contains(" | ") => class("dim", line),
        _ => escaped(line),
    }
}

#[test]
fn the_picture_in_the_readme_is_of_the_recorded_run() {
    crate::recordings::ready();
    let readme = read("README.md");
    assert!(readme.contains(&format!("]({PICTURE})")), "the README does not show {PICTURE}");
    let there = std::fs::read_to_string(root().join(PICTURE)).unwrap_or_default();
    assert!(there == picture(), "{PICTURE}: `LAB_RECORD=reports cargo test --test book` draws it anew");
}

#[test]
fn each_line_appears_after_the_one_above_it_and_what_is_code_is_escaped() {
    let svg = draw("it", "a <b> & c\n\n  use session 1  <- SIGSEGV\n  died of  SIGSEGV\n");
    let texts: Vec<&str> = svg.lines().filter(|line| line.starts_with("<text")).collect();
    let number = |line: &str, mark: &str| -> usize {
        line.split(mark)
            .nth(1)
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            .unwrap()
            .parse()
            .unwrap()
    };
    let places: Vec<_> = texts.iter().map(|line| (number(line, " y=\""), number(line, "duration:"))).collect();
    assert_eq!(places, [(32, 0), (70, 3_333), (108, 6_666), (127, 8_333)]);
    assert!(texts[1].ends_with(">a &lt;b&gt; &amp; c</text>"), "{}", texts[1]);
    assert!(texts[2].ends_with(">  use session 1  <tspan class=\"red\">&lt;- SIGSEGV</tspan></text>"), "{}", texts[2]);
    assert!(texts[3].contains("class=\"red\">  died of"), "{}", texts[3]);
    assert!(svg.contains("viewBox=\"0 0 264 150\""), "{svg}");
}
