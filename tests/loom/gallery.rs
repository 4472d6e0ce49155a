//! Wrong fixes. Each is a patch on a shipped stage (`wrong/`, with a sentence of why somebody would write it), and a model that
//! the stage passes refutes it: `chapters/recorded/wrong_fixes.txt` says which, how, and at which bound.
//!
//! `LAB_RECORD=1 cargo test --test loom gallery` looks through all models of a stage, with a rising bound, and writes that
//! file. Otherwise only the model that is written there is explored, once with the patch and once without.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use real::schedule::Plan;

use crate::model::{Model, Script};
use crate::models::{self, Said, Test, drawn, model, requests, test, upload};
use crate::runner::Serve;
use crate::sharded::{self, EARLY};
use crate::world::{Grain, Kind, Rules};
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
        write_unwrapped,
    },
}

/// Patches that wait for something the facades do not have yet.
const LATER: &[(&str, &str)] = &[];

/// The search goes no further: more preemptions, or more executions of one model.
const MOST: usize = 4;
const CAP: usize = 60_000;

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
                ruled(two_tasks, stage6::pieces("a request in two pieces, and each event is one task", "dd")),
            ]);
        }
        "stage7_fixed" => {
            suite.extend(sound(stage7::models(serve)));
            suite.extend([
                plain(requests("a second client's request, stop, FIN", "cdsf")),
                plain(requests("a second client, stop, FIN", "csf")),
                plain(requests("data, stop, the limit", "dst")),
                plain(stage6::one_and_pieces("a request and a piece, stop, the limit", "dst")),
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
    bound: usize,
    kind: String,
    executions: usize,
    text: String,
}

impl Refuted {
    fn line(&self) -> String {
        let Refuted { stage, name, script, bound, kind, executions, text } = self;
        format!("{stage} | {name} | {script} | {bound} | {kind} | {executions} | {text}\n")
    }

    fn parse(line: &str) -> Option<Refuted> {
        let mut columns = line.splitn(7, " | ").map(str::to_string);
        let mut next = || columns.next();
        Some(Refuted {
            stage: next()?,
            name: next()?,
            script: next()?,
            bound: next()?.parse().ok()?,
            kind: next()?,
            executions: next()?.parse().ok()?,
            text: next()?,
        })
    }
}

const HEAD: &str = "stage | wrong fix | script that refutes it | up to so many preemptions | finding | at execution | in its own words\n";
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
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all = recorded();
    all.retain(|other| other.stage != stage);
    all.extend(lines);
    all.sort_by_key(|line| ALL.iter().position(|wrong| wrong.stage == line.stage && wrong.name == line.name));
    let text: String = all.iter().map(Refuted::line).collect();
    std::fs::write(root().join(RECORDING), HEAD.to_string() + &text).map_err(|error| format!("{RECORDING}: {error}"))
}

/// The model that refutes it within the fewest preemptions, the cheapest first.
fn search(wrong: &Wrong) -> Option<Refuted> {
    for bound in 1..=MOST {
        for model in suite(wrong.stage, wrong.serve) {
            if model.bound.is_some_and(|most| bound > most) {
                continue;
            }
            let outcome = Model { bound: Some(bound), cap: CAP, ..model.clone() }.explore();
            let found = outcome.finding.map(|finding| finding.verdict).filter(|verdict| verdict.kind != Kind::Capped);
            if let Some(verdict) = found {
                return Some(Refuted {
                    stage: wrong.stage.to_string(),
                    name: wrong.name.to_string(),
                    script: script_of(&model),
                    bound,
                    kind: format!("{:?}", verdict.kind),
                    executions: outcome.executions,
                    text: verdict.text.lines().next().unwrap_or_default().to_string(),
                });
            }
        }
    }
    None
}

/// All wrong fixes of a stage, and the stage itself.
fn gallery(stage: &'static str, shipped: Serve) -> Said {
    let of_stage = || ALL.iter().filter(|wrong| wrong.stage == stage);
    let (mut said, mut passed) = (String::new(), Vec::new());
    if std::env::var_os("LAB_RECORD").is_some() {
        let mut lines = Vec::new();
        for wrong in of_stage() {
            match search(wrong) {
                Some(line) => lines.push(line),
                None => passed.push(wrong.name),
            }
        }
        record(stage, lines)?;
    }
    let recorded = recorded();
    let recorded: Vec<&Refuted> = recorded.iter().filter(|line| line.stage == stage).collect();
    let model_of = |line: &Refuted, serve| {
        let model = suite(stage, serve).into_iter().find(|model| script_of(model) == line.script)?;
        Some(Model { bound: Some(line.bound), ..model })
    };
    for wrong in of_stage() {
        let Some(line) = recorded.iter().find(|line| line.name == wrong.name) else {
            passed.push(wrong.name);
            continue;
        };
        let model = model_of(line, wrong.serve).ok_or_else(|| format!("no model of {stage} is `{}`", line.script))?;
        let outcome = model.explore();
        match &outcome.finding {
            Some(finding) if format!("{:?}", finding.verdict.kind) == line.kind => {
                let (name, script, verdict) = (wrong.name, &line.script, &finding.verdict.text);
                writeln!(said, "{name}: {script}, up to {} preemptions: {verdict}", line.bound)
                    .expect("a string has room");
            }
            found => {
                let found = found.as_ref().map_or("nothing".to_string(), |finding| finding.verdict.to_string());
                let (name, script, kind) = (wrong.name, &line.script, &line.kind);
                return Err(format!(
                    "{name}, {script}: {kind} is recorded, and found was: {found}\n{}",
                    drawn(&outcome)
                ));
            }
        }
    }
    passed.sort_unstable();
    passed.dedup();
    if !passed.is_empty() {
        return Err(format!("{said}not refuted by any model of {stage}: {}", passed.join(", ")));
    }
    // The control: what refutes the wrong ones finds nothing in the right one.
    let mut controls: Vec<_> = recorded.iter().map(|line| (&line.script, line.bound)).collect();
    controls.sort_unstable();
    controls.dedup();
    for line in
        controls.iter().map(|(script, bound)| recorded.iter().find(|l| (&l.script, l.bound) == (*script, *bound)))
    {
        let line = line.expect("it comes from there");
        let model = model_of(line, shipped).ok_or_else(|| format!("no model of {stage} is `{}`", line.script))?;
        let outcome = model.explore();
        if let Some(finding) = &outcome.finding {
            return Err(format!("the shipped {stage}, {}: {}\n{}", line.script, finding.verdict, drawn(&outcome)));
        }
        writeln!(said, "shipped: {}, up to {} preemptions: {outcome}: nothing found", line.script, line.bound)
            .expect("a string has room");
    }
    Ok(said)
}

pub fn all() -> Vec<Test> {
    let mut tests: Vec<Test> = SHIPPED
        .into_iter()
        .map(|(stage, serve)| test(&format!("gallery_{stage}"), 4, move || gallery(stage, serve)))
        .collect();
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
    let listed = ALL.iter().map(|wrong| (wrong.stage, wrong.name)).chain(LATER.iter().copied());
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
