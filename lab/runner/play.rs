//! `--play`: the reader says who goes next, on the real kernel.
//!
//! A choice is taken back by playing the others again, in a server of their own.

mod aim;
mod game;
mod hint;
mod panel;
mod player;
mod terminal;

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::Result;

use self::aim::is_aim;
use self::game::Game;
use self::panel::{Shown, View};
use self::player::{Player, Wants};
use self::terminal::{Key, Reader};
use super::cli::{Options, Visitors};
use super::end::{End, publish, say, say_ending};
use super::exhibit::read_schedule;
use super::search::making::{Lab, Made};
use super::search::script;
use crate::catalogue::{Stage, Verdict};
use crate::server::Serve;
use crate::words::count;

/// Plays until the reader leaves, and ends as that run did.
pub fn run(stage: &'static Stage, serve: Serve, options: &Options, visitors: &Visitors) -> Result<End> {
    let script = script::of(stage, options, visitors)?;
    let own = read_schedule(stage, options)?;
    let mut lab = Lab::new(stage, serve, options, &script)?;
    let mut game = Game::new(stage, options, &script, Reader::new()?);
    let made = loop {
        let mut player = Player::new(&mut game, lab.blackbox);
        let made = lab.directed(&script, &mut player)?;
        match player.wants() {
            _ if matches!(made.end, End::Failed(_)) => break made,
            Some(Wants::Quit) => {
                let left = format!("left after {}; nothing is said of the server\n", count(game.choices(), "choice"));
                drop(game);
                say(&left)?;
                return Ok(End::Code(0));
            }
            Some(Wants::Again) => continue,
            Some(Wants::Hint) => {
                game.found = Some(hint::next_step(&mut lab, &game.order, &own)?);
                continue;
            }
            None => {}
        }
        if !is_told(&made.end) || game.reader.is_over() || !goes_back(&mut game, &made)? {
            break made;
        }
    };
    let last = result(stage, &made, &game);
    // The screen is left before anything else is said.
    drop(game);
    let _ = io::stderr().write_all(made.run.stderr.as_bytes());
    publish(&made.run, options.trace.as_ref(), false)?;
    say_ending(&made.end)?;
    if is_told(&made.end) {
        say(&format!("\n{last}\n"))?;
    }
    Ok(made.end)
}

/// Whether the run shows something of the server, and not of the lab or the machine.
fn is_told(end: &End) -> bool {
    matches!(end, End::Code(_) | End::Signal(_) | End::Said(..))
}

/// The run is over, and the reader looks at its end; whether it goes on with a choice taken back.
fn goes_back(game: &mut Game<'_>, made: &Made) -> Result<bool> {
    let text = result(game.stage, made, game);
    let (over, red) = match made.shown() {
        Some(shown) => (format!("it is over: {}", shown.text()), true),
        None => ("it is over: served, and ended as it was told to".to_string(), false),
    };
    game.message = String::new();
    loop {
        let message = format!("{text}\n{}", game.message);
        let shown = Shown::Over { over: &over, red };
        let view = View { game, run: &made.run, shown, message: message.trim_end() };
        match game.reader.ask(&|size, colour| view.draw(size, colour), 0)? {
            Key::Undo if game.take_back() => return Ok(true),
            Key::Save => game.save(),
            _ => return Ok(false),
        }
    }
}

/// What came of it, and in how many choices.
fn result(stage: &Stage, made: &Made, game: &Game<'_>) -> String {
    let rest = if game.rest_ran() { ", and the rest ran by itself" } else { "" };
    let choices = count(game.choices(), "choice") + rest;
    let mut text = match (made.shown(), stage.expect) {
        (Some(shown), _) if is_aim(stage, &shown) && game.rest_ran() => format!("it broke as it was to, in {choices}"),
        (Some(shown), _) if is_aim(stage, &shown) => format!("you did it, in {choices}"),
        (Some(shown), Verdict::Serves) => format!("it broke, and must not ({}), in {choices}", shown.text()),
        (Some(shown), _) => format!("it broke in another way ({}), in {choices}", shown.text()),
        (None, Verdict::Serves) => format!("it held, as it must, in {choices}"),
        (None, _) => format!("it held this time, in {choices}; see {}", stage.schedule.path),
    };
    let others = [(game.taken_back, "taken back"), (game.hints, "hints")];
    for (number, what) in others.into_iter().filter(|(number, _)| *number > 0) {
        let _ = write!(text, "; {what}: {number}");
    }
    text
}

#[cfg(test)]
mod tests;
