//! The records of a run as rows of lanes, and where and in which step each record was made.

use std::ops::Range;

use serde_json::{Value, json};

use super::lanes::{ACROSS, Row};
use crate::direct::outcome::{Ending, Evidence, Outcome, Run};
use crate::record::event::{Kind, Record, Seen, Waiting};
use crate::record::names::{Objects, role_name};
use crate::words::{count, signal_name};

/// Rows that are kept of a long stretch in which nobody directed.
const TAIL: usize = 12;
/// The same for a run in which nobody directed at all.
const TAIL_UNDIRECTED: usize = 25;
/// So many reads in a row become one row.
const MANY: usize = 4;

/// A row, and the record it was made from.
#[derive(Clone, Debug)]
pub struct Event {
    pub row: Row,
    /// An index into the records; `None` where the row was made from what the director knows.
    pub record: Option<usize>,
}

/// Where something was done, and by which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub role: usize,
    /// The step of the schedule that its role was in; `None` before the first, after the last, and where nobody
    /// directed.
    pub step: Option<usize>,
    pub file: &'static str,
    pub line: u32,
    /// `None` where the place is only what its thread did before.
    pub column: Option<u32>,
    /// The number of the record.
    pub number: u64,
}

/// A run with its records put in order.
pub struct Timeline<'a> {
    pub run: &'a Run,
    pub objects: Objects,
    /// From this record on nobody directed any more.
    pub schedule_end: usize,
}

impl<'a> Timeline<'a> {
    pub fn new(run: &'a Run) -> Timeline<'a> {
        // That it never stops is said of the schedule, not of what anybody does after it.
        let goes_on = |record: &Record| record.over && record.kind != Kind::Stuck;
        let schedule_end = run.records.iter().position(goes_on).unwrap_or(run.records.len());
        Timeline { run, objects: Objects::new(&run.records), schedule_end }
    }

    /// The role's name.
    pub fn role(&self, role: usize) -> &str {
        role_name(&self.run.roles, role)
    }

    /// Where a record was made.
    pub fn place(&self, at: usize) -> Place {
        let Record { role, step, file, line, column, inherited, number, .. } = self.run.records[at];
        Place { role, step, file, line, column: (!inherited).then_some(column), number }
    }

    /// The step that a record belongs to.
    pub fn step(&self, at: usize) -> Option<usize> {
        self.run.records[at].step
    }

    /// Every row, in order: what the trace has.
    pub fn rows(&self) -> Vec<Event> {
        Walk { timeline: self, rows: Vec::new(), open: vec![None; self.run.roles.len()], announced: 0, passed: 0 }
            .walk()
    }

    /// The rows that a reader wants to see: repeats and the time after the schedule are folded.
    pub fn short_rows(&self) -> Vec<Event> {
        let rows = merge_reads(self, self.rows());
        let directed = !self.run.steps.is_empty();
        let cut = rows.partition_point(|event| event.record.is_none_or(|at| at < self.schedule_end));
        let (cut, tail) = if directed { (cut, TAIL) } else { (0, TAIL_UNDIRECTED) };
        let after = &rows[cut..];
        let mut short = rows[..cut].to_vec();
        // What everybody did after a schedule that all survived is not the schedule's, and differs from run to run.
        let quiet = directed && self.run.ending == Ending::Exit(0);
        let tail = if quiet { 0 } else { tail };
        let keep = |n: usize, event: &Event| n + tail >= after.len() || event.row.mark.is_some();
        let (shown, folded): (Vec<_>, Vec<_>) = after.iter().enumerate().partition(|(n, event)| keep(*n, event));
        let folded: Vec<usize> = folded.into_iter().filter_map(|(_, event)| event.record).collect();
        let next =
            shown.iter().filter_map(|(_, event)| event.record).find(|at| folded.last().is_some_and(|last| at > last));
        let end = next.unwrap_or(self.run.records.len());
        let left_out = folded.first().map_or(0..0, |first| *first..end);
        if let Some(remark) = self.remark(directed, !shown.is_empty(), folded.len() as u64, left_out) {
            short.push(Event { row: Row { number: None, role: ACROSS, text: remark, mark: None }, record: None });
        }
        short.extend(shown.into_iter().map(|(_, event)| event.clone()));
        short
    }

    /// What is said of `rows` rows that are left out, which were made from these `records`.
    fn remark(&self, directed: bool, shown: bool, rows: u64, records: Range<usize>) -> Option<String> {
        if rows == 0 {
            return (directed && shown).then(|| "the schedule is over; everybody goes on:".to_string());
        }
        let records = &self.run.records[records];
        let got = |kind: Kind| records.iter().filter(move |record| record.kind == kind && record.b as i64 > 0);
        let (reads, bytes) = (got(Kind::Read).count() as u64, got(Kind::Read).map(|record| record.b).sum::<u64>());
        let writes = got(Kind::Write).count() as u64;
        let tasks = records.iter().filter(|record| record.kind == Kind::Pop).count() as u64;
        let mut parts = Vec::new();
        if directed {
            // In how many tasks and reads the bytes come is chance.
            parts.extend((bytes > 0).then(|| format!("{} read", count(bytes, "byte"))));
        } else {
            parts.extend((tasks > 0).then(|| count(tasks, "task")));
            parts.extend((bytes > 0).then(|| format!("{} of {}", count(reads, "read"), count(bytes, "byte"))));
        }
        parts.extend((writes > 0).then(|| count(writes, "write")));
        let parts = parts.join(", ");
        Some(match (directed, parts.is_empty()) {
            (true, true) => "the schedule is over; everybody goes on".to_string(),
            (true, false) => format!("the schedule is over; everybody goes on: {parts}"),
            (false, true) => format!("before: {}", count(rows, "event")),
            (false, false) => format!("before: {parts}"),
        })
    }

    /// `waits for session 1's lock (worker-1 has it)`
    pub fn waits(&self, waiting: Waiting, address: u64, holder: Option<usize>, at: usize) -> String {
        waiting.named(address, holder, &self.run.roles, &self.objects, at)
    }

    /// A place as JSON.
    pub fn json(&self, place: Place) -> Value {
        json!({
            "role": self.role(place.role),
            "step": place.step,
            "file": place.file,
            "line": place.line,
            "record": place.number,
        })
    }

    /// A record among the others.
    pub fn seen(&self, at: usize) -> Seen<'_> {
        Seen { records: &self.run.records, at, roles: &self.run.roles, objects: &self.objects }
    }
}

/// Reads that follow one another in a lane become one row.
fn merge_reads(timeline: &Timeline<'_>, rows: Vec<Event>) -> Vec<Event> {
    let bytes = |event: &Event| {
        let record = &timeline.run.records[event.record?];
        (record.kind == Kind::Read && record.b as i64 > 0 && event.row.mark.is_none()).then_some(record.b)
    };
    let mut merged = Vec::new();
    let mut rest = rows.as_slice();
    while let Some(first) = rest.first() {
        let alike = |event: &&Event| bytes(event).is_some() && event.row.role == first.row.role;
        let mut run = 1;
        if bytes(first).is_some() {
            run += rest[1..].iter().take_while(|event| alike(event) && event.row.number.is_none()).count();
        }
        if run >= MANY {
            let total: u64 = rest[..run].iter().filter_map(bytes).sum();
            let text = format!("{}, {}", count(run as u64, "read"), count(total, "byte"));
            merged.push(Event { row: Row { text, ..first.row.clone() }, record: first.record });
        } else {
            merged.extend_from_slice(&rest[..run]);
        }
        rest = &rest[run..];
    }
    merged
}

struct Walk<'a> {
    timeline: &'a Timeline<'a>,
    rows: Vec<Event>,
    /// For each role the row that stands for a step of which nothing was seen yet.
    open: Vec<Option<usize>>,
    /// Steps up to this one have been looked at for refusals that left no record.
    announced: usize,
    /// The highest step that has passed.
    passed: usize,
}

impl Walk<'_> {
    fn walk(mut self) -> Vec<Event> {
        let run = self.timeline.run;
        let first = run.records.iter().position(|record| record.kind == Kind::Step);
        let start = if run.steps.is_empty() { 0 } else { first.unwrap_or(0) };
        for (at, record) in run.records.iter().enumerate().skip(start) {
            if at == self.timeline.schedule_end {
                self.open.fill(None);
            }
            match record.kind {
                Kind::Step => self.step(at, record),
                Kind::Point => self.point(at, record),
                _ => {
                    if let Some(text) = self.timeline.seen(at).lane() {
                        self.push(at, record, text);
                    }
                    // What comes then is the lab's doing: it tells the server to stop.
                    if matches!(record.kind, Kind::Hang | Kind::Stuck) {
                        break;
                    }
                }
            }
        }
        self.mark_death();
        // A placeholder that a later row has taken over is empty.
        self.rows.retain(|event| !event.row.text.is_empty());
        self.rows
    }

    fn step(&mut self, at: usize, record: &Record) {
        let number = record.a as usize;
        self.refusals_before(number, at);
        let late = number < self.passed;
        self.passed = self.passed.max(number);
        if let Some(open) = self.open.get_mut(record.role) {
            *open = Some(self.rows.len());
        }
        let known = number.checked_sub(1).and_then(|at| self.timeline.run.steps.get(at));
        let what = known.map_or("?", |step| step.what.as_str());
        // Until something is to be seen of it, its name stands for it.
        let row = Row {
            number: Some(number),
            role: record.role,
            text: what.to_string(),
            mark: late.then(|| "late".to_string()),
        };
        self.rows.push(Event { row, record: Some(at) });
    }

    /// The row that stands for a step until something is to be seen of it was made at the step's point.
    fn point(&mut self, at: usize, record: &Record) {
        let records = &self.timeline.run.records;
        if let Some(Some(open)) = self.open.get(record.role)
            && let Event { record: Some(made), .. } = &mut self.rows[*open]
            && records[*made].kind == Kind::Step
        {
            *made = at;
        }
    }

    /// The director went past steps whose role had not come to its point: they left no record, but an outcome.
    fn refusals_before(&mut self, number: usize, at: usize) {
        let run = self.timeline.run;
        // The box may have been scribbled over: a number need not be that of a step.
        let number = number.min(run.steps.len() + 1);
        for step in self.announced + 1..number {
            let recorded = run.records[..at]
                .iter()
                .any(|record| matches!(record.kind, Kind::Step | Kind::Refused) && record.a == step as u64);
            let Some(known) = run.steps.get(step - 1) else { continue };
            let role = run.roles.iter().position(|role| *role == known.role);
            if let (false, Outcome::Refused { waiting, address, holder }, Some(role)) = (recorded, &known.outcome, role)
            {
                // Where it is about which thread the kernel wakes, to sleep on is no refusal.
                let sleeps = *waiting == Waiting::Event && !run.herd.reactors.is_empty();
                let text = match sleeps {
                    true => "sleeps on".to_string(),
                    false => self.timeline.waits(*waiting, *address, *holder, at),
                };
                let mark = Some(if sleeps { "not woken" } else { "refused" }.to_string());
                self.rows.push(Event { row: Row { number: Some(step), role, text, mark }, record: None });
            }
        }
        self.announced = self.announced.max(number);
    }

    fn push(&mut self, at: usize, record: &Record, text: String) {
        let mut row = Row { number: None, role: record.role, text, mark: None };
        match record.kind {
            Kind::Refused => row.mark = Some("refused".to_string()),
            Kind::Hang => row.mark = Some("hangs".to_string()),
            Kind::Stuck => row.mark = Some("never stops".to_string()),
            Kind::ClientReceive if self.is_misdelivered(at, record) => row.mark = Some("not its own".to_string()),
            _ => {}
        }
        if record.kind == Kind::Alloc
            && let Some(last) = self.rows.last_mut()
            && last.row.role == record.role
            && last.record.is_some_and(|at| self.timeline.run.records[at].kind == Kind::Alloc)
        {
            last.row.text += &row.text.replacen("allocate", ",", 1);
            return;
        }
        if let Some(open) = self.open.get_mut(record.role).and_then(Option::take) {
            let placeholder = &mut self.rows[open].row;
            row.number = placeholder.number.take();
            row.mark = row.mark.or(placeholder.mark.take());
            placeholder.text.clear();
        }
        self.rows.push(Event { row, record: Some(at) });
    }

    /// Whether these are the bytes that went to the wrong client: it reads no further.
    fn is_misdelivered(&self, at: usize, record: &Record) -> bool {
        let run = self.timeline.run;
        let later = |later: &Record| later.kind == Kind::ClientReceive && later.role == record.role;
        matches!(&run.evidence, Some(Evidence::Misdelivers(wrong)) if wrong.client == record.role)
            && !run.records[at + 1..].iter().any(later)
    }

    /// Points at the last thing that the thread did that took the signal.
    fn mark_death(&mut self) {
        let run = self.timeline.run;
        let (Ending::Signal(signal), Some(fault)) = (run.ending, run.fault) else { return };
        let mark = Some(signal_name(signal));
        let own = run.records.iter().rposition(|record| record.role == fault.role && record.kind != Kind::Step);
        let shown = self.rows.iter().rposition(|event| event.row.role == fault.role && !event.row.text.is_empty());
        let last_shown = shown.and_then(|row| self.rows[row].record);
        match own.map(|at| (at, &run.records[at])) {
            // It came to a point, and nothing of what it did then was recorded.
            Some((at, record)) if record.kind == Kind::Point && last_shown.is_none_or(|shown| shown < at) => {
                match self.open.get_mut(fault.role).and_then(Option::take) {
                    Some(open) => self.rows[open].row.mark = mark,
                    None => {
                        let text = format!("after point {}", record.label);
                        let row = Row { number: None, role: fault.role, text, mark };
                        self.rows.push(Event { row, record: Some(at) });
                    }
                }
            }
            _ => match shown {
                Some(row) => self.rows[row].row.mark = mark,
                None if fault.role < run.roles.len() => {
                    let row = Row { number: None, role: fault.role, text: "takes the signal".to_string(), mark };
                    self.rows.push(Event { row, record: None });
                }
                None => {}
            },
        }
    }
}
