//! The odds, of rounds that were made up.

use super::*;
use std::panic::Location;

use crate::catalogue;
use crate::direct::client::SocketQueues;
use crate::direct::quiescence::Armed;
use crate::direct::quiescence::tests::FutexSleeper;
use crate::record::blackbox::MAIN;
use crate::record::wakeups::Counts;
use crate::runner::tests::{self, alone, alone_and_well, options, stage, text, went_well};

fn odds(rounds: u64, survived: u64) -> Odds {
    Odds { rounds, survived, ..Odds::default() }
}

#[test]
fn a_death_is_counted_by_its_end_with_the_life_that_it_ended() {
    let mut odds = odds(9, 6);
    for (end, played) in [("SIGSEGV", 4), ("a wrong reply", 2), ("SIGSEGV", 3)] {
        odds.died(end.to_string(), played).expect("it never fails");
    }
    assert_eq!(odds.ends, BTreeMap::from([("SIGSEGV".to_string(), 2), ("a wrong reply".to_string(), 1)]));
    assert_eq!((odds.lives, odds.survived), (vec![4, 2, 3], 6));
}

#[test]
fn a_round_that_looked_survived_is_taken_back_when_its_server_dies_of_it() {
    let mut late = odds(5, 5);
    late.died_after("SIGABRT".to_string(), 5).expect("it never fails");
    assert_eq!((late.survived, late.ends["SIGABRT"]), (4, 1));
    let mut known = odds(5, 4);
    known.died_after("SIGABRT".to_string(), 5).expect("it never fails");
    assert_eq!(known.survived, 4, "the round was not counted as survived");
    let mut second = odds(9, 8);
    second.died("a hang".to_string(), 3).expect("it never fails");
    second.died_after("SIGABRT".to_string(), 6).expect("it never fails");
    assert_eq!((second.survived, second.lives), (7, vec![3, 6]), "nor was the one that hung");
    let mut third = odds(9, 7);
    third.died("a hang".to_string(), 3).expect("it never fails");
    third.died_after("SIGABRT".to_string(), 6).expect("it never fails");
    assert_eq!((third.survived, third.lives), (7, vec![3, 6]));
}

#[test]
fn memory_that_was_freed_is_not_to_be_used_or_freed_until_it_is_given_out_again() {
    let saw = |deeds: &[(Kind, u64)]| {
        let blackbox = Blackbox::new(64).expect("there is a memfd");
        for (kind, a) in deeds {
            blackbox.record(MAIN, *kind, "", Location::caller(), *a, 0, 0);
        }
        Watch::default().saw_abuse(&blackbox)
    };
    use Kind::{Alloc, Free, Read, Use};
    assert!(!saw(&[(Alloc, 1), (Use, 1), (Free, 1), (Alloc, 2), (Use, 2), (Read, 1)]));
    assert!(saw(&[(Alloc, 1), (Free, 1), (Use, 1)]) && saw(&[(Alloc, 1), (Free, 1), (Free, 1)]));
    assert!(saw(&[(Free, 1), (Use, 1), (Alloc, 1), (Use, 1)]), "whatever comes later");
    assert!(!saw(&[(Alloc, 1), (Free, 1), (Alloc, 1), (Use, 1), (Free, 1)]), "it was given out again");
    assert!(!saw(&[(Free, 1), (Use, 2), (Free, 2)]), "another block");
}

#[test]
fn each_look_at_the_box_begins_where_the_last_one_ended() {
    let blackbox = Blackbox::new(64).expect("there is a memfd");
    let mut watch = Watch::default();
    let free = || blackbox.record(MAIN, Kind::Free, "", Location::caller(), 1, 0, 0);
    free();
    assert!(
        !watch.saw_abuse(&blackbox) && !watch.saw_abuse(&blackbox),
        "it is not freed once more by being seen twice"
    );
    free();
    assert!(watch.saw_abuse(&blackbox), "what was freed in another round is known");
    assert!(!watch.saw_abuse(&blackbox));
}

#[test]
fn a_hang_is_told_by_what_the_kernel_says_of_its_socket() {
    let told = |armed: Option<u32>, unread, another| {
        let connection = SocketQueues { unread, untaken: 0, inode: 1 };
        hang_of(&Proof { threads: vec![], connection, fd: None, armed: armed.map(Armed) }, another)
    };
    let one_shot = libc::EPOLLONESHOT as u32;
    assert_eq!(
        told(Some(one_shot), 9, true),
        "hang: all asleep, bytes wait, the socket is not armed (40000000); another client is served"
    );
    assert_eq!(
        told(Some(0x8000_2001), 0, false),
        "hang: all asleep, no bytes wait, the socket is armed for a new edge (80002001); no other client is served"
    );
    assert_eq!(
        told(Some(0x2001), 1, false),
        "hang: all asleep, bytes wait, the socket is armed (00002001); no other client is served"
    );
    assert_eq!(
        told(None, 1, true),
        "hang: all asleep, bytes wait, the socket is on no interest list; another client is served"
    );
}

#[test]
fn the_report_has_every_end_and_the_first_twelve_lives() {
    let stage = catalogue::find("stage3_broken").expect("it is in the catalogue");
    let mut odds = odds(30, 16);
    odds.ends = BTreeMap::from([("SIGSEGV".to_string(), 13), ("a wrong reply".to_string(), 1)]);
    odds.lives = (1..=13).collect();
    odds.abused = 20;
    let next = "  next      stage3_broken --search looks for the order in which it fails";
    let next = if cfg!(debug_assertions) {
        format!("{next}; a build with --release plays more rounds\n")
    } else {
        format!("{next}\n")
    };
    assert_eq!(
        odds.report(stage, Heap::Malloc),
        format!(
            "stage3_broken --wild: 10 MiB streamed, then an RST, 30 rounds; malloc, nobody directing

      16  survived
      13  SIGSEGV
       1  a wrong reply

  odds      47% of 30 rounds failed; at 95% 28% to 66% of all do
{next}
      20  of these rounds used freed memory, or freed it again: the black box saw it

  A server lived for so many rounds: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...
"
        )
    );
    odds.lives.truncate(12);
    let text = odds.report(stage, Heap::Malloc);
    assert!(text.ends_with("rounds: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12\n"), "{text}");
    let json = odds.json(stage, Heap::Pages);
    assert_eq!((&json["rounds"], &json["survived"], &json["used_freed_memory"]), (&30.into(), &16.into(), &20.into()));
    assert_eq!(
        (&json["ends"]["SIGSEGV"], &json["lives"][11], &json["herd"]),
        (&13.into(), &12.into(), &serde_json::Value::Null)
    );
    assert_eq!((&json["heap"], &json["stage"]), (&Heap::Pages.name().into(), &"stage3_broken".into()));
}

#[test]
fn a_report_without_ends_is_short_and_one_of_reactors_has_their_counts() {
    let stage = catalogue::find("stage8_fixed").expect("it is in the catalogue");
    let mut odds = odds(2, 2);
    let text = odds.report(stage, Heap::Malloc);
    let short = "stage8_fixed --wild: 32 connections one after another, then 32 at once, 2 rounds; malloc, nobody directing\n\n       2  survived\n\n  odds ";
    assert!(text.starts_with(short) && text.lines().count() == 6, "{text}");
    odds.herd.reactors = vec![Counts { woken: 3, empty: 1, accepted: 2, exhausted: 0, slept: 8 }];
    let text = odds.report(stage, Heap::Malloc);
    let counts = "  herd      0.50 wake-ups in vain a connection\n  wake-ups  3 for 2 connections; 1 of them found nobody to accept\n  \
                  slept     8 times, 4.00 a connection\n  accepted  2 by 1 reactor\n";
    assert!(text.contains(counts), "{text}");
    assert_eq!(odds.json(stage, Heap::Malloc)["herd"][0]["empty"], 1);
}

#[test]
fn every_scenario_is_named_by_what_its_client_does() {
    let scenario = |name: &str| {
        let stage = catalogue::exhibits().find(|stage| stage.name == name).expect("it is in the catalogue");
        Odds::scenario(stage)
    };
    assert_eq!(scenario("stage4_fixed"), "10 MiB uploaded");
    assert_eq!(scenario("stage6_fixed"), "a request in two writes");
    assert_eq!(scenario("stage7_fixed"), "a GET, and then the server is told to stop");
    assert_eq!(scenario("stage7_fixed --tail"), "a GET, and at once the end of the client's side");
    let crowd = format!(
        "{} visits of {CLIENTS} clients at a time, every other one breaking off after 2,000 requests",
        CLIENTS * VISITS
    );
    assert_eq!(scenario("stage5_fixed"), crowd);
}

#[test]
fn a_server_that_sleeps_in_futex_never_stops_and_one_that_has_ended_has() {
    let blackbox = process::new_blackbox().expect("there is a memfd");
    let mut process = process::tests::process("exec sleep 1000");
    let oracle = |server| HangOracle { blackbox, server, port: 1, limit: ROUND };
    let sleeper = FutexSleeper::new(blackbox);
    assert!(never_stops(&mut process, &oracle(sleeper.0)), "that process sleeps; the other one has not ended");
    process.kill();
    process.end(ROUND);
    assert!(!never_stops(&mut process, &oracle(sleeper.0)), "it has ended");
}

#[test]
fn what_so_many_rounds_say_of_the_next_is_an_interval() {
    for (rounds, survived, says) in [
        (7, 7, "none of 7 rounds failed: at 95% at most 35% of all do"),
        (1, 1, "none of 1 round failed: at 95% at most 95% of all do"),
        (300, 300, "none of 300 rounds failed: at 95% at most 0.99% of all do"),
        (7, 0, "all of 7 rounds failed: at 95% at least 65% of all do"),
        // Clopper and Pearson for 1 of 10: 0.25% to 44.5%.
        (10, 9, "10% of 10 rounds failed; at 95% 0.25% to 45% of all do"),
        (2154, 2150, "0.19% of 2,154 rounds failed; at 95% 0.051% to 0.47% of all do"),
    ] {
        assert_eq!(odds(rounds, survived).share(), says);
    }
}

#[test]
fn no_two_uploads_of_a_round_have_the_same_reply() {
    let all = (0..CLIENTS).flat_map(|number| (0..VISITS).map(move |visit| plan_of(number, visit, true).reply()));
    let replies: std::collections::BTreeSet<_> = all.collect();
    assert_eq!(replies.len() as u64, CLIENTS * VISITS);
    assert_eq!(plan_of(1, 2, false), Plan::Get(BURST));
}

#[test]
fn a_wide_line_goes_on_under_its_text_and_no_word_is_lost() {
    let text = "stage4_broken --wild: 10 MiB uploaded\n\n  2150  survived\n\n  odds      none of 9 rounds failed\n";
    assert_eq!(folded(text, 80), text);
    assert_eq!(
        folded(text, 34),
        "stage4_broken --wild: 10 MiB\nuploaded\n\n  2150  survived\n\n  odds      none of 9 rounds\n            failed\n"
    );
    let long = odds(9, 3);
    let report = Odds { abused: 4, lives: vec![1, 2, 3], ..long }
        .report(catalogue::find("stage4_broken").expect("it is there"), Heap::Malloc);
    let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
    for width in 1..100 {
        let folded = folded(&report, width);
        assert_eq!(words(&folded), words(&report));
        // Below that a line stays as it is: the terminal breaks it.
        assert!(width < 40 || folded.lines().all(|line| line.chars().count() <= width), "{width}: {folded}");
    }
}

#[test]
fn a_crowd_that_finds_nobody_says_so() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    assert_eq!(crowd(port).map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionRefused));
}

/// What comes of at most three rounds with such a server.
fn three_rounds(name: &str, serve: Serve) -> Odds {
    let (mut odds, setup) = (Odds::default(), tests::setup(name, serve));
    life(stage(name), Setup { mode: Mode::Recorded, ..setup }, &mut odds, |odds| odds.rounds < 3).expect("it starts");
    odds
}

#[test]
fn a_life_is_told_by_its_rounds_and_by_how_it_ended() {
    alone_and_well("runner::wild::tests::a_life_is_told_by_its_rounds_and_by_how_it_ended", || {
        let panic = "panic: two are too many";
        let hang = "hang: all asleep, no bytes wait, the socket is on no interest list; no other client is served";
        let stuck = "it does not stop: all that is left of it waits for each other, asleep in futex";
        let dismissed = "a client is dismissed without a reply";
        // Rounds in all, those survived, those with an abuse, and how it ended after how many.
        for (name, serve, rounds, survived, abused, end) in [
            ("stage6_fixed", tests::serves as Serve, 3, 3, 0, None),
            ("stage6_fixed", tests::frees_twice, 3, 3, 3, None),
            ("stage6_fixed", tests::panics_at_the_second, 2, 1, 0, Some((panic, 2))),
            ("stage6_fixed", tests::answers_wrong, 1, 0, 0, Some(("a wrong reply", 1))),
            ("stage6_fixed", tests::dismisses, 1, 0, 0, Some((dismissed, 1))),
            ("stage6_fixed", tests::never_answers, 1, 0, 0, Some((hang, 1))),
            // One round is a life, where the server is told to stop.
            ("stage7_fixed", tests::serves, 1, 1, 0, None),
            ("stage7_fixed", tests::never_stops, 1, 0, 0, Some((stuck, 1))),
        ] {
            let odds = three_rounds(name, serve);
            let ends: Vec<_> = odds.ends.iter().map(|(end, count)| (end.as_str(), *count)).collect();
            let wanted: Vec<_> = end.into_iter().map(|(end, _)| (end, 1)).collect();
            assert_eq!((odds.rounds, odds.survived, odds.abused, ends), (rounds, survived, abused, wanted), "{name}");
            assert_eq!(odds.lives, end.map(|(_, life)| life).into_iter().collect::<Vec<u64>>(), "{name} {end:?}");
        }
    });
}

#[test]
fn rounds_are_played_until_there_were_enough_or_the_time_is_over() {
    let name = "runner::wild::tests::rounds_are_played_until_there_were_enough_or_the_time_is_over";
    let Some(output) = alone(name) else {
        for (rounds, seconds) in [(4, 1000), (4, 0)] {
            let options = options("stage7_fixed", &[]);
            let end = run(stage("stage7_fixed"), tests::serves, &options, rounds, seconds).expect("it starts");
            assert_eq!(end, End::Code(0));
        }
        return;
    };
    went_well(&output);
    // As wide as the terminal is.
    let said = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let odds = |rounds: u64| said.find(&format!("{rounds} rounds; malloc, nobody directing {rounds} survived"));
    assert!(odds(4).is_some() && odds(4) < odds(0), "{said}");
}
