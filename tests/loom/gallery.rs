//! Wrong fixes. Each is a patch on a shipped stage (`wrong/`, with a sentence of why somebody would write it), and a
//! model that the stage passes refutes it: `chapters/recorded/wrong_fixes.txt` says which, how, and at which bound.
//!
//! `LAB_RECORD=1 cargo test --test loom gallery` looks through all models of a stage and writes that file; with the
//! name of a wrong fix instead of the 1, only the line of that; with `LAB_LONG=1`, without giving a model up. Otherwise
//! only the model that is written there is explored, with the patch and without.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::num::ParseIntError;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use real::schedule::Plan;

use crate::model::{Model, Outcome, Script};
use crate::models::{self, Said, Test, drawn, model, requests, test, upload};
use crate::runner::Serve;
use crate::sharded::{self, EARLY};
use crate::turn::Checker;
use crate::world::{Grain, Rules};
use crate::{handoff, herd, stage5, stage6, stage7};

#[path = "wrong/patch.rs"]
mod patch;

/// A wrong fix.
pub struct Wrong {
    pub name: &'static str,
    /// The stage that the patch is for.
    pub stage: &'static str,
    /// Why somebody would write it.
    pub why: &'static str,
    /// The patch.
    pub diff: &'static str,
    pub serve: Serve,
}

::gallery::wrong_fixes! {
    stage3_fixed {
        broken_client_ends_the_worker,
        closed_flag,
        edge_triggered_listener,
        exclusive_session,
        forgotten_share,
        four_reads,
        hang_up_first,
        join_before_close,
        kept_by_itself,
        one_read,
        queued_flag,
        read_unwrapped,
        summed_up_at_release,
        upgraded_too_late,
        write_unwrapped,
    },
    stage4_fixed {
        buffer_always_handed_on,
        busy_and_again,
        busy_atomic,
        busy_flag,
        busy_flag_asserted,
        busy_swap,
        end_only,
        filled_forgotten,
        fresh_parser,
        half_a_request_queued_again,
        incomplete_goes_home,
        one_request_a_turn,
        read_outside_the_lock,
        removed_at_the_first_end,
        shared_send_buffer,
        try_lock_goes_home,
        two_locks_two_orders,
        unlocked_before_the_rearm,
        whole_messages_counted,
    },
    stage4_handoff {
        edge_is_once,
        end_queued_too,
        new_buffer_after_the_rearm,
        reactor_looks_in,
        rearm_first,
        rearm_inside,
        rearm_without_one_shot,
        spin_lock_relaxed,
    },
    stage5_fixed {
        bumped_when_occupied,
        checked_once,
        end_after_a_reply,
        found_by_number,
        hang_up_first,
        hang_up_while_preparing,
        input_after_the_end,
        input_while_preparing,
        looked_up_twice,
        nothing_is_the_end,
        nothing_to_answer,
        one_bit,
        removed_at_the_end_of_input,
        removed_by_number,
        slot_cleared,
        table_shrinks,
    },
    stage6_fixed {
        end_is_nothing,
        forgotten_guard,
        guard_before_the_lock,
        not_armed_at_the_end,
        one_path_forgotten,
        rearm_without_one_shot,
        two_locks_two_orders,
    },
    stage7_fixed {
        closed_in_its_own_lock,
        closed_read_before_the_lock,
        cut_before_the_join,
        idle_workers_leave,
        if_for_while,
        join_before_close,
        last_turn_reads_nothing,
        late_bytes_not_counted,
        late_client_not_counted,
        limit_not_watched,
        notified_means_a_task,
        notify_before_the_close,
        notify_before_the_push,
        notify_one_at_close,
        notify_only_who_sleeps,
        reply_counted_first,
        shut_first,
        stop_left_on_the_list,
        stops_to_read_when_shut,
        timer_of_one_event,
        unanswered_cleared,
    },
    stage8_fixed {
        cleared_after_the_error,
        exclusive_and_on_an_edge,
        exclusive_stop,
        hang_up_first,
        one_reactor_listens,
        own_listener_on_an_edge,
        replies_not_cleared,
        sessions_on_an_edge,
        stop_forgets_the_backlog,
        stop_reads_nothing,
        stop_waits_for_the_clients,
        woken_when_served,
    },
    stage9_sharded {
        clients_on_an_edge,
        due_not_written_at_the_stop,
        exclusive_stop,
        forgotten_reactor,
        goes_with_its_first_replies,
        removed_with_its_replies,
        replies_not_cleared,
        stop_ends_the_loop,
        stop_reads_nothing,
        waits_for_every_client,
    },
}

/// Wrong fixes that no model refutes. As soon as one is recorded, it is to go from here.
const NOT_YET: &[(&str, &str)] = &[];

/// loom goes no further than so many preemptions, and executions of one model.
const MOST: usize = 2;
const CAP: usize = 10_000;
/// The search looks up to so many first.
const MANY: usize = 5;
/// And the search, where it is not known whether it will find something, not further than so many states.
const STATES: usize = 400_000;

/// The shipped stages, unpatched: the control.
const SHIPPED: [(&str, Serve); 8] = [
    ("stage3_fixed", crate::stage3_fixed::serve),
    ("stage4_fixed", crate::stage4_fixed::serve),
    ("stage4_handoff", crate::stage4_handoff::serve),
    ("stage5_fixed", crate::stage5_fixed::serve),
    ("stage6_fixed", crate::stage6_fixed::serve),
    ("stage7_fixed", crate::stage7_fixed::serve),
    ("stage8_fixed", crate::stage8_fixed::serve),
    ("stage9_sharded", crate::stage9_sharded::serve),
];

/// A request, and then one in two pieces.
fn one_then_pieces(name: &'static str, letters: &str) -> Script {
    let one = Plan::Get(1).head().len() as u64;
    Script::new(name, Plan::Get(2), &[one, 10, one - 10], letters)
}

/// A request and the beginning of another, in one piece.
fn one_and_a_piece(name: &'static str, letters: &str) -> Script {
    let plan = Plan::Get(1);
    Script::new(name, plan, &[plan.head().len() as u64 + 10], letters)
}

/// Two requests in one piece.
fn two_at_once(name: &'static str, letters: &str) -> Script {
    let plan = Plan::Get(2);
    Script::new(name, plan, &[plan.length().expect("it has an end")], letters)
}

/// Bytes without a meaning, in one piece: more than the server reads at once.
fn raw(name: &'static str, bytes: u64, letters: &str) -> Script {
    Script::new(name, Plan::Raw, &[bytes], letters)
}

/// An upload in one piece: more than the server reads at once.
fn long_upload(name: &'static str, bytes: u64, letters: &str) -> Script {
    let plan = Plan::Post(bytes);
    Script::new(name, plan, &[plan.length().expect("it has an end")], letters)
}

/// Every model that the shipped stage passes, the cheap ones first.
fn suite(stage: &'static str, serve: Serve) -> Vec<Model> {
    let plain = |script| model(stage, serve, script);
    let ruled = |rules, script| Model { rules, ..model(stage, serve, script) };
    let two_inside = Rules { two_inside: true, ..Rules::DEFAULT };
    let two_tasks = Rules { two_tasks: true, ..Rules::DEFAULT };
    let keeps = Rules { keeps_sessions: true, ..Rules::DEFAULT };
    let sound = |models: Vec<models::Sound>| models.into_iter().map(|(_, _, model)| model);
    let mut suite: Vec<Model> = Vec::new();
    match stage {
        "stage3_fixed" => {
            suite.extend(sound(models::stage3_fixed(serve)));
            suite.extend([
                plain(raw("more than a buffer, FIN", 20_000, "df")),
                plain(raw("more than four buffers, FIN", 70_000, "df")),
                plain(requests("two more connections, FIN", "ccf")),
                plain(requests("RST, RST, a request, FIN", "rcrcdf")),
                ruled(keeps, requests("a request, and a second client's", "dcd")),
            ]);
        }
        "stage4_fixed" => {
            suite.extend(sound(models::stage4_fixed(serve)));
            suite.extend(with_memory(&plain));
            let grained = |grain, script| ruled(Rules { grain, ..two_inside }, script);
            suite.extend([
                grained(Grain::Points, stage5::two_uploads("two clients, in steps from point to point", "dcd")),
                grained(Grain::Events, one_then_pieces("a request, one in two pieces, an arming is a step", "ddd")),
            ]);
        }
        "stage4_handoff" => {
            suite.extend(sound(handoff::models(serve)));
            suite.extend(with_memory(&|script| ruled(two_inside, script)));
        }
        "stage5_fixed" => {
            suite.extend(sound(stage5::models(serve)));
            let points = stage5::rules(Grain::Points);
            let two = |name, letters| stage5::two_uploads(name, letters);
            suite.extend([
                plain(stage6::pieces("a request in two pieces, FIN", "ddf")),
                plain(requests("two requests, FIN", "ddf")),
                plain(two("a request, RST, a second client", "drc")),
                ruled(points, two("a request, RST, a second client, RST, a third", "drcrc")),
            ]);
        }
        "stage6_fixed" => {
            suite.extend(sound(stage6::models(serve)));
            suite.extend([
                plain(requests("data, FIN", "df")),
                plain(two_at_once("two requests in one piece, FIN", "df")),
                plain(one_then_pieces("a request, then one in two pieces, FIN", "dddf")),
                ruled(two_tasks, one_then_pieces("a request, one in two pieces, each event is one task", "ddd")),
            ]);
        }
        "stage7_fixed" => {
            suite.extend(sound(stage7::models(serve)));
            suite.extend([
                plain(requests("a second client's request, stop, FIN", "cdsf")),
                plain(requests("a second client, stop, FIN", "csf")),
                plain(requests("data, stop, the limit", "dst")),
                plain(requests("data, FIN, twice", "dfcdf")),
                plain(one_and_a_piece("a request and a piece, stop, the limit", "dst")),
            ]);
        }
        "stage8_fixed" => {
            let in_vain = |rules| Rules { in_vain: true, ..rules };
            for reuseport in [false, true] {
                suite.extend(sound(herd::models(serve, reuseport)));
                let rules = Rules { reuseport, ..herd::RULES };
                let name = if reuseport { "stage8_fixed --reuseport" } else { stage };
                suite.extend([
                    herd::herd(name, serve, rules, requests("a request, RST, a second client's", "drcd")),
                    herd::herd(
                        name,
                        serve,
                        in_vain(rules),
                        herd::crowd("one connection, and nobody wakes in vain", ""),
                    ),
                ]);
            }
        }
        _ => {
            suite.extend(sound(sharded::models(serve)));
            let early = |script| sharded::sharded(serve, EARLY, script);
            let whole = |script| sharded::sharded(serve, sharded::RULES, script);
            suite.extend([
                whole(requests("two requests, FIN", "ddf")),
                early(long_upload("a long upload, then the stop", 20_000, "d")),
            ]);
        }
    }
    suite
}

/// Of a server that keeps what has arrived.
fn with_memory(model: &dyn Fn(Script) -> Model) -> Vec<Model> {
    vec![
        model(upload("an upload in two pieces, FIN", "ddf")),
        model(two_at_once("two requests in one piece, FIN", "df")),
        model(stage6::one_and_pieces("a request, and one in two pieces, FIN", "ddf")),
        model(one_then_pieces("a request, then one in two pieces, FIN", "dddf")),
        model(stage5::two_uploads("a request, and a second client's", "dcd")),
    ]
}

/// What a model is called in the recording: by its stage's way to be run, and its script.
fn script_of(model: &Model) -> String {
    let way = model.stage.split_once(' ').map_or(String::new(), |(_, way)| format!("{way}: "));
    let wakes = if model.rules.spurious { "sleepers wake for no reason: " } else { "" };
    format!("{way}{wakes}{}", model.script.name)
}

/// A line of the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refuted {
    stage: String,
    name: String,
    script: String,
    how: How,
    kind: String,
    /// Executions of loom's, or states.
    explored: usize,
    text: String,
}

/// What refutes a wrong fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The search alone: it is too deep for loom's bound.
    Search,
    /// loom, up to so many preemptions, and the search too.
    Both(usize),
    /// loom alone: it takes more than one value that a memory may have.
    Loom(usize),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Search => f.write_str("the search alone"),
            How::Both(bound) => write!(f, "loom, {bound}"),
            How::Loom(bound) => write!(f, "loom alone, {bound}"),
        }
    }
}

impl FromStr for How {
    type Err = ParseIntError;
    fn from_str(text: &str) -> Result<How, ParseIntError> {
        match text.split_once(", ") {
            Some(("loom alone", bound)) => Ok(How::Loom(bound.parse()?)),
            Some((_, bound)) => Ok(How::Both(bound.parse()?)),
            None => Ok(How::Search),
        }
    }
}

impl How {
    fn bound(self) -> Option<usize> {
        match self {
            How::Search => None,
            How::Both(bound) | How::Loom(bound) => Some(bound),
        }
    }
}

impl Refuted {
    fn line(&self) -> String {
        let Refuted { stage, name, script, how, kind, explored, text } = self;
        format!("{stage} | {name} | {script} | {how} | {kind} | {explored} | {text}\n")
    }

    fn parse(line: &str) -> Option<Refuted> {
        let mut columns = line.splitn(7, " | ").map(str::to_string);
        let mut next = || columns.next();
        Some(Refuted {
            stage: next()?,
            name: next()?,
            script: next()?,
            how: next()?.parse().ok()?,
            kind: next()?,
            explored: next()?.parse().ok()?,
            text: next()?,
        })
    }
}

const HEAD: &str = "stage | wrong fix | script that refutes it | checker, preemptions | finding | at execution or state | in its own words\n";
const RECORDING: &str = "chapters/recorded/wrong_fixes.txt";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn recorded() -> Vec<Refuted> {
    let text = std::fs::read_to_string(root().join(RECORDING)).unwrap_or_default();
    text.lines().skip(1).filter_map(Refuted::parse).collect()
}

/// The lines of one stage, among those of the others.
fn record(stage: &str, lines: Vec<Refuted>) -> Result<(), String> {
    // The tests of other stages are other processes.
    let file = File::open(root().join(RECORDING)).map_err(|error| format!("{RECORDING}: {error}"))?;
    // SAFETY: the descriptor is open as long as `file` is, and closing it unlocks.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
        return Err(format!("{RECORDING}: {}", std::io::Error::last_os_error()));
    }
    let mut all = recorded();
    all.retain(|other| other.stage != stage);
    all.extend(lines);
    all.sort_by_key(|line| ALL.iter().position(|wrong| wrong.stage == line.stage && wrong.name == line.name));
    let text: String = all.iter().map(Refuted::line).collect();
    std::fs::write(root().join(RECORDING), HEAD.to_string() + &text).map_err(|error| format!("{RECORDING}: {error}"))
}

/// The first model of which the search finds a wrong execution, and the fewest preemptions within which loom does; or
/// else the first of which loom alone does.
fn search(wrong: &Wrong) -> Option<Refuted> {
    let recorded = recorded().into_iter().find(|line| line.stage == wrong.stage && line.name == wrong.name);
    let known = recorded.and_then(|line| find(wrong.stage, wrong.serve, &line.script).ok());
    let models: Vec<Model> = known.into_iter().chain(suite(wrong.stage, wrong.serve)).collect();
    let by_loom = |model: &Model, how: fn(usize) -> How| {
        let explore = |bound| explored_by_loom(&Model { cap: CAP, ..model.clone() }, bound);
        (1..=MOST).find_map(|bound| refuted(wrong, model, how(bound), explore(bound)))
    };
    let cap = if models::is_long() { models::CAP } else { STATES };
    let both = |model: &Model| {
        let found = refuted(wrong, model, How::Search, looked_through(&Model { cap, ..model.clone() }))?;
        by_loom(model, How::Both).or(Some(found))
    };
    models.iter().find_map(both).or_else(|| models.iter().find_map(|model| by_loom(model, How::Loom)))
}

/// By the search: first with few preemptions, then without a bound.
fn looked_through(model: &Model) -> Outcome {
    let explore = |bound| Model { checker: Checker::Search, bound, looks: true, ..model.clone() }.explore();
    let few = (0..=MANY).map(|bound| explore(Some(bound))).find(|outcome| outcome.refutation().is_some());
    few.unwrap_or_else(|| explore(None))
}

/// By loom, up to so many preemptions.
fn explored_by_loom(model: &Model, bound: usize) -> Outcome {
    Model { checker: Checker::Loom, bound: Some(bound), ..model.clone() }.explore()
}

/// What was found, if the exploration came to that.
fn refuted(wrong: &Wrong, model: &Model, how: How, outcome: Outcome) -> Option<Refuted> {
    let verdict = outcome.refutation()?;
    Some(Refuted {
        stage: wrong.stage.to_string(),
        name: wrong.name.to_string(),
        script: script_of(model),
        how,
        kind: format!("{:?}", verdict.kind()),
        explored: if how == How::Search { outcome.states } else { outcome.executions },
        text: verdict.text.lines().next().unwrap_or_default().to_string(),
    })
}

/// All wrong fixes of a stage, and the stage itself.
fn gallery(stage: &'static str, shipped: Serve) -> Said {
    let wrong_fixes: Vec<&Wrong> = ALL.iter().filter(|wrong| wrong.stage == stage).collect();
    if let Ok(wanted) = std::env::var("LAB_RECORD") {
        let is_wanted = |wrong: &&Wrong| wanted == "1" || wanted == wrong.name;
        let mut lines: Vec<Refuted> = recorded().into_iter().filter(|line| line.stage == stage).collect();
        lines.retain(|line| wanted != "1" && wanted != line.name);
        lines.extend(wrong_fixes.iter().copied().filter(is_wanted).filter_map(search));
        record(stage, lines)?;
    }
    let recorded: Vec<Refuted> = recorded().into_iter().filter(|line| line.stage == stage).collect();
    let mut said = String::new();
    for wrong in wrong_fixes {
        let line = recorded.iter().find(|line| line.name == wrong.name);
        match (line, NOT_YET.contains(&(stage, wrong.name))) {
            (Some(line), false) => said += &is_refuted(wrong, line)?,
            (None, true) => said += &format!("{}: no model refutes it yet\n", wrong.name),
            (None, false) => return Err(format!("{said}{}: no model refutes it", wrong.name)),
            (Some(line), true) => return Err(format!("refuted, and still among those that are not: {}", line.line())),
        }
    }
    // The control: what refutes the wrong ones finds nothing in the right one.
    let scripts: BTreeSet<&String> = recorded.iter().map(|line| &line.script).collect();
    for script in scripts {
        let bounds = recorded.iter().filter(|line| line.script == *script).filter_map(|line| line.how.bound());
        let bound = bounds.max().unwrap_or(MOST);
        // The models of the stage itself are searched where they stand.
        let model = find(stage, shipped, script)?;
        let outcome = if models::is_long() { looked_through(&model) } else { explored_by_loom(&model, bound) };
        said += &is_clean(stage, script, &outcome)?;
    }
    Ok(said)
}

/// The shipped stage, under what refutes a wrong one.
fn is_clean(stage: &str, script: &str, outcome: &Outcome) -> Said {
    match &outcome.finding {
        None => Ok(format!("shipped: {script}: {outcome}: nothing found\n")),
        Some(finding) => Err(format!("the shipped {stage}, {script}: {}\n{}", finding.verdict, drawn(outcome))),
    }
}

/// A recording that says something else of a wrong fix is noticed, and so is a shipped stage that is refuted.
fn what_is_not_so_is_noticed() -> Said {
    let wrong = &ALL[0];
    let recorded = recorded();
    let line = recorded.iter().find(|line| (line.stage.as_str(), line.name.as_str()) == (wrong.stage, wrong.name));
    let line = line.ok_or("the first is recorded")?;
    is_refuted(wrong, line)?;
    let other = if line.kind == "Leak" { "Hang" } else { "Leak" };
    if let Ok(said) = is_refuted(wrong, &Refuted { kind: other.to_string(), ..line.clone() }) {
        return Err(format!("it passes as a {other}: {said}"));
    }
    let refuted = looked_through(&find(wrong.stage, wrong.serve, &line.script)?);
    match is_clean(wrong.stage, &line.script, &refuted) {
        Ok(said) => Err(format!("it passes for a shipped one: {said}")),
        Err(_) => Ok(String::new()),
    }
}

/// The model of that name.
fn find(stage: &'static str, serve: Serve, script: &str) -> Result<Model, String> {
    let model = suite(stage, serve).into_iter().find(|model| script_of(model) == script);
    model.ok_or_else(|| format!("no model of {stage} is `{script}`"))
}

/// A stage that arms its sockets for good, and a client that shows it.
pub fn armed_for_good() -> Model {
    let is_it = |wrong: &&Wrong| (wrong.stage, wrong.name) == ("stage6_fixed", "rearm_without_one_shot");
    let wrong = ALL.iter().find(is_it).expect("it is in the list");
    find(wrong.stage, wrong.serve, "a request, one in two pieces, each event is one task").expect("it is in the suite")
}

/// The model that is recorded finds what is recorded. Where that is loom's, the search must find a wrong execution too,
/// unless it cannot.
fn is_refuted(wrong: &Wrong, line: &Refuted) -> Said {
    let Refuted { name, script, how, kind, .. } = line;
    let model = find(wrong.stage, wrong.serve, script)?;
    let searched = looked_through(&Model { cap: STATES, ..model.clone() });
    let by_loom = how.bound().map(|bound| explored_by_loom(&model, bound));
    let outcome = by_loom.as_ref().unwrap_or(&searched);
    let is_alone = matches!(how, How::Loom(_));
    match &outcome.finding {
        Some(finding)
            if format!("{:?}", finding.verdict.kind()) == *kind && searched.refutation().is_some() != is_alone =>
        {
            let text = finding.verdict.text.lines().next().unwrap_or_default();
            Ok(format!("{name}: {script}: {text}\n"))
        }
        _ => {
            let found = |outcome: &Outcome| outcome.finding.as_ref().map(|finding| finding.verdict.to_string());
            let (found, other) = (found(outcome), found(&searched));
            let drawn = drawn(outcome);
            Err(format!(
                "{name}, {script}: {kind} is recorded, and found was {found:?}, by the search {other:?}\n{drawn}"
            ))
        }
    }
}

pub fn all() -> Vec<Test> {
    let mut tests: Vec<Test> = SHIPPED
        .into_iter()
        .map(|(stage, serve)| test(&format!("gallery_{stage}"), 4, move || gallery(stage, serve)))
        .collect();
    tests.push(test("gallery_what_is_not_so_is_noticed", 1, what_is_not_so_is_noticed));
    tests.push(test("gallery_lists_every_patch_of_the_folder", 1, lists_every_patch));
    tests.push(test("gallery_models_have_names_of_their_own", 1, models_have_names));
    tests.push(test("gallery_a_patch_is_put_where_it_fits", 1, a_patch_is_put_where_it_fits));
    tests.push(test("gallery_a_patch_that_does_not_fit_is_an_error", 1, a_patch_that_does_not_fit_is_an_error));
    tests
}

fn patches(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let found = entries.flat_map(|path| if path.is_dir() { patches(&path) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect()
}

/// A patch that nobody lists would be refuted by nobody.
fn lists_every_patch() -> Said {
    let listed = ALL.iter().map(|wrong| (wrong.stage, wrong.name));
    let path = |(stage, name): (&str, &str)| format!("{}/{name}.patch", stage.split('_').next().unwrap_or(stage));
    let mut listed: Vec<PathBuf> = listed.map(|one| root().join("tests/loom/wrong").join(path(one))).collect();
    let mut there = patches(&root().join("tests/loom/wrong"));
    listed.sort();
    there.sort();
    if listed == there {
        return Ok(String::new());
    }
    let only = |of: &[PathBuf], other: &[PathBuf]| -> Vec<String> {
        of.iter().filter(|path| !other.contains(path)).map(|path| path.display().to_string()).collect()
    };
    Err(format!("only in the folder: {:?}; only in the list: {:?}", only(&there, &listed), only(&listed, &there)))
}

/// The recording names a model by its script.
fn models_have_names() -> Said {
    for (stage, serve) in SHIPPED {
        let mut names: Vec<_> = suite(stage, serve).iter().map(script_of).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two models of {stage} are `{}`", twice[0]));
        }
    }
    Ok(String::new())
}

const SOURCE: &str = "one\n    // ANCHOR: x\ntwo\n    // ANCHOR_END: x\n\nthree\ntwo\nfour\n";

fn apply(hunks: &str) -> Result<String, String> {
    patch::Patch::parse(&format!("stage: s\nwhy: because\n{hunks}"))?.apply(SOURCE)
}

fn a_patch_is_put_where_it_fits() -> Said {
    for (hunks, right) in [
        // The book's anchors are no part of it, and an empty line of context may have lost its blank.
        ("@@\n one\n-two\n+2\n\n", "one\n2\n\nthree\ntwo\nfour\n"),
        // In any order.
        ("@@\n-four\n@@\n+zero\n one\n", "zero\none\ntwo\n\nthree\ntwo\n"),
        ("@@\n three\n+3\n two\n+2\n", "one\ntwo\n\nthree\n3\ntwo\n2\nfour\n"),
    ] {
        if apply(hunks).as_deref() != Ok(right) {
            return Err(format!("{hunks}gave {:?}", apply(hunks)));
        }
    }
    let parsed = patch::Patch::parse("stage: s\nwhy: a: b\n@@\n-x\n")?;
    if (parsed.stage.as_str(), parsed.why.as_str(), parsed.diff.as_str()) != ("s", "a: b", "-x\n") {
        return Err(format!("{parsed:?}"));
    }
    Ok(String::new())
}

fn a_patch_that_does_not_fit_is_an_error() -> Said {
    for (hunks, why) in [
        ("", "no hunk"),
        ("@@\n one\n", "hunk 1 changes nothing"),
        ("@@\n-one\n+one\n", "hunk 1 changes nothing"),
        ("@@\n+one\n", "hunk 1 does not say where"),
        ("@@\n-five\n", "hunk 1 does not stand in the stage"),
        ("@@\n one\n-three\n", "hunk 1 does not stand in the stage"),
        ("@@\n-one\n@@\n-two\n", "hunk 2 stands in the stage more than once"),
        ("@@\n-one\n@@\n-one\n", "hunks 1 and 2 are about the same lines"),
        ("@@\n one\n-two\n@@\n-two\n \n", "hunks 1 and 2 are about the same lines"),
        ("@@\n*one\n", "hunk 1: `*one` begins with neither ' ' nor '-' nor '+'"),
    ] {
        match apply(hunks) {
            Err(error) if error == why => {}
            other => return Err(format!("{hunks}should be refused since {why}, and gave {other:?}")),
        }
    }
    for (text, why) in [
        ("why: w\n@@\n-x\n", "no `stage`"),
        ("stage: s\n@@\n-x\n", "no `why`"),
        ("stage: s\nwhy:\n@@\n-x\n", "`why:` is no line of a header"),
        ("stage: s\nstage: t\nwhy: w\n@@\n-x\n", "`stage` is said twice"),
        ("stage: s\nwho: w\n@@\n-x\n", "a header has no `who`"),
    ] {
        match patch::Patch::parse(text) {
            Err(error) if error == why => {}
            other => return Err(format!("{text}should be refused since {why}, and gave {other:?}")),
        }
    }
    Ok(String::new())
}
