//! Recordings as tables: `chapters/recorded/NAME.md` is made from `NAME.txt`, and a chapter shows both, the text folded.
//! `LAB_RECORD=tables cargo test --test book tables` makes them anew; so does each other way to record.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::text::{assert_same, escaped};
use crate::{compiler, load, read, recordings, root};

const ADVICE: &str = "`LAB_RECORD=tables cargo test --test book tables` makes the table from the recording";

/// The table of a recording, or what in it cannot be read.
type Make = fn(&str) -> Result<String, String>;

/// The recordings that are shown as tables.
fn all() -> Vec<(String, Make)> {
    let models: [(&str, Make); 9] = [
        ("loom_broken", findings),
        ("loom_fixed", proofs),
        ("loom_halves", findings),
        ("loom_orders", findings),
        ("loom_reductions", reductions),
        ("loom_stage6", outcomes),
        ("loom_stage7", outcomes),
        ("loom_stage8", outcomes),
        ("loom_stage9", outcomes),
    ];
    let compiled = compiler::programs().into_iter().filter(|name| !compiler::promised(name).is_empty());
    let models = models.into_iter().map(|(name, make)| (name.to_string(), make));
    models
        .chain(load::names().map(|name| {
            let make = match name.as_str() {
                "bench_1000" => cpu_folded,
                // The chapters speak of these rates, and of no latency; "Where the time goes" of the CPU too.
                "bench_10000" | "bench_safety" | "bench_clients" => rates_alone,
                name if name.starts_with("peers_") => rates_first,
                _ => bench as Make,
            };
            (name, make)
        }))
        .chain(compiled.map(|name| (format!("compiler_{name}"), refusal as Make)))
        .collect()
}

/// The names of the tables, from the root.
pub fn paths() -> impl Iterator<Item = String> {
    all().into_iter().map(|(name, _)| path(&name))
}

fn path(name: &str) -> String {
    format!("chapters/recorded/{name}.md")
}

fn made(name: &str, make: Make) -> String {
    make(&read(&format!("chapters/recorded/{name}.txt"))).unwrap_or_else(|error| panic!("{name}.txt: {error}"))
}

/// Where something was recorded anew, makes the tables from it.
pub fn ready() {
    static MADE: OnceLock<()> = OnceLock::new();
    recordings::ready();
    load::ready();
    if std::env::var("LAB_RECORD").is_ok() {
        MADE.get_or_init(|| {
            for (name, make) in all() {
                std::fs::write(root().join(path(&name)), made(&name, make)).expect("the table can be written");
            }
        });
    }
}

/// Text as HTML, with `code` as such.
fn html(text: &str) -> String {
    let text = escaped(text);
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_string() }).collect()
}

/// A table that scrolls where it is too wide. A cell is HTML, and may begin with the class that it has: `good|…`.
fn table(label: &str, heads: &[String], rows: &[Vec<String>]) -> String {
    let mut text = format!(
        "<div class=\"lab-scroller\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\">\n<table>\n<thead><tr>"
    );
    heads.iter().for_each(|head| text += &format!("<th scope=\"col\">{head}</th>"));
    text += "</tr></thead>\n<tbody>\n";
    for row in rows {
        assert_eq!(row.len(), heads.len(), "{row:?}");
        let _ = write!(text, "<tr><th scope=\"row\">{}</th>", row[0]);
        for cell in &row[1..] {
            let _ = match cell.split_once('|') {
                Some((class, cell)) => write!(text, "<td class=\"{class}\">{cell}</td>"),
                None => write!(text, "<td>{cell}</td>"),
            };
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table>\n</div>\n"
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_string).to_vec()
}

/// What loom says of its models, a model each: the lines that belong to it, unfolded. A line of its own is indented by
/// two spaces, the rest of a folded one by four more than its beginning.
fn said(text: &str) -> Vec<Vec<String>> {
    let mut models: Vec<Vec<String>> = Vec::new();
    for line in text.lines() {
        let words = line.trim_start();
        match (line.len() - words.len(), models.last_mut()) {
            (2, Some(lines)) => lines.push(words.to_string()),
            (4 | 6, Some(lines)) => {
                let last = lines.last_mut().expect("a model has a line");
                *last += " ";
                *last += words;
            }
            _ => models.push(vec![words.to_string()]),
        }
    }
    models
}

/// The server, the script, and what is said of them: `server, script: …`, or of a wrong version `name: script: …`.
fn head(line: &str) -> Result<(&str, &str, &str), String> {
    let (model, said) = line.split_once(": ").ok_or(format!("no `: ` in {line:?}"))?;
    match model.split_once(", ") {
        Some((server, script)) => Ok((server, script, said)),
        None => {
            let (script, said) = said.split_once(": ").ok_or(format!("no script in {line:?}"))?;
            Ok((model, script, said))
        }
    }
}

/// Orders that loom has found: what goes wrong, and when it was found.
fn findings(text: &str) -> Result<String, String> {
    let models = said(text);
    let is_played = models.iter().all(|lines| lines.len() == 3);
    let mut heads = strings(["server", "scripts", "finding", "how", "at execution", "preemptions"]);
    if is_played {
        heads.push("on the real kernel".to_string());
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for lines in &models {
        let (server, script, said) = head(&lines[0])?;
        let (what, how) = said.split_once(": ").ok_or(format!("no reason in {said:?}"))?;
        let found = lines.get(1).and_then(|line| line.strip_prefix("at execution "));
        let (execution, bound) = found.and_then(|line| line.split_once(", up to ")).ok_or(format!("{lines:?}"))?;
        let (bound, _) = bound.split_once(" preemption").ok_or(format!("no bound in {bound:?}"))?;
        let script = if is_played { format!("`{script}`") } else { script.to_string() };
        let found = format!("noise|<span aria-hidden=\"true\">✗</span> {}", html(what));
        let mut row = vec![html(server), html(&script), found, html(how), format!("number|{execution}")];
        row.push(format!("up to {bound}"));
        match &lines[2..] {
            [] if !is_played => {}
            [played] if is_played => {
                let real = played.strip_prefix("as a schedule, on the real kernel: ").ok_or(format!("{played:?}"))?;
                row.push(html(real));
            }
            other => return Err(format!("{other:?}")),
        }
        // Scripts of which the same is said stand in one row.
        match rows.last_mut().filter(|last| (&last[0], &last[2..]) == (&row[0], &row[2..])) {
            Some(last) => last[1] += &format!("; {}", row[1]),
            None => rows.push(row),
        }
    }
    let mut servers: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    servers.dedup();
    let label = if is_played { "What loom found, played" } else { "What loom found" };
    Ok(table(&format!("{label}: {}", servers.join(", ")), &heads, &rows))
}

/// What the models of one chapter say: what was found, and below it what was explored without a finding.
fn outcomes(text: &str) -> Result<String, String> {
    let (nothing, something): (Vec<_>, Vec<_>) =
        said(text).into_iter().partition(|lines| lines[0].ends_with(": nothing found"));
    let mut tables = Vec::new();
    if !something.is_empty() {
        tables.push(found(&something)?);
    }
    if !nothing.is_empty() {
        tables.push(explored("What was explored", &nothing)?);
    }
    Ok(tables.join("\n"))
}

/// What goes wrong: a row for each finding, with the scripts that lead to it.
fn found(models: &[Vec<String>]) -> Result<String, String> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for lines in models {
        let (server, script, said) = head(&lines[0])?;
        let (what, how) = said.split_once(": ").unwrap_or((said, ""));
        let mut script = html(script);
        if let Some(line) = lines.get(1) {
            let found = line.starts_with("at execution ").then(|| line.split_once(": ")).flatten();
            let (execution, _) =
                found.filter(|(found, _)| found.contains(" preemption")).ok_or(format!("{lines:?}"))?;
            script = format!("<b>{script}</b>, {execution}");
        }
        if let Some(line) = lines.get(2) {
            let played = line.strip_prefix("as a schedule, ").ok_or(format!("{line:?}"))?;
            script += &format!("; {}", html(played));
        }
        if lines.len() > 3 {
            return Err(format!("{lines:?}"));
        }
        let finding = format!("noise|<span aria-hidden=\"true\">✗</span> {}", html(what));
        let row = vec![html(server), finding, html(how), script];
        match rows.iter_mut().find(|other| other[..3] == row[..3]) {
            Some(other) => other[3] += &format!("<br>{}", row[3]),
            None => rows.push(row),
        }
    }
    Ok(table("What was found", &strings(["server", "finding", "how", "in which script, and when"]), &rows))
}

/// What was explored of one script: the states of the search; the executions of loom and its bound.
#[derive(Default)]
struct Explored {
    states: Option<u64>,
    executions: Option<(Option<u64>, u64)>,
}

fn number(text: &str) -> Result<u64, String> {
    text.replace(',', "").parse().map_err(|_| format!("{text:?} is no number"))
}

/// The fixed servers.
fn proofs(text: &str) -> Result<String, String> {
    explored("What was explored of each fixed server", &said(text))
}

/// Explorations that found nothing: a row for each server, and folded below it one for each script.
fn explored(label: &str, models: &[Vec<String>]) -> Result<String, String> {
    let mut scripts: Vec<(String, String, Explored)> = Vec::new();
    for lines in models {
        let [line] = &lines[..] else { return Err(format!("{lines:?}")) };
        let (server, script, said) = head(line)?;
        let said = said.strip_suffix(" s: nothing found").ok_or(format!("not without a finding: {line:?}"))?;
        let same = scripts.iter().position(|(one, other, _)| (one.as_str(), other.as_str()) == (server, script));
        let at = same.unwrap_or(scripts.len());
        if same.is_none() {
            scripts.push((server.to_string(), script.to_string(), Explored::default()));
        }
        let explored = &mut scripts[at].2;
        let search = said.strip_prefix("every state of this model, one call at a time, complete: ");
        let loom = said.strip_prefix("every execution of this model under loom, up to ");
        let twice = match (search, loom) {
            (Some(search), _) => {
                // Where loom alone goes through all of a model, each execution counts.
                let count = search.split_once(" states, ").or_else(|| search.split_once(" executions, "));
                let (states, _) = count.ok_or(format!("no states: {line:?}"))?;
                explored.states.replace(number(states)?).is_some()
            }
            (_, Some(loom)) => {
                let (bound, loom) = loom.split_once(" preemptions: ").ok_or(format!("no bound: {line:?}"))?;
                let (executions, _) = loom.split_once(" executions, ").ok_or(format!("no executions: {line:?}"))?;
                explored.executions.replace((Some(number(bound)?), number(executions)?)).is_some()
            }
            // The shipped server, under each script that refutes a wrong version of it.
            _ if said.starts_with(|c: char| c.is_ascii_digit()) => {
                let (executions, _) = said.split_once(" executions, ").ok_or(format!("no executions: {line:?}"))?;
                explored.executions.replace((None, number(executions)?)).is_some()
            }
            _ => return Err(format!("by which checker? {line:?}")),
        };
        if twice {
            return Err(format!("told twice: {line:?}"));
        }
    }
    let mut servers: Vec<&str> = scripts.iter().map(|(server, ..)| server.as_str()).collect();
    servers.dedup();
    let verdict = || "found|<span aria-hidden=\"true\">✓</span> nothing found".to_string();
    let thousands = lab::words::thousands;
    let each = scripts.iter().map(|(server, script, explored)| {
        let (bound, executions) =
            explored.executions.map_or(("–".to_string(), "–".to_string()), |(bound, executions)| {
                (bound.map_or("–".to_string(), |bound| format!("up to {bound}")), thousands(executions))
            });
        let (states, complete) =
            explored.states.map_or(("–".to_string(), "some|no: bounded only".to_string()), |states| {
                (thousands(states), "found|yes".to_string())
            });
        vec![
            html(server),
            html(script),
            format!("number|{states}"),
            complete,
            format!("number|{executions}"),
            bound,
            verdict(),
        ]
    });
    let sums = servers.iter().map(|server| {
        let own: Vec<&Explored> =
            scripts.iter().filter(|(one, ..)| one == server).map(|(_, _, explored)| explored).collect();
        let complete: Vec<u64> = own.iter().filter_map(|explored| explored.states).collect();
        let bounded: Vec<(Option<u64>, u64)> = own.iter().filter_map(|explored| explored.executions).collect();
        let bounds: BTreeSet<u64> = bounded.iter().filter_map(|(bound, _)| *bound).collect();
        let bounds: Vec<String> = bounds.iter().map(u64::to_string).collect();
        let states = if complete.is_empty() { "–".to_string() } else { thousands(complete.iter().sum()) };
        let class = if complete.len() == own.len() { "found" } else { "some" };
        vec![
            html(server),
            own.len().to_string(),
            format!("{class}|{} of {}", complete.len(), own.len()),
            format!("number|{states}"),
            format!("number|{}", thousands(bounded.iter().map(|(_, executions)| executions).sum())),
            bounds.join(", "),
            verdict(),
        ]
    });
    let heads = ["server", "scripts", "complete", "states", "loom's executions", "up to preemptions", "verdict"];
    let sums = table(label, &strings(heads), &sums.collect::<Vec<_>>());
    let heads = ["server", "script", "states", "complete", "loom's executions", "preemptions", "verdict"];
    let each = table("What was explored of each script", &strings(heads), &each.collect::<Vec<_>>());
    if scripts.len() == servers.len() {
        return Ok(each);
    }
    Ok(format!("{sums}\n<details class=\"report\">\n<summary>Each script</summary>\n\n{each}\n</details>\n"))
}

/// What the checkers say of themselves.
fn reductions(text: &str) -> Result<String, String> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let (server, script, said) = head(line)?;
        let words: Vec<&str> = said.split(' ').collect();
        let [histories, "histories,", "in", without, "executions", "and", "in", with, states, "states"] = words[..]
        else {
            return Err(format!("{line:?}"));
        };
        let with = with.strip_suffix(';').ok_or(format!("{line:?}"))?;
        rows.push(vec![html(server), html(script), histories.into(), without.into(), with.into(), states.into()]);
    }
    let heads = [
        "server",
        "script",
        "histories, of all three",
        "executions without the shortcut",
        "executions with it",
        "states of the search",
    ];
    Ok(table("What the shortcuts leave out", &strings(heads), &rows))
}

/// The cells of a line of `lab bench`: two spaces or more are between them, and one at least between long numbers.
fn cells(line: &str) -> Vec<&str> {
    let are_numbers = |cell: &str| cell.bytes().all(|byte| byte.is_ascii_digit() || b", ".contains(&byte));
    let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    cells.flat_map(|cell| if are_numbers(cell) { cell.split(' ').collect() } else { vec![cell] }).collect()
}

/// A number with a bar of its part of the most, and its range.
fn bar(median: &str, most: u64, range: &str) -> Result<String, String> {
    let percent = number(median)? * 100 / most.max(1);
    Ok(format!("number|<span class=\"lab-bar\" style=\"--part: {percent}%\">{median}</span> <small>({range})</small>"))
}

/// Tables of `lab bench` that can be folded: the head, and what stands in its place.
const LATENCIES: [&str; 2] = ["latency in ms", "The latencies"];
const CPU: [&str; 2] = ["CPU per request in ns", "The CPU time of a request"];

/// The tables of `lab bench`, the latencies folded.
fn rates_first(text: &str) -> Result<String, String> {
    fold(&bench(text)?, LATENCIES)
}

/// What a request takes of the CPU folded.
fn cpu_folded(text: &str) -> Result<String, String> {
    fold(&bench(text)?, CPU)
}

/// Both folded.
fn rates_alone(text: &str) -> Result<String, String> {
    fold(&cpu_folded(text)?, LATENCIES)
}

/// Folds the table of this head.
fn fold(tables: &str, [head, summary]: [&str; 2]) -> Result<String, String> {
    const START: &str = "<div class=\"lab-scroller\"";
    let at = tables.find(&format!(">{head}<")).ok_or(format!("there is no {head:?}"))?;
    let (before, rest) = tables.split_at(tables[..at].rfind(START).ok_or("it is in no table")?);
    let (table, behind) = rest.split_at(rest[1..].find(START).map_or(rest.len(), |next| 1 + next));
    let table = table.trim_end();
    Ok(format!("{before}<details class=\"report\">\n<summary>{summary}</summary>\n\n{table}\n\n</details>\n\n{behind}"))
}

/// The tables of `lab bench`. Requests, and requests for each second of CPU, stand side by side.
fn bench(text: &str) -> Result<String, String> {
    let (title, text) = text.split_once("\n\n").ok_or("no table")?;
    let title = title.strip_prefix("lab bench: ").ok_or(format!("not of lab bench: {title:?}"))?;
    let (text, _) = text.split_once("\n\ntaken by ").ok_or("taken by what?")?;
    let (mut out, mut a_second) = (format!("<p class=\"lab-caption\">{}</p>\n\n", html(title)), None);
    for part in text.split("\n\n") {
        let mut lines = part.lines();
        let heads = cells(lines.next().unwrap_or_default());
        let rows: Vec<Vec<&str>> = lines.map(cells).collect();
        match heads[0] {
            "requests/s" => a_second = Some((heads, rows)),
            "requests per CPU-second" => {
                let (other, others) = a_second.take().ok_or("no requests/s before it")?;
                if heads[1..] != other[1..] {
                    return Err(format!("{heads:?} beside {other:?}"));
                }
                out += &rates(&heads, &others, &rows)?;
            }
            "CPU per request in ns" => out += &plain("CPU for each request", &heads, rows)?,
            "latency in ms" => out += &plain("Latencies", &heads, rows)?,
            "system calls per request" => out += &calls(&rows)?,
            // Its head is two lines in one, and its numbers are words.
            "idle connections" => {
                if heads[1..].join(" ") != "open answered bytes each: RSS PSS served kernel" {
                    return Err(format!("{heads:?}"));
                }
                let heads = ["bytes for each idle connection", "open", "answered", "RSS", "PSS", "served", "kernel"];
                let rows = part.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
                out += &plain("Bytes for each idle connection", &heads, rows)?;
            }
            // Notes.
            word if ["Each round takes ", "Bytes each: ", "not resolved: "]
                .iter()
                .any(|start| word.starts_with(start)) => {}
            other => return Err(format!("what is {other:?}?")),
        }
    }
    match a_second {
        // A region's name is its own.
        None => Ok(out.replace(" aria-label=\"", &format!(" aria-label=\"{}: ", html(title)))),
        Some(_) => Err("requests/s, and none per CPU-second".to_string()),
    }
}

/// Medians with their ranges, and ratios.
fn rates(heads: &[&str], a_second: &[Vec<&str>], per_cpu: &[Vec<&str>]) -> Result<String, String> {
    let [_, "median", "lowest", "highest", base] = heads[..] else { return Err(format!("{heads:?}")) };
    if a_second.len() != per_cpu.len() {
        return Err(format!("{} rows beside {}", a_second.len(), per_cpu.len()));
    }
    let most = |rows: &[Vec<&str>]| rows.iter().filter_map(|row| number(row.get(1)?).ok()).max().unwrap_or(1);
    let mut rows = Vec::new();
    for pair in a_second.iter().zip(per_cpu) {
        if pair.0[0] != pair.1[0] {
            return Err(format!("{:?} beside {:?}", pair.0, pair.1));
        }
        let mut row = vec![html(pair.0[0])];
        for (cells, most) in [(pair.0, most(a_second)), (pair.1, most(per_cpu))] {
            let (ratio, verdict) = match cells[..] {
                [.., ratio] if cells.len() == 5 => (ratio, String::new()),
                [.., ratio, "not resolved"] if cells.len() == 6 => {
                    (ratio, "<br><small>not resolved</small>".to_string())
                }
                _ => return Err(format!("{cells:?}")),
            };
            row.push(bar(cells[1], most, &format!("{}–{}", cells[2], cells[3]))?);
            row.push(format!("number|{}{verdict}", ratio.replace(" to ", "–")));
        }
        rows.push(row);
    }
    let heads = ["server", "requests/s: median (range)", base, "per CPU-second: median (range)", base];
    Ok(table("Requests a second, and for each second of the server's CPU", &strings(heads), &rows))
}

/// A table as it stands in the recording.
fn plain(label: &str, heads: &[&str], rows: Vec<Vec<&str>>) -> Result<String, String> {
    if let Some(row) = rows.iter().find(|row| row.len() != heads.len()) {
        return Err(format!("{row:?} under {heads:?}"));
    }
    let numbers = |row: Vec<&str>| {
        let cells = row.iter().enumerate();
        cells.map(|(at, cell)| if at == 0 { html(cell) } else { format!("number|{cell}") }).collect()
    };
    let heads: Vec<String> = heads.iter().map(|head| html(head)).collect();
    Ok(table(label, &heads, &rows.into_iter().map(numbers).collect::<Vec<_>>()))
}

/// The calls of a request: a column for each call that some server makes.
fn calls(rows: &[Vec<&str>]) -> Result<String, String> {
    let mut names: Vec<&str> = Vec::new();
    let mut servers = Vec::new();
    for row in rows {
        let [server, all, calls @ ..] = &row[..] else { return Err(format!("{row:?}")) };
        let calls: Vec<(&str, &str)> = calls.iter().filter_map(|call| call.split_once(' ')).collect();
        if calls.len() + 2 != row.len() {
            return Err(format!("{row:?}"));
        }
        for (name, _) in &calls {
            if !names.contains(name) {
                names.push(name);
            }
        }
        servers.push((*server, *all, calls));
    }
    let rows = servers.iter().map(|(server, all, calls)| {
        let count = |name: &str| calls.iter().find(|(call, _)| *call == name).map_or("–", |(_, count)| *count);
        let counts = names.iter().map(|name| format!("number|{}", count(name)));
        [html(server), format!("number|{all}")].into_iter().chain(counts).collect()
    });
    let heads = ["system calls per request", "all"].map(str::to_string).into_iter();
    let heads: Vec<String> = heads.chain(names.iter().map(|name| format!("<code>{name}</code>"))).collect();
    Ok(table("System calls", &heads, &rows.collect::<Vec<_>>()))
}

/// What the compiler said, in its first line.
fn refusal(text: &str) -> Result<String, String> {
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("error") {
        return Err(format!("no error: {first:?}"));
    }
    Ok(format!("<p class=\"lab-verdict\"><span aria-hidden=\"true\">✗</span> {}</p>\n", html(first)))
}

#[test]
fn the_tables_are_made_from_the_recordings() {
    ready();
    for (name, make) in all() {
        let there = std::fs::read_to_string(root().join(path(&name))).unwrap_or_default();
        assert_same(&path(&name), &there, &made(&name, make), ADVICE);
    }
}

/// The text of a cell in each table: of the row that begins with `row`, under `head`.
fn under(tables: &str, row: &str, head: &str) -> Vec<String> {
    let plain = |cell: &str| {
        let mut parts = cell.split('<');
        let first = parts.next().unwrap_or_default().to_string();
        parts.fold(first, |text, part| text + part.split_once('>').map_or("", |(_, rest)| rest))
    };
    // From behind a tag's name on: its attributes, and what is in it.
    let inside = |line: &str| -> Vec<String> {
        let cells = line.split("<t").skip(1).filter(|cell| cell.starts_with(['h', 'd']) && !cell.starts_with("head"));
        cells.filter_map(|cell| cell.split_once('>').map(|(_, text)| plain(text))).collect()
    };
    let mut found = Vec::new();
    for table in tables.split("<table>").skip(1) {
        let lines: Vec<Vec<String>> = table.lines().filter(|line| line.contains("<tr>")).map(inside).collect();
        let column = lines[0].iter().position(|one| one == head);
        let rows = lines[1..].iter().filter(|line| line[0] == row);
        found.extend(rows.filter_map(|line| Some(line[column?].clone())));
    }
    found
}

#[test]
fn what_loom_found_stands_under_its_head() {
    let text = "stage3_broken, data, FIN: use after free of session 1: freed by main at `remove`, used\n    by worker-1 at \
                `read`\n  at execution 1,092, up to 1 preemption: 0.0 s\n\
                stage3_broken, data, RST: use after free of session 1: freed by main at `remove`, used\n    by worker-1 at \
                `read`\n  at execution 1,092, up to 1 preemption: 0.7 s\n\
                stage4_broken, <two> chunks, FIN: double free of buffer 1: freed by worker-1\n  at execution 7, up to 2 \
                preemptions: 0.1 s\n";
    let table = findings(text).expect("it is read");
    assert_eq!(under(&table, "stage3_broken", "scripts"), ["data, FIN; data, RST"]);
    assert_eq!(under(&table, "stage3_broken", "finding"), ["✗ use after free of session 1"]);
    assert_eq!(under(&table, "stage3_broken", "how"), ["freed by main at remove, used by worker-1 at read"]);
    assert_eq!(under(&table, "stage3_broken", "at execution"), ["1,092"]);
    assert_eq!(under(&table, "stage4_broken", "scripts"), ["&lt;two&gt; chunks, FIN"]);
    assert_eq!(under(&table, "stage4_broken", "preemptions"), ["up to 2"]);
    let played =
        text.replace(": 0.0 s\n", ": 0.0 s\n  as a schedule, on the real kernel: signal 11; the fixed twin serves\n");
    assert!(findings(&played).is_err(), "one of three was played, and there is no cell for the others");
    let one = played.split("stage3_broken, data, RST").next().expect("a part");
    let table = findings(one).expect("it is read");
    assert_eq!(under(&table, "stage3_broken", "on the real kernel"), ["signal 11; the fixed twin serves"]);
    // Another result of one script is another row.
    let other = text.replacen("at execution 1,092", "at execution 5", 1);
    assert_eq!(under(&findings(&other).expect("it is read"), "stage3_broken", "at execution"), ["5", "1,092"]);
    assert!(findings(&text.replace(": 0.1 s", "")).is_ok() && findings(&text.replace("at execution", "at")).is_err());
}

#[test]
fn what_was_explored_stands_under_its_head_and_a_finding_is_no_proof() {
    let text = "stage5_fixed, a, FIN: every state of this model, one call at a time, complete: 1,756\n    states, 0.0 s: \
                nothing found\n\
                stage5_fixed, a, FIN: every execution of this model under loom, up to 3 preemptions: 40 executions, 0.5 \
                s: nothing found\n\
                stage5_fixed, b: every execution of this model under loom, up to 2 preemptions: 5 executions, 0.7 s: \
                nothing found\n\
                stage6_fixed, c: every state of this model, one call at a time, complete: 9 states, 0.0 s: nothing found\n";
    let tables = proofs(text).expect("it is read");
    let of = |row, head| under(&tables, row, head);
    assert_eq!(of("stage5_fixed", "scripts"), ["2"]);
    assert_eq!(of("stage5_fixed", "script"), ["a, FIN", "b"]);
    assert_eq!(of("stage5_fixed", "complete"), ["1 of 2", "yes", "no: bounded only"]);
    assert_eq!(of("stage5_fixed", "states"), ["1,756", "1,756", "–"]);
    assert_eq!(of("stage5_fixed", "loom's executions"), ["45", "40", "5"]);
    assert_eq!(of("stage5_fixed", "up to preemptions"), ["2, 3"]);
    assert_eq!(of("stage5_fixed", "preemptions"), ["up to 3", "up to 2"]);
    assert_eq!(of("stage5_fixed", "verdict"), ["✓ nothing found"; 3]);
    assert_eq!(of("stage6_fixed", "complete"), ["1 of 1", "yes"]);
    for (right, wrong) in [
        ("0.5 s: nothing found", "0.5 s: hang"),
        ("complete: 9", "stopped at the limit: 9"),
        ("stage5_fixed, b: every", "stage5_fixed, a, FIN: every"),
        ("40 executions", "forty executions"),
    ] {
        assert!(text.contains(right) && proofs(&text.replace(right, wrong)).is_err(), "{wrong}");
    }
    let table = reductions("s, `f`: 2 histories, in 1,956 executions and in 267; 57 states\n").expect("it is read");
    assert_eq!(under(&table, "s", "histories, of all three"), ["2"]);
    assert_eq!(under(&table, "s", "executions without the shortcut"), ["1,956"]);
    assert_eq!(under(&table, "s", "executions with it"), ["267"]);
    assert_eq!(under(&table, "s", "states of the search"), ["57"]);
    assert!(reductions("s, `f`: 2 histories, in 1,956 executions; 57 states\n").is_err());
}

#[test]
fn a_chapter_s_findings_and_explorations_stand_apart() {
    const WHEN: &str = "in which script, and when";
    let text = "no_hup: data, FIN: session 1 did not get the\n    replies that it is owed\n\
                shipped: data, FIN: 1,044 executions, 0.0 s: nothing found\n\
                stage6_broken, d: hang: 19 bytes wait\n  at execution 112, up to 2 preemptions: 0.0 s\n  as a schedule, on \
                the real kernel: a hang\n\
                stage8_fixed, one: every state of this model, one call at a time, complete: 7 executions,\n    0.0 s: \
                nothing found\n\
                stage8_fixed, two: every execution of this model under loom, up to 3 preemptions: 9 executions, 0.1 s: \
                nothing found\n";
    let tables = outcomes(text).expect("it is read");
    let of = |row, head| under(&tables, row, head);
    assert_eq!(of("no_hup", "finding"), ["✗ session 1 did not get the replies that it is owed"]);
    assert_eq!((of("no_hup", WHEN), of("no_hup", "how")), (vec!["data, FIN".into()], vec!["".into()]));
    assert_eq!(of("stage6_broken", WHEN), ["d, at execution 112, up to 2 preemptions; on the real kernel: a hang"]);
    let twice = format!("{text}stage6_broken, e: hang: 19 bytes wait\n  at execution 3, up to 1 preemption: 0.0 s\n");
    let both = under(&outcomes(&twice).expect("it is read"), "stage6_broken", WHEN);
    assert!(both.len() == 1 && both[0].ends_with("a hange, at execution 3, up to 1 preemption"), "{both:?}");
    assert_eq!(
        (of("shipped", "scripts"), of("shipped", "complete")),
        (vec!["1".into()], vec!["0 of 1".into(), "no: bounded only".into()])
    );
    assert_eq!(
        (of("shipped", "loom's executions"), of("shipped", "preemptions")),
        (vec!["1,044".into(); 2], vec!["–".into()])
    );
    assert_eq!(
        (of("stage8_fixed", "complete"), of("stage8_fixed", "states")[0].as_str()),
        (vec!["1 of 2".into(), "yes".into(), "no: bounded only".into()], "7")
    );
    // Each part may be missing.
    let (first, rest) = text.split_once("shipped").expect("it is there");
    assert!(!outcomes(first).expect("it is read").contains("nothing found"));
    assert!(
        !outcomes(&format!("shipped{}", rest.split("stage6").next().expect("a part")))
            .expect("it is read")
            .contains("✗")
    );
    for (right, wrong) in [
        ("shipped: data, FIN: 1,044", "shipped: data, FIN: every 1,044"),
        ("no_hup: data, FIN: session", "no_hup: session"),
        ("at execution 112", "at 112"),
        ("as a schedule", "on paper"),
        ("7 executions", "7 things"),
    ] {
        assert!(text.contains(right) && outcomes(&text.replace(right, wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn what_was_measured_stands_under_its_head() {
    let text = "lab bench: 2 servers\n\n  requests/s       median    lowest   highest   to a\n  a                  100        \
                90       110   1\n  b, wrk              50        40        60   0.50 (0.40 to 0.60)\n\n  requests per \
                CPU-second    median    lowest   highest   to a\n  a                  200       190       210   1\n  b, wrk  \
                800       700       900   4.00 (3.00 to 5.00)\n\n  latency in ms    p50   errors  bodies compared\n  a      \
                1.50   0   7\n  b, wrk    2.50   3   8\n\n  system calls per request    all\n  a    3.00   recvfrom 2.00  \
                sendto 1.00\n  b, wrk    1.10   sendto 0.90  futex 0.20\n\n  Each round takes every server.\n\ntaken by x\n";
    let tables = bench(text).expect("it is read");
    let of = |row, head| under(&tables, row, head);
    assert_eq!(of("a", "requests/s: median (range)"), ["100 (90–110)"]);
    assert_eq!(of("b, wrk", "per CPU-second: median (range)"), ["800 (700–900)"]);
    assert!(tables.contains("--part: 50%\">50<") && tables.contains("--part: 25%\">200<"), "{tables}");
    let ratios = tables.lines().find(|line| line.contains(">b, wrk<")).expect("a row");
    let (first, second) = (ratios.find("0.50 (0.40–0.60)"), ratios.find("4.00 (3.00–5.00)"));
    assert!(first.is_some() && first < ratios.find(">800<") && ratios.find(">800<") < second, "{ratios}");
    assert_eq!((of("b, wrk", "p50"), of("b, wrk", "errors")), (vec!["2.50".into()], vec!["3".into()]));
    assert_eq!((of("a", "sendto"), of("b, wrk", "sendto")), (vec!["1.00".into()], vec!["0.90".into()]));
    assert_eq!((of("a", "futex"), of("b, wrk", "recvfrom")), (vec!["–".into()], vec!["–".into()]));
    // One table is folded, and no other.
    let folded = rates_first(text).expect("it has latencies");
    let (before, rest) = folded.split_once("<details class=\"report\">").expect("it is folded");
    let (inside, behind) = rest.split_once("</details>").expect("it ends");
    let has = |text: &str| ["latency in ms", "sendto", "requests/s: median (range)"].map(|head| text.contains(head));
    assert_eq!([before, inside, behind].map(has), [[false, false, true], [true, false, false], [false, true, false]]);
    assert!(cpu_folded(text).is_err(), "it has no such table");
    // The verdict stands behind its ratio, and no other word does.
    let unresolved = text.replace("0.50 (0.40 to 0.60)", "0.50 (0.40 to 1.60)  not resolved");
    let row = bench(&unresolved).expect("it is read");
    let row = row.lines().find(|line| line.contains(">b, wrk<")).expect("a row");
    assert!(row.contains("0.50 (0.40–1.60)<br><small>not resolved</small></td>"), "{row}");
    assert_eq!(row.matches("not resolved").count(), 1);
    assert!(bench(&unresolved.replace("not resolved", "resolved")).is_err());
    let cpu = text
        .replace("\n\n  latency in ms", "\n\n  CPU per request in ns  user  kernel\n  a  12  345\n\n  latency in ms");
    assert_eq!(under(&bench(&cpu).expect("it is read"), "a", "kernel"), ["345"]);
    for (right, wrong) in [
        // A row of one table and none of the other, or another.
        ("  b, wrk              50        40        60   0.50 (0.40 to 0.60)\n", ""),
        ("  a                  200", "  c                  200"),
        // A column less.
        ("1.50   0   7", "1.50   0"),
        (
            "median    lowest   highest   to a\n  a                  200",
            "lowest    median   highest   to a\n  a     200",
        ),
        ("  requests per CPU-second ", "  requests per minute "),
        ("sendto 0.90", "sendto"),
        ("\n\ntaken by x", ""),
    ] {
        assert!(text.contains(right) && bench(&text.replace(right, wrong)).is_err(), "{wrong:?}");
    }
    let idle = "lab bench: 1 server\n\n  idle connections     open answered   bytes each:    RSS    PSS   served   kernel\n  a  \
                10   11     4   5    6    7\n\n  Bytes each: what\n\ntaken by x\n";
    let table = bench(idle).expect("it is read");
    let cells = ["open", "answered", "RSS", "PSS", "served", "kernel"].map(|head| under(&table, "a", head).concat());
    assert_eq!(cells, ["10", "11", "4", "5", "6", "7"]);
    assert!(bench(&idle.replace("RSS    PSS", "PSS    RSS")).is_err());
}

/// Every model, server and figure of a recording is in its table.
#[test]
fn no_row_of_a_recording_is_missing_in_its_table() {
    ready();
    for (name, _) in all().into_iter().filter(|(name, _)| !name.starts_with("compiler_")) {
        let (text, table) = (read(&format!("chapters/recorded/{name}.txt")), read(&path(&name)));
        let text = text.split("\n\ntaken by ").next().unwrap_or_default();
        let is_row = |line: &&str| name.starts_with("loom_") || line.split("   ").count() > 2;
        let text = text.lines().filter(is_row).collect::<Vec<_>>().join("\n");
        for word in text.split([' ', '\n', '(', ')', ';']).map(|word| word.trim_end_matches([',', ':'])) {
            let is_figure = word.starts_with(|c: char| c.is_ascii_digit()) && word.len() > 2;
            let is_seconds = name.starts_with("loom_") && word.contains('.');
            assert!(!is_figure || is_seconds || table.contains(word), "{name}: {word}");
        }
        let servers = text.split([' ', '\n', ',']).filter(|word| word.starts_with("stage"));
        servers.for_each(|server| assert!(table.contains(&format!("<th scope=\"row\">{server}")), "{name}: {server}"));
    }
}

#[test]
fn a_page_shows_the_table_and_folds_the_text_below_it() {
    let pages = crate::pages::pages();
    for (name, _) in all() {
        let (table, text) =
            (format!("{{{{#include recorded/{name}.md}}}}\n"), format!("{{{{#include recorded/{name}.txt}}}}"));
        let mut shown = 0;
        for (page, source) in &pages {
            for (at, _) in source.match_indices(&text) {
                shown += 1;
                let before = &source[..at];
                let folded = before.rsplit_once("<details class=\"report\">");
                let (above, open) = folded.unwrap_or_else(|| panic!("{page}: {name}.txt is not folded"));
                assert!(!open.contains("</details>"), "{page}: {name}.txt is not folded");
                assert!(above.trim_end().ends_with(table.trim_end()), "{page}: above {name}.txt is not its table");
            }
        }
        assert_eq!(shown, 1, "{name}");
    }
}
