//! Which file imports which in a crate, read from its text: an arrow leads from a file to the file in which the name is
//! defined that it uses. What a module merely passes on (`pub use` of something inside itself) is no arrow: whoever
//! uses it points past it.

use std::collections::{BTreeMap, BTreeSet};

/// The files of a crate, by their path from its root (`runner/mod.rs`), with their text.
pub struct Crate {
    modules: BTreeMap<Vec<String>, Module>,
}

struct Module {
    file: String,
    lines: Vec<Line>,
    /// What a name stands for that the module passes on.
    passed_on: BTreeMap<String, Vec<String>>,
}

/// A line of code, without its comment.
struct Line {
    number: usize,
    text: String,
    /// In how many modules inside of this file it stands.
    depth: usize,
}

/// A use of one file by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    pub from: String,
    pub to: String,
    pub line: usize,
}

impl Crate {
    /// `library` is the name under which the programs among the files know the crate.
    pub fn new(files: &[(String, String)], library: &str) -> Crate {
        let modules = files.iter().filter(|(file, _)| file.ends_with(".rs")).map(|(file, text)| {
            let mut path: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_string).collect();
            if path.last().is_some_and(|last| last == "mod") || path == ["lib"] {
                path.pop();
            }
            (path, Module { file: file.clone(), lines: lines(text, library), passed_on: BTreeMap::new() })
        });
        let mut all = Crate { modules: modules.collect() };
        let passed_on: Vec<_> = all.modules.keys().map(|path| (path.clone(), all.passed_on(path))).collect();
        for (path, names) in passed_on {
            all.modules.get_mut(&path).expect("it is from the map").passed_on = names;
        }
        all
    }

    /// All arrows, each once for its first line.
    pub fn arrows(&self) -> Vec<Arrow> {
        let mut seen = BTreeMap::new();
        for (path, module) in &self.modules {
            for (line, target, passes_on) in self.uses(path) {
                let Some(to) = self.defined_in(&target) else { continue };
                let to_own = to.len() > path.len() && to.starts_with(path);
                if to == *path || (passes_on && to_own) {
                    continue;
                }
                let key = (module.file.clone(), self.modules[&to].file.clone());
                let first = seen.entry(key).or_insert(line);
                *first = line.min(*first);
            }
        }
        seen.into_iter().map(|((from, to), line)| Arrow { from, to, line }).collect()
    }

    /// The absolute paths that a module uses: the line, the path, and whether it is passed on.
    fn uses(&self, path: &[String]) -> Vec<(usize, Vec<String>, bool)> {
        let module = &self.modules[path];
        let is_child = |name: &str| self.modules.contains_key(&[path, &[name.to_string()]].concat());
        let mut found = Vec::new();
        let mut rest = module.lines.iter();
        while let Some(line) = rest.next() {
            let trimmed = line.text.trim();
            let passes_on = trimmed.starts_with("pub") && trimmed.contains(" use ");
            if passes_on || trimmed.starts_with("use ") {
                let mut statement = trimmed.to_string();
                while !statement.contains(';') {
                    let Some(next) = rest.next() else { break };
                    statement += next.text.trim();
                }
                let tree =
                    statement.split_once("use ").map_or("", |(_, tree)| tree).split(';').next().unwrap_or_default();
                for one in expand(tree) {
                    let known = is_child(&one[0]) && line.depth == 0;
                    if let Some(absolute) = absolute(path, line.depth, &one, known) {
                        found.push((line.number, absolute, passes_on));
                    }
                }
                continue;
            }
            for one in paths(&line.text) {
                let known = is_child(&one[0]) && line.depth == 0;
                if let Some(absolute) = absolute(path, line.depth, &one, known) {
                    found.push((line.number, absolute, false));
                }
            }
        }
        found
    }

    fn passed_on(&self, path: &[String]) -> BTreeMap<String, Vec<String>> {
        let uses = self.uses(path).into_iter().filter(|(_, _, passes_on)| *passes_on);
        uses.filter_map(|(_, target, _)| Some((target.last()?.clone(), target))).collect()
    }

    /// The module in whose file the name at the end of `path` is defined.
    fn defined_in(&self, path: &[String]) -> Option<Vec<String>> {
        let mut module: Vec<String> = Vec::new();
        for (at, name) in path.iter().enumerate() {
            let child = [module.as_slice(), std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&child) {
                module = child;
                continue;
            }
            let known = self.modules.get(&module)?;
            return match known.passed_on.get(name) {
                Some(target) if target.as_slice() != &path[..=at] => {
                    self.defined_in(&[target.as_slice(), &path[at + 1..]].concat())
                }
                _ => Some(module),
            };
        }
        Some(module)
    }
}

/// Files that can be reached from each other: each circle with its members.
pub fn circles(arrows: &[Arrow]) -> Vec<BTreeSet<String>> {
    let reach = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_string()]);
        while let Some(file) = next.pop() {
            for arrow in arrows.iter().filter(|arrow| arrow.from == file) {
                if seen.insert(arrow.to.clone()) {
                    next.push(arrow.to.clone());
                }
            }
        }
        seen
    };
    let files: BTreeSet<&str> = arrows.iter().map(|arrow| arrow.from.as_str()).collect();
    let reached: BTreeMap<&str, BTreeSet<String>> = files.iter().map(|file| (*file, reach(file))).collect();
    let together = |file: &&str| -> BTreeSet<String> {
        let mutual =
            reached[file].iter().filter(|other| reached.get(other.as_str()).is_some_and(|back| back.contains(*file)));
        mutual.cloned().collect()
    };
    let all: BTreeSet<BTreeSet<String>> = files.iter().map(together).filter(|circle| circle.len() > 1).collect();
    all.into_iter().collect()
}

/// The lines of code, and how deep each stands in modules of its own file. Strings are emptied: a path in one is no
/// use.
fn lines(text: &str, library: &str) -> Vec<Line> {
    let mut open: Vec<usize> = Vec::new();
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = without_strings(line.split("//").next().unwrap_or_default());
        let code = code.replace(&format!("{library}::"), "crate::");
        let indent = code.len() - code.trim_start().len();
        if open.last() == Some(&indent) && code.trim() == "}" {
            open.pop();
        }
        all.push(Line { number, text: code.clone(), depth: open.len() });
        let opens = code.trim().trim_start_matches("pub ").starts_with("mod ") && code.trim_end().ends_with('{');
        if opens {
            open.push(indent);
        }
    }
    all
}

fn without_strings(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// The paths `a::b::c` in a line of code that begin where no other name does.
fn paths(line: &str) -> Vec<Vec<String>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = line.split(|c: char| !is_part(c)).filter(|word| word.contains("::") && !word.starts_with(':'));
    words.map(|word| word.split("::").filter(|part| !part.is_empty()).map(str::to_string).collect()).collect()
}

/// The paths of a use tree: `a::{b, c::{self, D}}` is `a::b`, `a::c`, `a::c::D`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((head, body)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let path: Vec<String> =
            path.split("::").map(|part| part.trim().to_string()).filter(|part| part != "self").collect();
        // A `self` at the front is the module itself, which is where relative paths begin anyway.
        return if path.is_empty() { Vec::new() } else { vec![path] };
    };
    let head: Vec<String> =
        head.split("::").map(|part| part.trim().to_string()).filter(|part| !part.is_empty()).collect();
    let body = body.trim_end().strip_suffix('}').unwrap_or(body);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&body[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&body[start..]);
    let mut all = Vec::new();
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        if part == "self" {
            all.push(head.clone());
        }
        all.extend(expand(part).into_iter().map(|tail| [head.as_slice(), &tail].concat()));
    }
    all
}

/// The path from the root of the crate; `None` for one that leads out of it. `depth`: how many modules of the file's
/// own the line stands in.
fn absolute(module: &[String], depth: usize, path: &[String], is_child: bool) -> Option<Vec<String>> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let up = ups.saturating_sub(depth);
            let base = module.get(..module.len().checked_sub(up)?)?;
            Some([base, &path[ups..]].concat())
        }
        _ if is_child => Some([module, path].concat()),
        _ => None,
    }
}
