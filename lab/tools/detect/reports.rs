//! What kinds of reports a tool has printed. A kind is the tool's own word for what is wrong, without addresses, sizes
//! and threads, so that two runs can be compared.

use std::collections::BTreeSet;

/// Kinds of reports.
pub type Kinds = BTreeSet<String>;

/// The words before the first of `ends`.
fn before<'a>(text: &'a str, ends: &[&str]) -> &'a str {
    let end = ends.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].trim_end_matches([' ', ':', '.'])
}

/// What the sanitizers say on standard error, except of the process `parent`, which is the lab's own.
///
/// A report of AddressSanitizer begins `==PID==ERROR: AddressSanitizer: KIND on address ...`, one of ThreadSanitizer
/// `WARNING: ThreadSanitizer: KIND (pid=PID)`.
pub fn sanitizer(stderr: &str, parent: u32) -> Kinds {
    let mut kinds = Kinds::new();
    for line in stderr.lines() {
        if let Some((head, said)) = line.split_once("ERROR: ").filter(|(head, _)| head.starts_with("==")) {
            let Some((sanitizer, kind)) = said.split_once("Sanitizer: ") else { continue };
            let known = ["Address", "Leak"].contains(&sanitizer);
            if known && head.trim_matches('=') != parent.to_string() {
                kinds.insert(
                    before(kind, &[" on ", " in ", " (", " 0x", ": "]).trim_start_matches("attempting ").to_string(),
                );
            }
        } else if let Some(said) = line.strip_prefix("WARNING: ThreadSanitizer: ") {
            let (kind, rest) = said.split_once(" (pid=").unwrap_or((said, ""));
            if rest.trim_end_matches(')') != parent.to_string() {
                kinds.insert(kind.to_string());
            }
        }
    }
    kinds
}

/// What stands before each error of valgrind (`--error-markers`).
pub const MARKER: &str = "lab-caught-error";

/// What valgrind's tools say on standard error, with [`MARKER`] before each error, except of the process `parent`.
pub fn valgrind(stderr: &str, parent: u32) -> Kinds {
    let mut kinds = Kinds::new();
    // The processes that have begun an error and not said yet what it is: threads are announced first.
    let mut begun = BTreeSet::new();
    for line in stderr.lines() {
        let Some((pid, said)) = line.strip_prefix("==").and_then(|line| line.split_once("==")) else { continue };
        let (pid, said) = (pid.trim(), said.trim());
        if said == MARKER {
            begun.insert(pid);
        } else if !is_introduction(said) && begun.remove(pid) && pid != parent.to_string() {
            kinds.insert(valgrind_kind(said));
        }
    }
    kinds
}

/// Whether a line of valgrind's only introduces a thread: a rule, a name, where the thread was created.
fn is_introduction(said: &str) -> bool {
    let thread = said.strip_prefix("Thread ").is_some_and(|rest| {
        rest.ends_with(" was created")
            || rest.ends_with("program's root thread")
            || (!rest.starts_with('#') && rest.ends_with(':'))
    });
    said.is_empty() || thread || ["---", "at 0x", "by 0x"].iter().any(|start| said.starts_with(start))
}

/// `Invalid read of size 8` becomes `invalid read`.
fn valgrind_kind(said: &str) -> String {
    let known = [
        ("Possible data race", "possible data race"),
        ("Conflicting ", "conflicting accesses"),
        ("Invalid free()", "invalid free"),
    ];
    if let Some((_, kind)) = known.iter().find(|(start, _)| said.starts_with(start)) {
        return kind.to_string();
    }
    let said = match said.strip_prefix("Thread #").and_then(|rest| rest.split_once([' ', ':'])) {
        Some((_, rest)) => rest.trim_start_matches([' ', ':', '\'']),
        None => said,
    };
    let mut kind = before(said, &[" of size", " at ", " 0x", " (", ": ", " by thread"]).to_string();
    kind[..1].make_ascii_lowercase();
    kind
}

/// Whether valgrind itself, and not the program, came to a bad end.
pub fn valgrind_failed(stderr: &str) -> bool {
    stderr.contains("the 'impossible' happened") || stderr.contains("valgrind: failed")
}

/// The codes of the compiler's, or clippy's, errors and warnings in the source of `program`, from
/// `cargo --message-format=json`.
pub fn compiler(stdout: &str, program: &str) -> Kinds {
    let messages = stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ours =
        messages.filter(|message| message["reason"] == "compiler-message" && message["target"]["name"] == program);
    ours.filter_map(|message| message["message"]["code"]["code"].as_str().map(str::to_string)).collect()
}

/// What the models of `program` found, from the output of `cargo test --test loom`: each model's name, and the kind if
/// it found something. A test that is no exploration of this program is left out; `Err` has one that failed.
pub fn models(stdout: &str, program: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut all = Vec::new();
    for part in format!("\n{stdout}").split("\ntest ").skip(1) {
        let Some((name, said)) = part.split_once(" ... ") else { continue };
        if !name.strip_prefix(program).is_some_and(|rest| rest.starts_with('_')) {
            continue;
        }
        if !said.starts_with("ok\n") {
            return Err(name.to_string());
        }
        if said.contains("nothing found") {
            all.push((name.to_string(), None));
        } else if let Some(line) =
            said.lines().skip(1).find(|line| line.contains(": ")).filter(|_| said.contains(" at execution "))
        {
            let finding = line.split_once(": ").map_or("", |(_, finding)| finding);
            let kind = before(finding, &[" of ", ":", ", ", " (", " by "]);
            let kind = kind.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
            all.push((name.to_string(), Some(kind.to_string())));
        }
    }
    Ok(all)
}

/// An end as `--wild` tells it, without what changes from run to run.
pub fn end(text: &str) -> String {
    text.split(' ').map(|word| if word.starts_with("0x") { "0x.." } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(all: &[&str]) -> Kinds {
        all.iter().map(|kind| kind.to_string()).collect()
    }

    #[test]
    fn a_sanitizers_kind_is_its_own_word_and_the_parent_does_not_count() {
        let asan = "==17==ERROR: AddressSanitizer: heap-use-after-free on address 0x7b at pc 0x55 bp 0x7b sp 0x7b\n\
                    ==17==ERROR: AddressSanitizer: attempting double-free on 0x7d in thread T3:\n\
                    ==16==ERROR: AddressSanitizer: SEGV on unknown address 0x0\n\
                    ==17==ERROR: LeakSanitizer: detected memory leaks\n\
                    SUMMARY: AddressSanitizer: heap-use-after-free x.rs:1\n";
        assert_eq!(sanitizer(asan, 16), kinds(&["heap-use-after-free", "double-free", "detected memory leaks"]));
        let tsan = "WARNING: ThreadSanitizer: data race (pid=17)\n  Write of size 1\n\
                    WARNING: ThreadSanitizer: heap-use-after-free (pid=16)\n";
        assert_eq!(sanitizer(tsan, 16), kinds(&["data race"]));
        assert_eq!(sanitizer(tsan, 17), kinds(&["heap-use-after-free"]));
        assert_eq!(sanitizer("ERROR: nothing of theirs\n", 1), kinds(&[]));
    }

    #[test]
    fn an_error_of_valgrind_is_the_line_after_the_marker() {
        let said = "==17== lab-caught-error\n==17== Thread 2 worker-1:\n==17== Invalid read of size 8\n==17==    at 0x20: work (stage.rs:130)\n\
                    ==17== lab-caught-end\n==17== HEAP SUMMARY\n\
                    ==17== lab-caught-error\n==17== ---Thread-Announcement---\n==17== \n\
                    ==17== Thread #3 was created\n==17==    at 0x49: clone (clone.S:76)\n==17== Possible data race during write of size 4 at 0x4 by thread #1\n\
                    ==17== lab-caught-error\n==16== lab-caught-error\n\
                    ==16== Invalid free() / delete / delete[] / realloc()\n\
                    ==17== Conflicting store by thread 1 at 0x04e8900c size 4\n\
                    ==17== lab-caught-error\n==17== Thread #3: Exiting thread still holds 1 lock\n\
                    ==17== Invalid write of size 4\n==17== ERROR SUMMARY: 5 errors\n";
        let all = ["invalid read", "possible data race", "conflicting accesses", "exiting thread still holds 1 lock"];
        assert_eq!(valgrind(said, 16), kinds(&all));
        assert_eq!(valgrind(said, 17), kinds(&["invalid free"]));
        assert!(valgrind_failed("valgrind: the 'impossible' happened:\n") && !valgrind_failed(said));
    }

    #[test]
    fn a_lint_counts_where_it_is_in_the_programs_own_source() {
        let said = r#"{"reason":"compiler-message","target":{"name":"lab"},"message":{"code":{"code":"dead_code"}}}
{"reason":"compiler-message","target":{"name":"x"},"message":{"code":{"code":"clippy::borrow_as_ptr"}}}
{"reason":"compiler-message","target":{"name":"x"},"message":{"code":null,"message":"1 warning emitted"}}
{"reason":"build-finished","success":true}"#;
        assert_eq!(compiler(said, "x"), kinds(&["clippy::borrow_as_ptr"]));
        assert_eq!(compiler(said, "y"), kinds(&[]));
    }

    #[test]
    fn a_model_says_what_it_found_or_that_it_found_nothing() {
        let said = "running 4 tests\ntest stage9_broken_leaks_dr ... ok\n    \
            stage9_broken, data, RST: use after free of session 1: freed by main\n      \
            at execution 1, up to 1 preemption: 0.0 s\n\n\
            test stage9_broken_is_silly ... ok\n    something else\n\n\
            test stage9_brokener_dr ... ok\n    x: y\n      at execution 3\n\n\
            test stage9_broken_is_sound ... ok\n    \
            stage9_broken, data: every execution of this model under loom, complete: 7 executions: nothing found\n";
        let found = [("stage9_broken_leaks_dr".to_string(), Some("use after free".to_string()))];
        let silent = [("stage9_broken_is_sound".to_string(), None)];
        assert_eq!(models(said, "stage9_broken"), Ok([found, silent].concat()));
        let failed = said.replace("leaks_dr ... ok", "leaks_dr ... FAILED");
        assert_eq!(models(&failed, "stage9_broken"), Err("stage9_broken_leaks_dr".to_string()));
    }
}
