//! The report as text.

use super::findings::{self, Finding, Mistake};
use super::lanes::{self, BOLD, DIM, RED, length, paint, wrap};
use super::stale::stale;
use super::stop;
use super::story::{Place, Story};
use crate::catalogue::{self, Expect};
use crate::direct::client::Misdelivery;
use crate::direct::outcome::{Ending, Hang, Loss, Outcome, Run, Stuck};
use crate::direct::quiescence::Armed;
use crate::record::event::{Kind, Record, Waiting};
use crate::words::{count, errno, signal_name, thousands};

/// Where the text of an entry begins.
const COLUMN: usize = 13;
/// Lines of stderr that are shown of a panic.
const LAST_WORDS: usize = 6;
/// Prose is not wider than this, however wide the terminal is.
const PROSE: usize = 100;

/// The report of a run: what happened, in lanes; then what came of it, and why. At most `width` columns wide.
pub fn report(run: &Run, width: usize, colour: bool) -> String {
    let story = Story::new(run);
    let rows: Vec<_> = story.short_rows().into_iter().map(|event| event.row).collect();
    let table = lanes::draw(&run.roles, &rows, width, colour);
    let mut page = Page { width, colour, text: String::new() };
    page.title(run);
    page.text += &table;
    if !table.is_empty() {
        page.text.push('\n');
    }
    match run.ending {
        // The lab killed it.
        Ending::Signal(_) if run.stuck.is_some() => {
            never_stops(&mut page, &story, run.stuck.as_ref().expect("just asked"));
            outcomes(&mut page, &story);
            if let Some(why) = findings::why(&story, None) {
                page.entry("why", why);
            }
        }
        Ending::Signal(signal) => {
            death(&mut page, &story, signal);
            outcomes(&mut page, &story);
        }
        Ending::Exit(0) => {
            let mistake = findings::first_mistake(&story);
            match (&run.hang, &run.misdelivery) {
                (Some(hang), _) => hanging(&mut page, hang),
                (None, Some(wrong)) => misdelivery(&mut page, &story, wrong),
                (None, None) if run.loss.is_some() => loss(&mut page, &story, run.loss.as_ref().expect("just asked")),
                (None, None) => survival(&mut page, &story, mistake.as_ref()),
            }
            outcomes(&mut page, &story);
            if let Some(why) = findings::why(&story, None).filter(|_| mistake.is_none()) {
                page.entry("why", why);
            }
            cuts(&mut page, &story);
            accounts(&mut page, run);
        }
        Ending::Exit(code) => {
            page.entry_in("ended", &format!("the server's process ended with status {code}"), RED);
            last_words(&mut page, run);
            outcomes(&mut page, &story);
        }
    }
    how_it_was_made(&mut page, run);
    let chapter = format!("chapters/stage{}.md", run.stage.chapter);
    page.entry("chapter", &chapter);
    page.entry("next", &catalogue::command(run.stage.next));
    page.text
}

/// The last line of a program that ends by the signal its server died of.
pub fn ending(signal: i32) -> String {
    format!("  ending as the server did: {} ({signal})\n", signal_name(signal))
}

struct Page {
    width: usize,
    colour: bool,
    text: String,
}

impl Page {
    /// `stage3_broken: what it does wrong          chapter 3`
    fn title(&mut self, run: &Run) {
        let chapter = format!("chapter {}", run.stage.chapter);
        let title = format!("{}: {}", run.stage.name, run.stage.title);
        let width = self.width.clamp(1, PROSE);
        let mut lines = wrap(&title, width, 2);
        let last = lines.last_mut().expect("a title has a line");
        if length(last) + 2 + length(&chapter) <= width {
            *last += &format!("{chapter:>room$}", room = width - length(last));
        } else {
            let chapter = chapter.chars().take(width).collect::<String>();
            lines.push(format!("{chapter:>width$}"));
        }
        for line in lines {
            self.text += &paint(&line, BOLD, self.colour);
            self.text.push('\n');
        }
        self.text.push('\n');
    }

    fn entry(&mut self, key: &str, text: &str) {
        self.entry_in(key, text, "");
    }

    /// `  key        text`, wrapped under itself.
    fn entry_in(&mut self, key: &str, text: &str, style: &'static str) {
        let width = self.width.min(PROSE);
        // Too narrow for two columns: the key stands above its text.
        let column = if width < 2 * COLUMN { 2.min(width.saturating_sub(1)) } else { COLUMN };
        let mut head = format!("{:<column$}", format!("  {key}"));
        if length(&head) > column || (column < COLUMN && !key.is_empty()) {
            head.truncate(width);
            self.text += &format!("{}\n", paint(head.trim_end(), DIM, self.colour));
            head = " ".repeat(column);
        }
        for (n, line) in wrap(text, width.saturating_sub(column), 0).iter().enumerate() {
            let start = if n == 0 { paint(&head, DIM, self.colour) } else { " ".repeat(column) };
            self.text += &format!("{start}{}", paint(line, style, self.colour));
            self.text.truncate(self.text.trim_end().len());
            self.text.push('\n');
        }
    }
}

/// `worker-1  step 8   lab/stages/stage3_broken.rs:122`; the columns are as wide as `places` need them.
fn places(page: &mut Page, story: &Story<'_>, places: &[(&str, Place, &str)]) {
    let run = story.run;
    let is_over = |place: &Place| run.records.get(story.over).is_some_and(|record| record.number <= place.number);
    let step = |place: &Place| match place.step {
        Some(step) => format!("step {step}"),
        None if !run.steps.is_empty() && is_over(place) => "later".to_string(),
        None => String::new(),
    };
    let role_width = places.iter().map(|(_, place, _)| length(story.role(place.role))).max().unwrap_or(0);
    let step_width = places.iter().map(|(_, place, _)| length(&step(place))).max().unwrap_or(0);
    for (key, place, remark) in places {
        let step = match step_width {
            0 => String::new(),
            width => format!("{:<width$}  ", step(place)),
        };
        let role = story.role(place.role);
        let text = format!("{role:<role_width$}  {step}{}:{}{remark}", place.file, place.line);
        // Aligned with blanks, which wrapping would swallow: a line that is too long gives its columns up.
        if COLUMN + length(&text) <= page.width {
            let head = paint(&format!("{:<COLUMN$}", format!("  {key}")), DIM, page.colour);
            page.text += &format!("{head}{text}\n");
        } else {
            page.entry(key, &text);
        }
    }
}

fn death(page: &mut Page, story: &Story<'_>, signal: i32) {
    let run = story.run;
    let name = signal_name(signal);
    let found = findings::cause(story);
    let fault = run.fault.filter(|fault| fault.signal == signal);
    let address = fault.map(|fault| fault.address).filter(|_| matches!(signal, libc::SIGSEGV | libc::SIGBUS));
    let how = match (&found, address) {
        (Some(found), Some(address)) => format!("{name} at {address:#x}: {}", into(found, address)),
        (None, Some(address)) => match story.objects.block(address, run.records.len()) {
            Some(block) => {
                format!(
                    "{name} at {address:#x}, in {} ({}), which was not freed",
                    block.name,
                    count(block.size, "byte")
                )
            }
            None => format!("{name} at {address:#x}, which is in no block that the box knows"),
        },
        (_, None) => match run.stderr.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) if signal == libc::SIGABRT => format!("{name}: {}", line.trim()),
            _ if fault.is_none() && is_fatal_mistake(signal) => {
                format!("{name}; its fault handler could not say where")
            }
            _ if fault.is_none() => format!("{name}, which came from outside"),
            _ => name.clone(),
        },
    };
    page.entry_in("died of", &how, RED);
    match &found {
        Some(found) => evidence(page, story, found),
        None => unknown(page, story, signal),
    }
    match findings::why(story, found.as_ref()) {
        Some(why) => page.entry("why", why),
        None if found.is_some() => page.entry("why", "not the death that the chapter explains"),
        None => {}
    }
}

/// Whether a process gets this signal for what it did itself.
fn is_fatal_mistake(signal: i32) -> bool {
    matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGABRT | libc::SIGILL | libc::SIGFPE)
}

/// `8 bytes into session 1 (16 bytes, on pages of its own, taken away when it was freed)`
fn into(found: &Finding<'_>, address: u64) -> String {
    let block = found.block;
    let pages = if block.own_pages { ", on pages of its own, taken away when it was freed" } else { ", freed" };
    let offset = match address - block.address {
        0 => "at the start of".to_string(),
        offset => format!("{} into", count(offset, "byte")),
    };
    format!("{offset} {} ({}{pages})", block.name, count(block.size, "byte"))
}

fn evidence(page: &mut Page, story: &Story<'_>, found: &Finding<'_>) {
    if found.mistake == Mistake::DoubleFree {
        let block = found.block;
        let heap = if block.own_pages { "pages of its own" } else { "malloc" };
        page.entry("block", &format!("{} ({}, {heap}), freed twice", block.name, count(block.size, "byte")));
    }
    let (last, remark) = match (found.mistake, found.exact) {
        (Mistake::DoubleFree, _) => ("again", ""),
        (Mistake::UseAfterFree, true) => ("used", ""),
        (Mistake::UseAfterFree, false) => ("used", ", or after it"),
    };
    let list = [("allocated", found.allocated, ""), ("freed", found.freed, ""), (last, found.last, remark)];
    places(page, story, &list);
}

fn unknown(page: &mut Page, story: &Story<'_>, signal: i32) {
    let run = story.run;
    if run.fault.is_some_and(|fault| fault.role < run.roles.len()) {
        let role = run.fault.map(|fault| fault.role).unwrap_or_default();
        let own = |record: &Record| record.role == role && !matches!(record.kind, Kind::Step | Kind::Refused);
        let last = run.records.iter().rposition(own);
        if let Some(last) = last {
            places(page, story, &[("last seen", story.place(last), "")]);
        }
    }
    match findings::first_mistake(story) {
        Some(found) => {
            let text = format!(
                "not recognised for certain; but before, there was a {} of {}:",
                found.mistake.name(),
                found.block.name
            );
            page.entry("why", &text);
            evidence(page, story, &found);
        }
        None if run.fault.is_none() && !is_fatal_mistake(signal) => {}
        None => {
            page.entry("why", "the cause was not recognised: no block in the box was used or freed after it was freed")
        }
    }
    last_words(page, run);
}

fn last_words(page: &mut Page, run: &Run) {
    let lines: Vec<_> = run.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    for (n, line) in lines.iter().take(LAST_WORDS).enumerate() {
        page.entry(if n == 0 { "it said" } else { "" }, line);
    }
    if lines.len() > LAST_WORDS {
        page.entry("", &format!("... and {} more", count((lines.len() - LAST_WORDS) as u64, "line")));
    }
}

/// Nobody can move: which connection waits, for how much, and how that is known.
fn hanging(page: &mut Page, hang: &Hang) {
    let (session, fd) = (hang.session, hang.fd);
    let unread = count(hang.unread, "byte");
    let wait = if hang.unread == 1 { "waits" } else { "wait" };
    let how = format!("session {session} (fd {fd}): {unread} {wait} in its socket (FIONREAD), and nobody reads");
    page.entry_in("hangs", &how, RED);
    if let Some(armed) = hang.proof.as_ref().map(|proof| proof.armed) {
        page.entry("armed", &armed_for(armed));
    }
    let owed = count(hang.owed, "reply");
    let doing = together(&hang.doing);
    let proof = format!("{doing}, asked again, and there is none; the client is owed {owed} and waits");
    page.entry("proved by", &proof);
    if let Some(proof) = &hang.proof {
        let mut calls: Vec<(&str, u64)> = Vec::new();
        for thread in &proof.threads {
            match calls.iter_mut().find(|(call, _)| *call == thread.call) {
                Some((_, count)) => *count += 1,
                None => calls.push((thread.call, 1)),
            }
        }
        let calls: Vec<_> = calls.iter().filter(|(call, _)| !call.is_empty()).collect();
        let calls: Vec<_> = calls.iter().map(|(call, count)| format!("{count} in {call}")).collect();
        let calls = if calls.is_empty() { String::new() } else { format!(" ({})", calls.join(", ")) };
        let threads = count(proof.threads.len() as u64, "thread");
        let text = format!(
            "then, nobody directing: {threads} asleep{calls}, none woke between three looks, no packet under way"
        );
        page.entry("", &text);
    }
    if hang.serves_another {
        page.entry("meanwhile", "another client came, and was served");
    }
}

/// It was told to stop, and never does: who waits for whom, how it came to that, and how that is known.
fn never_stops(page: &mut Page, story: &Story<'_>, stuck: &Stuck) {
    let how = match stuck.joins {
        Some((who, whom)) => {
            let (who, whom) = (story.role(who), story.role(whom));
            format!("{who} waits for the end of {whom}, which sleeps, and nobody is left to wake it")
        }
        None => "nobody can move any more".to_string(),
    };
    page.entry_in("no end", &how, RED);
    if let Some(missed) = stop::missed(story) {
        let list = [
            ("looked", missed.looked, ": not set"),
            ("set", missed.set, ""),
            ("notified", missed.notified, if missed.asleep == 0 { ": nobody slept" } else { ": it did not sleep" }),
            ("slept", missed.slept, ""),
        ];
        places(page, story, &list);
    }
    page.entry("proved by", &format!("{}, asked again, and nothing has changed", together(&stuck.doing)));
    if !stuck.asleep.is_empty() {
        let threads = count(stuck.asleep.len() as u64, "thread");
        let text = format!(
            "then, nobody directing: {threads} left, all asleep in futex, none woke between three looks; no packet and no \
             time can wake them"
        );
        page.entry("", &text);
    }
}

/// A client that came to its end in order, and was not served.
fn loss(page: &mut Page, story: &Story<'_>, loss: &Loss) {
    let client = story.role(loss.client);
    let (owed, sent) = (count(loss.owed, "reply"), count(story.run.client.sent, "byte"));
    let saw = match loss.error {
        0 => "the end of the stream".to_string(),
        error => errno(error),
    };
    page.entry_in("loses", &format!("{client} sent {sent}, closed its side, and got {saw}; it is owed {owed}"), RED);
    if let Some(tail) = stop::tail(story) {
        let mut list = vec![("reported", tail.reported, ": with its end")];
        list.extend(tail.read.map(|(_, place)| ("read", place, "")));
        list.extend(
            tail.closed.map(|place| ("closed", place, if tail.read.is_none() { ": nothing was read" } else { "" })),
        );
        places(page, story, &list);
    }
}

/// Who used up the limit of a drain.
fn cuts(page: &mut Page, story: &Story<'_>) {
    for cut in stop::cuts(story) {
        let (bytes, replies) = (count(cut.unanswered, "byte"), count(cut.replies, "reply"));
        let text = format!("fd {} at the limit of the drain: {bytes} without an answer, {replies} not written", cut.fd);
        let style = if cut.unanswered > 0 || cut.replies > 0 { RED } else { "" };
        page.entry_in("cut", &text, style);
    }
}

/// What is still asked of the socket in the interest list.
fn armed_for(armed: Option<Armed>) -> String {
    match armed {
        None => "it is on no interest list (/proc/PID/fdinfo)".to_string(),
        Some(armed) if armed.is_empty() => {
            format!("{armed} (/proc/PID/fdinfo): no event is asked for, since the one-shot one was told")
        }
        Some(armed) if armed.is_edge() => {
            format!("{armed} (/proc/PID/fdinfo): edge-triggered, and the edge was told; a new one needs a new arrival")
        }
        Some(armed) => format!("{armed} (/proc/PID/fdinfo)"),
    }
}

/// `main waits for an event; worker-1, worker-2 wait for a task`
fn together(doing: &[(String, String)]) -> String {
    let mut groups: Vec<(Vec<&str>, &str)> = Vec::new();
    for (role, doing) in doing {
        match groups.iter_mut().find(|(_, same)| same == doing) {
            Some((roles, _)) => roles.push(role),
            None => groups.push((vec![role], doing)),
        }
    }
    let text = groups.iter().map(|(roles, doing)| match roles.len() {
        1 => format!("{} {doing}", roles[0]),
        _ => {
            let doing = doing.replacen("waits ", "wait ", 1).replacen("has ", "have ", 1);
            format!("{} {doing}", roles.join(", "))
        }
    });
    text.collect::<Vec<_>>().join("; ")
}

/// Bytes that went to the wrong client: which, to whom, and by which key.
fn misdelivery(page: &mut Page, story: &Story<'_>, wrong: &Misdelivery) {
    let client = story.role(wrong.client);
    let made_for = match wrong.made_for {
        Some(owner) => format!("which are the reply to {}", story.role(owner)),
        None => "which are not due to it".to_string(),
    };
    let bytes = count(wrong.got.len() as u64, "byte");
    page.entry_in("stranger", &format!("{client} received {bytes}, {made_for}"), RED);
    page.entry("it got", &quoted(&wrong.got));
    page.entry("it is owed", &quoted(&wrong.due));
    let Some(stale) = stale(story) else { return };
    let [first, second] = stale.sessions;
    let fd = stale.fd;
    page.entry("the number", &format!("fd {fd} was session {first}'s, and is session {second}'s"));
    let mut list = vec![("taken", stale.taken, ""), ("closed", stale.closed, ""), ("reused", stale.reused, "")];
    list.extend(stale.written.map(|place| ("written", place, "")));
    list.extend(stale.rearmed.map(|place| ("re-armed", place, "")));
    places(page, story, &list);
    if let Some(reported) = stale.reported {
        let text = format!("session {second}'s EPOLLONESHOT was reported twice, and its worker has not armed it:");
        page.entry("two tasks", &text);
        places(page, story, &reported.map(|place| ("reported", place, "")));
    }
}

/// Bytes as a literal of Rust, and of most languages.
fn quoted(bytes: &[u8]) -> String {
    format!("b\"{}\"", bytes.escape_ascii())
}

fn survival(page: &mut Page, story: &Story<'_>, mistake: Option<&Finding<'_>>) {
    let (text, style) = match (story.run.stage.expect, mistake) {
        (_, Some(found)) => {
            let seen = match found.mistake {
                Mistake::UseAfterFree => "was used after it was freed",
                Mistake::DoubleFree => "was freed twice",
            };
            (format!("by luck: {} {seen}, and nothing noticed", found.block.name), RED)
        }
        (Expect::Signal { .. }, None) => {
            ("in this run no block was used or freed after it had been freed".to_string(), "")
        }
        (Expect::Herds, None) => return herding(page, story.run),
        (Expect::Hangs, None) => ("yes: in this run nothing was left waiting".to_string(), ""),
        (Expect::NeverStops, None) => ("in this run it stopped when it was told to".to_string(), ""),
        (Expect::Loses, None) => ("in this run its client got all that it is owed".to_string(), ""),
        (Expect::Misdelivers, None) => ("in this run every client got its own replies".to_string(), ""),
        (Expect::Serves, None) => ("served its client, and stopped when it was told to".to_string(), ""),
    };
    page.entry_in("survived", &text, style);
    if let Some(found) = mistake {
        evidence(page, story, found);
    }
    for refusal in findings::refusals(story) {
        let held = match (refusal.holder, refusal.held_since) {
            (Some(holder), Some(step)) => format!(", which {} had held since step {step}", story.role(holder)),
            (Some(holder), None) => format!(", which {} held", story.role(holder)),
            (None, _) => String::new(),
        };
        let then = match refusal.passed_after {
            Some(step) if step != refusal.step => format!(", and got it in step {step}"),
            _ => String::new(),
        };
        let (step, what, role) = (refusal.step, &refusal.what, story.role(refusal.role));
        page.entry("refused", &format!("step {step} ({role} {what}) waited for {}{held}{then}", refusal.lock));
    }
    if let Some(stale) = stale(story).filter(|stale| !stale.did_harm()) {
        let Place { role, step, file, line, .. } = stale.returned;
        let step = step.map(|step| format!(" in step {step}")).unwrap_or_default();
        let ([old, new], fd, who) = (stale.keys.map(|key| key >> 32), stale.fd, story.role(role));
        let text = format!(
            "{who} came back{step} with fd {fd}, generation {old} ({file}:{line}); it has generation {new} now, and \
             nobody was found"
        );
        page.entry("kept out", &text);
    }
    if story.run.stage.drains()
        && let Some(tail) = stop::tail(story)
        && let Some((bytes, read)) = tail.read
    {
        let text =
            format!("{} came in one event with the end of the input, and were read first:", count(bytes, "byte"));
        page.entry("the tail", &text);
        let mut list = vec![("reported", tail.reported, ""), ("read", read, "")];
        list.extend(tail.closed.map(|place| ("closed", place, "")));
        places(page, story, &list);
    }
    let left_early = findings::left_early(story).filter(|_| mistake.is_none() && findings::refusals(story).is_empty());
    if let Some(left) = &left_early {
        let Place { role, step, file, line, .. } = left.rearmed;
        let step = step.map(|step| format!("step {step}, ")).unwrap_or_default();
        let (who, lock) = (story.role(role), &left.lock);
        let text = format!(
            "{who} left without a reply, and armed the socket on its way ({step}{file}:{line}), still holding {lock}"
        );
        page.entry("re-armed", &text);
    }
    if mistake.is_none()
        && !story.run.stage.drains()
        && left_early.is_none()
        && let Some(kept) = findings::kept_alive(story)
    {
        let Place { role, step, file, line, .. } = kept.given_up;
        let step = step.map(|step| format!(" in step {step}")).unwrap_or_default();
        let left = count(kept.owners_left, "owner");
        let who = story.role(role);
        let text = format!(
            "{who} gave up its share of {}{step} ({file}:{line}); {left} left, so nothing was freed",
            kept.block.name
        );
        page.entry("harmless", &text);
        // After the schedule it is chance who of them is the last.
        if let Some(Place { role, step: Some(step), file, line, .. }) = kept.freed {
            let text = format!("{} was the last owner, in step {step} ({file}:{line})", story.role(role));
            page.entry("freed", &text);
        }
    }
}

/// What the wake-ups of a broken stage came to.
fn herding(page: &mut Page, run: &Run) {
    let (herd, total) = (&run.herd, run.herd.total());
    match herd.is_stampede() {
        true => page.entry_in("herd", &format!("{}: {}", herd.ratio(), herd.wakeups()), RED),
        false => page.entry("herd", &format!("none in this run: {}", herd.wakeups())),
    }
    if total.empty > 0 {
        let each = (1..).zip(&herd.reactors).filter(|(_, one)| one.empty > 0);
        let vain: Vec<_> = each.map(|(n, one)| format!("reactor-{n} {}", thousands(one.empty))).collect();
        page.entry("in vain", &vain.join(", "));
    }
}

fn accounts(page: &mut Page, run: &Run) {
    if !run.herd.reactors.is_empty() {
        if run.stage.expect != Expect::Herds {
            page.entry("wake-ups", &run.herd.wakeups());
        }
        page.entry("accepted", &run.herd.spread());
    }
    let Some(served) = run.served else { return };
    let sent = run.client.sent;
    // A run with no client of the lab's has nothing to compare with.
    if sent == 0 && !run.steps.is_empty() && served.received == 0 {
        return;
    }
    if sent == 0 && run.steps.is_empty() {
        page.entry("served", &format!("{}, {}", count(served.received, "byte"), count(served.replies, "reply")));
        return;
    }
    let (text, style) = match served.received {
        received if received == sent => (format!("{} sent, and the server counted every one", thousands(sent)), ""),
        received if received < sent => {
            let missing = thousands(sent - received);
            (format!("{} sent, {} counted: {missing} are missing", thousands(sent), thousands(received)), RED)
        }
        received => (format!("{} sent, and {} counted", thousands(sent), thousands(received)), RED),
    };
    page.entry_in("bytes", &text, style);
    if served.replies > 0 || run.client.replies > 0 {
        let (written, got) = (served.replies, run.client.replies);
        let style = if written == got { "" } else { RED };
        let text = format!("{} written, {} received whole", thousands(written), thousands(got));
        page.entry_in("replies", &text, style);
    }
}

/// Steps that did not pass in their place, but for those that a lock refused.
fn outcomes(page: &mut Page, story: &Story<'_>) {
    let run = story.run;
    let survived = run.ending == Ending::Exit(0);
    let mut not_reached = Vec::new();
    let slept_on = slept_on(page, run);
    for (n, step) in run.steps.iter().enumerate() {
        let title = format!("step {} ({} {})", n + 1, step.role, step.what);
        match &step.outcome {
            Outcome::Passed => {}
            // Told already.
            _ if slept_on.contains(&step.role.as_str()) => {}
            // Told above.
            Outcome::Refused { waiting: Waiting::Lock, .. } if survived => {}
            Outcome::Refused { waiting: Waiting::Thread | Waiting::Notice, .. } if run.stuck.is_some() => {}
            Outcome::Refused { waiting: Waiting::Notice, .. } if survived => {}
            Outcome::Refused { waiting, address, holder } => {
                let waits = story.waits(*waiting, *address, *holder, run.records.len());
                page.entry("refused", &format!("{title}: {} {waits}", step.role));
            }
            Outcome::HeldBack => {
                page.entry(
                    "held back",
                    &format!("{title} came late, since an earlier step of {} was refused", step.role),
                );
            }
            Outcome::Unmet(doing) => {
                let doing = if doing.is_empty() { String::new() } else { format!(": {} {doing}", step.role) };
                page.entry_in("unmet", &format!("{title}{doing}"), RED);
            }
            Outcome::NotReached => not_reached.push(n + 1),
        }
    }
    if let (Some(first), Some(last)) = (not_reached.first(), not_reached.last()) {
        let steps = if first == last { format!("step {first}") } else { format!("steps {first} to {last}") };
        page.entry("not reached", &format!("{steps}: the server was gone"));
    }
}

/// The reactors that the kernel did not wake; whatever the schedule had for them was not for them.
fn slept_on<'a>(page: &mut Page, run: &'a Run) -> Vec<&'a str> {
    let counts =
        |role: &str| run.herd.reactors.get(role.strip_prefix("reactor-")?.parse::<usize>().ok()?.checked_sub(1)?);
    let refused = run.steps.iter().filter(|step| matches!(step.outcome, Outcome::Refused { .. }));
    let roles = refused.map(|step| step.role.as_str());
    let mut roles: Vec<_> = roles.filter(|role| counts(role).is_some_and(|counts| counts.woken == 0)).collect();
    roles.dedup();
    if !roles.is_empty() {
        page.entry("not woken", &format!("{}: nothing was reported to them", roles.join(", ")));
    }
    roles
}

/// What a reader must know to judge the run: the order was forced, and what the box has lost.
fn how_it_was_made(page: &mut Page, run: &Run) {
    match run.steps.len() as u64 {
        0 => page.entry("order", "nobody directed"),
        steps => page.entry("order", &format!("forced by the director, {}", count(steps, "step"))),
    }
    if run.dropped > 0 {
        let text = format!(
            "{} overwritten; what is older than the first of them is not known here",
            count(run.dropped, "older record") + if run.dropped == 1 { " was" } else { " were" }
        );
        page.entry_in("the box", &text, RED);
    }
}
