//! A server that somebody else has written, started by a command of the shell.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::start::PORT;

/// So long a server may take to start, and as long to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// It and its children are ended when this is dropped.
pub struct Foreign {
    shell: Child,
    pub address: SocketAddr,
}

impl Foreign {
    /// Starts it on a port that is free, and waits until it answers there, which `ask` finds out.
    ///
    /// # Errors
    /// If it ends, or does not answer within 5 s.
    pub fn start(command: &str, ask: impl Fn(SocketAddr) -> Result<()>) -> Result<Foreign> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.context("there is no free port")?;
        let line = command.replace(PORT, &address.port().to_string());
        let mut shell = Command::new("sh");
        // A group of its own, so that its children end with it.
        shell.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        let shell = shell.spawn().context("cannot run sh")?;
        let mut server = Foreign { shell, address };
        let start = Instant::now();
        loop {
            let Err(error) = ask(address) else { return Ok(server) };
            if let Some(status) = server.shell.try_wait().context("the server is not to be waited for")? {
                bail!("`{line}` ends: {status}");
            }
            if start.elapsed() > PATIENCE {
                return Err(error.context(format!("`{line}` does not answer on {address}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.shell.id()
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: a system call on a group of our own, whose first process we have not waited for.
        unsafe { libc::kill(-(self.shell.id() as libc::pid_t), signal) };
    }
}

impl Drop for Foreign {
    /// By SIGTERM; what is left after a while, by SIGKILL.
    fn drop(&mut self) {
        self.signal(libc::SIGTERM);
        let start = Instant::now();
        while self.shell.try_wait().is_ok_and(|status| status.is_none()) {
            if start.elapsed() > PATIENCE {
                self.signal(libc::SIGKILL);
                _ = self.shell.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
