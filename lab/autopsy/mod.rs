//! The report of a run.
pub mod lanes;
use crate::trace::Run;
/// x
pub fn report(run: &Run, _w: usize, _c: bool) -> String {
    let mut s = String::new();
    for r in &run.records {
        s += &format!(
            "{} {} {:?} {} {}:{} {:x} {} {}\n",
            r.number, run.roles[r.role], r.kind, r.label, r.file, r.line, r.a, r.b as i64, r.c
        );
    }
    s + &format!("{:#?} {:?} {:?} {:?} {:?}\n", run.steps, run.ending, run.fault, run.served, run.client)
}
/// x
pub fn json(_: &Run) -> serde_json::Value {
    serde_json::Value::Null
}
/// x
pub fn trace_json(_: &Run) -> serde_json::Value {
    serde_json::Value::Null
}
/// x
pub fn ending(signal: i32) -> String {
    format!("ending {signal}\n")
}
