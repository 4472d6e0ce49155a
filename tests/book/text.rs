//! Texts: comparing them, and making two runs of one program comparable.

/// A line of a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// In both texts.
    Same(&'a str),
    /// In the old one only.
    Old(&'a str),
    /// In the new one only.
    New(&'a str),
}

/// The shortest way from `old` to `new`, by longest common subsequence. The texts are short: quadratic is quick enough.
pub fn diff<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    // common[i][j]: the longest common subsequence of old[i..] and new[j..].
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i] == new[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(Line::Old(old[i]));
            i += 1;
        } else {
            lines.push(Line::New(new[j]));
            j += 1;
        }
    }
    lines
}

/// How many lines of a diff are in one of the texts only.
pub fn changed(diff: &[Line<'_>]) -> usize {
    diff.iter().filter(|line| !matches!(line, Line::Same(_))).count()
}

/// A diff as people read it: changed lines with `context` lines around them, and before each group the item it is in.
pub fn printed(diff: &[Line<'_>], context: usize) -> String {
    let near = |at: usize| {
        let around = at.saturating_sub(context)..(at + context + 1).min(diff.len());
        diff[around].iter().any(|line| !matches!(line, Line::Same(_)))
    };
    let (mut text, mut item, mut shown) = (String::new(), "", true);
    for (at, line) in diff.iter().enumerate() {
        if near(at) {
            if !shown {
                text += &format!("@@ {item} @@\n");
            }
            text += &match line {
                Line::Same(line) => format!(" {line}\n"),
                Line::Old(line) => format!("-{line}\n"),
                Line::New(line) => format!("+{line}\n"),
            };
        }
        shown = near(at);
        if let Line::Same(line) = line
            && ["fn ", "pub fn ", "struct ", "impl ", "use "].iter().any(|start| line.starts_with(start))
        {
            item = line.trim_end_matches(" {");
        }
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What differs from run to run, replaced: addresses, descriptors, ports and times, and who did something after the
/// last step of the schedule, in which line.
pub fn normal(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", normal_line(line).trim_end())).collect()
}

fn normal_line(line: &str) -> String {
    if let [what, _, "later", _] = line.split_whitespace().collect::<Vec<_>>()[..] {
        return format!("{what} later");
    }
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if let Some(hex) = rest.strip_prefix("0x") {
            let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            out += "0xADDRESS";
            rest = &hex[end..];
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            let is_time =
                [" ms", " µs", " us", " s ", " s:"].iter().any(|unit| after.starts_with(unit)) || after == " s";
            let is_port = out.ends_with("127.0.0.1:") || out.ends_with("port ");
            out += match () {
                () if is_time => "TIME",
                () if is_port => "PORT",
                () if out.ends_with("fd ") => "N",
                () => number,
            };
            rest = after;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// As text in HTML and SVG.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Fails with a readable diff unless the two are the same.
pub fn assert_same(what: &str, recorded: &str, now: &str, advice: &str) {
    let difference = diff(recorded, now);
    assert!(changed(&difference) == 0, "{what} ({advice}):\n{}", printed(&difference, 2));
}

#[test]
fn a_diff_names_what_changed_and_where() {
    let (old, new) = ("fn a() {\n    1\n    2\n}\nx\ny\n", "fn a() {\n    1\n    3\n}\nx\ny\n");
    let difference = diff(old, new);
    assert_eq!(changed(&difference), 2);
    assert_eq!(printed(&difference, 1), "@@ fn a() @@\n     1\n-    2\n+    3\n }\n");
}

#[test]
fn two_runs_that_differ_only_in_addresses_ports_and_times_are_the_same() {
    let one = normal("SIGSEGV at 0x7f00aa: 8 bytes into session 1\naccept fd 6\non 127.0.0.1:4711\ntook 12.5 ms\n");
    let two = normal("SIGSEGV at 0x7eff10: 8 bytes into session 1\naccept fd 9\non 127.0.0.1:80\ntook 9 ms\n");
    assert_eq!(one, two);
    assert_ne!(normal("read 16,384 bytes"), normal("read 16,383 bytes"));
}
