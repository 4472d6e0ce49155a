//! What a model looks for: one entry a check.

/// What a finding is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    UseAfterFree,
    DoubleFree,
    TwoInside,
    ClosedDescriptor,
    Hang,
    Lost,
    Leak,
    /// A wake-up for a connection that another reactor had accepted.
    InVain,
    /// A client gets bytes that were made for another.
    Stranger,
    /// One arming of a one-shot socket, and two tasks.
    TwoTasks,
    /// A thread goes on and on, and nothing changes.
    Livelock,
    /// The stage panicked, or loom did.
    Panic,
    /// More executions or states than the model may have: nothing is proved.
    Capped,
}

macro_rules! checks {
    ($($(#[$doc:meta])* $check:ident => $kind:ident,)*) => {
        /// Each thing that a model looks for. `tests/loom/trips.rs` has a program for each that it must refuse.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Check {
            $($(#[$doc])* $check,)*
        }

        impl Check {
            pub const ALL: &[Check] = &[$(Check::$check,)*];

            /// What a finding of this check is called.
            pub fn kind(self) -> Kind {
                match self {
                    $(Check::$check => Kind::$kind,)*
                }
            }
        }
    };
}

checks! {
    /// A block of the heap was used after it was freed.
    UsedAfterFree => UseAfterFree,
    /// A block of the heap was freed a second time.
    FreedTwice => DoubleFree,
    /// Two threads between taking the address in an `UnsafeCell` and asking for the next task.
    TwoInACell => TwoInside,
    /// Two threads inside one `Handoff`.
    TwoInAHandoff => TwoInside,
    /// An entry to a `Handoff` that does not happen after the last exit: loom's own check.
    UnorderedHandoff => TwoInside,
    /// An owned descriptor is closed that was closed behind its owner's back.
    ClosedTwice => ClosedDescriptor,
    /// A call on an owned descriptor that was closed behind its owner's back.
    UsedAfterClose => ClosedDescriptor,
    /// Nobody can move, and the client waits for the server.
    NobodyMoves => Hang,
    /// Nobody can move, and a thread waits for a lock.
    StuckAtALock => Hang,
    /// Nobody can move, and a connection waits to be accepted.
    NotAccepted => Hang,
    /// Nobody can move, and an open session has bytes that nobody reads.
    Unread => Hang,
    /// Nobody can move, and a session that its client has ended is open.
    NotClosed => Hang,
    /// A session was closed with unread bytes in it.
    ClosedUnread => Lost,
    /// A session was closed, and its client is still there.
    Dismissed => Lost,
    /// The reactors counted another number of connections or wake-ups than there were.
    Miscounted => Lost,
    /// A wake-up found nobody to accept.
    WokenInVain => InVain,
    /// A client had connected before the order to stop, and nobody accepted it.
    LeftWaiting => Lost,
    /// At the stop a client has replies that it is not owed.
    NotOwed => Lost,
    /// At the stop a request that came before it has no answer.
    Unanswered => Lost,
    /// At the stop the clients have another number of replies than were counted.
    RepliesMiscounted => Lost,
    /// At the stop a byte is in no account.
    BytesMiscounted => Lost,
    /// A client did not get the replies that it is owed.
    RepliesMissing => Lost,
    /// Another number of bytes was counted than were sent.
    BytesMissing => Lost,
    /// Fewer replies were counted than were due.
    RepliesUncounted => Lost,
    /// A block of the heap was not freed.
    BlockLeaked => Leak,
    /// A descriptor was not closed.
    DescriptorLeaked => Leak,
    /// A share of an `Arc` was not given up.
    ShareLeaked => Leak,
    /// A write reached a connection that is owed something else.
    ToAStranger => Stranger,
    /// Input was reported on a one-shot socket before its own worker had armed it.
    ReportedTwice => TwoTasks,
    /// A thread makes calls without end.
    WithoutEnd => Livelock,
    /// A panic that is no finding of the model's.
    Panicked => Panic,
    /// Not finished within the model's cap.
    NotFinished => Capped,
}
