//! The report: text of at most 100 columns, and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::model::{Errors, Idle, Load, QUANTILES, Report, Row};
use super::system::{Cpu, Source};
use crate::tools::cost;
use crate::words::count;

/// How closely two clients must agree.
const AGREEMENT: f64 = 0.05;
/// The longest line.
const WIDTH: usize = 100;
/// What stands behind a ratio that is as good as 1.
const UNRESOLVED: &str = "not resolved";
/// Instead of a latency that the client does not know.
const UNKNOWN: &str = "-";
/// System calls that are named.
const NAMED: usize = 6;

/// What is measured in each round.
pub type Figure = fn(&Load) -> Option<f64>;

/// Requests a second, and for each second of the server's CPU.
pub const FIGURES: [(&str, Figure); 2] = [
    ("requests/s", |load| Some(load.per_second())),
    ("requests for each second of the server's CPU", Load::per_cpu_second),
];

/// The median of some numbers, with the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
    /// Where the median of more and more such numbers lies, with 95% confidence; of fewer than six, none can be said.
    pub interval: Option<(f64, f64)>,
}

/// How many of `n` numbers, from the lowest, lie below an interval of 95% for the median, with its lower end: that of the
/// sign test, which asks nothing of the numbers but that each is as likely above the median as below (Conover, Practical
/// Nonparametric Statistics, 3.2). 0 if there are too few.
fn outside(n: usize) -> usize {
    // The probability that so many or fewer of n fair coins show heads.
    let (mut one, mut sum, mut k) = (0.5_f64.powi(n as i32), 0.0, 0);
    while k < n {
        sum += one;
        if 2.0 * sum > 0.05 {
            break;
        }
        k += 1;
        one *= (n + 1 - k) as f64 / k as f64;
    }
    k
}

impl Spread {
    /// `None` if there are none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest, half) = (*sorted.first()?, *sorted.last()?, sorted.len() / 2);
        let median = if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 };
        let interval = outside(sorted.len()).checked_sub(1).map(|at| (sorted[at], sorted[sorted.len() - 1 - at]));
        Some(Spread { median, lowest, highest, interval })
    }

    fn json(self) -> Value {
        let interval = self.interval.map(|(low, high)| [low, high]);
        json!({ "median": self.median, "lowest": self.lowest, "highest": self.highest, "interval_95": interval })
    }

    fn ratio(self) -> String {
        format!("{:.2} ({:.2} to {:.2})", self.median, self.lowest, self.highest)
    }

    /// Of ratios: whether they tell the two apart.
    fn is_resolved(self) -> bool {
        self.interval.is_some_and(|(low, high)| high < 1.0 || low > 1.0)
    }
}

/// A figure over the rounds.
pub fn spread(row: &Row, figure: Figure) -> Option<Spread> {
    Spread::of(row.rounds.iter().filter_map(figure))
}

/// The ratios to the base, each within a round; `None` for the base itself.
pub fn ratio(report: &Report, row: &Row, figure: Figure) -> Option<Spread> {
    let base = report.base_of(row).filter(|base| !std::ptr::eq(*base, row))?;
    let pairs = row.rounds.iter().zip(&base.rounds);
    Spread::of(pairs.filter_map(|(load, base)| Some(figure(load)? / figure(base)?)))
}

fn whole(number: f64) -> String {
    cost::thousands(number.round() as i64)
}

/// What a row is called.
pub fn label(report: &Report, row: &Row) -> String {
    let name = &report.subjects[row.subject].name;
    if report.both { format!("{name}, {}", row.client.name()) } else { name.clone() }
}

fn errors(row: &Row) -> Errors {
    let mut sum = Errors::default();
    row.rounds.iter().for_each(|load| sum += load.errors);
    sum
}

/// The report for people.
pub fn text(report: &Report) -> String {
    let mut text = head(report);
    let labels =
        report.rows.iter().map(|row| label(report, row)).chain(report.subjects.iter().map(|one| one.name.clone()));
    let wide = labels.map(|label| label.chars().count()).max().unwrap_or_default().max(26);
    for (name, figure) in FIGURES {
        if report.rows.is_empty() {
            continue;
        }
        let to = match report.both {
            true => "wrk".to_string(),
            false => report.subjects[report.base].name.clone(),
        };
        let first = if name.len() > wide { "requests per CPU-second" } else { name };
        let _ = writeln!(text, "\n  {first:<wide$}  {:>9} {:>9} {:>9}   to {to}", "median", "lowest", "highest");
        for row in &report.rows {
            let label = label(report, row);
            let Some(all) = spread(row, figure) else {
                let _ = writeln!(text, "  {label:<wide$}  {:>9}", "-");
                continue;
            };
            let ratio = match ratio(report, row, figure) {
                None => "1".to_string(),
                Some(ratio) if ratio.is_resolved() => ratio.ratio(),
                Some(ratio) => format!("{}  {UNRESOLVED}", ratio.ratio()),
            };
            let (median, lowest, highest) = (whole(all.median), whole(all.lowest), whole(all.highest));
            let _ = writeln!(text, "  {label:<wide$}  {median:>9} {lowest:>9} {highest:>9}   {ratio}");
        }
    }
    cpu(report, wide, &mut text);
    if !report.rows.is_empty() {
        let names: String = QUANTILES.iter().map(|name| format!(" {name:>8}")).collect();
        let _ = writeln!(text, "\n  {:<wide$} {names}   errors  bodies compared", "latency in ms");
        for row in &report.rows {
            let shown = |ms: &Option<f64>| ms.map_or(format!(" {UNKNOWN:>8}"), |ms| format!(" {ms:>8.2}"));
            let columns: String = latency(row).iter().map(shown).collect();
            let checked = cost::thousands(row.rounds.iter().map(|load| load.checked as i64).sum());
            let label = label(report, row);
            let errors = cost::thousands(errors(row).total() as i64);
            let _ = writeln!(text, "  {label:<wide$} {columns} {errors:>8}  {checked:>15}");
        }
    }
    calls(report, wide, &mut text);
    idle(report, wide, &mut text);
    text.push('\n');
    for note in foot(report) {
        text.push_str(&folded(&note));
    }
    text
}

fn head(report: &Report) -> String {
    let (servers, work) = (report.subjects.len(), report.work);
    let mut parts = vec![format!("{servers} server{}", if servers == 1 { "" } else { "s" })];
    parts.push(format!("{} connections", cost::thousands(work.connections as i64)));
    if let Some(row) = report.rows.first() {
        let plural = if report.rounds == 1 { "" } else { "s" };
        parts.push(format!("{} round{plural} of {} s", report.rounds, report.seconds));
        let clients = if report.both { "wrk and the embedded client" } else { row.client.name() };
        parts.push(format!("{clients} with {}", count(work.threads as u64, "thread")));
        if work.pipeline > 1 {
            parts.push(format!("pipelines {} deep", work.pipeline));
        }
    }
    folded(&format!("lab bench: {}", parts.join(", "))).trim_start().to_string()
}

/// In milliseconds: the median of the rounds, but of the longest the longest. What is known of fewer than half of the rounds
/// is not shown: those may be the better ones.
fn latency(row: &Row) -> [Option<f64>; 5] {
    std::array::from_fn(|at| {
        let known: Vec<_> = row.rounds.iter().filter_map(|load| Some(load.latency[at]? as f64 / 1000.0)).collect();
        let spread = Spread::of(known.iter().copied()).filter(|_| 2 * known.len() >= row.rounds.len())?;
        Some(if at + 1 == QUANTILES.len() { spread.highest } else { spread.median })
    })
}

/// Where a request's time goes: the medians of the rounds.
fn cpu(report: &Report, wide: usize, text: &mut String) {
    let parts: [Figure; 2] = [
        |load| Some(load.cpu?.user * 1e9 / load.answered.max(1) as f64),
        |load| Some(load.cpu?.kernel * 1e9 / load.answered.max(1) as f64),
    ];
    let known = report.rows.iter().filter_map(|row| Some((row, spread(row, parts[0])?, spread(row, parts[1])?)));
    for (at, (row, user, kernel)) in known.enumerate() {
        if at == 0 {
            let _ = writeln!(text, "\n  {:<wide$}  {:>9} {:>9}", "CPU per request in ns", "user", "kernel");
        }
        let (label, user, kernel) = (label(report, row), whole(user.median), whole(kernel.median));
        let _ = writeln!(text, "  {label:<wide$}  {user:>9} {kernel:>9}");
    }
}

fn calls(report: &Report, wide: usize, text: &mut String) {
    let counted = report.subjects.iter().filter_map(|one| Some((&one.name, one.calls.as_ref()?)));
    for (at, (name, calls)) in counted.enumerate() {
        if at == 0 {
            let _ = writeln!(text, "\n  {:<wide$}       all", "system calls per request");
        }
        let each = |count: u64| count as f64 / calls.requests as f64;
        let named = calls.by_name.iter().take(NAMED).map(|(name, count)| format!("{name} {:.2}", each(*count)));
        let mut line = format!("  {name:<wide$}  {:>8.2}   ", calls.per_request());
        for part in named.filter(|part| !part.ends_with(" 0.00")) {
            if line.len() + part.len() + 2 > WIDTH {
                break;
            }
            line += &part;
            line += "  ";
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn idle(report: &Report, wide: usize, text: &mut String) {
    let seen: Vec<(&String, &Idle)> =
        report.subjects.iter().filter_map(|one| Some((&one.name, one.idle.as_ref()?))).collect();
    if seen.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n  {:<wide$}  {:>7} {:>8}   bytes each: {:>6} {:>6} {:>8} {:>8}",
        "idle connections", "open", "answered", "RSS", "PSS", "served", "kernel"
    );
    for (name, idle) in seen {
        let each = |bytes: i64| whole(bytes as f64 / idle.open.max(1) as f64);
        let memory = idle.memory.map_or(["-".into(), "-".into(), "-".into()], |[idle, after]| {
            [each(idle.rss), each(idle.pss), each(after.rss)]
        });
        let (open, answered) = (cost::thousands(idle.open as i64), cost::thousands(idle.answered as i64));
        let [rss, pss, served] = memory;
        let kernel = each(idle.kernel.0);
        let _ =
            writeln!(text, "  {name:<wide$}  {open:>7} {answered:>8}   {:>18} {pss:>6} {served:>8} {kernel:>8}", rss);
    }
}

/// What the figures mean, and what went wrong.
fn foot(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if !report.rows.is_empty() {
        notes.push(
            "Each round takes every server in turn, and the next one in the opposite order. A ratio is the median of the \
             ratios within a round (lowest to highest). Latencies are medians of the rounds; the maximum is the longest \
             of all."
                .to_string(),
        );
    }
    if report.rows.iter().any(|row| latency(row).contains(&None)) {
        notes.push(format!(
            "{UNKNOWN}: wrk adds requests that it would have sent but for a late reply, and puts some of them below the \
             shortest latency, where it does not find them again."
        ));
    }
    let ratios = || report.rows.iter().flat_map(|row| FIGURES.map(|(_, figure)| ratio(report, row, figure))).flatten();
    if ratios().any(|ratio| !ratio.is_resolved()) {
        let why = if ratios().any(|ratio| ratio.interval.is_none()) {
            "it takes six rounds or more, and the interval of 95% for the median must leave out 1"
        } else {
            "the interval of 95% for the median holds 1, so these rounds do not tell the two apart"
        };
        notes.push(format!("{UNRESOLVED}: {why} (sign test)."));
    }
    for row in &report.rows {
        let Errors { connect, lost, late, status, body } = errors(row);
        if errors(row).total() > 0 {
            notes.push(format!(
                "{}: {connect} connections failed, {lost} broke off, {late} replies were late, {status} had another \
                 status than 200, {body} another body.",
                label(report, row)
            ));
        }
    }
    if report.both {
        for row in &report.rows {
            let Some(ratio) = ratio(report, row, FIGURES[0].1) else { continue };
            let near = 1.0 - AGREEMENT..=1.0 + AGREEMENT;
            let verdict = match ratio.interval {
                Some((low, high)) if near.contains(&low) && near.contains(&high) => "The embedded client agrees",
                Some((low, high)) if high < *near.start() || low > *near.end() => "The embedded client does not agree",
                _ => "It is not resolved whether the embedded client agrees",
            };
            let name = &report.subjects[row.subject].name;
            notes.push(format!(
                "{verdict} with wrk to within {:.0}% on {name}: {} of its requests/s.",
                AGREEMENT * 100.0,
                ratio.ratio()
            ));
        }
    }
    let tools = report.subjects.iter().filter_map(|one| Some(one.calls.as_ref()?.tool));
    if let Some(tool) = tools.reduce(|one, other| if one == other { one } else { "perf or strace" }) {
        let how = match tool {
            "perf" => "counted by perf stat",
            "strace" => {
                "counted by strace -c -f, which slows the server so much that a read and a wait bring it more than \
                 otherwise: the true figures are higher"
            }
            _ => "counted by perf stat, or by strace where perf could not: those are too low",
        };
        notes.push(format!(
            "System calls: {how}; 1 s under load by the embedded client, connections open before and after."
        ));
    }
    for (name, missing) in report.subjects.iter().filter_map(|one| Some((&one.name, &one.calls.as_ref()?.missing))) {
        if !missing.is_empty() {
            notes.push(format!("{name}: in the sum, and not counted by name: {}.", missing.join(", ")));
        }
    }
    let kernel = report.subjects.iter().find_map(|one| Some(one.idle.as_ref()?.kernel.1));
    if let Some(source) = kernel {
        let how = match source {
            Source::Caches => {
                "of those caches of /proc/slabinfo that gained an object for every two connections or more"
            }
            Source::Slab => "Slab of /proc/meminfo (the whole machine's; root may read /proc/slabinfo)",
        };
        notes.push(format!(
            "Bytes each: what the server has more than without connections, in /proc/PID/smaps_rollup; `served` is RSS \
             after each connection has been asked while all were open. `kernel` is {how}; both ends of each connection \
             are on this machine, so about half of it is the server's."
        ));
    }
    for one in &report.subjects {
        if let Some(why) = one.idle.as_ref().and_then(|idle| idle.why.as_ref()) {
            notes.push(format!("{}: {why}.", one.name));
        }
    }
    notes.extend(report.notes.iter().map(|note| format!("{note}.")));
    notes
}

/// In lines of at most 100 columns.
fn folded(note: &str) -> String {
    let mut text = String::new();
    let mut line = " ".to_string();
    for word in note.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            text += &line;
            text.push('\n');
            line = " ".to_string();
        }
        line.push(' ');
        line += word;
    }
    text + &line + "\n"
}

/// The report for programs. Times in seconds, latencies in microseconds, memory in bytes.
pub fn json(report: &Report) -> Value {
    let round = |load: &Load| {
        let Errors { connect, lost, late, status, body } = load.errors;
        json!({
            "requests": load.requests,
            "seconds": load.seconds,
            "requests_per_second": load.per_second(),
            "cpu_seconds": load.cpu.map(Cpu::total),
            "cpu_seconds_in_the_kernel": load.cpu.map(|cpu| cpu.kernel),
            "requests_per_cpu_second": load.per_cpu_second(),
            "latency_us": QUANTILES.iter().zip(load.latency).map(|(name, us)| (name.to_string(), us.into()))
                .collect::<serde_json::Map<String, Value>>(),
            "bodies_compared": load.checked,
            "errors": { "connect": connect, "lost": lost, "late": late, "status": status, "body": body },
        })
    };
    let row = |row: &Row| {
        let [requests, cpu] = FIGURES.map(|(_, figure)| figure);
        json!({
            "server": report.subjects[row.subject].name,
            "client": row.client.name(),
            "rounds": row.rounds.iter().map(round).collect::<Vec<_>>(),
            "requests_per_second": spread(row, requests).map(Spread::json),
            "requests_per_cpu_second": spread(row, cpu).map(Spread::json),
            "ratio_of_requests_per_second": ratio(report, row, requests).map(Spread::json),
            "ratio_of_requests_per_cpu_second": ratio(report, row, cpu).map(Spread::json),
        })
    };
    let subject = |one: &super::model::Subject| {
        let calls = one.calls.as_ref().map(|calls| {
            let by_name: serde_json::Map<String, Value> =
                calls.by_name.iter().map(|(name, count)| (name.clone(), (*count).into())).collect();
            json!({
                "tool": calls.tool,
                "requests": calls.requests,
                "all": calls.all,
                "per_request": calls.per_request(),
                "calls": by_name,
                "not_counted_by_name": calls.missing,
                "errors": calls.errors,
            })
        });
        let idle = one.idle.as_ref().map(|idle| {
            let memory = |at: usize| idle.memory.map(|memory| json!({ "rss": memory[at].rss, "pss": memory[at].pss }));
            json!({
                "connections": idle.connections,
                "open": idle.open,
                "answered": idle.answered,
                "why": idle.why,
                "memory_idle": memory(0),
                "memory_after": memory(1),
                "kernel_both_ends": idle.kernel.0,
                "kernel_from": match idle.kernel.1 { Source::Caches => "slabinfo", Source::Slab => "meminfo" },
            })
        });
        json!({ "name": one.name, "system_calls": calls, "idle": idle })
    };
    json!({
        "connections": report.work.connections,
        "threads": report.work.threads,
        "pipeline": report.work.pipeline,
        "seconds": report.seconds,
        "rounds": report.rounds,
        "base": if report.both { "wrk" } else { report.subjects[report.base].name.as_str() },
        "load": report.rows.iter().map(row).collect::<Vec<_>>(),
        "servers": report.subjects.iter().map(subject).collect::<Vec<_>>(),
        "errors": report.errors(),
        "notes": report.notes,
    })
}

#[cfg(test)]
pub mod tests {
    use super::super::model::{Calls, Client, Subject, Work};
    use super::*;

    fn load(requests: u64, cpu: f64) -> Load {
        Load {
            requests,
            answered: requests,
            seconds: 1.0,
            latency: [1_000, 2_000, 3_000, 4_000, 9_000 + requests].map(Some),
            errors: Errors::default(),
            checked: requests,
            cpu: Some(Cpu { user: cpu / 10.0, kernel: cpu * 0.9 }),
        }
    }

    /// Two servers, three rounds.
    pub fn example() -> Report {
        let row = |subject, rounds: [u64; 3]| Row {
            subject,
            client: Client::Wrk,
            rounds: rounds.map(|requests| load(requests, 0.5)).to_vec(),
        };
        let subject = |name: &str| Subject { name: name.to_string(), calls: None, idle: None };
        Report {
            work: Work { connections: 1000, threads: 2, pipeline: 1 },
            seconds: 1,
            rounds: 3,
            base: 0,
            both: false,
            subjects: vec![subject("slow"), subject("fast <1>")],
            rows: vec![row(0, [100, 200, 400]), row(1, [300, 200, 600])],
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_ratios_within_rounds_and_not_the_ratio_of_medians() {
        let report = example();
        let ratio = ratio(&report, &report.rows[1], FIGURES[0].1).expect("it is not the base");
        assert_eq!(ratio, Spread { median: 1.5, lowest: 1.0, highest: 3.0, interval: None });
        let medians: Vec<f64> = report.rows.iter().filter_map(|row| Some(spread(row, FIGURES[0].1)?.median)).collect();
        assert_eq!(medians, [200.0, 300.0]);
        assert_eq!(spread(&report.rows[0], FIGURES[1].1).map(|all| all.highest), Some(800.0));
    }

    #[test]
    fn an_even_number_of_rounds_has_a_median_between_two() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 8.0]).map(|all| all.median), Some(3.0));
        assert_eq!(Spread::of([]), None);
    }

    /// The ranks are those of the tables for the sign test: of nine numbers the second and the eighth, and so on.
    #[test]
    fn the_interval_of_a_median_leaves_out_no_more_than_the_sign_test_allows() {
        let ends = |n: i32| Spread::of((1..=n).map(f64::from)).and_then(|all| all.interval);
        assert_eq!([1, 5].map(ends), [None, None]);
        assert_eq!([6, 8].map(ends), [Some((1.0, 6.0)), Some((1.0, 8.0))]);
        assert_eq!([9, 11].map(ends), [Some((2.0, 8.0)), Some((2.0, 10.0))]);
        assert_eq!([12, 15, 20].map(ends), [Some((3.0, 10.0)), Some((4.0, 12.0)), Some((6.0, 15.0))]);
        assert_eq!(ends(100), Some((40.0, 61.0)));
    }

    /// The second server's requests in each round, where the first has 100.
    fn against(rounds: &[u64]) -> Report {
        let mut report = example();
        report.rounds = rounds.len();
        report.rows[0].rounds = vec![load(100, 0.5); rounds.len()];
        report.rows[1].rounds = rounds.iter().map(|requests| load(*requests, 0.5)).collect();
        report
    }

    #[test]
    fn a_difference_that_the_rounds_do_not_resolve_gets_no_verdict() {
        let said = |rounds: &[u64]| text(&against(rounds)).split_whitespace().collect::<Vec<_>>().join(" ");
        let few = said(&[150, 151, 152, 153, 154]);
        assert!(few.contains("1.52 (1.50 to 1.54) not resolved") && few.contains("it takes six rounds"), "{few}");
        let enough = said(&[150, 151, 152, 153, 154, 155]);
        assert!(enough.contains("1.52 (1.50 to 1.55)") && !enough.contains("not resolved"), "{enough}");
        // Slower in one round of six: it may be chance. In one of nine it is not.
        assert!(said(&[150, 151, 152, 153, 154, 99]).contains("(0.99 to 1.54) not resolved"));
        assert!(!said(&[150, 151, 152, 153, 154, 155, 156, 157, 99]).contains("not resolved"));
        let alike = said(&[150, 99, 152, 98, 154, 99, 156, 100, 99]);
        assert!(alike.contains("not resolved") && alike.contains("the median holds 1, so these rounds"), "{alike}");
        assert!(!said(&[50, 51, 52, 53, 54, 55]).contains("not resolved"), "slower is a difference too");
        let json = json(&against(&[150, 151, 152, 153, 154, 155]));
        assert_eq!(json["load"][1]["ratio_of_requests_per_second"]["interval_95"], json!([1.5, 1.55]));
    }

    #[test]
    fn a_latency_that_most_rounds_do_not_know_is_not_shown_and_the_others_are_of_those_that_do() {
        let mut report = example();
        let unknown = [None, None, None, None, Some(9_500)];
        report.rows[0].rounds[0].latency = unknown;
        report.rows[1].rounds[0].latency = unknown;
        report.rows[1].rounds[1].latency = unknown;
        assert_eq!(latency(&report.rows[0]), [1.0, 2.0, 3.0, 4.0, 9.5].map(Some));
        assert_eq!(latency(&report.rows[1]), [None, None, None, None, Some(9.6)]);
        let text = text(&report);
        let row = text.split("latency in ms").nth(1).and_then(|part| part.lines().find(|line| line.contains("fast")));
        let cells: Vec<_> = row.expect("it has a row").split_whitespace().skip(2).collect();
        assert_eq!(cells, ["-", "-", "-", "-", "9.60", "0", "1,100"]);
        assert!(text.contains("wrk with 2 threads\n"));
        report.work.threads = 1;
        assert!(super::text(&report).contains("wrk with 1 thread\n"));
        assert!(text.contains("  -: wrk adds requests") && !super::text(&example()).contains("  -: "));
        assert!(json(&report)["load"][1]["rounds"][0]["latency_us"]["p90"].is_null());
    }

    #[test]
    fn two_clients_agree_or_not_or_it_is_not_resolved() {
        let said = |rounds: &[u64]| {
            let mut report = against(rounds);
            report.both = true;
            report.rows[1].subject = 0;
            report.rows[1].client = Client::Embedded;
            text(&report).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let close = [97, 98, 99, 101, 102, 104];
        assert!(said(&close).contains("The embedded client agrees with wrk to within 5% on slow: 1.00 (0.97 to 1.04)"));
        assert!(said(&close[..5]).contains("It is not resolved whether the embedded client agrees"));
        assert!(said(&[97, 98, 99, 101, 102, 106]).contains("It is not resolved whether"));
        for far in [[106, 107, 108, 109, 110, 111], [90, 91, 92, 93, 94, 94]] {
            assert!(said(&far).contains("The embedded client does not agree with wrk"), "{far:?}");
        }
    }

    #[test]
    fn the_text_fits_into_100_columns_and_counts_each_error() {
        let mut report = example();
        report.rows[1].rounds[2].errors = Errors { connect: 1, lost: 2, late: 3, status: 4, body: 5 };
        let (by_name, missing) = (vec![("read".to_string(), 100)], vec!["sendto", "futex"]);
        report.subjects[1].calls = Some(Calls { tool: "perf", requests: 100, all: 300, by_name, missing, errors: 0 });
        report.notes.push("a note ".repeat(40));
        (report.work.pipeline, report.work.connections, report.rounds) = (16, 100_000, 1000);
        let text = text(&report);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("1.50 (1.00 to 3.00)"), "{text}");
        // Half a second for 100, 200 and 400 requests, a tenth of it in user mode.
        let cpu: Vec<&str> = text.lines().skip_while(|line| !line.contains("user    kernel")).skip(1).take(2).collect();
        let cells = |line: &str| line.split_whitespace().rev().take(2).map(str::to_string).collect::<Vec<_>>();
        assert_eq!(cells(cpu[0]), ["2,250,000", "250,000"]);
        let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("1 connections failed, 2 broke off, 3 replies were late, 4 had another"), "{text}");
        assert!(text.contains("3.00   read 1.00\n"), "{text}");
        assert!(said.contains("fast <1>: in the sum, and not counted by name: sendto, futex."), "{text}");
        assert_eq!(report.errors(), 15);
        let json = json(&report);
        assert_eq!(json["errors"], 15);
        assert_eq!(json["servers"][1]["system_calls"]["not_counted_by_name"], json!(["sendto", "futex"]));
    }
}
