//! The cells as data (`chapters/recorded/caught.json`), what they mean together, and the table that is made from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Order, Tool, is_correct, programs};
use crate::catalogue::Stage;

/// The file of [`Data::searches`], beside the table.
pub const SEARCHES: &str = "caught_search.md";

/// One program under one tool in one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The program, with its flags.
    pub program: String,
    /// The tool.
    pub tool: Tool,
    /// The order.
    pub order: Order,
    /// How many runs (or models, or compilations) there were.
    pub runs: u64,
    /// How many of them had a report.
    pub reported: u64,
    /// Each kind of report, and in how many runs it came.
    pub kinds: BTreeMap<String, u64>,
    /// Rounds of the scenario, in all runs together; 0 where it is not played in rounds.
    pub rounds: u64,
    /// Where the tool itself came to a bad end: how, and how often.
    pub ends: BTreeMap<String, u64>,
    /// Of a search that found something: in which run of its own, for each.
    pub tries: Vec<u64>,
}

/// What the cell of a broken program means, seen beside those of the correct ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not a word.
    Silent,
    /// Reports of kinds that no correct program gets in that order; in so many runs.
    Found {
        /// In how many runs at most.
        runs: u64,
        /// Whether the tool reports correct programs too, for other reasons.
        amid_false_alarms: bool,
    },
    /// Only reports of kinds that correct programs get as well.
    FalseAlarm,
}

/// What a cell of the grid shows: a sign and a word, and a colour beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Found,
    /// In so many of so many runs.
    Sometimes(u64, u64),
    /// Among false alarms about correct programs.
    AmidNoise,
    Silent,
    /// Of a broken program: nothing that a correct one does not get too.
    Noise,
    /// For so many of so many correct programs.
    FalseAlarm(u64, u64),
    NotMeasured,
}

impl Sign {
    /// The cell of the table, from behind its `<td` on; `said` is what stands in the table of counts.
    fn cell(self, said: &str) -> String {
        let (class, sign, word) = match self {
            Sign::Found => ("found", '✓', "found".to_string()),
            Sign::Sometimes(runs, of) => ("some", '◐', format!("in {runs} of {of}")),
            Sign::AmidNoise => ("some", '◐', "amid noise".to_string()),
            Sign::Silent => ("silent", '–', "silent".to_string()),
            Sign::Noise => ("noise", '✗', "noise".to_string()),
            Sign::FalseAlarm(flagged, all) => ("noise", '✗', format!("alarm for {flagged} of {all}")),
            Sign::NotMeasured => ("silent", '?', "not measured".to_string()),
        };
        format!(" class=\"{class}\" title=\"{said}\"><span aria-hidden=\"true\">{sign}</span> {word}")
    }
}

/// All that was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// The version of each tool, or what of it was missing.
    pub tools: BTreeMap<Tool, Result<String, String>>,
    /// The cells.
    pub cells: Vec<Cell>,
}

impl Cell {
    /// Nothing measured yet.
    pub fn new(program: &str, tool: Tool, order: Order) -> Cell {
        let (kinds, ends) = (BTreeMap::new(), BTreeMap::new());
        Cell {
            program: program.to_string(),
            tool,
            order,
            runs: 0,
            reported: 0,
            kinds,
            rounds: 0,
            ends,
            tries: Vec::new(),
        }
    }

    /// One more run, and what kinds of reports it had.
    pub fn add(&mut self, kinds: BTreeSet<String>) {
        self.runs += 1;
        self.reported += u64::from(!kinds.is_empty());
        for kind in kinds {
            *self.kinds.entry(kind).or_insert(0) += 1;
        }
    }

    /// For whoever watches the measuring.
    pub fn line(&self) -> String {
        let kinds: Vec<_> = self.kinds.iter().map(|(kind, runs)| format!("{kind} ({runs})")).collect();
        let (program, tool, order) = (&self.program, self.tool.id(), self.order.id());
        format!("{program} {tool} {order}: {} of {}: {}", self.reported, self.runs, kinds.join(", "))
    }

    /// In which run it was found: the median, and the first and the last.
    fn in_run(&self) -> String {
        let mut tries = self.tries.clone();
        tries.sort_unstable();
        match tries[..] {
            [one] => one.to_string(),
            _ => format!("{} ({} to {})", tries[tries.len() / 2], tries[0], tries[tries.len() - 1]),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "program": self.program,
            "tool": self.tool.id(),
            "order": self.order.id(),
            "runs": self.runs,
            "reported": self.reported,
            "kinds": self.kinds,
            "rounds": self.rounds,
            "ends": self.ends,
            "tries": self.tries,
        })
    }

    fn from_json(value: &Value) -> Option<Cell> {
        let counts = |name: &str| -> Option<BTreeMap<String, u64>> {
            value[name].as_object()?.iter().map(|(kind, runs)| Some((kind.clone(), runs.as_u64()?))).collect()
        };
        Some(Cell {
            program: value["program"].as_str()?.to_string(),
            tool: Tool::of(value["tool"].as_str()?)?,
            order: Order::of(value["order"].as_str()?)?,
            runs: value["runs"].as_u64()?,
            reported: value["reported"].as_u64()?,
            kinds: counts("kinds")?,
            rounds: value["rounds"].as_u64()?,
            ends: counts("ends")?,
            tries: value["tries"].as_array().into_iter().flatten().map(Value::as_u64).collect::<Option<_>>()?,
        })
    }
}

impl Data {
    /// From its text.
    ///
    /// # Errors
    /// If it is not such a text.
    pub fn from_json(text: &str) -> Result<Data> {
        let value: Value = serde_json::from_str(text)?;
        let tools = value["tools"].as_object().context("it has no tools")?;
        let tools = tools.iter().map(|(id, tool)| {
            let text = |name: &str| tool[name].as_str().map(str::to_string);
            let version = text("version").ok_or(text("missing").unwrap_or_default());
            Some((Tool::of(id)?, version))
        });
        let cells = value["cells"].as_array().context("it has no cells")?.iter().map(Cell::from_json);
        Ok(Data {
            tools: tools.collect::<Option<_>>().context("a tool is unknown")?,
            cells: cells.collect::<Option<_>>().context("a cell is incomplete")?,
        })
    }

    /// As text.
    pub fn to_json(&self) -> String {
        let tools = self.tools.iter().map(|(tool, version)| {
            let version = match version {
                Ok(version) => json!({ "version": version }),
                Err(missing) => json!({ "missing": missing }),
            };
            (tool.id().to_string(), version)
        });
        let tools: serde_json::Map<_, _> = tools.collect();
        let mut text = format!("{{\n  \"tools\": {:#},\n  \"cells\": [", Value::Object(tools));
        for (index, cell) in self.cells.iter().enumerate() {
            // A cell a line, so that a measurement taken anew shows as one.
            let _ = write!(text, "{}\n    {}", if index > 0 { "," } else { "" }, cell.to_json());
        }
        text + "\n  ]\n}\n"
    }

    /// Writes the data, and the table beside it.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        ensure!(path.extension().is_some_and(|end| end == "json"), "the file's name ends in .json");
        let searches = path.with_file_name(SEARCHES);
        for (path, text) in [
            (path.to_path_buf(), self.to_json()),
            (path.with_extension("md"), self.page()),
            (searches, self.searches()),
        ] {
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Puts a cell in its place, instead of one that was there.
    pub fn put(&mut self, cell: Cell) {
        self.cells.retain(|old| (&old.program, old.tool, old.order) != (&cell.program, cell.tool, cell.order));
        self.cells.push(cell);
        let place = |program: &str| programs().iter().position(|stage| stage.name == program);
        self.cells.sort_by_key(|cell| (cell.tool, cell.order, place(&cell.program)));
    }

    /// The cell of this program under this tool in this order.
    pub fn cell(&self, program: &str, tool: Tool, order: Order) -> Option<&Cell> {
        self.cells.iter().find(|cell| (cell.program.as_str(), cell.tool, cell.order) == (program, tool, order))
    }

    fn of_correct(&self, tool: Tool, order: Order) -> impl Iterator<Item = &Cell> {
        let correct = programs().into_iter().filter(|stage| is_correct(stage));
        correct.filter_map(move |stage| self.cell(stage.name, tool, order))
    }

    /// What a cell means. A kind of report that a correct program gets too, under the same tool in the same order, says
    /// nothing about a bug.
    pub fn verdict(&self, cell: &Cell) -> Verdict {
        let alarms: BTreeSet<&String> =
            self.of_correct(cell.tool, cell.order).flat_map(|correct| correct.kinds.keys()).collect();
        let own = cell.kinds.iter().filter(|(kind, _)| !alarms.contains(kind)).map(|(_, runs)| *runs).max();
        match own {
            Some(runs) => Verdict::Found { runs, amid_false_alarms: !alarms.is_empty() },
            None if cell.kinds.is_empty() => Verdict::Silent,
            None => Verdict::FalseAlarm,
        }
    }

    /// What stands in the table for a broken program.
    fn said_of_broken(&self, stage: &Stage, tool: Tool, order: Order) -> String {
        let Some(cell) = self.cell(stage.name, tool, order) else { return "not measured".to_string() };
        let total = cell.runs;
        match self.verdict(cell) {
            Verdict::Silent => format!("silent ({total})"),
            Verdict::Found { .. } if !cell.tries.is_empty() => {
                format!("**found**, {} of {total}, in run {}", cell.reported, cell.in_run())
            }
            Verdict::Found { runs, amid_false_alarms: false } => format!("**found**, {runs} of {total}"),
            Verdict::Found { runs, amid_false_alarms: true } => {
                format!("**found**, {runs} of {total}, amid false alarms")
            }
            Verdict::FalseAlarm => format!("no more than of a correct one ({} of {total})", cell.reported),
        }
    }

    /// What stands in the table for the correct programs.
    fn said_of_correct(&self, tool: Tool, order: Order) -> String {
        match self.alarms(tool, order) {
            (0, _) => "not measured".to_string(),
            (all, 0) => format!("silent, all {all}"),
            (all, flagged) => format!("false alarm for {flagged} of {all}"),
        }
    }

    /// The tables, as text.
    pub fn markdown(&self) -> String {
        [self.rows(|_| true), self.words(), self.versions()].join("\n")
    }

    /// The tables of the book: the signs, and folded below them what they stand for.
    pub fn page(&self) -> String {
        let folded = [
            ("The counts behind the signs", self.rows(|_| true)),
            ("What each tool said, in its own words, and in how many runs", self.words()),
            ("The versions", self.versions()),
        ];
        folded.iter().fold(self.signs(), |text, (summary, table)| {
            text + &format!("\n<details class=\"report\">\n<summary>{summary}</summary>\n\n{table}\n</details>\n")
        })
    }

    /// A sign for each broken program under each tool, and one for the correct ones together.
    fn signs(&self) -> String {
        let broken: Vec<_> = programs().into_iter().filter(|stage| !is_correct(stage)).collect();
        let mut text = String::from(
            "<div class=\"lab-scroller\" role=\"region\" aria-label=\"Who found what\" tabindex=\"0\">\n\
             <table class=\"lab-signs\">\n<thead><tr><th scope=\"col\">who looks</th>",
        );
        for stage in &broken {
            let flags = stage.name.split_once(' ').map_or(String::new(), |(_, flags)| format!(" <code>{flags}</code>"));
            let _ = write!(text, "<th scope=\"col\"><a href=\"stage{0}.md\">stage {0}</a>{flags}</th>", stage.chapter);
        }
        text += "<th scope=\"col\">correct programs</th></tr></thead>\n<tbody>\n";
        for tool in Tool::ALL {
            for order in tool.orders() {
                let _ = write!(text, "<tr><th scope=\"row\">{}</th>", who(tool, *order));
                for stage in &broken {
                    let said = self.said_of_broken(stage, tool, *order).replace("**", "");
                    let _ = write!(text, "<td{}</td>", self.sign_of_broken(stage, tool, *order).cell(&said));
                }
                let said = self.said_of_correct(tool, *order);
                let _ = writeln!(text, "<td{}</td></tr>", self.sign_of_correct(tool, *order).cell(&said));
            }
        }
        text + "</tbody>\n</table>\n</div>\n"
    }

    fn sign_of_broken(&self, stage: &Stage, tool: Tool, order: Order) -> Sign {
        let Some(cell) = self.cell(stage.name, tool, order) else { return Sign::NotMeasured };
        match self.verdict(cell) {
            Verdict::Silent => Sign::Silent,
            Verdict::FalseAlarm => Sign::Noise,
            Verdict::Found { amid_false_alarms: true, .. } => Sign::AmidNoise,
            // No kind of report is a false alarm here, so that each run with one has found the bug.
            Verdict::Found { .. } if cell.reported < cell.runs => Sign::Sometimes(cell.reported, cell.runs),
            Verdict::Found { .. } => Sign::Found,
        }
    }

    fn sign_of_correct(&self, tool: Tool, order: Order) -> Sign {
        match self.alarms(tool, order) {
            (0, _) => Sign::NotMeasured,
            (_, 0) => Sign::Silent,
            (all, flagged) => Sign::FalseAlarm(flagged, all),
        }
    }

    /// How many correct programs were measured, and how many of them got a report.
    fn alarms(&self, tool: Tool, order: Order) -> (u64, u64) {
        self.of_correct(tool, order)
            .fold((0, 0), |(all, flagged), cell| (all + 1, flagged + u64::from(cell.reported > 0)))
    }

    /// The part of it that is about searches.
    pub fn searches(&self) -> String {
        self.rows(Tool::is_search)
    }

    fn rows(&self, is_wanted: fn(Tool) -> bool) -> String {
        let broken: Vec<_> = programs().into_iter().filter(|stage| !is_correct(stage)).collect();
        let mut text = String::from("| who looks, and in which order |");
        for stage in &broken {
            let _ = write!(text, " {} |", heading(stage));
        }
        text += " the correct programs |\n|---|";
        text += &"---|".repeat(broken.len() + 1);
        text.push('\n');
        for tool in Tool::ALL.into_iter().filter(|tool| is_wanted(*tool)) {
            for order in tool.orders() {
                let _ = write!(text, "| {} |", who(tool, *order));
                for stage in &broken {
                    let _ = write!(text, " {} |", self.said_of_broken(stage, tool, *order));
                }
                let _ = writeln!(text, " {} |", self.said_of_correct(tool, *order));
            }
        }
        text
    }

    /// What the tools said, in their own words.
    fn words(&self) -> String {
        let mut text =
            String::from("| [program](#the-controls) | who | its words, and in how many runs |\n|---|---|---|\n");
        let place = |program: &str| programs().iter().position(|stage| stage.name == program);
        let mut cells: Vec<&Cell> =
            self.cells.iter().filter(|cell| !cell.kinds.is_empty() || !cell.ends.is_empty()).collect();
        cells.sort_by_key(|cell| place(&cell.program));
        for cell in cells {
            let said = cell.kinds.iter().chain(&cell.ends);
            let said: Vec<_> = said.map(|(kind, runs)| format!("{kind} ({runs})")).collect();
            let who = match cell.order {
                Order::None => cell.tool.id().to_string(),
                order => format!("{}, {}", cell.tool.id(), order.id()),
            };
            let rounds = if cell.rounds > 0 { format!(", {} rounds", cell.rounds) } else { String::new() };
            let runs = if cell.runs == 1 { "1 run".to_string() } else { format!("{} runs", cell.runs) };
            let _ = writeln!(
                text,
                "| `{}` | {who} | {} of {runs}{rounds}: {} |",
                cell.program,
                cell.reported,
                said.join("; ")
            );
        }
        text
    }

    /// The tools, their versions, and what is missing.
    fn versions(&self) -> String {
        let mut text = String::from("| who | version |\n|---|---|\n");
        for (tool, version) in &self.tools {
            let version = match version {
                Ok(version) => version.clone(),
                Err(missing) => format!("not measured: {missing}"),
            };
            let _ = writeln!(text, "| {} (`{}`) | {version} |", tool.name(), tool.id());
        }
        text
    }
}

/// The head of a row.
fn who(tool: Tool, order: Order) -> String {
    match order {
        Order::None => tool.name().to_string(),
        order => format!("{}, {}", tool.name(), order.id()),
    }
}

/// The head of a broken program's column.
fn heading(stage: &Stage) -> String {
    match stage.name.split_once(' ') {
        Some((_, flags)) => format!("[stage {0}](stage{0}.md), `{flags}`", stage.chapter),
        None => format!("[stage {0}](stage{0}.md)", stage.chapter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(program: &str, runs: &[&[&str]]) -> Cell {
        let mut cell = Cell::new(program, Tool::Thread, Order::Stress);
        for kinds in runs {
            cell.add(kinds.iter().map(|kind| kind.to_string()).collect());
        }
        cell
    }

    fn data(cells: impl IntoIterator<Item = Cell>) -> Data {
        let mut data = Data::default();
        data.tools.insert(Tool::Thread, Ok("1".to_string()));
        data.tools.insert(Tool::Drd, Err("it is missing".to_string()));
        cells.into_iter().for_each(|cell| data.put(cell));
        data
    }

    fn verdict(data: &Data, program: &str) -> Verdict {
        data.verdict(data.cell(program, Tool::Thread, Order::Stress).expect("it was put there"))
    }

    #[test]
    fn what_a_correct_program_gets_too_is_not_found() {
        let broken = cell("stage4_broken", &[&["data race"], &["data race", "double free"], &["data race"], &[]]);
        let silent = data([broken.clone(), cell("stage4_fixed", &[&[]])]);
        let found = |runs, amid_false_alarms| Verdict::Found { runs, amid_false_alarms };
        assert_eq!(verdict(&silent, "stage4_broken"), found(3, false));
        assert_eq!(verdict(&silent, "stage4_fixed"), Verdict::Silent);
        // Any correct program, of whichever stage.
        let alarmed = data([broken.clone(), cell("stage3_fixed", &[&["data race"]])]);
        assert_eq!(verdict(&alarmed, "stage4_broken"), found(1, true));
        let all = data([broken, cell("stage4_handoff", &[&["double free", "data race"]])]);
        assert_eq!(verdict(&all, "stage4_broken"), Verdict::FalseAlarm);
        // Another broken program is no control.
        let other = data([cell("stage4_broken", &[&["data race"]]), cell("stage3_broken", &[&["data race"]])]);
        assert_eq!(verdict(&other, "stage4_broken"), found(1, false));
    }

    #[test]
    fn data_is_read_as_it_was_written_and_a_cell_replaces_its_older_self() {
        let mut data = data([cell("stage4_broken", &[&["a"]]), cell("stage3_broken", &[])]);
        let mut newer = cell("stage4_broken", &[&[], &["b"]]);
        (newer.rounds, newer.ends) = (7, [("valgrind itself failed".to_string(), 1)].into());
        data.put(newer.clone());
        assert_eq!((data.cells.len(), &data.cells[1]), (2, &newer));
        assert_eq!(Data::from_json(&data.to_json()).expect("it was written so"), data);
        assert!(Data::from_json("{}").is_err() && Data::from_json(r#"{"tools":{},"cells":[{}]}"#).is_err());
    }

    #[test]
    fn of_a_search_it_is_said_in_which_run() {
        let found = |tries: &[u64]| {
            let mut cell = cell("stage4_broken", &vec![&["a"][..]; tries.len()]);
            cell.tries = tries.to_vec();
            let data = data([cell]);
            let stage = programs().into_iter().find(|stage| stage.name == "stage4_broken").expect("it is of the table");
            data.said_of_broken(stage, Tool::Thread, Order::Stress)
        };
        assert_eq!(found(&[11]), "**found**, 1 of 1, in run 11");
        assert_eq!(found(&[30, 2, 7, 5]), "**found**, 4 of 4, in run 7 (2 to 30)");
    }

    #[test]
    fn a_sign_says_what_the_counts_say() {
        let stage4 = programs().into_iter().find(|stage| stage.name == "stage4_broken").expect("it is of the table");
        let signs = |broken: &[&[&str]], fixed: &[&[&str]]| {
            let data = data([cell("stage4_broken", broken), cell("stage4_fixed", fixed)]);
            let (tool, order) = (Tool::Thread, Order::Stress);
            (data.sign_of_broken(stage4, tool, order), data.sign_of_correct(tool, order))
        };
        assert_eq!(signs(&[&["a"], &["b"]], &[&[]]), (Sign::Found, Sign::Silent));
        assert_eq!(signs(&[&["a"], &["b"], &[]], &[&[]]), (Sign::Sometimes(2, 3), Sign::Silent));
        assert_eq!(signs(&[&[]], &[&["a"]]), (Sign::Silent, Sign::FalseAlarm(1, 1)));
        assert_eq!(signs(&[&["a"]], &[&["a"]]), (Sign::Noise, Sign::FalseAlarm(1, 1)));
        assert_eq!(signs(&[&["a", "b"]], &[&["a"]]), (Sign::AmidNoise, Sign::FalseAlarm(1, 1)));
        let one_of_two = data([cell("stage4_fixed", &[&["a"]]), cell("stage3_fixed", &[&[]])]);
        assert_eq!(one_of_two.sign_of_correct(Tool::Thread, Order::Stress), Sign::FalseAlarm(1, 2));
        let said = Sign::FalseAlarm(1, 2).cell("said");
        assert!(said.contains(" title=\"said\">") && said.ends_with(" alarm for 1 of 2"), "{said}");
        assert!(Sign::Sometimes(1, 2).cell("said").ends_with(" in 1 of 2"));
        let nothing = Data::default();
        assert_eq!(nothing.sign_of_broken(stage4, Tool::Drd, Order::Directed), Sign::NotMeasured);
        assert_eq!(nothing.sign_of_correct(Tool::Drd, Order::Directed), Sign::NotMeasured);
    }

    #[test]
    fn each_sign_stands_under_its_program_and_beside_its_tool() {
        let text = data([cell("stage4_broken", &[&["a"]]), cell("stage4_fixed", &[&[]])]).signs();
        let heads: Vec<_> = text.split("<th scope=\"col\">").skip(1).collect();
        let column = heads.iter().position(|head| head.contains("stage4.md"));
        let row = text.lines().find(|row| row.contains(">ThreadSanitizer, told of std's locks, stress</th>"));
        let row: Vec<_> = row.expect("the tool has a row").split("<td").skip(1).collect();
        for (at, cell) in row.iter().enumerate() {
            let (class, word) = match at + 1 {
                at if Some(at) == column => ("found", " found"),
                at if at == row.len() => ("silent", " silent"),
                _ => ("silent", " not measured"),
            };
            assert!(
                cell.starts_with(&format!(" class=\"{class}\" ")) && cell.contains(&format!("{word}</td>")),
                "{cell}"
            );
        }
        assert_eq!(row.len() + 1, heads.len(), "{heads:?}");
    }

    #[test]
    fn the_table_names_what_was_not_measured() {
        let text = data([cell("stage4_broken", &[&["a"]]), cell("stage4_fixed", &[&[]])]).markdown();
        let row = text.lines().find(|row| row.starts_with("| ThreadSanitizer, told of std's locks, stress |"));
        let row = row.expect("the tool has a row");
        assert!(row.contains("| not measured | **found**, 1 of 1 |") && row.ends_with("| silent, all 1 |"), "{row}");
        assert!(text.contains("(`drd`) | not measured: it is missing |"), "{text}");
    }
}
