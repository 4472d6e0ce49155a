//! A patch: what it is about, and hunks without line numbers. Text to text, so that it can be tested.
//!
//! ```text
//! stage: stage4_fixed
//! why: One sentence: why somebody would write this.
//! @@
//!  a line that stays
//! -a line that goes
//! +a line that comes
//! ```
//!
//! The lines that stay and go must stand in the stage exactly once as a run. The book's anchors are no part of it.

use std::ops::Range;

/// One wrong fix.
#[derive(Debug)]
pub struct Patch {
    /// The stage that it is applied to.
    pub stage: String,
    /// Why somebody would write it.
    pub why: String,
    /// The hunks, as they stand in the file.
    pub diff: String,
    hunks: Vec<Hunk>,
}

#[derive(Debug)]
struct Hunk {
    /// The run of lines that it is put in the place of.
    old: Vec<String>,
    new: Vec<String>,
}

impl Patch {
    /// # Errors
    /// What is not as above.
    pub fn parse(text: &str) -> Result<Patch, String> {
        let (head, diff) = text.split_once("@@\n").ok_or("no hunk")?;
        let (mut stage, mut why) = (None, None);
        for line in head.lines() {
            let (key, value) = line.split_once(": ").ok_or_else(|| format!("`{line}` is no line of a header"))?;
            let place = match key {
                "stage" => &mut stage,
                "why" => &mut why,
                _ => return Err(format!("a header has no `{key}`")),
            };
            if place.replace(value.trim().to_string()).is_some() {
                return Err(format!("`{key}` is said twice"));
            }
        }
        let stage = stage.ok_or("no `stage`")?;
        let why = why.filter(|why| !why.is_empty()).ok_or("no `why`")?;
        let hunks = diff.split("@@\n").zip(1..).map(|(lines, number)| hunk(lines, number)).collect::<Result<_, _>>()?;
        Ok(Patch { stage, why, diff: diff.to_string(), hunks })
    }

    /// The stage with the patch in it, and without anchors.
    ///
    /// # Errors
    /// The first hunk that does not fit.
    pub fn apply(&self, source: &str) -> Result<String, String> {
        let lines: Vec<&str> = source.lines().filter(|line| !is_anchor(line)).collect();
        let mut places: Vec<(Range<usize>, &Hunk, usize)> = Vec::new();
        for (hunk, number) in self.hunks.iter().zip(1..) {
            let mut found = lines.windows(hunk.old.len()).zip(0..).filter(|(run, _)| *run == hunk.old);
            let (_, at) = found.next().ok_or_else(|| format!("hunk {number} does not stand in the stage"))?;
            if found.next().is_some() {
                return Err(format!("hunk {number} stands in the stage more than once"));
            }
            let place = at..at + hunk.old.len();
            if let Some((.., other)) =
                places.iter().find(|(other, ..)| other.start < place.end && place.start < other.end)
            {
                return Err(format!("hunks {other} and {number} are about the same lines"));
            }
            places.push((place, hunk, number));
        }
        places.sort_by_key(|(place, ..)| place.start);
        let (mut patched, mut at) = (Vec::new(), 0);
        for (place, hunk, _) in places {
            patched.extend_from_slice(&lines[at..place.start]);
            patched.extend(hunk.new.iter().map(String::as_str));
            at = place.end;
        }
        patched.extend_from_slice(&lines[at..]);
        Ok(patched.join("\n") + "\n")
    }
}

fn hunk(lines: &str, number: usize) -> Result<Hunk, String> {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for line in lines.lines() {
        let mut rest = line.chars();
        let (kind, text) = (rest.next(), rest.as_str().to_string());
        match kind {
            Some('-') => old.push(text),
            Some('+') => new.push(text),
            // An editor may have taken the blank at the end of a line.
            Some(' ') | None => {
                old.push(text.clone());
                new.push(text);
            }
            Some(_) => return Err(format!("hunk {number}: `{line}` begins with neither ' ' nor '-' nor '+'")),
        }
    }
    if old == new {
        return Err(format!("hunk {number} changes nothing"));
    }
    if old.is_empty() {
        return Err(format!("hunk {number} does not say where"));
    }
    Ok(Hunk { old, new })
}

/// `// ANCHOR: lesson`, which the book includes by.
fn is_anchor(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("// ANCHOR: ") || line.starts_with("// ANCHOR_END: ")
}
