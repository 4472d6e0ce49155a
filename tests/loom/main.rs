#![allow(dead_code)]
extern crate lab as real;
extern crate self as lab;

mod heap;
mod kernel;
mod model;
mod net;
mod point;
mod runner;
mod sync;
mod translate;
mod world;
use real::http;

#[path = "../../lab/stages/stage3_broken.rs"]
mod stage3_broken;
#[path = "../../lab/stages/stage3_fixed.rs"]
mod stage3_fixed;
#[path = "../../lab/stages/stage4_broken.rs"]
mod stage4_broken;
#[path = "../../lab/stages/stage4_fixed.rs"]
mod stage4_fixed;

use model::*;
use world::*;
use real::schedule::Plan;

/// `16,384`
pub fn thousands(number: usize) -> String {
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

fn main() {
    std::panic::set_hook(Box::new(|i| if i.payload().downcast_ref::<Refuted>().is_none() { eprintln!("{i}") }));
    let get = |l: &'static str| Script::new(l, Plan::Get(2), &[31, 31], l);
    let post = |l: &'static str| Script::new(l, Plan::Post(16), &[70, 8], l);
    let n = Plan::Get(1).head().len() as u64;
    let arg: Vec<String> = std::env::args().collect();
    let bound = arg.get(3).and_then(|a| a.parse().ok());
    let serve: (&'static str, runner::Serve) = match &*arg[1] { "3b" => ("3b", stage3_broken::serve), "3f" => ("3f", stage3_fixed::serve), "4b" => ("4b", stage4_broken::serve), _ => ("4f", stage4_fixed::serve) };
    let l: &'static str = Box::leak(arg[2].clone().into_boxed_str());
    let script = Script::new(l, Plan::Get(2), &[n, n], l);
    let mut rules = Rules::default();
    if arg.iter().any(|a| a == "points") { rules.grain = Grain::Points }
    if arg.iter().any(|a| a == "inside") { rules.two_inside = true }
    if arg.iter().any(|a| a == "loom") { rules.loom_arc = true }
    if arg.iter().any(|a| a == "df") { rules.only = Some(Kind::DoubleFree) }
    if arg.iter().any(|a| a == "eager") { rules.eager = true }
    let observed = Some(std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new())));
    let m = Model { observed: observed.clone(),  stage: serve.0, serve: serve.1, script, rules, bound, cap: 3_000_000 };
    let (b, o) = if arg.iter().any(|a| a == "search") { m.search(5) } else { (0, m.explore()) };
    println!("{} {} bound {bound:?}/{b}: {o} {:?}", arg[1], arg[2], o.finding.as_ref().map(|f| &f.verdict));
    println!("distinct: {}", observed.as_ref().unwrap().lock().unwrap().len());
    if let Ok(f) = std::env::var("OBS") { std::fs::write(f, observed.unwrap().lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")).unwrap(); }
    if let Some(f) = o.finding {
        println!("{}", match translate::schedule(&f) { Ok(s) => s.to_string(), Err(e) => e.to_string() });
        for r in translate::rows(&f) { println!("{:?} {} {} {:?}", r.number, f.roles[r.role], r.text, r.mark); }
    }
}
