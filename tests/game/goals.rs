//! What a play is about: for each stage the ends to come to, and the checkpoints on the way. All that the page says of
//! an aim is written here, and all that it asks (is it reached, can it still be) is computed from here.

use real::catalogue::{self, Verdict};

use crate::explore::{ALONE, End, Facts, Move, Node};
use real::server::Threads;

use crate::{check::Check, entry, kernel::FIRST_SOCKET, workers};

/// One move, and the states around it.
pub struct Step<'a> {
    pub before: &'a Node,
    pub chosen: &'a Move,
    pub after: &'a Node,
}

type Holds = fn(&Step<'_>) -> bool;

/// Something that must come about on the way to the end.
pub struct Checkpoint {
    /// As a sentence without its full stop.
    pub text: &'static str,
    /// How it comes about, as a sentence.
    pub how: &'static str,
    /// Whether this move brings it about.
    pub holds: Holds,
}

/// A move to be pointed out once the end is reached.
pub struct Guilty {
    pub text: &'static str,
    pub holds: Holds,
}

/// An end to come to.
pub struct Goal {
    pub name: &'static str,
    /// What to do, as a sentence.
    pub text: &'static str,
    /// In their order: each after the one before it, or with the same move.
    pub checkpoints: &'static [Checkpoint],
    /// What the end is and how it comes about, as those of a checkpoint.
    pub end: [&'static str; 2],
    /// The two moves of which it comes.
    pub guilty: [Guilty; 2],
    pub is_reached: fn(&End) -> bool,
}

impl Goal {
    /// How many checkpoints are behind a play that had `passed` so many before this move.
    pub fn advance(&self, passed: usize, step: &Step<'_>) -> usize {
        passed + self.checkpoints[passed..].iter().take_while(|checkpoint| (checkpoint.holds)(step)).count()
    }
}

const BREAK: Goal = Goal {
    name: "break",
    text: "",
    checkpoints: &[],
    end: [""; 2],
    guilty: [Guilty { text: "", holds: |_| false }, Guilty { text: "", holds: |_| false }],
    is_reached: |end| end.crash,
};

/// The goals of a stage; none for one that nothing happens to.
pub fn goals(stage: &str) -> Vec<Goal> {
    if entry(stage).expect == Verdict::Serves {
        return Vec::new();
    }
    match stage {
        "stage3_broken" => vec![USE_AFTER_FREE, SURVIVAL],
        "stage4_broken" => vec![DOUBLE_FREE],
        "stage5_broken" => vec![WRONG_REPLY],
        "stage6_broken" => vec![HANG],
        "stage7_broken" => vec![NEVER_STOPS],
        "stage8_broken" => vec![HERD, NO_HERD],
        other => unreachable!("{other} is broken, and has no goal"),
    }
}

/// What the verdict on a play is called.
pub fn kind(end: &End) -> &'static str {
    match end.check {
        Some(Check::UseAfterFree | Check::DoubleFree | Check::Panic | Check::Refused) => "crash",
        Some(Check::Stranger) => "wrong reply",
        Some(Check::NeverStops) => "never stops",
        Some(Check::Herd) => "herd",
        Some(Check::Leak) => "leak",
        Some(_) if end.crash => "hang",
        _ => "no harm",
    }
}

/// The file name of the schedule of a play, and what runs it.
pub fn command(stage: &str) -> (String, String) {
    let file = format!("{stage}.mine.schedule");
    // For as many reactors as the game has.
    let count = if entry(stage).threads == Threads::Reactors {
        format!(" --workers {}", workers(stage))
    } else {
        String::new()
    };
    let command = format!("{} --{count} --schedule {file}", catalogue::command(stage));
    (file, command)
}

const MAIN: usize = 1;

impl Facts {
    fn workers(&self) -> impl Iterator<Item = usize> + '_ {
        MAIN + 1..self.at.len()
    }

    /// How many workers stand there.
    fn stand_at(&self, point: &str) -> usize {
        self.workers().filter(|role| self.at[*role] == point).count()
    }

    /// Whether a worker stands at its point `return` with what the first client has asked for.
    fn has_request_of_first(&self) -> bool {
        self.workers().any(|role| self.at[role] == "return" && self.read_from[role] == Some(0))
    }

    /// How many workers have taken a task and are not done with it.
    fn at_work(&self) -> usize {
        self.workers().count() - self.stand_at("take")
    }

    fn has_freed(&self, name: &str) -> bool {
        self.freed.iter().any(|freed| freed == name)
    }

    /// Whether the first client's number is the second one's.
    fn is_number_reused(&self) -> bool {
        matches!(self.sockets[..], [None, Some(number)] if number as u64 == FIRST_SOCKET)
    }

    /// How many reactors sleep in the kernel.
    fn reactors_asleep(&self) -> usize {
        self.workers().filter(|role| self.asleep[*role]).count()
    }

    /// How many reactors have heard of the connection, and are not done with it.
    fn have_heard(&self) -> usize {
        self.stand_at("woken") + self.stand_at("accept")
    }

    /// Whether the one connection was made, and whether it was accepted.
    fn has_come(&self) -> bool {
        !self.sockets.is_empty()
    }

    fn is_accepted(&self) -> bool {
        matches!(self.sockets[..], [Some(_)])
    }

    /// Whether nobody has to do with any session, and one of them is not armed.
    fn is_forgotten(&self) -> bool {
        self.unarmed > 0 && self.queued == 0 && self.at_work() == 0 && self.at[MAIN] == "wait"
    }
}

fn frees(step: &Step<'_>, name: &str) -> bool {
    !step.before.facts.has_freed(name) && step.after.facts.has_freed(name)
}

fn is_at_its_end(step: &Step<'_>) -> bool {
    step.after.end.as_ref().is_some_and(|end| end.crash)
}

const USE_AFTER_FREE: Goal = Goal {
    text: "Crash the server: let a worker use the session after main has freed it.",
    checkpoints: &[
        Checkpoint {
            text: "a copy of the session's address is in the queue or with a worker",
            how: "Main queues the address of a session that has something to read.",
            holds: |step| step.after.facts.queued + step.after.facts.at_work() > 0,
        },
        Checkpoint {
            text: "the session is freed, and that copy is still about",
            how: "Main frees the session when it hears that the client has hung up. No worker may be done with the copy by then.",
            holds: |step| frees(step, "session 1") && step.after.facts.queued + step.after.facts.at_work() > 0,
        },
    ],
    end: ["a worker uses the freed session", "Each access through its copy is one."],
    guilty: [
        Guilty { text: "the free", holds: |step| frees(step, "session 1") },
        Guilty { text: "the use", holds: is_at_its_end },
    ],
    ..BREAK
};

const SURVIVAL: Goal = Goal {
    name: "survive",
    text: "Let it live: the reset comes while a worker is at work on the session, and nothing crashes.",
    checkpoints: &[Checkpoint {
        text: "the reset comes while a worker is at work on the session",
        how: "The client breaks off after a worker has taken the session, and before it asks for its next task.",
        holds: |step| !step.before.facts.reset && step.after.facts.reset && step.after.facts.at_work() > 0,
    }],
    end: [
        "all is done, and nothing has crashed",
        "No worker may touch the session once main has freed it: it must ask for its next task before.",
    ],
    guilty: [
        Guilty {
            text: "the reset, with a worker at work",
            holds: |step| !step.before.facts.reset && step.after.facts.reset,
        },
        Guilty { text: "the free, with nobody left to use it", holds: |step| frees(step, "session 1") },
    ],
    is_reached: |end| !end.crash,
};

const DOUBLE_FREE: Goal = Goal {
    text: "Crash the server: let both workers free the same buffer.",
    checkpoints: &[
        Checkpoint {
            text: "two workers are inside the session",
            how: "A second event must come while the first worker is inside: bytes that the first one has not read, and a \
                  socket that it has armed again.",
            holds: |step| step.after.facts.inside.iter().filter(|inside| **inside).count() > 1,
        },
        Checkpoint {
            text: "both are about to free the buffer",
            how: "After its re-arm a worker frees the buffer if it has read something. So there must be bytes for either of them, and \
                  neither may free it before the other one stands there too.",
            holds: |step| step.after.facts.stand_at("free") > 1,
        },
    ],
    end: ["one of them frees the buffer, and the other one frees it again", "Each of them makes its move."],
    guilty: [
        Guilty { text: "the free", holds: |step| frees(step, "buffer 1") },
        Guilty { text: "the same free again", holds: is_at_its_end },
    ],
    ..BREAK
};

const WRONG_REPLY: Goal = Goal {
    text: "Give the second client the reply that was made for the first.",
    checkpoints: &[
        Checkpoint {
            text: "the worker has the first client's request, and of the session only the key",
            how: "The worker reads the whole request, and leaves the session to prepare the reply.",
            holds: |step| step.after.facts.has_request_of_first(),
        },
        Checkpoint {
            text: "the second client has the first one's number, and the worker is still out",
            how: "The first client breaks off, main removes its session, and only then accepts the second one: the lowest free \
                  number is the one that was just closed.",
            holds: |step| step.after.facts.is_number_reused() && step.after.facts.has_request_of_first(),
        },
    ],
    end: [
        "the worker writes the first reply to the second client",
        "It comes back, looks its key up once more, and finds whoever has the number then.",
    ],
    guilty: [
        Guilty {
            text: "the number goes to the second client",
            holds: |step| !step.before.facts.is_number_reused() && step.after.facts.is_number_reused(),
        },
        Guilty { text: "and with it the first one's reply", holds: is_at_its_end },
    ],
    ..BREAK
};

const HANG: Goal = Goal {
    text: "Make the server hang: let the client's bytes lie in a socket of which nobody hears any more.",
    checkpoints: &[Checkpoint {
        text: "the socket is not armed, and nobody is at work on its session",
        how: "A worker finds the socket empty with only a part of the request read: it leaves early, before its re-arm.",
        holds: |step| step.after.facts.is_forgotten(),
    }],
    end: [
        "bytes lie in that socket, and nobody can move",
        "What comes into a socket that is not armed is not reported.",
    ],
    guilty: [
        Guilty {
            text: "leaves without the re-arm",
            holds: |step| {
                step.chosen.role > MAIN && !step.before.facts.is_forgotten() && step.after.facts.is_forgotten()
            },
        },
        Guilty {
            text: "the rest comes, and nobody hears of it",
            holds: |step| step.before.facts.is_forgotten() && step.chosen.next.starts_with("send"),
        },
    ],
    ..BREAK
};

const NEVER_STOPS: Goal = Goal {
    text: "Make the server never stop: let a worker fall asleep after main has woken everybody.",
    checkpoints: &[
        Checkpoint {
            text: "a worker has looked at the flag, and does not sleep yet",
            how: "A worker looks for a task and then at the flag. It stands before its sleep, and the flag is not set.",
            holds: |step| step.after.facts.stand_at("sleep") > 0,
        },
        Checkpoint {
            text: "the flag is set, and that worker still does not sleep",
            how: "The operator tells the server to stop, and main sets the flag: it needs no lock for that.",
            holds: |step| step.after.facts.flag && step.after.facts.stand_at("sleep") > 0,
        },
        Checkpoint {
            text: "main has notified the sleepers, and that worker is not among them",
            how: "Main notifies once. Whoever falls asleep later is not woken.",
            holds: |step| notifies(step) && step.after.facts.stand_at("sleep") > 0,
        },
    ],
    end: [
        "that worker falls asleep, and nobody is left who could wake it",
        "It goes to sleep after the notification, and everybody else comes to an end.",
    ],
    guilty: [
        Guilty { text: "the notification", holds: notifies },
        Guilty {
            text: "the sleep",
            holds: |step| {
                let asleep = |node: &Node| node.facts.asleep.iter().filter(|asleep| **asleep).count();
                step.chosen.next == "sleep" && asleep(step.after) > asleep(step.before)
            },
        },
    ],
    ..BREAK
};

const HERD: Goal = Goal {
    text: "Wake every reactor for one client.",
    checkpoints: &[
        Checkpoint {
            text: "every reactor sleeps in epoll_wait, and the client has not come",
            how: "A reactor falls asleep at its wait, since there is nothing to hear of. Only who sleeps can be woken.",
            holds: |step| {
                let facts = &step.after.facts;
                !facts.has_come() && facts.reactors_asleep() == facts.workers().count()
            },
        },
        Checkpoint {
            text: "the connection has woken all of them",
            how: "It comes while all sleep: the kernel goes along the listener's wait queue, and wakes each.",
            holds: |step| step.after.facts.woken == step.after.facts.workers().count(),
        },
    ],
    end: [
        "one reactor accepts the client, and the others find nobody",
        "Each of those who were woken goes for the one connection.",
    ],
    guilty: [
        Guilty { text: "the connection that wakes them all", holds: comes },
        Guilty {
            text: "the last accept for nothing",
            holds: |step| {
                let others = step.after.facts.workers().count() - 1;
                step.before.facts.in_vain < others && step.after.facts.in_vain == others
            },
        },
    ],
    is_reached: |end| end.check == Some(Check::Herd),
    ..BREAK
};

const NO_HERD: Goal = Goal {
    name: "survive",
    text: "Let one reactor take the client, and no other hear of it.",
    checkpoints: &[
        Checkpoint {
            text: "the client comes, and not more than one reactor sleeps",
            how: "Who sleeps is woken. Who is awake is not: it hears of the client only at its next wait.",
            holds: |step| comes(step) && step.after.facts.woken <= 1,
        },
        Checkpoint {
            text: "one reactor accepts the client before any other has heard of it",
            how: "A wait finds the listener readable for as long as nobody has accepted. So one must be through with its \
                  accept before the next one comes to its wait.",
            holds: |step| accepts(step) && step.after.facts.have_heard() == 0,
        },
    ],
    end: ["the client is accepted, and the others have heard of nothing", "They come to their wait, and fall asleep."],
    guilty: [
        Guilty { text: "the connection, with the others awake", holds: comes },
        Guilty { text: "the accept, before they look", holds: accepts },
    ],
    is_reached: |end| end.text == ALONE,
};

fn comes(step: &Step<'_>) -> bool {
    !step.before.facts.has_come() && step.after.facts.has_come()
}

fn accepts(step: &Step<'_>) -> bool {
    !step.before.facts.is_accepted() && step.after.facts.is_accepted()
}

fn notifies(step: &Step<'_>) -> bool {
    step.chosen.role == MAIN && step.chosen.next == "notify"
}

/// The checkpoints are no advice: no play breaks a server and passes one of them by. Once the last one is passed the end can be
/// reached. And whoever has come to it has made both guilty moves.
#[test]
fn no_end_is_reached_past_a_checkpoint_or_without_the_two_guilty_moves() {
    for stage in crate::names() {
        let graph = crate::graph(stage);
        for goal in goals(stage) {
            let count = goal.checkpoints.len();
            let (mut seen, mut open, mut reached) = (std::collections::HashSet::new(), vec![(0, 0, [false; 2])], 0);
            while let Some((at, passed, made)) = open.pop() {
                if !seen.insert((at, passed, made)) {
                    continue;
                }
                let before = &graph.nodes[at];
                if before.end.as_ref().is_some_and(goal.is_reached) && (goal.name == "break" || passed == count) {
                    assert_eq!((passed, made), (count, [true; 2]), "{stage}, {}", goal.name);
                    reached += 1;
                }
                for chosen in &before.moves {
                    let step = Step { before, chosen, after: &graph.nodes[chosen.to] };
                    if passed < count && goal.advance(passed, &step) == count {
                        assert!(
                            leads(graph, &goal, chosen.to),
                            "{stage}, {}: the last checkpoint is too weak",
                            goal.name
                        );
                    }
                    let made = [0, 1].map(|at| made[at] || (goal.guilty[at].holds)(&step));
                    open.push((chosen.to, goal.advance(passed, &step), made));
                }
            }
            assert!(reached > 0, "{stage}, {}", goal.name);
        }
    }
}

/// Whether some order leads from there to such an end.
fn leads(graph: &crate::explore::Graph, goal: &Goal, from: usize) -> bool {
    let (mut seen, mut open) = (std::collections::HashSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        let node = &graph.nodes[at];
        if node.end.as_ref().is_some_and(goal.is_reached) {
            return true;
        }
        open.extend(node.moves.iter().map(|chosen| chosen.to).filter(|to| seen.insert(*to)));
    }
    false
}
