//! What the world and its judges look for, one entry each.

listed! {
    /// A reason to refuse a server. [`crate::wrong::tripper`] has a program for each.
    pub enum Check {
        /// `serve` gave an error, and this ring has given none.
        GivesUp,
        /// It was told to stop, and waits for what will not come.
        NeverStops,

        /// What is asked about a client names it otherwise than before.
        TokenChanges,
        /// The listener is asked while it has not answered.
        AcceptsTwice,
        /// No descriptor was left, and it asks again before the clock has moved or an answer about a client has come.
        AcceptsAtOnce,
        /// A send of no bytes.
        EmptySend,
        /// Two sends to one client at a time: their order is the kernel's to choose.
        TwoSends,
        /// Bytes behind the end of the stream.
        BehindTheEnd,
        /// It waits with answers before its eyes.
        LeavesAnswers,
        /// A client is owed more than may wait, and what one receive can bring on top.
        OwesTooMuch,
        /// More is received of a client that leaves its replies untaken.
        ReceivesTooMuch,
        /// Only what has arrived is received, and it does not stop.
        ReceivesTheRest,
        /// Nothing is received of a client.
        ReceivesNothing,

        /// A client was sent what it had not asked for.
        Stranger,
        /// The server ended before a client had sent everything.
        Unsent,
        /// When nobody can move, a client lacks a part of its replies.
        Unanswered,
        /// The server ended before a client had read everything.
        Untaken,
        /// The server ended before it had received everything.
        Unreceived,
        /// When nobody can move, a client that has ended, or has its last reply, waits for the server's end.
        NoEnd,
        /// When nobody can move, a client that broke off was not let go of.
        KeepsTheBroken,
        /// The count of bytes.
        MiscountsBytes,
        /// The count of replies.
        MiscountsReplies,

        /// After a stop: a client was sent what it had not asked for.
        StrangerAtStop,
        /// After a stop: what had arrived was not received.
        UnreceivedAtStop,
        /// After a stop: what had arrived was not answered.
        UnansweredAtStop,
        /// After a stop: a client was not let go of.
        KeptAtStop,

        /// A client that sent nothing was told something.
        BreaksSilence,
        /// A client that was served once has not just its reply.
        SpoilsReply,
        /// A client that sent half a request was not told that it took too long.
        NoTimeout,
        /// It was told so, and the stream to it was not ended.
        NoEndOfTimeout,
        /// A client that sends nothing more was not let go of.
        KeptInVain,
        /// The count of replies to slow clients.
        MiscountsSlow,

        /// Too few sends went in pieces.
        FewPartialSends,
        /// Too few receives ended early.
        FewStalls,
        /// Too few receives were stopped.
        FewStops,
        /// Too few requests went on after an answer.
        FewGoOn,
        /// Too few ended with an answer that they could have gone on after.
        FewGoOut,
        /// Too few clients found no descriptor.
        FewRefusals,
        /// Too few answers were for a client that had gone.
        FewAnswersForTheGone,
        /// Too few of those came when its place had been taken.
        FewAnswersAfterThePlaceWasTaken,
    }
}

/// Why a server was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub check: Check,
    pub text: String,
}
