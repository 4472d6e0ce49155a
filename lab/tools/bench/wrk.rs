//! wrk as the client. It ends with one line of a Lua script of ours, since what it prints for people is rounded, and
//! folds times into units.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::model::{Errors, Load, Work};

/// A request is put together once (`wrk.format`), as deep as the pipeline is, so that wrk runs no Lua for each.
const SCRIPT: &str = r#"
function init(args)
   local batch = string.rep(wrk.format(), tonumber(args[1]))
   wrk.format = function() return batch end
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format("lab requests=%d micros=%d connect=%d read=%d write=%d status=%d timeout=%d",
      summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout))
   for _, p in ipairs({50, 90, 99, 99.9}) do io.write(string.format(" p%s=%d", p, latency:percentile(p))) end
   io.write(string.format(" max=%d\n", latency.max))
end
"#;

/// Whether it is there.
pub fn is_installed() -> bool {
    // Without arguments it prints its usage.
    Command::new("wrk").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// One run; wrk connects in it.
///
/// # Errors
/// If wrk cannot run, or ends in another way than it should.
pub fn run(work: &Work, address: SocketAddr, seconds: u32) -> Result<Load> {
    let folder = std::env::temp_dir().join(format!("lab-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let script = folder.join("bench.lua");
    let output = fs::write(&script, SCRIPT).and_then(|()| {
        Command::new("wrk")
            .arg(format!("-t{}", work.threads.min(work.connections)))
            .arg(format!("-c{}", work.connections))
            .arg(format!("-d{seconds}s"))
            .arg("-s")
            .arg(&script)
            .arg(format!("http://{address}/"))
            .args(["--", &work.pipeline.to_string()])
            .stdin(Stdio::null())
            .output()
    });
    let _ = fs::remove_dir_all(&folder);
    let output = output.context("cannot run wrk; install it, or take --client embedded")?;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "wrk failed ({}): {}{}", output.status, said.trim(), complained.trim());
    parse(&said)
}

/// The script's line among whatever else wrk prints.
fn parse(said: &str) -> Result<Load> {
    let Some(line) = said.lines().find_map(|line| line.split_once("lab requests=").map(|_| line)) else {
        bail!("wrk did not say what it counted: {}", said.trim());
    };
    let number = |name: &str| {
        let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|digits| digits.parse::<u64>().ok()).with_context(|| format!("wrk did not count {name}: {line}"))
    };
    Ok(Load {
        requests: number("requests")?,
        answered: number("requests")?,
        seconds: number("micros")? as f64 / 1e6,
        latency: quantiles([number("p50")?, number("p90")?, number("p99")?, number("p99.9")?], number("max")?),
        errors: Errors {
            connect: number("connect")?,
            lost: number("read")? + number("write")?,
            late: number("timeout")?,
            status: number("status")?,
            body: 0,
        },
        checked: 0,
        cpu: None,
    })
}

/// Where a reply was late, wrk adds the requests that it would have sent meanwhile (`stats_correct` in its `stats.c`). With
/// pipelines it puts some of them below the shortest latency, and looks for a quantile only from there on: none of them is
/// right then, and the highest are not found, which it says as 0.
fn quantiles(found: [u64; 4], longest: u64) -> [Option<u64>; 5] {
    let are_right = !found.contains(&0);
    let [p50, p90, p99, p999] = found.map(|micros| are_right.then_some(micros));
    [p50, p90, p99, p999, Some(longest)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_among_what_wrk_prints_for_people() {
        let said = "Running 1s test @ http://127.0.0.1:80/\n  Requests/sec: 12.00\nlab requests=3000 micros=1500000 \
                    connect=1 read=2 write=3 status=4 timeout=5 p50=10 p90=20 p99=30 p99.9=40 max=50\n";
        let load = parse(said).expect("it is complete");
        assert_eq!((load.requests, load.seconds, load.latency), (3000, 1.5, [10, 20, 30, 40, 50].map(Some)));
        assert_eq!(load.errors, Errors { connect: 1, lost: 5, late: 5, status: 4, body: 0 });
        assert!(parse("unable to connect to 127.0.0.1:1").is_err());
        assert!(parse("lab requests=3000 micros=1500000\n").is_err());
    }

    #[test]
    fn quantiles_of_which_one_was_not_found_are_unknown() {
        assert_eq!(quantiles([10, 20, 30, 0], 50), [None, None, None, None, Some(50)]);
        assert_eq!(quantiles([340, 0, 0, 0], 50), [None, None, None, None, Some(50)]);
        assert_eq!(quantiles([10, 20, 30, 40], 50), [10, 20, 30, 40, 50].map(Some));
    }
}
