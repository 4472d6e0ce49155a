//! The autopsy: what a run was, and why it ended as it did.
//!
//! - [`lanes`] draws an interleaving as a table
//! - `timeline` makes rows of the records
//! - `findings` looks for the cause of a survival, and says nothing that the records do not bear out
//! - [`verdicts`] has a file for each way to end: what shows it, how it is reported, what is said of it elsewhere
//! - `page` is what a report is written on, `source` the lines that it shows
//! - `flows` looks for what leads from one role's deed to another's
//! - `text` and `json` write it down, and `perfetto` for a tool that draws traces
//!
//! # The trace
//!
//! [`trace_json`] is one object. `format` is `epoll-autopsy/trace`; `version` is raised when a key changes its meaning
//! or goes away, not when one is added. Addresses are strings (`"0x7f..."`), since they do not fit into every reader's
//! numbers; a time is in nanoseconds since the box was made.
//!
//! - `stage`, `title`, `chapter`, `heap`, `millis`: what was run, and how long the server's process lived
//! - `roles`: their names
//! - `objects`: each block of memory with its `name` (`session 1`), `type`, `address`, `size`, `own_pages`, and the
//!   numbers of the records that `allocated` and `freed` it (more than one if it was freed twice)
//! - `steps`: the schedule, each with its `number`, `role`, `what`, `outcome` (`passed`, `refused`, `held back`,
//!   `unmet`, `not reached`) and, where there is something to say, a `detail`. Empty when nobody directed
//! - `records`: each with its `number`, `nanos`, `role`, `kind`, `label`, `file`, `line`, whether that place is
//!   `inherited` from what its thread did before (a drop has no caller to name), the step that its role was `in_step`
//!   (`null` before its first and after the last of all), and by its kind:
//!   `point` and `occurrence`; `step`; `count` and `events` (of `epoll_wait(2)`: how many, and each one's mask); `fd`;
//!   `token`; `bytes` or `error`; `address`, `size`, `own_pages`; `owners`; `queued`; `waiting_for`; `time_over`
//!   (`true`, of who was `woken` because its time was over, and not notified); `object`, the name of what an address, a
//!   token or a lock stood for
//! - `rows`: the lanes, each with its `step` (on the first row of a step), `role`, `text`, `mark`, and the number of
//!   the `record` it was made from (`null` where the director alone knew)
//! - `flows`: what leads from one deed to a later one, each with its `name` (`queue to take`, `free to use`, `free to free`,
//!   `unlock to lock`, `notify to woken`), and the numbers of the records that it leads `from` and `to`
//! - `client`, `served`: what either side counted
//! - `ending`: `how` is `exit` with a `code`, or `signal` with its name in `signal`, its `number`, `si_code` in `code`,
//!   the faulting `address`, and the `role` that took it
//! - `hang`: `null`, or the `session` that waits, its `fd`, the `unread` bytes in its socket, the replies `owed` to the
//!   client, and what each of the server's `threads` (`role`) was `doing` in the director's hands; then, with nobody
//!   directing, the mask for which its socket was `armed` (as `/proc/PID/fdinfo` has it; `null` if it is on no list),
//!   in which system `call` each `thread` was `asleep`, and whether the server `serves_another` client meanwhile. The
//!   server was told to stop after it
//! - `misdelivery`: `null`, or the `client` that got bytes which it is not owed (both by role), the client that they
//!   were `made_for` where that is known, the bytes that it `got` and those that are `due`, as text; the server was
//!   told to stop after it
//! - `herd`: where several reactors share a port, what each counted (`role`): `woken`, `empty`, `accepted`,
//!   `exhausted`, `slept`
//! - `stuck`: `null`, or of a server that was told to stop and never does: what each of its `threads` (`role`) was
//!   `doing`, which thread `waits_for_the_end_of` which (`role` and `other`), and in which system `call` each `thread`
//!   was `asleep` once nobody directed. It was killed after it, so its `ending` is that
//! - `loss`: `null`, or the `client` (its role) that was not served though its stream came to an end, the replies it
//!   was `owed`, and the `error` that it saw (`null` for the end of the stream)
//! - `dropped`: how many older records the box has lost; `stderr`: what the server's process wrote there
//!
//! A record, from the box to the trace:
//!
//! ```
//! use std::panic::Location;
//!
//! use lab::autopsy::trace_json;
//! use lab::catalogue::find;
//! use lab::direct::outcome::{Ending, Run};
//! use lab::record::blackbox::Blackbox;
//! use lab::record::event::{Kind, MAIN};
//!
//! let blackbox = Blackbox::new(16).expect("there is a memfd");
//! blackbox.record(MAIN, Kind::Read, "", Location::caller(), 7, 0, 512);
//! let stage = find("stage4_fixed").expect("it is in the catalogue");
//! let trace = trace_json(&Run::of(&blackbox, stage, stage.heap, Ending::Exit(0)));
//! let record = &trace["records"][0];
//! assert_eq!((&record["number"], &record["role"], &record["kind"]), (&0.into(), &"main".into(), &"read".into()));
//! assert_eq!(record["fd"], 7);
//! assert_eq!((&record["in_step"], &record["inherited"]), (&serde_json::Value::Null, &false.into()));
//! ```
//!
//! # The autopsy as JSON
//!
//! [`json`] has `format` `epoll-autopsy/autopsy`, and of the keys above `steps`, `client`, `served`, `hang`, `ending`
//! and so on; its `rows` are those of the report, where repeats are folded. `finding` is the mistake with memory that
//! the records show: `mistake` (`use after free`, `double free`), the `block`, and where it was `allocated`, `freed`,
//! and `used` or `freed_again` (each with `role`, `step`, `file`, `line`, `record`). `recognised` says whether it
//! explains the death; `why` is the chapter's explanation, where the records bear it out, or `null`. `refused` lists
//! the steps that had to wait for a lock; `stale_key` is `null`, or a task whose session was replaced before its worker
//! came back: the `role`, the `fd`, the two `sessions` that had its number (counted from 1, as they were accepted) and
//! their `keys`, and where the task was `taken`, the number `closed` and `reused`, the key `returned`, bytes `written`
//! to the other session, its socket `rearmed`, and its one-shot `reported` twice (the last three may be `null`);
//! `leaked` lists the sessions and buffers that the server had not freed at its end, and where they were `allocated`;
//! `kept_alive` says who still owned the session when the map gave it up; `lost_wakeup` is `null`, or the `role` that
//! sleeps, and where it `looked` at the flag, where that was `set`, where the sleepers were `notified`, and where it
//! `slept`; `tail` is `null`, or the last bytes of a client that came together with its end: the `fd`, where they were
//! `reported`, how many `bytes` were `read` and where, and where the descriptor was `closed`; `cut` lists the sessions
//! that used up the limit of a drain, each with its `fd`, its bytes that are `unanswered` and its `replies` that were
//! not written; `left_early` where a worker that had no reply to write armed the socket again, `holding` which lock.

mod findings;
mod flows;
mod json;
pub mod lanes;
mod page;
mod perfetto;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod verdict;
pub mod verdicts;

pub use json::{VERSION, json, trace_json};
pub use perfetto::perfetto_json;
pub use text::{ending, lanes_of, report};
