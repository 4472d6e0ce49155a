//! The source of what was run, for the lines that a report shows.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// A line of a file of this package, without the blanks at its end. `None` if it is not there, or was changed after
/// the program was built: then its lines are others.
pub fn line(file: &str, line: u32) -> Option<String> {
    let program = std::env::current_exe().and_then(fs::metadata).ok()?;
    line_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file), line, program.modified().ok()?)
}

fn line_in(path: &Path, line: u32, built: SystemTime) -> Option<String> {
    if fs::metadata(path).and_then(|file| file.modified()).ok()? > built {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().nth(line.checked_sub(1)? as usize)?.trim_end();
    (!line.is_empty()).then(|| line.to_string())
}

/// Where a terminal finds a file: the target of its link (`file:` of RFC 8089).
pub fn link(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte);
    let path: String = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
        .iter()
        .map(|byte| if safe(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("file://{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_is_the_one_that_was_compiled() {
        let (file, number, column) = (file!(), line!(), column!());
        let line = line(file, number).expect("it is older than this program");
        assert!(line.starts_with("        let (file, number, column)"), "{line}");
        assert!(line[column as usize - 1..].starts_with("column!()"), "{line}");
    }

    #[test]
    fn where_there_is_no_line_none_is_shown() {
        let last = include_str!("source.rs").lines().count() as u32;
        assert_eq!(
            [line(file!(), 0), line(file!(), 2), line(file!(), last + 1), line("lab/gone.rs", 1)],
            [const { None }; 4]
        );
        assert_eq!(line(file!(), last).as_deref(), Some("}"));
    }

    #[test]
    fn a_file_that_was_changed_later_is_not_shown() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("x.rs");
        fs::write(&path, "one\n\u{20}\u{20}two \u{20}\n").expect("it can be written");
        let changed = fs::metadata(&path).and_then(|file| file.modified()).expect("it is there");
        assert_eq!(line_in(&path, 2, changed).as_deref(), Some("  two"));
        assert_eq!(line_in(&path, 2, changed + Duration::from_secs(1)).as_deref(), Some("  two"));
        assert_eq!(line_in(&path, 2, changed - Duration::from_nanos(1)), None);
    }

    #[test]
    fn a_link_is_one_word_whatever_the_folder_is_called() {
        let target = link("lab/a b/ü%.rs");
        assert!(target.starts_with("file:///") && target.ends_with("/lab/a%20b/%C3%BC%25.rs"), "{target}");
    }
}
