//! Runs the tests of this target and prints what each has to say. Understands of libtest's arguments what people type:
//! names to run, `--exact`, `--skip NAME`, `--list`, `--ignored`, `--test-threads N`.
//!
//! Each runs in a process of its own: a test that kills its process is a test that failed, and no two wait for each other
//! where a process has one of something, as when memory is mapped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::models::{Said, Test, test};

struct Arguments {
    names: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
    ignored: bool,
    threads: usize,
}

fn arguments() -> Arguments {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut got = Arguments { names: vec![], skip: vec![], exact: false, list: false, ignored: false, threads };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_string(), Some(value.to_string())),
            _ => (word, None),
        };
        match name.as_str() {
            "--exact" => got.exact = true,
            "--list" => got.list = true,
            "--ignored" => got.ignored = true,
            "--skip" => got.skip.extend(value.or_else(|| words.next())),
            "--test-threads" => {
                got.threads = value.or_else(|| words.next()).and_then(|n| n.parse().ok()).unwrap_or(threads);
            }
            // Of libtest, and without a meaning here.
            "--format" | "--color" | "--logfile" | "-Z" if value.is_none() => _ = words.next(),
            other if other.starts_with('-') => {}
            _ => got.names.push(name),
        }
    }
    got
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        let fits = |wanted: &String| if self.exact { name == wanted } else { name.contains(wanted.as_str()) };
        (self.names.is_empty() || self.names.iter().any(fits)) && !self.skip.iter().any(fits)
    }
}

pub fn main(tests: Vec<Test>) -> ExitCode {
    let arguments = arguments();
    let mut tests: Vec<Test> = tests.into_iter().filter(|test| arguments.wants(&test.name)).collect();
    if arguments.ignored {
        tests.clear();
    }
    if arguments.list {
        tests.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    // A refuted execution ends by a panic, which is not for the reader: what it says comes out as a verdict.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if crate::turn::checker().is_none() {
            print(panic);
        }
    }));
    if let (true, [test]) = (std::env::var_os(ONE).is_some(), &tests[..]) {
        let said = run(test);
        print!("{}", said.as_ref().unwrap_or_else(|why| why));
        return if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    println!("\nrunning {} tests", tests.len());
    let start = Instant::now();
    tests.sort_by_key(|test| std::cmp::Reverse(test.weight));
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let said = run_apart(test);
                    // One call, so that the words of two tests do not mix.
                    match said {
                        Ok(said) => println!("test {} ... ok\n{}", test.name, indented(&said)),
                        Err(why) => {
                            println!("test {} ... FAILED\n{}", test.name, indented(&why));
                            failed.lock().expect("nobody panics with it").push(test.name.clone());
                        }
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("nobody panics with it");
    failed.sort();
    let (verdict, seconds) = (if failed.is_empty() { "ok" } else { "FAILED" }, start.elapsed().as_secs_f64());
    failed.iter().for_each(|name| println!("failed: {name}"));
    let passed = tests.len() - failed.len();
    println!("test result: {verdict}. {passed} passed; {} failed; finished in {seconds:.2}s\n", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// Tells a process of this program that it is to run one test, and to say nothing but what that says.
const ONE: &str = "LAB_ONE_TEST";

fn run_apart(test: &Test) -> Said {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let ran = Command::new(program).args(["--exact", &test.name]).env(ONE, "1").stderr(Stdio::inherit()).output();
    let ran = ran.map_err(|error| format!("a process for it: {error}"))?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    match ran.status.success() {
        true => Ok(said),
        false => Err(format!("{said}{}\n", ran.status)),
    }
}

/// Tests that fail, each in its way; only there when somebody asks for them.
pub fn failing() -> Vec<Test> {
    if std::env::var_os(FAILING).is_none() {
        return vec![];
    }
    vec![
        test("it_fails_with_a_word", 1, || Err("so it is".to_string())),
        test("it_fails_by_a_panic", 1, || panic!("so it is")),
        test("it_fails_by_a_signal", 1, || std::process::abort()),
    ]
}

const FAILING: &str = "LAB_FAILING_TESTS";

/// No two have the same stack at a time, each has the size that was asked for, and more than are kept are given back.
pub fn a_kept_stack_fits() -> Said {
    let map = |size: usize| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a mapping of its own, which is written to within its size.
        unsafe {
            let stack = libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            stack.cast::<u8>().add(size - 1).write(1);
            stack
        }
    };
    // SAFETY: each stack is given back once, with its size.
    let unmap = |stack, size| assert_eq!(unsafe { libc::munmap(stack, size) }, 0);
    let (small, large) = (1 << 16, 1 << 20);
    let stacks: Vec<_> = (0..20).map(|_| map(small)).collect();
    stacks.iter().for_each(|stack| unmap(*stack, small));
    let again: Vec<_> = (0..20).map(|_| map(small)).collect();
    let apart: std::collections::BTreeSet<_> = again.iter().collect();
    if apart.len() != again.len() || !stacks.iter().any(|stack| again.contains(stack)) {
        return Err(format!("{stacks:?}, then {again:?}"));
    }
    again.iter().for_each(|stack| unmap(*stack, small));
    let other = map(large);
    if stacks.contains(&other) || again.contains(&other) {
        return Err("a small stack was given to who asked for a large one".to_string());
    }
    unmap(other, large);
    Ok(String::new())
}

/// A run with a test that fails is a failed run.
pub fn a_failed_test_fails_the_run() -> Said {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    for name in ["it_fails_with_a_word", "it_fails_by_a_panic", "it_fails_by_a_signal"] {
        let mut command = Command::new(&program);
        command.args(["--exact", name]).env_remove(ONE).env(FAILING, "1").stderr(Stdio::null());
        let ran = command.output().map_err(|error| format!("a process for it: {error}"))?;
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        if ran.status.code() != Some(101) || !said.contains("0 passed; 1 failed") {
            return Err(format!("{name}: {}\n{said}", ran.status));
        }
    }
    Ok(String::new())
}

fn run(test: &Test) -> Said {
    catch_unwind(AssertUnwindSafe(|| (test.run)())).unwrap_or_else(|_| Err("it panicked".to_string()))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
