//! `lab bench`, run as a reader does. Its figures are different every time: what is checked is that they are counted
//! from what happened, that a wrong server is found out, and that what is missing is named.
//!
//! ```text
//! cargo test --features bench --test bench
//! ```
#![cfg(target_os = "linux")]

mod support;

#[cfg(not(feature = "bench"))]
#[test]
fn without_the_feature_one_sentence_says_how_to_build_it() {
    let output = support::run("lab", &["bench", "stage2_reactor", "--connections", "10"]);
    assert_eq!(output.code(), Some(2), "{}", output.all());
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.all());
    assert!(output.stderr.contains("cargo run --release --features bench --bin lab -- bench"), "{}", output.all());
    let help = support::run("lab", &["bench", "--help"]);
    assert!(help.stdout.contains("--connections"), "{}", help.all());
}

#[cfg(feature = "bench")]
mod with_the_feature {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use lab::catalogue;
    use lab::http::HELLO;
    use serde_json::Value;

    use crate::support::{self, Output, finish};

    /// Runs `lab bench`, with the report as JSON.
    fn bench(arguments: &[&str]) -> (Output, Value) {
        let output = support::run("lab", &[&["bench", "--json"], arguments].concat());
        let report = serde_json::from_str(&output.stdout).unwrap_or(Value::Null);
        (output, report)
    }

    fn number(value: &Value) -> u64 {
        value.as_u64().unwrap_or_else(|| panic!("a number, and not {value}"))
    }

    /// Whether it is said of this system call that it could not be counted.
    fn missing(calls: &Value, name: &str) -> bool {
        calls["not_counted_by_name"].as_array().expect("a list").iter().any(|missing| missing == name)
    }

    /// The rounds of a row.
    fn rounds(row: &Value) -> &Vec<Value> {
        row["rounds"].as_array().expect("a row has rounds")
    }

    /// A server of the test's own: `reply` gives what is due to the request of that number (from 1), or `None` to
    /// close.
    fn server(reply: impl Fn(u64) -> Option<Vec<u8>> + Send + Sync + 'static) -> SocketAddr {
        server_that_looks(reply).0
    }

    /// What a server has seen.
    #[derive(Default)]
    struct Seen {
        requests: AtomicU64,
        /// The most requests that came before their first reply.
        deepest: AtomicU64,
    }

    fn server_that_looks(reply: impl Fn(u64) -> Option<Vec<u8>> + Send + Sync + 'static) -> (SocketAddr, Arc<Seen>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has one");
        let (reply, seen) = (Arc::new(reply), Arc::new(Seen::default()));
        let all_seen = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (reply, seen) = (reply.clone(), all_seen.clone());
                std::thread::spawn(move || serve(stream, &*reply, &seen));
            }
        });
        (address, seen)
    }

    fn serve(mut stream: TcpStream, reply: &dyn Fn(u64) -> Option<Vec<u8>>, seen: &Seen) {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..n]);
            let heads = bytes.windows(4).filter(|four| *four == b"\r\n\r\n").count();
            seen.deepest.fetch_max(heads as u64, Ordering::Relaxed);
            while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                bytes.drain(..end + 4);
                let Some(reply) = reply(seen.requests.fetch_add(1, Ordering::Relaxed) + 1) else { return };
                // In two pieces, so that the client has to put them together.
                let (first, second) = reply.split_at(reply.len() / 2);
                if stream.write_all(first).and_then(|()| stream.write_all(second)).is_err() {
                    return;
                }
            }
        }
    }

    /// A bench of a server of ours, one short round.
    fn bench_of(address: SocketAddr, more: &[&str]) -> (Output, Value) {
        let address = address.to_string();
        let plain = ["--address", &address, "--rounds", "1", "--seconds", "1", "--connections", "4", "--parts", "load"];
        bench(&[&plain, more].concat())
    }

    #[test]
    fn two_stages_are_measured_side_by_side_and_every_reply_is_accounted_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (saved, plot) = (folder.path().join("report.json"), folder.path().join("plot.svg"));
        let (saved, plot) = (saved.to_str().expect("UTF-8"), plot.to_str().expect("UTF-8"));
        let (output, report) = bench(&[
            "stage2_reactor",
            "stage4_fixed --workers 2",
            "--base",
            "stage4_fixed --workers 2",
            "--client",
            "embedded",
            "--rounds",
            "2",
            "--seconds",
            "1",
            "--connections",
            "20",
            "--save",
            saved,
            "--svg",
            plot,
        ]);
        assert_eq!(output.code(), Some(0), "{}", output.all());
        assert_eq!(number(&report["errors"]), 0, "{report:#}");
        let rows = report["load"].as_array().expect("rows");
        let names: Vec<&Value> = rows.iter().map(|row| &row["server"]).collect();
        assert_eq!(names, ["stage2_reactor", "stage4_fixed --workers 2"]);
        for row in rows {
            assert_eq!(rounds(row).len(), 2);
            for round in rounds(row) {
                // Each reply's body was compared, those that came after the end too.
                assert!(number(&round["requests"]) > 20, "{round}");
                assert!(number(&round["bodies_compared"]) >= number(&round["requests"]), "{round}");
                let latency = ["p50", "p90", "p99", "p99.9", "max"].map(|name| number(&round["latency_us"][name]));
                assert!(latency.is_sorted() && latency[0] > 0, "{latency:?}");
                assert!(round["cpu_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{round}");
            }
        }
        assert!(rows[1]["ratio_of_requests_per_second"].is_null(), "the base has no ratio to itself");
        assert!(rows[0]["ratio_of_requests_per_second"]["median"].as_f64().is_some_and(|ratio| ratio > 0.0));
        for server in report["servers"].as_array().expect("servers") {
            let idle = &server["idle"];
            assert_eq!((number(&idle["open"]), number(&idle["answered"])), (20, 20), "{idle}");
            let calls = &server["system_calls"];
            if calls.is_null() {
                assert!(report["notes"].to_string().contains("system calls were not counted"), "{report:#}");
                continue;
            }
            // From the connections' being open to their being closed, a reply is one send and at least one read.
            // (strace may miss the first calls of a thread.)
            assert!(number(&calls["all"]) > number(&calls["requests"]) || calls["tool"] == "strace", "{calls}");
            if missing(calls, "sendto") || missing(calls, "recvfrom") {
                eprintln!("skipped: the system calls were not counted by name: {calls}");
                continue;
            }
            let sends = number(&calls["calls"]["sendto"]);
            assert!(sends > 0 && number(&calls["all"]) > sends, "{calls}");
            if calls["tool"] == "perf" {
                assert_eq!(sends, number(&calls["requests"]), "{calls}");
                assert!(number(&calls["calls"]["recvfrom"]) >= sends, "{calls}");
            }
        }
        let saved = std::fs::read_to_string(saved).expect("it was saved");
        assert_eq!(saved, output.stdout, "the file has what standard output had");
        let plot = std::fs::read_to_string(plot).expect("it was plotted");
        assert!(plot.starts_with("<svg") && plot.matches("class=\"bar\"").count() == 4, "{plot}");
    }

    #[test]
    fn a_pipeline_of_either_client_brings_as_many_replies_as_requests() {
        let installed = std::process::Command::new("wrk").stdout(std::process::Stdio::null()).output().is_ok();
        for client in ["embedded", "wrk"].into_iter().filter(|client| *client == "embedded" || installed) {
            let flags =
                ["--pipeline", "16", "--rounds", "1", "--seconds", "1", "--connections", "8", "--parts", "load"];
            let (output, report) = bench(&[&flags, &["stage4_fixed", "--client", client][..]].concat());
            assert_eq!(output.code(), Some(0), "{client}: {}", output.all());
            let round = &rounds(&report["load"][0])[0];
            assert!(number(&round["requests"]) >= 16, "{client}: {round}");
            assert!(number(&round["bodies_compared"]) > 0, "{client}: {round}");
            let whole = number(&round["bodies_compared"]).is_multiple_of(16);
            assert!(client == "wrk" || whole, "what was asked was answered, in whole batches: {round}");

            let (address, seen) = server_that_looks(|_| Some(HELLO.to_vec()));
            let (output, _) = bench_of(address, &["--client", client, "--pipeline", "16"]);
            assert_eq!(output.code(), Some(0), "{client}: {}", output.all());
            assert_eq!(seen.deepest.load(Ordering::Relaxed), 16, "{client}: so many before the first reply");
        }
    }

    #[test]
    fn with_both_clients_the_ratio_is_to_wrk_on_the_same_server() {
        let flags = ["stage2_reactor", "--client", "both", "--rounds", "1", "--seconds", "1", "--connections", "8"];
        let (output, report) = bench(&[&flags, &["--parts", "load"][..]].concat());
        if std::process::Command::new("wrk").output().is_err() {
            assert_eq!(output.code(), Some(2), "{}", output.all());
            return;
        }
        assert_eq!(output.code(), Some(0), "{}", output.all());
        let [wrk, embedded] = [0, 1].map(|at| &report["load"][at]);
        assert_eq!((&wrk["client"], &embedded["client"]), (&"wrk".into(), &"embedded".into()));
        let rate = |row: &Value| rounds(row)[0]["requests_per_second"].as_f64().expect("a rate");
        let ratio = embedded["ratio_of_requests_per_second"]["median"].as_f64().expect("a ratio");
        assert!((ratio - rate(embedded) / rate(wrk)).abs() < 1e-9, "{report:#}");
        assert!(wrk["ratio_of_requests_per_second"].is_null());
    }

    /// The two that are asked before the round, and the batches of the first moment.
    const SOME: u64 = 50;

    #[test]
    fn another_body_is_found_and_the_command_fails() {
        let address = server(|n| {
            let mut reply = HELLO.to_vec();
            if n > SOME {
                *reply.last_mut().expect("it has a body") = b'?';
            }
            Some(reply)
        });
        for client in ["embedded", "wrk"] {
            let (output, report) = bench_of(address, &["--client", client]);
            if output.code() == Some(2) && client == "wrk" {
                continue;
            }
            if client == "embedded" {
                assert_eq!(output.code(), Some(1), "{}", output.all());
                let round = &rounds(&report["load"][0])[0];
                assert!(number(&round["errors"]["body"]) > 0, "{round}");
                assert!(round["cpu_seconds"].is_null(), "without --pid nobody knows its CPU: {round}");
            } else {
                // By now every body is the other one, and so the one that is due.
                assert_eq!(output.code(), Some(0), "{}", output.all());
            }
        }
    }

    #[test]
    fn the_cpu_of_a_server_of_ones_own_is_counted_where_its_process_is_told() {
        // A process without descendants: this one has those of the tests beside this one, and what they used is gone
        // when they end.
        let server =
            support::Server::start(support::command("stage2_reactor"), &[], std::time::Duration::from_secs(60));
        let (address, pid) = (server.address, server.child.id().to_string());
        let (output, report) = bench_of(address, &["--client", "embedded", "--pid", &pid]);
        assert_eq!(output.code(), Some(0), "{}", output.all());
        let round = &rounds(&report["load"][0])[0];
        assert!(round["cpu_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{round}");
        let (output, _) = bench_of(address, &["--client", "embedded", "--pid", "4194305"]);
        assert_eq!(output.code(), Some(2), "{}", output.all());
        assert!(output.stderr.contains("there is no process 4194305"), "{}", output.all());
    }

    #[test]
    fn a_server_is_started_by_its_command_for_each_round_and_ended_with_its_children() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pids = folder.path().join("pids");
        let stage = support::binary("stage2_reactor");
        // It serves from a child of the process that was started.
        let line =
            format!("own=sh -c '{} --serve 127.0.0.1:{{port}} & echo $! >> {}; wait'", stage.display(), pids.display());
        let flags =
            ["--rounds", "2", "--seconds", "1", "--connections", "4", "--parts", "load", "--client", "embedded"];
        let (output, report) = bench(&[&flags, &["stage2_reactor", "--start", &line][..]].concat());
        assert_eq!(output.code(), Some(0), "{}", output.all());
        let row = &report["load"][1];
        assert_eq!(row["server"], "own");
        for round in rounds(row) {
            assert!(number(&round["requests"]) > 0 && round["cpu_seconds"].as_f64().is_some_and(|cpu| cpu > 0.0));
        }
        let pids = std::fs::read_to_string(pids).expect("each wrote its own");
        assert_eq!(pids.lines().count(), 3, "once to learn its reply, and once a round: {pids}");
        // They were sent SIGTERM; a child that is not waited for is init's.
        for pid in pids.lines() {
            let path = format!("/proc/{pid}/cmdline");
            while std::fs::read(&path).is_ok_and(|line| !line.is_empty()) {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_command_that_does_not_serve_is_named() {
        for (line, why) in [
            ("own=exit 3 # {port}", "ends: exit status: 3"),
            ("own=sleep 100 # {port}", "does not answer on 127.0.0.1:"),
            ("own=sleep 100", "does not say where {port} goes"),
            ("{port}", "NAME=COMMAND"),
        ] {
            let (output, _) = bench(&["--start", line, "--rounds", "1", "--parts", "load"]);
            assert_eq!(output.code(), Some(2), "{line}: {}", output.all());
            assert!(output.stderr.contains(why), "{line}: {}", output.all());
        }
    }

    #[test]
    fn beside_wrk_a_sampler_finds_another_body() {
        if std::process::Command::new("wrk").output().is_err() {
            eprintln!("skipped: wrk is not installed");
            return;
        }
        let address = server(|n| {
            Some(if n > SOME { b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_vec() } else { HELLO.to_vec() })
        });
        let (output, report) = bench_of(address, &["--client", "wrk"]);
        assert_eq!(output.code(), Some(1), "{}", output.all());
        let round = &rounds(&report["load"][0])[0];
        assert!(number(&round["errors"]["body"]) > 0, "{round}");
    }

    #[test]
    fn another_status_a_broken_connection_and_a_reply_that_never_comes_are_counted_apart() {
        let unavailable = || Some(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec());
        for (kind, wrong) in [("status", unavailable as fn() -> _), ("lost", || None)] {
            let address =
                server(move |n| if n > SOME && n.is_multiple_of(10) { wrong() } else { Some(HELLO.to_vec()) });
            let (output, report) = bench_of(address, &["--client", "embedded"]);
            assert_eq!(output.code(), Some(1), "{kind}: {}", output.all());
            let errors = &rounds(&report["load"][0])[0]["errors"];
            for name in ["connect", "lost", "late", "status", "body"] {
                assert_eq!(number(&errors[name]) > 0, name == kind, "{kind}: {errors}");
            }
        }
        // An empty reply is none at all.
        let address = server(|n| Some(if n == SOME { Vec::new() } else { HELLO.to_vec() }));
        let (output, report) = bench_of(address, &["--client", "embedded"]);
        assert_eq!(output.code(), Some(1), "{}", output.all());
        let errors = &rounds(&report["load"][0])[0]["errors"];
        assert!(number(&errors["late"]) > 0, "{errors}");
    }

    #[test]
    fn what_cannot_be_measured_is_said_in_one_sentence() {
        let chunked = server(|_| Some(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec()));
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let (chunked, nobody) = (chunked.to_string(), nobody.to_string());
        for (arguments, why) in [
            (vec!["--address", &chunked], "no Content-Length"),
            (vec!["--address", &nobody], "nobody listens"),
            (vec!["--address", "here"], "HOST:PORT"),
            (vec!["stage99"], "there is no stage `stage99`"),
            (vec!["stage2_reactor", "--base", "stage4_fixed"], "none of the servers"),
            (vec!["stage2_reactor --no-such-flag"], "does not say where it listens"),
        ] {
            let (output, _) = bench(&[&arguments[..], &["--client", "embedded", "--connections", "4"]].concat());
            assert_eq!(output.code(), Some(2), "{arguments:?}: {}", output.all());
            let last = output.stderr.lines().last().unwrap_or_default();
            assert!(last.starts_with("lab bench: ") && last.contains(why), "{arguments:?}: {}", output.all());
        }
    }

    #[test]
    fn a_tool_that_is_missing_is_named() {
        let without = |arguments: &[&str]| {
            let mut command = support::command("lab");
            command.args(["bench", "stage2_reactor", "--rounds", "1", "--seconds", "1", "--connections", "4"]);
            command.args(arguments).env("PATH", "/nowhere");
            finish(command)
        };
        let output = without(&["--client", "wrk"]);
        assert_eq!(output.code(), Some(2), "{}", output.all());
        assert!(output.stderr.contains("wrk is not installed"), "{}", output.all());
        let output = without(&[]);
        assert_eq!(output.code(), Some(0), "{}", output.all());
        assert!(output.stdout.contains("embedded"), "{}", output.all());
        for tool in ["perf is not installed", "strace is not installed"] {
            let said = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(tool), "{tool}: {}", output.all());
        }
    }

    /// In a mount namespace of its own, where nobody has mounted the kernel's tracepoints.
    fn without_tracefs(command: &mut std::process::Command) {
        // SAFETY: system calls on constants, between fork and exec.
        unsafe {
            command.pre_exec(|| {
                let none = std::ptr::null();
                if libc::unshare(libc::CLONE_NEWNS) != 0
                    || libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) != 0
                {
                    return Err(std::io::Error::last_os_error());
                }
                for folder in [c"/sys/kernel/debug/tracing", c"/sys/kernel/tracing", c"/sys/kernel/debug"] {
                    // Where it is not mounted, all is as it should be.
                    libc::umount2(folder.as_ptr(), libc::MNT_DETACH);
                }
                Ok(())
            });
        }
    }

    #[test]
    fn the_first_one_who_asks_for_tracepoints_has_its_calls_counted_by_name_or_is_told_that_they_are_not() {
        let mut command = support::command("lab");
        command.args(["bench", "--json", "stage2_reactor", "--parts", "calls", "--connections", "4"]);
        without_tracefs(&mut command);
        // Only root may change what is mounted.
        let Some(output) = support::finish_in_namespace(command) else { return };
        assert_eq!(output.code(), Some(0), "{}", output.all());
        let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
        let calls = &report["servers"][0]["system_calls"];
        if calls.is_null() {
            assert!(report["notes"].to_string().contains("system calls were not counted"), "{report:#}");
            return;
        }
        assert!(missing(calls, "sendto") || number(&calls["calls"]["sendto"]) > 0, "{calls}");
        // On a machine that has them perf mounts them, and what it has mounted counts.
        assert!(!missing(calls, "sendto") || !Path::new("/sys/kernel/tracing/events").exists(), "{calls}");
    }

    /// The hard limit on open files.
    fn hard_limit() -> u64 {
        let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: getrlimit(2) writes the struct.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut files) };
        files.rlim_max
    }

    fn limit_files(command: &mut std::process::Command, soft: u64, hard: u64) {
        // SAFETY: one system call on a local, between fork and exec.
        unsafe {
            command.pre_exec(move || {
                let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
                libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
                Ok(())
            });
        }
    }

    #[test]
    fn ten_thousand_connections_or_as_many_as_the_limit_allows_are_open_at_once_and_all_served() {
        let connections = (hard_limit() - 64).min(10_000);
        let text = connections.to_string();
        let mut each = Vec::new();
        for stage in ["stage2_reactor", "stage4_fixed", "stage8_fixed", "stage9_sharded"] {
            if catalogue::find(stage).is_none() {
                continue;
            }
            let mut command = support::command("lab");
            command.args(["bench", "--json", stage, "--parts", "idle", "--connections", &text]);
            // The soft limit is low, and the command raises it.
            limit_files(&mut command, 256, hard_limit());
            let output = finish(command);
            assert_eq!(output.code(), Some(0), "{stage}: {}", output.all());
            let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
            let idle = &report["servers"][0]["idle"];
            assert_eq!((number(&idle["open"]), number(&idle["answered"])), (connections, connections), "{idle}");
            let bytes = |value: &Value| value.as_i64().expect("bytes") / connections as i64;
            assert!(bytes(&idle["kernel_both_ends"]) > 0, "{stage}: the kernel keeps something for a socket: {idle}");
            each.push((stage, bytes(&idle["memory_idle"]["rss"])));
        }
        // Two buffers of 4 KiB, written to: what is measured is what the source says.
        let of =
            |name| each.iter().find(|(stage, _)| *stage == name).map(|(_, bytes)| *bytes).expect("it was measured");
        assert!((8192..16384).contains(&of("stage4_fixed")), "{each:?}");
        assert!(of("stage2_reactor") < of("stage4_fixed"), "{each:?}");
    }

    #[test]
    fn more_connections_than_the_limit_allows_are_refused_in_one_sentence() {
        let mut command = support::command("lab");
        command.args(["bench", "stage2_reactor", "--parts", "idle", "--connections", "1000"]);
        limit_files(&mut command, 64, 200);
        let output = finish(command);
        assert_eq!(output.code(), Some(2), "{}", output.all());
        assert!(
            output.stderr.contains("1,000 connections need") && output.stderr.contains("ulimit"),
            "{}",
            output.all()
        );
    }

    /// The program, its server, and then the threads that connect; or those that ask, in whose place is the tool that
    /// counts system calls.
    #[test]
    fn a_refused_thread_is_one_sentence() {
        for (part, count) in [("load", 2), ("load", 4), ("calls", 6)] {
            if part == "calls" && std::process::Command::new("strace").arg("-V").output().is_err() {
                eprintln!("skipped: strace is not installed");
                continue;
            }
            let mut command = support::command("lab");
            command.args(["bench", "stage2_reactor", "--client", "embedded", "--parts", part]);
            command.args(["--connections", "8", "--threads", "4", "--seconds", "1", "--rounds", "1"]);
            support::with_threads(&mut command, count);
            let Some(output) = support::finish_in_namespace(command) else { return };
            let said = match part {
                // A figure that cannot be had is left out, and the report says why.
                "calls" => output.stdout.split_whitespace().collect::<Vec<_>>().join(" "),
                _ => output.stderr.clone(),
            };
            let (code, lines) = if part == "calls" { (0, 0) } else { (2, 1) };
            assert_eq!((output.code(), output.stderr.lines().count()), (Some(code), lines), "{}", output.all());
            assert!(said.contains("the kernel gives no more threads"), "{part}, {count}: {}", output.all());
        }
    }
}
