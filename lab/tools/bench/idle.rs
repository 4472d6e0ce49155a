//! Many connections open at once: whether each of them is served, and what one costs while it is idle.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::embedded::{Expected, SAMPLE, answer, connect, request};
use super::model::{Idle, Live};
use super::system::{self, Kernel, Memory};

/// How long memory may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens `connections`, reads what the kernel counts, asks all of them, and reads again.
///
/// # Errors
/// If the server does not answer at all, or what the kernel counts is not ours to read.
pub fn measure(live: &Live, connections: usize, expected: &Expected) -> Result<Idle> {
    let to = live.address;
    let mut first = connect(to, 0).with_context(|| format!("nobody listens on {to}"))?;
    ensure!(expected.check(&mut first, to)?, "the first reply is another one than it was");
    let (before, kernel_before) = (settled(live)?, Kernel::now()?);
    let (mut streams, mut why): (Vec<TcpStream>, _) = (Vec::with_capacity(connections), None);
    for index in 0..connections {
        let opened = connect(to, index).context("it could not be opened").and_then(|mut stream| {
            if index % SAMPLE == SAMPLE - 1 || index + 1 == connections {
                ensure!(expected.check(&mut stream, to)?, "the reply is another one");
            }
            Ok(stream)
        });
        match opened {
            Ok(stream) => streams.push(stream),
            Err(error) => {
                why = Some(format!("connection {}: {error:#}", index + 1));
                break;
            }
        }
    }
    let (idle, kernel) = (settled(live)?, Kernel::now()?);
    // All at once: every request is on its way before the first reply is awaited.
    let asked: Vec<bool> = streams.iter_mut().map(|stream| stream.write_all(&request(to)).is_ok()).collect();
    let mut answered = 0;
    for (number, (stream, asked)) in (1..).zip(streams.iter_mut().zip(asked)) {
        let reply = if asked { answer(stream) } else { Err(anyhow::anyhow!("the request could not be sent")) };
        match reply.and_then(|body| expected.is_right(&body).then_some(()).context("the reply is another one")) {
            Ok(()) => answered += 1,
            Err(error) => why = why.or(Some(format!("connection {number}: {error:#}"))),
        }
    }
    let after = settled(live)?;
    let more = |now: Memory, before: Memory| Memory { rss: now.rss - before.rss, pss: now.pss - before.pss };
    let memory = before.zip(idle).zip(after).map(|((before, idle), after)| [more(idle, before), more(after, before)]);
    let open = streams.len();
    Ok(Idle { connections, open, answered, why, memory, kernel: kernel.since(&kernel_before, open) })
}

/// The server's memory once it does not change any more; `None` if its process is not known.
fn settled(live: &Live) -> Result<Option<Memory>> {
    let Some(pid) = live.pid else { return Ok(None) };
    let start = Instant::now();
    let mut last = system::memory(pid)?;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = system::memory(pid)?;
        // What a page shares with other processes changes as those come and go.
        if now.rss == last.rss || start.elapsed() > PATIENCE {
            return Ok(Some(now));
        }
        last = now;
    }
}
