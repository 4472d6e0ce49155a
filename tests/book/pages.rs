//! The pages themselves: fences, links, includes, the commands they tell the reader to type, and the built book.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::text::assert_same;
use crate::{binary, command, lesson, read, recordings, root, tables};

/// The pages: paths from the root, and what is in them.
pub fn pages() -> BTreeMap<String, String> {
    tables::ready();
    let (mut folders, mut pages) = (vec![root().join("chapters")], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            let from_root = path.strip_prefix(root()).expect("it is below the root").to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            // A recording is a part of the page that includes it, and its links are that page's.
            } else if from_root.ends_with(".md") && !from_root.starts_with("chapters/recorded/") {
                pages.insert(from_root.clone(), read(&from_root));
            }
        }
    }
    pages
}

/// One line of a page, and whether it is code.
pub struct Line<'a> {
    pub number: usize,
    pub text: &'a str,
    /// The info string of the fence that it is in.
    pub fence: Option<&'a str>,
}

/// The lines of a page without those that open or close a fence; and each opening fence with its line.
pub fn lines(text: &str) -> (Vec<Line<'_>>, Vec<(usize, &str)>) {
    let (mut lines, mut fences) = (Vec::new(), Vec::new());
    // How many backticks opened the fence that we are in.
    let mut open: Option<(usize, &str)> = None;
    for (number, text) in (1..).zip(text.lines()) {
        let content = text.trim_start_matches(['>', ' ']);
        let ticks = content.len() - content.trim_start_matches('`').len();
        let info = content[ticks..].trim();
        match open {
            None if ticks >= 3 => {
                fences.push((number, info));
                open = Some((ticks, info));
            }
            Some((opened, _)) if ticks >= opened && info.is_empty() => open = None,
            _ => lines.push(Line { number, text, fence: open.map(|(_, info)| info) }),
        }
    }
    (lines, fences)
}

/// A line without its `code spans`.
pub fn prose(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// The targets of `[text](target)` in a line of prose, and of `href="…"` and `src="…"`.
fn targets(text: &str) -> Vec<String> {
    let text = prose(text);
    let mut found: Vec<String> =
        text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(plain).collect();
    for attribute in ["href=\"", "src=\""] {
        found.extend(text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()).map(plain));
    }
    found
}

/// A target without its title.
fn plain(target: &str) -> String {
    target.split(" \"").next().unwrap_or_default().trim().to_string()
}

fn is_external(target: &str) -> bool {
    ["http://", "https://", "mailto:"].iter().any(|start| target.starts_with(start))
}

/// The anchor that mdBook gives a heading.
fn anchor(heading: &str) -> String {
    if let Some(own) = heading.split("{#").nth(1).and_then(|rest| rest.split(['}', ' ']).next()) {
        return own.to_string();
    }
    let mut id = String::new();
    for c in heading.trim().chars().filter(|c| !"`*".contains(*c)) {
        if c.is_alphanumeric() || c == '_' || c == '-' {
            id.extend(c.to_lowercase());
        } else if c.is_whitespace() {
            id.push('-');
        }
    }
    id
}

/// What a link into this page can name.
fn anchors(text: &str) -> BTreeSet<String> {
    let (lines, _) = lines(text);
    let mut found = BTreeSet::new();
    for line in lines.iter().filter(|line| line.fence.is_none()) {
        if line.text.starts_with('#') {
            let id = anchor(line.text.trim_start_matches('#'));
            // The second heading of the same words gets a number.
            let again = (1..).map(|n| format!("{id}-{n}"));
            let id = std::iter::once(id.clone()).chain(again).find(|id| !found.contains(id));
            found.extend(id);
        }
        found.extend(line.text.split("id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_string));
    }
    found
}

/// `a/b/../c` as `a/c`.
fn resolved(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            std::path::Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
        path
    })
}

/// The `{{#include …}}` of a page: path from the root, and what of it.
pub fn includes<'a>(page: &str, text: &'a str) -> Vec<(String, Option<&'a str>)> {
    let folder = Path::new(page).parent().expect("a page is in a folder");
    let inside = text.split("{{#include ").skip(1).filter_map(|rest| rest.split("}}").next());
    inside
        .map(|include| {
            let (path, part) = include.trim().split_once(':').map_or((include.trim(), None), |(p, a)| (p, Some(a)));
            (resolved(&folder.join(path)).to_string_lossy().into_owned(), part)
        })
        .collect()
}

#[test]
fn every_fence_has_a_language() {
    for (page, text) in pages() {
        for (line, info) in lines(&text).1 {
            assert!(!info.is_empty(), "{page}:{line}: a fence without a language");
        }
    }
}

#[test]
fn every_link_and_anchor_holds() {
    let pages = pages();
    let mut wrong = Vec::new();
    for (page, text) in &pages {
        let folder = Path::new(page).parent().expect("a page is in a folder");
        for line in lines(text).0.iter().filter(|line| line.fence.is_none()) {
            for target in targets(line.text).into_iter().filter(|target| !is_external(target) && !target.is_empty()) {
                let (path, name) = target.split_once('#').map_or((target.as_str(), None), |(p, n)| (p, Some(n)));
                let to = match path {
                    "" => page.clone(),
                    path => resolved(&folder.join(path)).to_string_lossy().into_owned(),
                };
                let holds = match (name, pages.get(&to)) {
                    (Some(name), Some(text)) => anchors(text).contains(name),
                    (Some(_), None) => false,
                    (None, _) => root().join(&to).exists(),
                };
                if !holds {
                    wrong.push(format!("{page}:{}: {target}", line.number));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = read("chapters/SUMMARY.md");
    let listed: BTreeSet<String> = summary.lines().flat_map(targets).map(|path| format!("chapters/{path}")).collect();
    let pages = pages();
    for page in pages.keys().filter(|page| *page != "chapters/SUMMARY.md") {
        // A file that another page includes is no page.
        let included = pages.iter().any(|(other, text)| includes(other, text).iter().any(|(path, _)| path == page));
        assert!(listed.contains(page) || included, "{page} is not in the summary");
    }
}

/// What a chapter about a broken stage has, in this order, for each to be read in the same way.
const FORM: [&str; 11] = [
    "What you will be able to do",
    "The situation",
    "Predict before you run",
    "Run",
    "The autopsy, step by step",
    "The cause",
    "The fix",
    "Run it fixed",
    "The proof",
    "Check yourself",
    "What it costs",
];

#[test]
fn the_chapter_of_a_broken_stage_goes_from_a_prediction_to_a_proof() {
    let pages = pages();
    for stage in lesson::pairs() {
        let Some(text) = pages.get(&format!("chapters/{stage}.md")) else { continue };
        let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let found: Vec<&str> = headings.into_iter().filter(|heading| FORM.contains(heading)).collect();
        assert_eq!(found, FORM, "chapters/{stage}.md");
        assert!(text.matches("<details>").count() >= 3, "chapters/{stage}.md: too few questions");
        assert!(text.contains(&format!("recorded/{stage}_diff.txt")), "chapters/{stage}.md: the fix is its diff");
    }
}

#[test]
fn every_include_finds_its_file_and_anchor() {
    for (page, text) in pages() {
        for (path, part) in includes(&page, &text) {
            assert!(root().join(&path).is_file(), "{page}: {path} is not there");
            if let Some(part) = part.filter(|part| !part.chars().all(|c| c.is_ascii_digit() || c == ':')) {
                let text = read(&path);
                for mark in [format!("// ANCHOR: {part}"), format!("// ANCHOR_END: {part}")] {
                    assert!(text.lines().any(|line| line.trim() == mark), "{page}: no `{mark}` in {path}");
                }
            }
        }
    }
}

/// What is included has no indent, so in an indented fence, as in a list, its second line would end the fence.
#[test]
fn no_recording_is_included_into_an_indented_fence() {
    for (page, text) in pages() {
        for (number, pair) in (1..).zip(text.lines().collect::<Vec<_>>().windows(2)) {
            let is_indented = pair[0].starts_with(' ') && pair[0].trim_start().starts_with("```");
            assert!(!(is_indented && pair[1].contains("{{#include")), "{page}:{number}");
        }
    }
}

/// The files of the sources and tests that the text names, whoever reads it.
#[test]
fn every_file_that_is_named_is_there() {
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| (name.to_string(), read(name)));
    for (page, text) in pages().into_iter().chain(others) {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-./".contains(c))) {
            let is_source = ["lab/", "tests/", "fuzz/"].iter().any(|folder| word.starts_with(folder));
            // `stageN` is whichever is added.
            if is_source && word.ends_with(".rs") && !word.contains("stageN") {
                assert!(root().join(word).is_file(), "{page}: {word} is not there");
            }
        }
    }
}

/// A recording of this test's; those of the C++ twins, of stage 10 and of `lab caught` have their own.
fn is_ours(path: &str) -> bool {
    path.strip_prefix("chapters/recorded/").is_some_and(|name| {
        !["cpp_", "stage10_", "caught.", "caught_search.", "wrong_fixes."].iter().any(|start| name.starts_with(start))
    })
}

#[test]
fn every_recording_is_made_by_a_run_and_shown_in_a_chapter() {
    let texts = recordings::names().into_iter().map(|name| format!("chapters/recorded/{name}.txt"));
    let made: BTreeSet<String> = texts.chain(tables::paths()).collect();
    let shown: BTreeSet<String> = pages()
        .iter()
        .flat_map(|(page, text)| includes(page, text))
        .map(|(path, _)| path)
        .filter(|path| is_ours(path))
        .collect();
    let files: BTreeSet<String> = std::fs::read_dir(root().join("chapters/recorded"))
        .expect("the folder is there")
        .map(|file| format!("chapters/recorded/{}", file.expect("it can be read").file_name().to_string_lossy()))
        .filter(|path| is_ours(path))
        .collect();
    assert_eq!(shown.difference(&made).collect::<Vec<_>>(), Vec::<&String>::new(), "shown, but not made by a run");
    assert_eq!(files.difference(&made).collect::<Vec<_>>(), Vec::<&String>::new(), "there, but not made by a run");
    assert_eq!(made.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new(), "made, but shown nowhere");
}

/// The program and its own arguments in `$ cargo run [flags] --bin NAME [-- ARGUMENTS]`.
fn cargo_run(line: &str) -> Option<(&str, Vec<&str>)> {
    let words = line.strip_prefix("$ ").unwrap_or(line).strip_prefix("cargo run")?;
    let words = words.split(['#', '|', '>', '&', ';']).next()?;
    let (mine, arguments) = words.split_once(" -- ").unwrap_or((words, ""));
    let program = mine.split_whitespace().skip_while(|word| *word != "--bin").nth(1).unwrap_or("lab");
    Some((program, arguments.split_whitespace().collect()))
}

#[test]
fn every_command_names_a_program_and_flags_that_exist() {
    let manifest = read("Cargo.toml");
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut checked = 0;
    for (page, text) in pages() {
        for line in lines(&text).0.iter().filter(|line| line.fence == Some("console")) {
            let Some((program, arguments)) = cargo_run(line.text) else { continue };
            let place = format!("{page}:{}", line.number);
            assert!(manifest.contains(&format!("name = \"{program}\"")), "{place}: no program `{program}`");
            // Built only with its feature.
            if program == "stage10_uring" && cfg!(not(feature = "uring")) {
                continue;
            }
            // A verb of the tour guide has a help of its own.
            let verb = arguments.first().filter(|word| program == "lab" && !word.starts_with('-'));
            let help = helps.entry(format!("{program} {verb:?}")).or_insert_with(|| {
                let output = command(binary(program)).args(verb).arg("--help").output().expect("it runs");
                assert!(output.status.success(), "{place}: {program} has no {verb:?}");
                String::from_utf8(output.stdout).expect("it prints text")
            });
            for flag in arguments.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(&format!(" {flag}")), "{place}: no flag `{flag}`");
            }
            let file = arguments.iter().position(|word| *word == "--schedule").and_then(|at| arguments.get(at + 1));
            let file = file.filter(|file| file.starts_with("chapters/") || file.starts_with("lab/"));
            assert!(file.is_none_or(|file| root().join(file).is_file()), "{place}: no file `{file:?}`");
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} commands found");
}

#[test]
fn the_readme_shows_the_recordings() {
    recordings::ready();
    let Ok(text) = std::fs::read_to_string(root().join("README.md")) else { return };
    for part in text.split("<!-- recorded: ").skip(1) {
        let (name, rest) = part.split_once(" -->").expect("the mark is closed");
        let shown = rest.split_once("```text\n").and_then(|(_, rest)| rest.split_once("```")).expect("a text block").0;
        let recorded = read(&format!("chapters/recorded/{}.txt", name.trim()));
        assert_same(&format!("README.md, {name}"), &recorded, shown, "the block is not the recording");
    }
}

/// The ids and the links of a built page.
fn built(text: &str) -> (BTreeSet<String>, Vec<String>) {
    let attribute = |name: &str| -> Vec<String> {
        let mark = format!(" {name}=\"");
        let values = text.split(&mark).skip(1).filter_map(|rest| rest.split('"').next());
        values.map(|value| value.replace("&amp;", "&")).collect()
    };
    (attribute("id").into_iter().collect(), [attribute("href"), attribute("src")].concat())
}

#[test]
fn the_book_builds_without_a_warning_and_its_links_hold() {
    if command("mdbook").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "mdbook is missing: cargo install mdbook --locked"
        );
        eprintln!("skipped: mdbook is not installed (cargo install mdbook --locked)");
        return;
    }
    tables::ready();
    let book = tempfile::tempdir().expect("a temporary folder");
    let output = command("mdbook").args(["build", "-d"]).arg(book.path()).output().expect("mdbook runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");

    let (mut folders, mut html) = (vec![book.path().to_path_buf()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("the book is there").map(|entry| entry.expect("a file").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "html") {
                let text = std::fs::read_to_string(&path).expect("a page is text");
                html.insert(path, text);
            }
        }
    }
    let generated = ["print.html", "404.html", "toc.html"];
    for (page, text) in &html {
        let name = page.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if generated.contains(&name) {
            continue;
        }
        assert!(!text.contains("{{#"), "{name}: something was not included");
        for target in built(text).1.into_iter().filter(|target| !is_external(target) && !target.starts_with("data:")) {
            let (path, id) = target.split_once('#').map_or((target.as_str(), ""), |(path, id)| (path, id));
            let to = match path {
                "" => page.clone(),
                path => resolved(&page.parent().expect("a folder").join(path)),
            };
            assert!(to.exists(), "{name}: {target} leads nowhere");
            let ids = html.get(&to).map(|text| built(text).0);
            assert!(id.is_empty() || ids.is_none_or(|ids| ids.contains(id)), "{name}: {target}: no such place");
        }
    }
}

#[test]
fn the_checks_find_what_they_look_for() {
    assert_eq!(lines("```\nx\n```\n").1, [(1, "")]);
    assert_eq!(lines("> ```text\n> x\n> ```\n````md\n```\n````\n").1, [(1, "text"), (4, "md")]);
    assert_eq!(targets("a [b](c.md#d \"e\") `[not](this)` <a href=\"f.md\">"), ["c.md#d", "f.md"]);
    assert_eq!(anchor(" What `epoll_wait` says: *all* of it"), "what-epoll_wait-says-all-of-it");
    assert_eq!(
        anchors("# A\n## B c\n## B c\n<dt id=\"own\">\n"),
        ["a", "b-c", "b-c-1", "own"].map(String::from).into()
    );
    let run = "$ cargo run --release --bin stage3_broken -- --wild --rounds 9 # odds";
    assert_eq!(cargo_run(run), Some(("stage3_broken", vec!["--wild", "--rounds", "9"])));
    assert_eq!(cargo_run("$ cargo test"), None);
    assert_eq!(includes("chapters/a.md", "{{#include ../lab/b.rs:c}}"), [("lab/b.rs".to_string(), Some("c"))]);
}
