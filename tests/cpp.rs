//! The C++ twins of stages 3 and 4: compiled and run under AddressSanitizer and ThreadSanitizer. The broken ones must
//! be reported, each for its own reason, and the fixed ones must be clean.
//!
//! `LAB_RECORD=1 cargo test --test cpp` writes the reports that the book shows; otherwise they are compared.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ADDRESS: &[&str] = &["-g", "-fsanitize=address"];
const THREAD: &[&str] = &["-g", "-fsanitize=thread"];
const PLAIN: &[&str] = &["-O2"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("chapters/cpp")
}

fn source(twin: &str) -> String {
    fs::read_to_string(folder().join(format!("{twin}.cpp"))).unwrap()
}

/// Compiles `twin` and runs it. `None` if there is no g++ with its sanitizers here, which in CI is a failure.
fn run(twin: &str, flags: &[&str]) -> Option<Output> {
    run_file(&folder().join(format!("{twin}.cpp")), flags)
}

fn run_file(file: &Path, flags: &[&str]) -> Option<Output> {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("twin");
    let compiled = Command::new("g++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .args(flags)
        .arg("-I")
        .arg(folder())
        .arg(file)
        .arg("-o")
        .arg(&program)
        .output();
    let missing = match compiled {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(["asan", "tsan"].iter().any(|lib| text.contains(&format!("cannot find -l{lib}"))), "{text}");
            Some("the libraries of g++'s sanitizers")
        }
        Err(_) => Some("g++"),
    };
    if let Some(missing) = missing {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing} is missing (Debian: apt install g++)");
        eprintln!("skipped: {missing} is missing (Debian: apt install g++)");
        return None;
    }
    // With much randomness in the address space (vm.mmap_rnd_bits above 28), older sanitizers do not start.
    let machine = std::env::consts::ARCH;
    let fixed_addresses = Command::new("setarch")
        .args([machine, "-R", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let mut command = Command::new("timeout");
    command.arg("60");
    if fixed_addresses {
        command.args(["setarch", machine, "-R"]);
    }
    let output = command.arg(&program).env_remove("ASAN_OPTIONS").env_remove("TSAN_OPTIONS").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !text.contains("unexpected memory mapping"),
        "the sanitizer cannot run in this address space: sysctl vm.mmap_rnd_bits=28\n{text}"
    );
    assert!(!text.contains("came to a halt"), "{text}");
    Some(output)
}

/// The lines of the reports that matter, one report for each of `wanted`: the first with that text in it. Frames of
/// the libraries, addresses, ids and folders are left out.
fn reports(stderr: &str, wanted: &[&str]) -> String {
    let all: Vec<&str> = stderr.split("==================\n").filter(|part| part.contains("Sanitizer: ")).collect();
    let mut out = String::new();
    for wanted in wanted {
        let report = all.iter().find(|report| report.contains(wanted));
        let report = report.unwrap_or_else(|| panic!("no report has {wanted:?}:\n{stderr}"));
        if !out.is_empty() {
            out.push('\n');
        }
        let mut shown = true;
        for line in report.lines().take_while(|line| !line.starts_with("SUMMARY")) {
            let text = line.trim_start();
            if let Some(frame) = text.strip_prefix('#') {
                if let Some(frame) = own_frame(frame).filter(|_| shown) {
                    out.push_str(&format!("    {frame}\n"));
                }
            } else if !text.is_empty() {
                // Where threads come from, and what the block was, is said elsewhere on the page.
                shown = !["Thread ", "Location ", "0x"].iter().any(|start| text.starts_with(start));
                if shown {
                    out.push_str(&format!("{}\n", heading(text, report)));
                }
            }
        }
    }
    out
}

/// `#1 0x55e in work(Queue&) /home/me/stage3_broken.cpp:58:9 (twin+0x38)` becomes `work stage3_broken.cpp:58`.
fn own_frame(frame: &str) -> Option<String> {
    let (_, frame) = frame.split_once(' ')?;
    let frame = if frame.starts_with("0x") { frame.split_once(" in ")?.1 } else { frame };
    // What the sanitizer saw the program call.
    for call in ["operator delete[]", "operator delete", "operator new[]", "operator new", "recv", "close"] {
        if frame.strip_prefix(call).is_some_and(|rest| rest.starts_with(['(', ' '])) {
            return Some(call.to_string());
        }
    }
    let (function, place) = frame.split(" (").next()?.rsplit_once(' ').filter(|(_, place)| place.contains(".cpp:"))?;
    let mut place = place.rsplit('/').next()?.split(':');
    let (file, line) = (place.next()?, place.next()?);
    let function = function.split('(').next()?;
    file.starts_with("stage").then(|| format!("{function} {file}:{line}"))
}

/// A line of a report without what changes from run to run, and with the thread's name beside its number.
fn heading(text: &str, report: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.starts_with("(pid=")) {
        let word = match word.strip_prefix("==").and_then(|word| word.split_once("==")) {
            Some((_, rest)) => rest,
            None => word,
        };
        if word.starts_with("0x") {
            // "on address 0x… at pc 0x…", "at 0x…"
            while words.last().is_some_and(|word| ["on", "at", "address", "pc", "bp", "sp"].contains(&word.as_str())) {
                words.pop();
            }
            continue;
        }
        words.push(word.to_string());
    }
    let line = words.join(" ");
    let Some((before, number)) = line.strip_suffix(':').and_then(|line| line.rsplit_once(" thread T")) else {
        return line;
    };
    match report.split_once(&format!("Thread T{number} '")).and_then(|(_, rest)| rest.split_once('\'')) {
        Some((name, _)) => format!("{before} thread T{number} ({name}):"),
        None => line,
    }
}

/// Runs a broken twin and compares its reports with the recorded ones.
fn reported(twin: &str, flags: &[&str], code: i32, kind: &str, wanted: &[&str], recorded: &str) {
    let Some(output) = run(twin, flags) else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(kind), "{twin} is not reported as {kind}:\n{stderr}");
    same(&reports(&stderr, wanted), recorded);
}

/// Compares with what the book shows, or writes it.
fn same(text: &str, recorded: &str) {
    let file = folder().join("../recorded").join(recorded);
    if std::env::var_os("LAB_RECORD").is_some_and(|value| value == "1") {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{recorded} is out of date; LAB_RECORD=1 cargo test --test cpp writes it");
}

/// Runs a fixed twin, under both sanitizers and without one: it says `said`, and nothing else.
fn clean(twin: &str, said: &str, recorded: &str) {
    for flags in [ADDRESS, THREAD, PLAIN] {
        let Some(output) = run(twin, flags) else { return };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""), "{twin} {flags:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{twin} {flags:?}");
    }
    same(said, recorded);
}

#[test]
fn address_sanitizer_sees_stage3_use_a_freed_session() {
    let kind = "ERROR: AddressSanitizer: heap-use-after-free";
    reported("stage3_broken", ADDRESS, 1, kind, &["heap-use-after-free"], "cpp_stage3_asan.txt");
}

#[test]
fn thread_sanitizer_sees_stage3_delete_what_a_worker_uses() {
    // First the descriptor, closed under its reader; then the memory; then its use.
    let wanted = ["Location is file descriptor", "by main thread:\n    #0 operator delete", "heap-use-after-free"];
    let kind = "WARNING: ThreadSanitizer: data race";
    reported("stage3_broken", THREAD, 66, kind, &wanted, "cpp_stage3_tsan.txt");
}

#[test]
fn address_sanitizer_sees_stage4_free_one_buffer_twice() {
    let kind = "ERROR: AddressSanitizer: attempting double-free";
    reported("stage4_broken", ADDRESS, 1, kind, &["double-free"], "cpp_stage4_asan.txt");
}

#[test]
fn thread_sanitizer_sees_two_workers_in_one_session_of_stage4() {
    let kind = "WARNING: ThreadSanitizer: data race";
    let wanted = ["in drain(Session", "operator delete[](void*) "];
    reported("stage4_broken", THREAD, 66, kind, &wanted, "cpp_stage4_tsan.txt");
}

#[test]
fn stage3_fixed_is_clean_in_the_same_order() {
    clean("stage3_fixed", "served: 16384 bytes received\n", "cpp_stage3_fixed.txt");
}

#[test]
fn stage4_fixed_is_clean_and_refuses_what_the_lock_forbids() {
    let said = [
        "served: 36 bytes received, 2 replies",
        "refused: worker-2 rearm (it waited for a lock)",
        "refused: worker-2 free (it waited for a lock)",
        "",
    ];
    clean("stage4_fixed", &said.join("\n"), "cpp_stage4_fixed.txt");
}

/// The control: if the report of stage 4 is about the window, then without a lock, but with the buffer replaced before
/// the socket is armed again, there is nothing to report.
#[test]
fn without_the_window_thread_sanitizer_has_nothing_to_report() {
    let source = source("stage4_broken");
    let (before, rest) = source.split_once("    // The kernel may watch").unwrap();
    let (rearm, rest) = rest.split_once("    // The message goes on").unwrap();
    let (renew, after) = rest.split_once("}\n// ANCHOR_END: worker").unwrap();
    let mut control = format!(
        "{before}    // The message goes on{renew}    // The kernel may watch{rearm}}}\n// ANCHOR_END: worker{after}"
    );
    // The first worker goes to take its next task only when the second has had this one.
    let take = r#"{"client", "receive"}, {"worker-1", "take"}"#;
    for (step, instead) in [
        (r#"{"worker-1", "free"}, "#, ""),
        (r#"{"worker-2", "free"}, "#, ""),
        (r#"{"worker-1", "fresh"},"#, ""),
        (r#"{"client", "receive"}"#, take),
    ] {
        assert_eq!(control.matches(step).count(), 1, "{step}");
        control = control.replace(step, instead);
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("stage4_control.cpp");
    fs::write(&file, control).unwrap();
    let Some(output) = run_file(&file, THREAD) else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""));
}

#[test]
fn the_twins_differ_only_inside_the_lesson() {
    for stage in ["stage3", "stage4"] {
        let [broken, fixed] = ["broken", "fixed"].map(|end| {
            let (mut outside, mut inside, mut lesson) = (Vec::new(), 0, false);
            for line in source(&format!("{stage}_{end}")).lines() {
                match line.trim() {
                    "// ANCHOR: lesson" => lesson = true,
                    "// ANCHOR_END: lesson" => lesson = false,
                    _ if lesson => inside += 1,
                    _ => outside.push(line.to_string()),
                }
            }
            assert!(inside <= 30, "{stage}_{end}: {inside} lines of lesson");
            outside
        });
        assert_eq!(broken, fixed, "{stage}");
    }
}
