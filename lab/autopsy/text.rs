//! The report as text.

use super::lanes::{self, RED};
use super::page::Page;
use super::timeline::Timeline;
use super::verdicts::{self, cuts, death, first_mistake, last_words, leaks, slept_on, survival};
use crate::catalogue::{self, Verdict};
use crate::direct::outcome::{Ending, Evidence, Outcome, Run};
use crate::record::event::Waiting;
use crate::words::{count, signal_name, thousands};

/// The report of a run: what came of it, why, and the lines that did it; what happened, in lanes; then the rest. At most
/// `width` columns wide. With `colour`, a place is a link to its file.
pub fn report(run: &Run, width: usize, colour: bool) -> String {
    let timeline = Timeline::new(run);
    let mut page = Page { width, colour, text: String::new() };
    page.title(run);
    what_came_of_it(&mut page, &timeline);
    let table = lanes_in(&timeline, width, colour);
    page.text.push('\n');
    page.text += &table;
    if !table.is_empty() {
        page.text.push('\n');
    }
    outcomes(&mut page, &timeline);
    if run.ending == Ending::Exit(0) {
        cuts(&mut page, &timeline);
        accounts(&mut page, run);
    }
    how_it_was_made(&mut page, run);
    let chapter = format!("chapters/stage{}.md", run.stage.chapter);
    page.entry("chapter", &chapter);
    page.entry("next", &catalogue::command(run.stage.next));
    page.text
}

fn what_came_of_it(page: &mut Page, timeline: &Timeline<'_>) {
    let run = timeline.run;
    let shown = run.evidence.as_ref().map(|evidence| verdicts::case(evidence.verdict()));
    match (run.ending, shown) {
        // The lab killed it.
        (Ending::Signal(_), Some(case)) if case.ends_by_kill() => {
            case.report(page, timeline);
            if let Some(why) = verdicts::why(timeline) {
                page.entry("why", why);
            }
        }
        (Ending::Signal(signal), _) => death(page, timeline, signal, verdicts::why(timeline)),
        (Ending::Exit(0), shown) => {
            let mistake = first_mistake(timeline);
            match shown {
                Some(case) => case.report(page, timeline),
                None => survival(page, timeline, mistake.as_ref(), &*verdicts::case(run.stage.expect)),
            }
            if let Some(why) = verdicts::why(timeline).filter(|_| mistake.is_none()) {
                page.entry("why", why);
            }
            leaks(page, timeline);
        }
        (Ending::Exit(code), _) => {
            page.entry_in("ended", &format!("the server's process ended with status {code}"), RED);
            last_words(page, run);
        }
    }
}

/// The lanes of a run, or of as much of it as there is.
pub fn lanes_of(run: &Run, width: usize, colour: bool) -> String {
    lanes_in(&Timeline::new(run), width, colour)
}

fn lanes_in(timeline: &Timeline<'_>, width: usize, colour: bool) -> String {
    let rows: Vec<_> = timeline.short_rows().into_iter().map(|event| event.row).collect();
    lanes::draw(&timeline.run.roles, &rows, width, colour)
}

/// The last line of a program that ends by the signal its server died of.
pub fn ending(signal: i32) -> String {
    format!("  ending as the server did: {} ({signal})\n", signal_name(signal))
}

fn accounts(page: &mut Page, run: &Run) {
    if !run.herd.reactors.is_empty() {
        if run.stage.expect != Verdict::Herds {
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
fn outcomes(page: &mut Page, timeline: &Timeline<'_>) {
    let run = timeline.run;
    let survived = run.ending == Ending::Exit(0);
    let is_stuck = matches!(run.evidence, Some(Evidence::NeverStops(_)));
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
            Outcome::Refused { waiting: Waiting::Thread | Waiting::Notice, .. } if is_stuck => {}
            Outcome::Refused { waiting: Waiting::Notice | Waiting::NoticeOrTime, .. } if survived => {}
            Outcome::Refused { waiting, address, holder } => {
                let waits = timeline.waits(*waiting, *address, *holder, run.records.len());
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
