//! What is said of an error, and how wide.

use super::*;

fn said(errno: i32) -> String {
    format!("{:#}", explain(io::Error::from_raw_os_error(errno), "the server could not go on"))
}

#[test]
fn an_error_that_is_known_says_what_to_do() {
    let files = "the server could not go on: the limit on open files is reached; raise it (`ulimit -n 65536`): ";
    for errno in [libc::EMFILE, libc::ENFILE] {
        assert!(said(errno).starts_with(files), "{}", said(errno));
    }
    let threads = "the server could not go on: the kernel gives no more threads; do with fewer";
    assert!(said(libc::EAGAIN).starts_with(threads), "{}", said(libc::EAGAIN));
    let memory = "the server could not go on: the kernel has no memory for it; raise the limit";
    assert!(said(libc::ENOMEM).starts_with(memory), "{}", said(libc::ENOMEM));
    let plain = format!("the server could not go on: {}", io::Error::from_raw_os_error(libc::EINVAL));
    assert_eq!(said(libc::EINVAL), plain);
    let own = explain(io::Error::new(io::ErrorKind::Unsupported, "no such kernel"), "it");
    assert_eq!(format!("{own:#}"), "it: no such kernel");
    assert_eq!(own.root_cause().to_string(), "no such kernel");
}
