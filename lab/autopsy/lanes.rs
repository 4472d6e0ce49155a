//! Lanes: an interleaving as a table, a column a role, a row an event.
//!
//! ```text
//!   #  client        main                worker-1
//!   1  send 16,384
//!   2                epoll_wait: fd 7 IN
//! ```

/// One event in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The step of the schedule that this event began, if it began one.
    pub number: Option<usize>,
    /// Whose lane: an index into the roles.
    pub role: usize,
    /// What happened.
    pub text: String,
    /// What to point at, in the margin: `SIGSEGV`.
    pub mark: Option<String>,
}

/// Draws the lanes of `roles` (only those that occur in `rows`), at most `width` columns wide. Where the columns do not
/// fit, they are folded into one: `worker-1  read 16,384 bytes`. With `colour`, marks and step numbers carry ANSI codes.
/// Each line ends with a newline.
pub fn draw(roles: &[String], rows: &[Row], width: usize, colour: bool) -> String {
    let _ = (roles, rows, width, colour);
    String::new()
}
