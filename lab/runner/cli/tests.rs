//! Each flag, and what it comes to.

use super::*;
use crate::catalogue;

fn parsed(stage: &str, flags: &[&str]) -> Options {
    let stage = catalogue::find(stage).expect("it is in the catalogue");
    parse(stage, [&["program"], flags].concat().into_iter().map(OsString::from))
}

fn what(flags: &[&str]) -> String {
    format!("{:?}", parsed("stage4_fixed", flags).what)
}

#[test]
fn without_a_flag_the_exhibit_runs_with_four_workers_and_ten_seconds_a_step() {
    let options = parsed("stage3_broken", &[]);
    assert!(matches!(options.what, What::Exhibit));
    assert_eq!((options.workers, options.limit, options.drain), (4, Some(Duration::from_secs(10)), 0));
    assert_eq!((options.heap, options.schedule, options.trace), (None, None, None));
    assert!(!options.json && !options.bare && options.flags == Flags::default());
}

#[test]
fn what_is_to_be_done_is_one_of_them() {
    assert_eq!(what(&["--wild"]), format!("{:?}", What::Wild { rounds: 100, seconds: 20 }));
    assert_eq!(
        what(&["--wild", "--rounds", "7", "--seconds", "9"]),
        format!("{:?}", What::Wild { rounds: 7, seconds: 9 })
    );
    assert_eq!(what(&["--repeat", "12"]), format!("{:?}", What::Repeat(12)));
    assert_eq!(what(&["--play"]), format!("{:?}", What::Play(Visitors { clients: vec![], stops: false })));
    let clients = vec!["connect".to_string()];
    let play = What::Play(Visitors { clients, stops: true });
    assert_eq!(what(&["--play", "--client", "connect", "--stop"]), format!("{play:?}"));
    assert_eq!(
        (parsed("stage4_fixed", &["--play"]).workers, parsed("stage4_fixed", &["--play", "--workers=3"]).workers),
        (2, 3)
    );
    assert_eq!(what(&["--serve", "127.0.0.1:8080"]), "Serve(127.0.0.1:8080)");
}

#[test]
fn a_search_has_two_workers_and_limits_of_its_own() {
    let search = |flags: &[&str]| {
        let options = parsed("stage4_broken", flags);
        let What::Search(search) = options.what else { panic!("{:?}", options.what) };
        (options.workers, search)
    };
    let (workers, all) = search(&["--search"]);
    assert_eq!((workers, all.which, all.runs, all.seconds), (2, Which::Several, 300, 60));
    assert_eq!(
        (all.seed, all.depth, all.visitors.stops, all.output, all.visitors.clients.len()),
        (1, 2, false, None, 0)
    );
    let flags = "--search --workers 3 --strategy pct --runs 7 --seconds 8 --seed 9 --depth 3 --client a --client b --stop --output o";
    let (workers, all) = search(&flags.split(' ').collect::<Vec<_>>());
    assert_eq!((workers, all.runs, all.seconds, all.seed, all.depth, all.visitors.stops), (3, 7, 8, 9, 3, true));
    assert_eq!((all.visitors.clients, all.output), (vec!["a".to_string(), "b".to_string()], Some("o".into())));
    for (name, which) in Which::all() {
        assert_eq!(search(&["--search", "--strategy", name]).1.which, which);
    }
    // The seconds of a wild run are as they were.
    assert!(what(&["--wild"]).contains("seconds: 20"));
}

#[test]
fn each_flag_is_its_own() {
    let flags =
        ["--json", "--bare", "--heap", "pages", "--workers", "9", "--limit", "3", "--trace", "t", "--schedule", "s"];
    let options = parsed("stage4_fixed", &flags);
    assert!(options.json && options.bare);
    assert_eq!((options.heap, options.workers, options.limit), (Some(Heap::Pages), 9, Some(Duration::from_secs(3))));
    let trace = Trace { path: "t".into(), format: Format::Json };
    assert_eq!((options.trace, options.schedule), (Some(trace), Some("s".into())));
    let perfetto = parsed("stage3_broken", &["--trace", "t", "--format", "perfetto"]).trace.map(|trace| trace.format);
    assert_eq!(perfetto, Some(Format::Perfetto));
    let options = parsed("stage4_fixed", &["--json", "--heap", "malloc", "--limit", "0"]);
    assert!(options.json && !options.bare);
    assert_eq!((options.heap, options.limit), (Some(Heap::Malloc), None), "0 is for ever");
    assert!(parsed("stage4_fixed", &["--bare"]).bare);
}

#[test]
fn the_flags_of_a_stage_are_its_readings() {
    let none = Flags::default();
    let flags = |stage, flag: &str| parsed(stage, &[flag]).flags;
    assert_eq!(flags("stage2_reactor", "--level"), Flags { level: true, ..none });
    assert_eq!(flags("stage2_reactor", "--lose-edge"), Flags { once: true, ..none });
    assert_eq!(flags("stage7_broken", "--tail"), Flags { tail: true, ..none });
    assert_eq!(flags("stage8_fixed", "--reuseport"), Flags { reuseport: true, ..none });
    let both = parsed("stage2_reactor", &["--level", "--lose-edge"]).flags;
    assert_eq!(both, Flags { level: true, once: true, ..none });
    assert_eq!(parsed("stage7_fixed", &[]).drain, 5000);
    assert_eq!(parsed("stage7_fixed", &["--drain", "0"]).drain, 0);
}

#[test]
fn only_a_server_of_shards_that_nobody_directs_has_a_reactor_for_each_core() {
    let serve = ["--serve", "127.0.0.1:0"];
    assert_eq!(parsed("stage9_sharded", &serve).workers, cores());
    assert_eq!(parsed("stage9_sharded", &[&serve[..], &["--workers", "4"]].concat()).workers, 4);
    assert_eq!(parsed("stage9_sharded", &[&serve[..], &["--workers", "3"]].concat()).workers, 3);
    assert_eq!(parsed("stage9_sharded", &[]).workers, 4);
    assert_eq!(parsed("stage8_fixed", &serve).workers, 4, "one listener for all");
    assert!((1..=MAX_THREADS).contains(&cores()));
}

#[test]
fn a_stage_has_the_flags_of_its_own_only() {
    let known = |stage: &str, flag: &str| {
        let stage = catalogue::find(stage).expect("it is in the catalogue");
        command(stage).try_get_matches_from(["program", flag]).is_ok()
    };
    for (flag, stages) in [
        ("--level", &["stage2_reactor"][..]),
        ("--lose-edge", &["stage2_reactor"]),
        ("--tail", &["stage7_broken", "stage7_fixed"]),
        ("--reuseport", &["stage8_fixed"]),
        ("--json", &["stage2_reactor", "stage3_fixed", "stage7_broken", "stage7_fixed", "stage8_fixed"]),
    ] {
        for stage in ["stage2_reactor", "stage3_fixed", "stage7_broken", "stage7_fixed", "stage8_fixed"] {
            assert_eq!(known(stage, flag), stages.contains(&stage), "{stage} {flag}");
        }
    }
}

#[test]
fn a_fault_is_a_call_that_fails_and_none_only_counts_them() {
    let stage = catalogue::find("stage4_fixed").expect("it is in the catalogue");
    let matches = |faults: &[&str]| {
        let faults = faults.iter().flat_map(|fault| ["--fault", fault]);
        command(stage).try_get_matches_from(["program", "--serve", "127.0.0.1:0"].into_iter().chain(faults))
    };
    for (faults, count) in [
        (&[][..], None),
        (&["none"][..], Some(0)),
        (&["write:154:2:105"], Some(1)),
        (&["write:154:2:short", "none", "accept:0:1:24"], Some(2)),
    ] {
        let found = matches(faults)
            .expect("it is well formed")
            .get_many::<Option<Fault>>("fault")
            .map(|faults| faults.flatten().count());
        assert_eq!(found, count, "{faults:?}");
    }
    for wrong in ["nothing", "write", "write:154:2:", ""] {
        assert!(matches(&[wrong]).is_err(), "{wrong}");
    }
}
