//! Running the binaries as a reader does.
#![allow(dead_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::FromRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a program said and how it ended.
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The exit code, if it was no signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Everything, for a failed test.
    pub fn all(&self) -> String {
        format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

/// The path of a binary of this package: `cargo test` builds them all, into one folder.
pub fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(name);
    assert!(path.exists(), "no binary `{name}`");
    path
}

/// A command that leaves no core dump.
pub fn command(name: &str) -> Command {
    command_of(&binary(name))
}

/// The same for a program that is not one of the package.
pub fn command_of(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("NO_COLOR");
    // SAFETY: system calls on locals, between fork and exec. A limit of 1 also silences a handler behind a pipe.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
            libc::setrlimit(libc::RLIMIT_CORE, &limit);
            // Descriptors that the test run has inherited would shift the server's.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            Ok(())
        });
    }
    command
}

/// Lets the program have at most so many open files.
pub fn limit_files(command: &mut Command, files: u64) {
    // SAFETY: one system call on a local, between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
            match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// A command that has at most so many open files.
pub fn limited(name: &str, files: u64) -> Command {
    let mut command = command(name);
    limit_files(&mut command, files);
    command
}

/// Runs a command to its end; a minute is a safety net only.
pub fn finish(mut command: Command) -> Output {
    let child = command.spawn().expect("the program starts");
    end(&command, child)
}

fn end(command: &Command, mut child: Child) -> Output {
    let mut out = child.stdout.take().expect("it is piped");
    let mut err = child.stderr.take().expect("it is piped");
    let out = std::thread::spawn(move || read_all(&mut out));
    let err = std::thread::spawn(move || read_all(&mut err));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if start.elapsed() > Duration::from_secs(180) {
            child.kill().expect("it is our child");
            panic!("{command:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    Output { status, stdout: out.join().expect("it reads"), stderr: err.join().expect("it reads") }
}

fn read_all(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("a pipe can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a binary with these arguments.
pub fn run(name: &str, arguments: &[&str]) -> Output {
    let mut command = command(name);
    command.args(arguments);
    finish(command)
}

/// Binds a command to the first of the cores that it may use.
pub fn on_one_core(command: &mut Command) {
    // SAFETY: system calls on locals, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            let size = size_of::<libc::cpu_set_t>();
            libc::sched_getaffinity(0, size, &mut set);
            let first = (0..libc::CPU_SETSIZE as usize).find(|core| libc::CPU_ISSET(*core, &set)).unwrap_or(0);
            libc::CPU_ZERO(&mut set);
            libc::CPU_SET(first, &mut set);
            match libc::sched_setaffinity(0, size, &set) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// Answers one system call of the program, by its number, with this error, as a sandbox does (`seccomp(2)`).
pub fn forbid(command: &mut Command, number: i64, errno: i32) {
    // SAFETY: system calls on locals, between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
            let filter = [
                // The number of the system call is the first field of seccomp_data.
                statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
                statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number as u32, 0, 1),
                statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
                statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
            ];
            let program = libc::sock_fprog { len: 4, filter: filter.as_ptr().cast_mut() };
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Lets the program have so many threads and processes in all (`RLIMIT_NPROC`): it is counted in a user namespace of
/// its own, and as nobody, since root has no limit.
pub fn with_threads(command: &mut Command, count: u64) {
    // SAFETY: system calls on locals, between fork and exec.
    unsafe {
        command.pre_exec(move || {
            const NOBODY: u32 = 65534;
            let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
            let is_root = libc::geteuid() == 0;
            if (is_root && (libc::setresgid(NOBODY, NOBODY, NOBODY) | libc::setresuid(NOBODY, NOBODY, NOBODY)) != 0)
                || libc::unshare(libc::CLONE_NEWUSER) != 0
                || libc::setrlimit(libc::RLIMIT_NPROC, &limit) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Gives the program a network of its own: its loopback interface is down, or up, and these files of
/// `/proc/sys/net/ipv4` say so.
pub fn in_network(command: &mut Command, is_up: bool, settings: &[(&str, &str)]) {
    let text = |text: String| std::ffi::CString::new(text).expect("there is no zero in it");
    let settings =
        settings.iter().map(|(name, value)| (text(format!("/proc/sys/net/ipv4/{name}")), text(value.to_string())));
    let settings: Vec<_> = settings.collect();
    // SAFETY: system calls on locals, and on strings that were made before, between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let check = |result: isize| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) };
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) as isize)?;
            for (name, value) in &settings {
                let file = check(libc::open(name.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) as isize)? as i32;
                check(libc::write(file, value.as_ptr().cast(), value.as_bytes().len()))?;
            }
            if is_up {
                let mut request: libc::ifreq = std::mem::zeroed();
                request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
                request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
                let socket =
                    check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) as isize)? as i32;
                check(libc::ioctl(socket, libc::SIOCSIFFLAGS as libc::Ioctl, &request) as isize)?;
            }
            Ok(())
        });
    }
}

/// Runs the program as the first process of a PID namespace, and leaves `/proc` as it is.
pub fn in_pid_namespace(command: &mut Command) {
    // SAFETY: system calls on locals, between fork and exec. The process between the two waits, and ends as the other
    // did.
    unsafe {
        command.pre_exec(|| {
            if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            match libc::fork() {
                -1 => Err(std::io::Error::last_os_error()),
                0 => Ok(()),
                child => {
                    let mut status = 0;
                    libc::waitpid(child, &mut status, 0);
                    libc::_exit(if libc::WIFEXITED(status) {
                        libc::WEXITSTATUS(status)
                    } else {
                        128 + libc::WTERMSIG(status)
                    })
                }
            }
        });
    }
}

/// Runs a command that may ask the kernel for namespaces; `None`, with a word, where it lends none. In CI that is a
/// failure.
pub fn finish_in_namespace(mut command: Command) -> Option<Output> {
    match command.spawn() {
        Ok(child) => Some(end(&command, child)),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "this machine lends no namespace: {error}");
            eprintln!("skipped: this machine lends no namespace ({error})");
            None
        }
    }
}

/// A stage under `--serve`, on a port of the kernel's choice; it ends with this.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    out: BufReader<ChildStdout>,
    patience: Duration,
}

impl Server {
    /// No read of a client, and no end, takes longer than `patience`: a safety net only.
    pub fn start(mut command: Command, more: &[&str], patience: Duration) -> Server {
        let mut child = command.args(["--serve", "127.0.0.1:0"]).args(more).spawn().expect("the program starts");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("it says where it listens");
        let address = line.split([' ', ';']).find_map(|word| word.parse().ok()).expect("an address");
        Server { child, address, out, patience }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(self.patience)).expect("a timeout");
        stream
    }

    /// The number behind a name in /proc/PID/status.
    pub fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it is alive");
        let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("it is counted");
        rest.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it is alive").count()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the child was not waited for, so its number is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Waits for its end, which must be in order; what it said last.
    pub fn end(self) -> String {
        let (code, last) = self.wait();
        assert_eq!(code, Some(0), "{last}");
        last
    }

    /// Its exit status, if that is no signal, and what it said last.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None => assert!(start.elapsed() < self.patience, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let mut last = String::new();
        self.out.read_to_string(&mut last).expect("it says what it has served");
        (status.code(), last)
    }

    /// SIGTERM; its exit status, and what it said last.
    pub fn finish(self) -> (Option<i32>, String) {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// SIGTERM; what it said last.
    pub fn stop(self) -> String {
        self.signal(libc::SIGTERM);
        self.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client whose own buffer for replies is as small as can be.
pub fn narrow(address: SocketAddr) -> TcpStream {
    let SocketAddr::V4(v4) = address else { panic!("the server listens on 127.0.0.1") };
    // SAFETY: the descriptor is new and owned by the stream; the kernel reads two locals.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        let stream = TcpStream::from_raw_fd(fd);
        let size = 4096_i32;
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const size).cast(), 4);
        let mut raw: libc::sockaddr_in = std::mem::zeroed();
        raw.sin_family = libc::AF_INET as u16;
        raw.sin_port = v4.port().to_be();
        raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
        assert_eq!(libc::connect(fd, (&raw const raw).cast(), size_of_val(&raw) as u32), 0);
        stream
    }
}

/// A schedule file in a folder that goes with the test.
pub fn schedule(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("order.schedule");
    std::fs::write(&path, text).expect("it can be written");
    let path = path.to_string_lossy().into_owned();
    (folder, path)
}

/// The text without what changes from run to run: addresses, descriptors, and who does what once the schedule is over.
pub fn normalised(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("0x") {
        out.push_str(&rest[..at]);
        let digits = rest[at + 2..].bytes().take_while(u8::is_ascii_hexdigit).count();
        out.push_str(if digits > 0 { "0xADDRESS" } else { "0x" });
        rest = &rest[at + 2 + digits..];
    }
    out.push_str(rest);
    let out = mask_number_after(&out, "fd ", "N");
    let lines: Vec<&str> = out.lines().collect();
    // Until the next empty line stands what all of them did freely.
    let free = lines.iter().position(|line| line.contains("the schedule is over"));
    let rest = free.and_then(|at| lines[at..].iter().position(|line| line.is_empty()).map(|n| at + n));
    let kept: Vec<String> = lines
        .iter()
        .enumerate()
        .filter(|(at, _)| !(free.is_some_and(|free| *at > free) && rest.is_some_and(|rest| *at < rest)))
        .map(|(at, line)| match free {
            Some(free) if at == free => "      the schedule is over; everybody goes on: ...".to_string(),
            _ if line.contains("was the last owner, after the schedule") => mask_number_after(line, "worker-", "N"),
            _ => (*line).to_string(),
        })
        .collect();
    kept.join("\n") + "\n"
}

fn mask_number_after(text: &str, word: &str, mask: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = rest.split_at(at + word.len());
        out.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            out.push_str(mask);
        }
        rest = &after[digits..];
    }
    out.push_str(rest);
    out
}
