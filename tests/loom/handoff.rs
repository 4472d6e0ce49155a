//! The hand-off without a lock: `stage4_handoff` is sound as it stands, and the model looks for two workers in one
//! inbox.

use crate::model::Model;
use crate::models::{Sound, Test, bound, model, requests, split, tests_of};
use crate::runner::Serve;
use crate::stage4_handoff;
use crate::world::Rules;

pub fn all() -> Vec<Test> {
    tests_of("stage4_handoff", models(stage4_handoff::serve))
}

pub fn models(serve: Serve) -> Vec<Sound> {
    // The cell is `unsafe`'s: its order of events alone keeps the second worker out.
    let rules = Rules { two_inside: true, ..Rules::default() };
    let whole = |script| Model { rules, ..model("stage4_handoff", serve, script) };
    let bounded = |script| Model { bound: Some(bound(2)), ..whole(script) };
    let reconnect = whole(split("RST, a second connection, FIN", "rcf"));
    vec![
        ("is_sound_for_data_and_rst", 1, whole(split("data, RST", "dr"))),
        ("is_sound_for_data_and_fin", 1, whole(split("data, FIN", "df"))),
        ("is_sound_for_two_chunks_and_fin", 5, bounded(split("two chunks, FIN", "ddf"))),
        ("is_sound_for_two_chunks_and_rst", 5, bounded(split("two chunks, RST", "ddr"))),
        ("is_sound_for_two_requests_and_fin", 5, bounded(requests("two requests, FIN", "ddf"))),
        ("is_sound_for_a_reconnect", 4, Model { bound: Some(bound(2)), ..reconnect }),
    ]
}
