//! The file of the order that was found.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::cli::Options;
use super::super::end::complain;
use super::campaign::Found;
use crate::catalogue::Stage;
use crate::direct::schedule::Schedule;

/// Where an order goes, and with which words.
pub struct Kept {
    /// The file; `None` where none can be written.
    path: Option<PathBuf>,
    comment: String,
    /// The text as it was kept last.
    text: String,
}

impl Kept {
    /// Goes to `output`; without one, to a new file beside the reader.
    pub fn new(output: Option<&Path>, stage: &Stage, options: &Options, found: &Found) -> Kept {
        let path = match output {
            Some(path) => File::create(path).map(|_| path.to_path_buf()),
            None => new_file(stage.program(), "found"),
        };
        let path = path.inspect_err(|error| {
            let place = output.map_or("this folder".to_string(), |path| path.display().to_string());
            complain(&format!("cannot write the order to {place} ({error}); it goes to standard output"));
        });
        let comment = format!(
            "# {}: {}.\n# Found by --search in run {} ({}), with {} workers.\n\n",
            stage.name,
            found.shown.text(),
            found.run,
            found.by(),
            options.workers,
        );
        Kept { path: path.ok(), comment, text: String::new() }
    }

    /// Keeps this order in the place of the one before.
    pub fn keep(&mut self, order: &Schedule) {
        self.text = format!("{}{order}", self.comment);
        if let Some(path) = &self.path
            && let Err(error) = std::fs::write(path, &self.text)
        {
            complain(&format!("cannot write {}: {error}", path.display()));
            self.path = None;
        }
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What is in it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Makes a file that was not there: `stage3_broken.found.schedule`.
pub fn new_file(stem: &str, how: &str) -> io::Result<PathBuf> {
    for number in 1..10_000 {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let path = PathBuf::from(format!("{stem}.{how}{number}.schedule"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.and_then(|mut file| file.flush()).map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests;
