//! Servers of the reader's own: mended, broken in another way, or under another name. Whatever they do, the lab says
//! what was seen.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Output, binary, command_of, finish};

/// The library that was built last: it is that of the programs.
fn library(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).expect("the test's own folder").filter_map(|file| Some(file.ok()?.path()));
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("liblab-"));
    let built = files.filter(is_it).filter(|path| path.extension().is_some_and(|extension| extension == "rlib"));
    built.max_by_key(|path| path.metadata().and_then(|file| file.modified()).ok()).expect("the library was built")
}

fn rustc() -> Command {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024"]);
    rustc
}

/// A stage's source, changed, built under this name.
pub fn build_own(folder: &Path, name: &str, source: &str, changes: &[(&str, &str)]) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("lab/stages/{source}.rs"));
    let mut text = std::fs::read_to_string(path).expect("it is there");
    for (from, to) in changes {
        assert!(text.contains(from), "{source} has no `{from}`");
        text = text.replace(from, to);
    }
    build_text(folder, name, &text)
}

/// Builds a program of that text under this name.
pub fn build_text(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (own, program) = (folder.join("own.rs"), folder.join(name));
    std::fs::write(&own, text).expect("it can be written");
    let packages = binary("lab").with_file_name("deps");
    let mut rustc = rustc();
    rustc.args(["--crate-name", name, "-o"]).arg(&program).arg(&own);
    let lab = format!("lab={}", library(&packages).display());
    rustc.args(["--extern", &lab, "-L"]).arg(format!("dependency={}", packages.display()));
    let built = rustc.output().expect("rustc runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

/// Runs such a program in its own folder.
pub fn run_program(program: &Path, arguments: &[&str]) -> Output {
    let mut command = command_of(program);
    command.args(arguments).current_dir(program.parent().expect("it is in a folder"));
    finish(command)
}

fn run_own(name: &str, source: &str, changes: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    run_program(&build_own(folder.path(), name, source, changes), arguments)
}

fn survives(output: &Output, says: &str) {
    assert_eq!(output.code(), Some(0), "{}", output.all());
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.all());
    assert!(output.stderr.contains("it survived the order of lab/schedules/stage"), "{}", output.all());
    assert!(output.stderr.contains(says), "{}", output.all());
}

#[test]
fn a_mended_copy_survives_and_the_report_says_whose_share_kept_it() {
    let output = run_own("stage3_broken", "stage3_fixed", &[], &[]);
    survives(&output, "session 1 had 2 owners left when the map gave it up");
    assert!(output.stdout.contains("2 owners left"), "{}", output.all());
    survives(&run_own("stage4_broken", "stage4_fixed", &[], &[]), "nothing of what was to be shown came of it");
    survives(&run_own("stage6_broken", "stage6_fixed", &[], &[]), "nothing of what was to be shown came of it");
    survives(&run_own("stage8_broken", "stage8_fixed", &[], &[]), "not everybody was woken");
    let output = run_own("stage3_broken", "stage3_fixed", &[], &["--repeat", "2"]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert!(!output.stderr.contains("the lab itself failed"), "{}", output.all());
}

#[test]
fn a_leak_is_told_as_one() {
    let forgotten = [("unsafe { session.free() };", "std::mem::forget(session);")];
    let output = run_own("stage3_broken", "stage3_broken", &forgotten, &[]);
    survives(&output, "it leaks session 1 (allocated at ");
    let leaks = output.stdout.lines().skip_while(|line| !line.starts_with("  leaks      session 1 (16 bytes)")).nth(1);
    assert!(leaks.is_some_and(|line| line.starts_with("  allocated  main  step 3")), "{}", output.all());
    let json = run_own("stage3_broken", "stage3_broken", &forgotten, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("--json prints JSON");
    assert_eq!(json["leaked"][0]["object"], "session 1", "{json:#}");
    assert_eq!(json["leaked"].as_array().map(Vec::len), Some(1), "{json:#}");
}

#[test]
fn another_name_is_judged_as_the_stage_with_its_number() {
    let output = run_own("stage3_mine", "stage3_broken", &[], &[]);
    assert_eq!(output.signal(), Some(libc::SIGSEGV), "{}", output.all());
    assert!(output.stdout.starts_with("stage3_mine: sessions are raw pointers"), "{}", output.all());
    assert_eq!(run_own("stage3_mine", "stage3_broken", &[], &["--repeat", "2"]).code(), Some(0));
    survives(&run_own("stage3_mine", "stage3_fixed", &[], &[]), "2 owners left");
    for name in ["stage11_mine", "stage_mine", "mine"] {
        let output = run_own(name, "stage3_broken", &[], &[]);
        assert_eq!((output.code(), output.stdout.as_str()), (Some(2), ""), "{}", output.all());
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.all());
        assert!(output.stderr.contains("as `stage3_mine`"), "{}", output.all());
    }
}

/// A malloc that takes no notice of any mistake: it gives out new memory for ever.
const PATIENT_MALLOC: &str = r#"
    #![no_std]
    use core::ffi::c_void;
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    static mut ROOM: [u128; 8 << 20] = [0; 8 << 20];
    static USED: AtomicUsize = AtomicUsize::new(0);

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        loop {}
    }

    /// The size stands in front of the block.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
        let units = size.div_ceil(16) + 1;
        let at = USED.fetch_add(units, SeqCst);
        if at + units > 8 << 20 {
            return core::ptr::null_mut();
        }
        unsafe {
            let block = (&raw mut ROOM).cast::<u128>().add(at);
            *block = size as u128;
            block.add(1).cast()
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
        unsafe { malloc(count * size) }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn realloc(old: *mut c_void, size: usize) -> *mut c_void {
        unsafe {
            let new = malloc(size);
            if !old.is_null() && !new.is_null() {
                let was = *old.cast::<u128>().sub(1) as usize;
                core::ptr::copy_nonoverlapping(old.cast::<u8>(), new.cast::<u8>(), was.min(size));
            }
            new
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn free(_: *mut c_void) {}
"#;

#[test]
fn another_malloc_is_told_once() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (source, library) = (folder.path().join("patient.rs"), folder.path().join("libpatient.so"));
    std::fs::write(&source, PATIENT_MALLOC).expect("it can be written");
    let built =
        rustc().args(["-O", "--crate-type", "cdylib", "-C", "panic=abort", "-o"]).arg(&library).arg(&source).output();
    let built = built.expect("rustc runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for arguments in [&[][..], &["--repeat", "14"], &["--repeat", "14", "--json"]] {
        let mut command = command_of(&binary("stage4_broken"));
        command.args(arguments).env("LD_PRELOAD", &library);
        let output = finish(command);
        assert_eq!(output.code(), Some(3), "{}", output.all());
        let (said, not_here) =
            (&output.stderr, "stage4_broken: this cannot happen on this machine: the block was freed twice");
        assert!(said.starts_with(not_here) && said.contains("libpatient.so"), "{}", output.all());
        assert_eq!(said.matches("this cannot happen").count(), 1, "{said}");
        assert_eq!((said.lines().count(), output.stdout.is_empty()), (1, !arguments.is_empty()), "{}", output.all());
    }
}
