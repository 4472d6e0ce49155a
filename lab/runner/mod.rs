//! What stands around a stage: the command line, the server's process, the client, the report, the end.

mod arrivals;
mod cli;
mod end;
mod exhibit;
pub(crate) mod process;
mod repeat;
mod serve;
mod wild;

use std::process::ExitCode;

use anyhow::Result;

use crate::catalogue;
pub use crate::record::wakeups::Counts;
pub use crate::server::{LIMIT, LISTENER, Reading, STOP, Serve, Served, Server, TICK, cut, tell};
use crate::world::kernel::raise_file_limit;
use crate::world::sync::unless_refused;
use cli::{Options, What};
pub(crate) use end::say;
use end::{End, complain, die_of, explain, refuse};
pub use end::{read_arguments, say_all};

/// The whole of a stage's `main`: `path` is its `module_path!()`, `serve` its server.
pub fn main(path: &str, serve: Serve) -> ExitCode {
    let name = path.rsplit("::").next().unwrap_or(path);
    let stage = catalogue::find(name).expect("every stage is in the catalogue");
    let options = cli::parse(stage, std::env::args_os());
    let stage = stage.read_as(options.reading);
    let run = || {
        check_machine(&options)?;
        match options.what {
            What::Exhibit => exhibit::run(stage, serve, &options),
            What::Wild { rounds, seconds } => wild::run(stage, serve, &options, rounds, seconds),
            What::Repeat(times) => repeat::run(stage, &options, times),
            What::Serve(address) => serve::run(stage, serve, &options, address),
        }
    };
    let end = unless_refused(run).unwrap_or_else(|error| Err(explain(error, "the lab could not go on")));
    match end {
        Ok(End::Code(code)) => ExitCode::from(code),
        Ok(End::Signal(signal)) => die_of(signal),
        Ok(End::Impossible(why)) => {
            complain(&format!("{name}: this cannot happen on this machine: {why}"));
            ExitCode::from(3)
        }
        Ok(End::Unmet(step)) => {
            complain(&format!(
                "{name}: a step of the schedule never came: {step}; the report says what happened instead"
            ));
            ExitCode::from(70)
        }
        Ok(End::Failed(why)) => {
            complain(&format!("{name}: the lab itself failed: {why}"));
            ExitCode::from(70)
        }
        Err(error) if process::is_impossible(&error) => {
            complain(&format!("{name}: this cannot happen on this machine: {}", error.root_cause()));
            ExitCode::from(3)
        }
        Err(error) => ExitCode::from(refuse(name, &error)),
    }
}

/// The lowest limit on open files that the exhibits can do with.
const FILES: libc::rlim_t = 32;

/// What every run needs from the machine.
fn check_machine(options: &Options) -> Result<()> {
    let files = raise_file_limit(FILES);
    if files.rlim_cur < FILES {
        let now = files.rlim_cur;
        anyhow::bail!("the limit on open files is {now}, and the lab needs {FILES}; raise it (`ulimit -n 1024`)");
    }
    let alone = matches!(options.what, What::Serve(_));
    if !alone && !std::path::Path::new("/proc/net/tcp").exists() {
        anyhow::bail!(
            "there is no /proc/net/tcp, where the lab sees whether a packet has arrived; mount it \
             (`mount -t proc proc /proc`)"
        );
    }
    Ok(())
}
