//! The drawings of the chapters: `chapters/drawings/*.svg`, each inlined into one page.

use std::collections::BTreeSet;

use crate::pages::{includes, pages};
use crate::{read, root};

/// The widest `viewBox`: beyond it the text is too small on a telephone.
const WIDTH: f64 = 480.0;

/// The drawings: paths from the root.
fn names() -> Vec<String> {
    let files = std::fs::read_dir(root().join("chapters/drawings")).expect("the folder is there");
    let names = files.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> =
        names.filter(|name| name.ends_with(".svg")).map(|name| format!("chapters/drawings/{name}")).collect();
    names.sort();
    assert!(!names.is_empty(), "no drawings");
    names
}

/// The values of an attribute.
fn values<'a>(svg: &'a str, attribute: &str) -> Vec<&'a str> {
    svg.split(&format!(" {attribute}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// What stands between `<tag …>` and `</tag>`.
fn contents<'a>(svg: &'a str, tag: &str) -> Vec<&'a str> {
    let opening = format!("<{tag} ");
    let opened = svg.split(&opening).skip(1);
    opened.filter_map(|rest| rest.split_once('>')?.1.split('<').next()).map(str::trim).collect()
}

/// The first tag that is not closed, or closes none.
fn unbalanced(svg: &str) -> Option<String> {
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let Some((tag, text)) = part.split_once('>') else { return Some(part.to_string()) };
        if text.contains('>') || tag.matches('"').count() % 2 == 1 {
            return Some(part.to_string());
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Some(part.to_string());
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    open.pop().map(str::to_string)
}

/// What is wrong with a drawing by itself.
fn faults(svg: &str) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(unbalanced(svg).map(|tag| format!("not balanced: {tag}")));
    let head = svg.split('>').next().unwrap_or_default();
    if !svg.starts_with("<svg ") || values(head, "role") != ["img"] || values(head, "class") != ["drawing"] {
        faults.push("not an <svg> of class drawing with role img".to_string());
    }
    let ids = values(svg, "id");
    for (tag, reference) in [("title", "aria-labelledby"), ("desc", "aria-describedby")] {
        let words = contents(svg, tag);
        let named = values(head, reference);
        if words.len() != 1
            || words[0].is_empty()
            || named.len() != 1
            || !svg.contains(&format!("<{tag} id=\"{}\"", named[0]))
        {
            faults.push(format!("no {tag} that {reference} names"));
        }
    }
    // A blank line ends the HTML in a page of Markdown.
    if svg.lines().any(|line| line.trim().is_empty()) {
        faults.push("a blank line".to_string());
    }
    for attribute in ["style", "fill", "stroke", "color"] {
        if !values(svg, attribute).is_empty() {
            faults.push(format!("{attribute}: colours are those of the theme"));
        }
    }
    if svg.contains("<style") {
        faults.push("a style sheet of its own".to_string());
    }
    let references: Vec<&str> = svg.split("url(#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    if svg.matches('#').count() != references.len() {
        faults.push("a # that is no reference".to_string());
    }
    faults.extend(references.iter().filter(|id| !ids.contains(id)).map(|id| format!("no {id}")));
    let view: Vec<f64> =
        values(head, "viewBox").iter().flat_map(|view| view.split(' ')).filter_map(|n| n.parse().ok()).collect();
    if view.len() != 4 || view[2] > WIDTH {
        faults.push(format!("viewBox is wider than {WIDTH}, or there is none"));
    }
    faults
}

/// What a report has in a step: `step 7` is the row that begins with 7, up to the next one, in words with one space between.
fn row(report: &str, step: &str) -> Option<String> {
    let number = |line: &str| {
        let first = line.split_whitespace().next()?;
        // A step's number is in the first four columns, and an event is far behind it, or a role.
        (line.starts_with(' ') && line.find(first)? < 4 && first.parse::<u32>().is_ok()).then(|| first.to_string())
    };
    let mut lines = report.lines().skip_while(|line| number(line).as_deref() != Some(step));
    let first = lines.next()?;
    let rest = lines
        .take_while(|line| number(line).is_none() && line.starts_with("     ") && !line.contains("schedule is over"));
    let words: Vec<&str> = std::iter::once(first).chain(rest).flat_map(str::split_whitespace).skip(1).collect();
    Some(words.join(" "))
}

#[test]
fn every_drawing_is_sound_and_takes_its_colours_from_the_theme() {
    for name in names() {
        assert_eq!(faults(&read(&name)), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn every_drawing_is_in_one_page() {
    let shown: Vec<String> =
        pages().iter().flat_map(|(page, text)| includes(page, text)).map(|(path, _)| path).collect();
    for name in names() {
        assert_eq!(shown.iter().filter(|path| **path == name).count(), 1, "{name}: in how many places?");
    }
}

/// The whole book is one page when it is printed.
#[test]
fn no_id_of_a_drawing_is_used_twice() {
    let mut met = BTreeSet::new();
    for name in names() {
        for id in values(&read(&name), "id") {
            assert!(met.insert(id.to_string()), "{name}: {id} is used twice");
        }
    }
}

/// `step 7: re-arm fd 6` in a drawing of stage 4: the report of `stage4_broken` has these words in that step.
#[test]
fn the_steps_of_a_drawing_are_those_of_the_recorded_report() {
    let mut checked = 0;
    for drawing in names() {
        let file = drawing.rsplit('/').next().unwrap_or_default();
        let stage = file.split('_').next().unwrap_or_default();
        for words in contents(&read(&drawing), "text") {
            let Some((step, event)) = words.strip_prefix("step ").and_then(|rest| rest.split_once(": ")) else {
                continue;
            };
            let report = format!("chapters/recorded/{stage}_broken.txt");
            let holds = row(&read(&report), step).is_some_and(|row| row.contains(event));
            assert!(holds, "{drawing}: {report} does not say `{words}`");
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} steps found");
}

#[test]
fn the_checks_of_drawings_find_what_they_look_for() {
    let sound = "<svg class=\"drawing\" role=\"img\" viewBox=\"0 0 360 9\" aria-labelledby=\"t\" aria-describedby=\"d\">\n\
                 <title id=\"t\">T</title>\n<desc id=\"d\">D</desc>\n<marker id=\"m\"/>\n\
                 <path marker-end=\"url(#m)\"/>\n</svg>\n";
    assert_eq!(faults(sound), Vec::<String>::new());
    for (old, new) in [
        (" role=\"img\"", ""),
        ("class=\"drawing\"", "class=\"other\""),
        ("<title id=\"t\">T</title>", ""),
        (">T<", "><"),
        ("<desc id=\"d\">", "<desc id=\"e\">"),
        ("0 0 360 9", "0 0 481 9"),
        ("viewBox", "viewbox"),
        ("<path ", "<path fill=\"red\" "),
        ("<path ", "<path style=\"\" "),
        ("<path ", "<path class=\"#aabbcc\" "),
        ("<title", "<style></style><title"),
        ("url(#m)", "url(#n)"),
        ("\"/>\n</svg>", "\">\n</svg>"),
        ("</svg>", ""),
        ("</title>\n", "</title>\n\n"),
    ] {
        assert!(sound.contains(old));
        assert!(!faults(&sound.replace(old, new)).is_empty(), "`{new}` for `{old}` is not found");
    }
    let report = "  died of    SIGABRT\n   7        re-arm fd 6\n            allocate\n              buffer 3\n   8  send\n\n  order 1";
    assert_eq!(row(report, "7").as_deref(), Some("re-arm fd 6 allocate buffer 3"));
    assert_eq!(row(report, "9"), None);
}
