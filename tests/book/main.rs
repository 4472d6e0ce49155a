//! The book, kept true.
//!
//! - [`recordings`]: what the chapters show of runs, in `chapters/recorded/`. `LAB_RECORD=1 cargo test --test book`
//!   writes them; without it the programs run again, and a recording that no longer matches fails with a diff
//! - [`lesson`]: a broken stage and its twin differ by the lesson and nothing else
//! - [`compiler`]: what rustc says to the programs of "What the compiler would have said"
//! - [`core_dump`]: what gdb says of the cores of two broken stages
//! - [`figures`]: a figure in a sentence comes from a recording, or has a reason
//! - [`drawings`]: the drawings in the chapters, and that the steps they name are those of a recording
//! - [`load`]: the tables of `lab bench`, recorded apart: `LAB_RECORD=load`
//! - [`models`]: what loom says, as the chapters show it
//! - [`tables`]: recordings as tables: `LAB_RECORD=tables`
//! - [`pages`]: fences, links, includes and commands in the chapters; the README; `mdbook build`
//! - [`terminal`]: the README's moving picture of a run
#![cfg(target_os = "linux")]

mod compiler;
mod core_dump;
mod drawings;
mod figures;
mod lesson;
mod load;
mod models;
mod pages;
mod recordings;
mod tables;
mod terminal;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A text file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A binary of this package, as built for this test.
fn binary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(name)
}

/// The command of a binary, in the root, with nothing in its environment that changes what it prints.
fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(root()).stdin(std::process::Stdio::null());
    let heap =
        ["MALLOC_ARENA_MAX", "MALLOC_CHECK_", "MALLOC_PERTURB_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD"];
    for variable in heap.into_iter().chain(["NO_COLOR", "COLUMNS", "RUST_BACKTRACE"]) {
        command.env_remove(variable);
    }
    command
}
