//! The kernel of the model: [`net`](crate::net) behind the facade's names, a tick a system call.

use std::io;

use crate::check::Check;
use crate::heap;
use crate::net::{Errno, Fd};
pub use crate::terms::{Event, Interest, is_transient};
use crate::world::{self, Defect, What, Why, World};

/// What can be put on an interest list.
pub trait Source {
    fn fd(&self) -> Fd;
}

fn result<T: Default>(result: Result<T, Errno>) -> io::Result<T> {
    if world::is_over() {
        return Ok(T::default());
    }
    result.map_err(io::Error::from_raw_os_error)
}

/// One system call: afterwards whoever sleeps in a wait may have an event.
pub fn call<T>(act: impl FnOnce(&mut World) -> T) -> T {
    world::tick();
    world::with(|world| {
        world.net.asleep = world.asleep();
        let value = act(world);
        world.wake_waiters();
        value
    })
}

/// A descriptor that the caller owns is open, unless somebody has closed it behind its back.
fn check_open(fd: Fd, check: Check) {
    let closed = world::with(|world| (!world.net.is_open(fd)).then(|| world.who(world::me(), world.place())));
    if let Some(who) = closed {
        world::refute(check, format!("use of a closed descriptor: fd {fd} by {who}"));
    }
}

fn close(fd: Fd) {
    if world::is_over() {
        return;
    }
    world::tick();
    check_open(fd, Check::ClosedTwice);
    world::with(|world| {
        _ = world.net.close(fd);
        world.log(What::Close(fd));
    });
}

pub struct Events {
    events: Vec<Event>,
    room: usize,
}

impl Events {
    pub fn with_capacity(capacity: usize) -> Events {
        Events { events: Vec::new(), room: capacity }
    }

    fn take(&mut self, seen: Vec<(u64, u32)>) {
        self.events = seen.into_iter().map(|(token, mask)| Event { token, mask }).collect();
    }

    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.events.iter().copied()
    }
}

pub struct Epoll {
    fd: Fd,
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll { fd: call(|world| world.net.epoll_create()) })
    }

    pub fn add(&self, source: &impl Source, token: u64, interest: Interest) -> io::Result<()> {
        self.add_file(std::ptr::from_ref(source) as *const u8 as usize, source.fd(), token, interest)
    }

    fn add_file(&self, at: usize, fd: Fd, token: u64, interest: Interest) -> io::Result<()> {
        result(call(|world| {
            world.tokens.push((at, token));
            let bits = (world.rules.registers)(token, interest.bits());
            let added = world.net.add(self.fd, fd, token, bits);
            world.see(added);
            added
        }))
    }

    pub fn modify(&self, source: &impl Source, token: u64, interest: Interest) -> io::Result<()> {
        self.modify_file(source.fd(), token, interest)
    }

    fn modify_file(&self, fd: Fd, token: u64, interest: Interest) -> io::Result<()> {
        let armed = result(call(|world| {
            world.log(What::Modify(fd, interest.bits()));
            if interest.bits() & (libc::EPOLLIN | libc::EPOLLRDHUP) as u32 != 0 {
                world.arms(world::me(), fd);
            }
            let armed = world.net.modify(self.fd, fd, token, interest.bits());
            world.see(armed);
            armed
        }));
        world::come_in();
        armed
    }

    pub fn delete(&self, source: &impl Source) -> io::Result<()> {
        self.delete_file(source.fd())
    }

    fn delete_file(&self, fd: Fd) -> io::Result<()> {
        result(call(|world| {
            let deleted = world.net.delete(self.fd, fd);
            world.see(deleted);
            deleted
        }))
    }

    pub fn wait(&self, events: &mut Events) -> io::Result<()> {
        self.wait_for(events, None)
    }

    /// Time stands still, so a limit is never reached.
    pub fn wait_for(&self, events: &mut Events, _: Option<u32>) -> io::Result<()> {
        let kernel = world::with(|world| world.kernel.clone());
        loop {
            // A ready list may hold what is not ready any more: then it is empty after the call, and the wait goes on.
            let seen = world::when(
                &kernel,
                Why::Event(self.fd),
                |world| !world.net.has_ready(self.fd),
                |world| world.net.poll(self.fd, events.room),
            );
            events.take(result(seen)?);
            if events.events.is_empty() && !world::is_over() {
                continue;
            }
            let seen = events.iter().map(|event| (event.token, event.mask)).collect();
            world::log(What::Wait(seen));
            let wrong = world::with(|world| {
                let reported = world.net.reported().to_vec();
                let input = events.iter().zip(reported).filter(|(event, _)| event.readable());
                input.filter_map(|(event, fd)| world.reported(event.token, fd)).next()
            });
            if let Some((check, text)) = wrong {
                world::refute(check, text);
            }
            world::come_in();
            return Ok(());
        }
    }

    pub fn poll(&self, events: &mut Events) -> io::Result<()> {
        let seen = call(|world| {
            let seen = world.net.poll(self.fd, events.room);
            world.see(&seen);
            seen
        });
        events.take(result(seen)?);
        Ok(())
    }
}

/// Here is no core to choose.
pub fn pin_thread(_: usize, _: usize) {}

pub fn seconds() -> u32 {
    0
}

impl Drop for Epoll {
    fn drop(&mut self) {
        close(self.fd);
    }
}

pub struct Listener {
    fd: Fd,
}

impl Listener {
    pub fn open() -> Listener {
        Listener { fd: call(|world| world.net.listen()) }
    }

    /// One more on the same port.
    pub fn sibling(&self) -> io::Result<Listener> {
        Ok(Listener::open())
    }

    /// A script says who gets a connection.
    pub fn steer_by_cpu(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    pub fn accept(&self) -> io::Result<Option<Socket>> {
        let accepted = result(call(|world| {
            let accepted = world.net.accept(self.fd);
            world.see(accepted);
            if let Ok(Some(fd)) = accepted {
                world.log(What::Accept(fd));
            }
            accepted
        }))?;
        Ok(accepted.map(|fd| Socket { fd }))
    }

    /// Here there is always a descriptor.
    pub fn try_accept(&self) -> io::Result<Option<Socket>> {
        self.accept()
    }
}

impl Source for Listener {
    fn fd(&self) -> Fd {
        self.fd
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        close(self.fd);
    }
}

pub struct Socket {
    fd: Fd,
}

impl Socket {
    /// Whoever asks for it uses it as a name.
    pub fn number(&self) -> usize {
        world::with(|world| world.strangers.keys = true);
        self.fd
    }

    fn own(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// The kernel fills the buffer after it has taken the bytes, and whoever frees the buffer may come between.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        heap::touch(self.own());
        let read = call(|world| {
            let read = world.net.read(self.fd, buffer);
            world.log(What::Read(read));
            world.see(&buffer[..read.unwrap_or(0)]);
            read
        });
        check_open_after(self.fd, &read);
        heap::touch(buffer.as_ptr() as usize);
        result(read)
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        heap::touch(self.own());
        heap::touch(bytes.as_ptr() as usize);
        let write = |world: &mut World| {
            let written = world.net.write(self.fd, bytes);
            world.log(What::Write(written));
            written
        };
        let written = match world::with(|world| world.has(Defect::WritesUnseen)) {
            true => world::with(write),
            false => call(write),
        };
        if let Some((check, text)) = world::with(|world| world.written(world::me(), self.fd)) {
            world::refute(check, text);
        }
        check_open_after(self.fd, &written);
        result(written)
    }

    /// Here a write is never short.
    pub fn write_or_end(&self, bytes: &[u8]) -> bool {
        self.write(bytes).is_ok()
    }

    pub fn shutdown_write(&self) {
        heap::touch(self.own());
        call(|world| {
            _ = world.net.shutdown_write(self.fd);
            world.log(What::Shutdown(self.fd));
        });
    }
}

fn check_open_after<T>(fd: Fd, result: &Result<T, Errno>) {
    if matches!(result, Err(libc::EBADF)) {
        check_open(fd, Check::UsedAfterClose);
    }
}

impl Source for Socket {
    fn fd(&self) -> Fd {
        heap::touch(self.own());
        self.fd
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        close(self.fd);
    }
}

impl Socket {
    pub fn unread(&self) -> io::Result<usize> {
        Ok(call(|world| {
            let unread = world.net.unread_of(self.fd);
            world.see(unread);
            unread
        }))
    }
}

/// A time limit: over when somebody says so.
pub struct Timer {
    fd: Fd,
}

impl Timer {
    pub fn after(_: u64) -> io::Result<Timer> {
        let fd = call(|world| {
            let fd = world.net.eventfd();
            world.timer = Some(fd);
            fd
        });
        Ok(Timer { fd })
    }

    /// Time stands still, so it never comes.
    pub fn every_second() -> io::Result<Timer> {
        Ok(Timer { fd: call(|world| world.net.eventfd()) })
    }

    pub fn take(&self) {}
}

impl Source for Timer {
    fn fd(&self) -> Fd {
        self.fd
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if !world::is_over() {
            world::with(|world| world.timer = None);
        }
        close(self.fd);
    }
}

/// The limit is over, if one runs.
pub fn expire() {
    call(|world| {
        world.log(What::Expire);
        if let Some(fd) = world.timer.take() {
            world.net.raise(fd).expect("a timer that runs is open");
        }
    });
}

pub struct Stop {
    fd: Fd,
}

impl Stop {
    pub fn open() -> Stop {
        Stop { fd: call(|world| world.net.eventfd()) }
    }
}

/// Tells the server to stop.
pub fn raise(fd: Fd) {
    call(|world| world.net.raise(fd)).expect("the server has not closed it yet");
}

impl Source for Stop {
    fn fd(&self) -> Fd {
        self.fd
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        close(self.fd);
    }
}
