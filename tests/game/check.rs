//! What the world and its judges look for, one entry each; and what makes two states the same.

listed! {
    /// A reason to refuse a server, or a graph. [`crate::wrong::tripper`] has a program for each.
    ///
    /// In a state in which nobody can move, the first one that holds is the verdict, in this order.
    pub enum Check {
        /// Memory was used after it was freed.
        UseAfterFree,
        /// Memory was freed twice.
        DoubleFree,
        /// A client was sent bytes that are not the next ones of its replies.
        Stranger,
        /// A thread has panicked.
        Panic,
        /// `serve` gave an error, and this kernel gives none that ends a server.
        Refused,
        /// The server was told to stop, nobody can move, and a thread has not ended.
        NeverStops,
        /// An open connection has bytes that nobody read.
        Unread,
        /// A connection has ended, and is still open.
        Ended,
        /// A connection was never accepted.
        Unaccepted,
        /// A connection was closed with bytes in it.
        Discarded,
        /// A thread waits for a lock.
        Stuck,
        /// A task is left in a queue.
        Queued,
        /// A client lacks a part of its replies.
        Unanswered,
        /// One connection has woken everybody who waits for the listener.
        Herd,
        /// The server has stopped, and a session or buffer was not freed.
        Leak,
        /// Everything is served, and a session or buffer is still there. No crash: its client may send more.
        SessionWaits,
        /// The same moves led to another state.
        Nondeterministic,
        /// There are more states than a scenario may have.
        TooManyStates,
        /// Replayed: other moves are possible than the graph says.
        OtherMoves,
        /// Replayed: there is something else to see.
        OtherPanel,
        /// Replayed: somebody stands elsewhere.
        OtherStands,
        /// Replayed: another verdict.
        OtherEnd,
        /// Replayed: a move did something else.
        OtherDeed,
    }
}

listed! {
    /// A part of a state's fingerprint. Two states that agree in all of them are the same one.
    pub enum Part {
        Net,
        Blocks,
        Queues,
        Closed,
        Locks,
        Cells,
        Verdict,
        Flags,
        Numbers,
        Sleepers,
        /// What each role has seen.
        Histories,
        /// Where each role stands.
        Stands,
        /// The bytes of buffers.
        Memory,
        /// How far the client is in its script.
        Client,
    }
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    pub check: Check,
    pub text: String,
}
