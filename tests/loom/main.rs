#![allow(dead_code)]

extern crate lab as real;
extern crate self as lab;

pub mod heap;
pub mod kernel;
pub mod point;
pub mod runner;
pub mod sync;
pub use real::http;

mod checks;
mod crash;
mod faulty;
mod game;
mod harness;
mod model;
mod models;
mod net;
#[path = "../support/mod.rs"]
mod support;
mod translate;
mod world;

mod half {
    pub mod lock_without_ownership;
    pub mod ownership_without_lock;
}

#[path = "../../lab/stages/stage3_broken.rs"]
mod stage3_broken;
#[path = "../../lab/stages/stage3_fixed.rs"]
mod stage3_fixed;
#[path = "../../lab/stages/stage4_broken.rs"]
mod stage4_broken;
#[path = "../../lab/stages/stage4_fixed.rs"]
mod stage4_fixed;

fn main() -> std::process::ExitCode {
    harness::main(models::all())
}

/// `16,384`
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
