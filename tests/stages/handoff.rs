//! `stage4_handoff` on the real kernel: it passes its schedule in order, and no step is refused, since nobody waits for
//! a lock. (That no other order breaks it is the model's to say: `cargo test --test loom stage4_handoff`.)

use crate::support::run;

#[test]
fn the_second_worker_comes_as_soon_as_the_socket_is_armed_and_finds_the_session_left() {
    let text = run("stage4_handoff", &[]);
    assert_eq!(text.code(), Some(0), "{}", text.all());
    for never in ["refused", "unmet", "held back", "<- late"] {
        assert!(!text.stdout.contains(never), "`{never}`: {}", text.all());
    }
    let said = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("10,485,822 sent, and the server counted every one"), "{}", text.all());
    assert!(said.contains("1 written, 1 received whole"), "{}", text.all());
    let line = |what: &str| text.stdout.lines().position(|line| line.contains(what)).expect(what);
    assert!(line("free buffer 1") < line("re-arm fd"), "worker-1 is done before: {}", text.all());
}

#[test]
fn it_lives_through_each_environment() {
    let output = run("stage4_handoff", &["--repeat", "7"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
}
