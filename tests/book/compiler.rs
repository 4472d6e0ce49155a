//! "What the compiler would have said": the programs of `chapters/compiler/` say in their first line which errors they
//! have, or that they compile.

use std::collections::BTreeSet;

use crate::{command, read, root};

/// The names of the programs.
pub fn programs() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("chapters/compiler"))
        .expect("the programs are there")
        .filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_string()))
        .collect();
    names.sort();
    names
}

fn rustc() -> std::process::Command {
    command(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// The compiler's version: `rustc 1.88.0`.
pub fn version() -> String {
    let output = rustc().arg("--version").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// What rustc says about a program, and with which version.
pub fn message(name: &str) -> String {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let output = rustc()
        .args(["--edition", "2024", "--emit=metadata", "--out-dir"])
        .arg(scratch.path())
        .arg(format!("chapters/compiler/{name}.rs"))
        .output()
        .expect("rustc runs");
    format!("{}{}\n", String::from_utf8_lossy(&output.stderr), version())
}

/// What a program prints: `chapters/`*folder*`/`*name*`.rs`, compiled without warnings and run; with `flags` for rustc.
pub fn run(folder: &str, name: &str, flags: &[&str]) -> String {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let program = scratch.path().join(name);
    let source = format!("chapters/{folder}/{name}.rs");
    let built =
        rustc().args(flags).args(["--edition", "2024", "-D", "warnings", "-o"]).arg(&program).arg(source).status();
    assert!(built.expect("rustc runs").success(), "{name} compiles");
    let output = command(&program).output().expect("it runs");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// The errors that a program says it has; none if it compiles.
pub fn promised(name: &str) -> BTreeSet<String> {
    let text = read(&format!("chapters/compiler/{name}.rs"));
    let first = text.lines().next().unwrap_or_default();
    if first == "//! compiles" {
        return BTreeSet::new();
    }
    let codes = first.strip_prefix("//! error: ").unwrap_or_else(|| panic!("{name}: what does rustc say to it?"));
    codes.split(", ").map(str::to_string).collect()
}

/// The codes of the errors in a message.
pub fn codes(message: &str) -> BTreeSet<String> {
    let code = |line: &str| Some(line.strip_prefix("error[")?.split(']').next()?.to_string());
    message.lines().filter_map(code).collect()
}

#[test]
fn rustc_says_to_each_program_what_its_first_line_promises() {
    for name in programs() {
        let message = message(&name);
        assert_eq!(codes(&message), promised(&name), "{name}:\n{message}");
        assert!(promised(&name).is_empty() != message.contains("error"), "{name}:\n{message}");
    }
}

#[test]
fn a_recorded_message_has_the_promised_errors_and_with_the_same_compiler_the_same_words() {
    let words = |message: &str| -> Vec<String> {
        let said = |line: &&str| line.starts_with("error") || line.starts_with("  --> chapters/");
        message.lines().filter(said).map(str::to_string).collect()
    };
    crate::recordings::ready();
    for name in programs().into_iter().filter(|name| !promised(name).is_empty()) {
        let recorded = read(&format!("chapters/recorded/compiler_{name}.txt"));
        assert_eq!(codes(&recorded), promised(&name), "{name}");
        if recorded.lines().last() == Some(&version()) {
            assert_eq!(words(&recorded), words(&message(&name)), "{name}");
        }
    }
}
