//! What is in the file, and which file it is.

use super::super::campaign::tests::{found, looked, one_delay};
use super::super::making::tests::{Came, asked_too_early, nobody};
use super::*;
use crate::catalogue::find;
use crate::runner::cli::parse;

#[test]
fn the_newest_order_stands_in_the_file_under_where_it_comes_from() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let came = |passed: &str, _| if asked_too_early(passed) { Came::Dies(libc::SIGABRT) } else { Came::Lives };
    let found = found(looked(&one_delay(), 0..0, came).0);
    let stage = find("stage3_broken").expect("it is in the catalogue");
    let options = parse(stage, ["program", "--search"].map(Into::into));
    let path = folder.path().join("mine.schedule");
    let mut kept = Kept::new(Some(&path), stage, &options, &found);
    assert_eq!((kept.path(), kept.text()), (Some(&*path), ""));
    for order in [found.order(&nobody()), Schedule::parse("main wait\n", &[], 2).expect("it is well formed")] {
        kept.keep(&order);
        let head = "# stage3_broken: SIGABRT.\n# Found by --search in run 2 (bound 1), with 2 workers.\n\n";
        assert_eq!(kept.text(), format!("{head}{order}"));
        assert_eq!(std::fs::read_to_string(&path).expect("it was written"), kept.text());
    }
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let stem = folder.path().join("stage").display().to_string();
    for name in ["stage.found.schedule", "stage.found-2.schedule", "stage.found-3.schedule"] {
        let path = new_file(&stem, "found").expect("the folder can be written to");
        assert_eq!(path, folder.path().join(name));
        assert!(path.exists());
    }
    let nowhere = folder.path().join("nowhere/stage").display().to_string();
    assert_eq!(new_file(&nowhere, "found").map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
}
