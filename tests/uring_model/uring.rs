//! The facade of io_uring, as stage 10 sees it; what it asks for goes to [`crate::world`].

use std::io;
use std::ops::Deref;
use std::rc::Rc;

use crate::kernel::{Listener, Stop};
use crate::world::{Work, World, with};

/// There is room for everything.
#[derive(Clone, Copy, Default)]
pub struct Room {}

pub struct Ring;

#[derive(Debug)]
pub struct Event {
    pub token: u64,
    pub more: bool,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    Raised,
    Accepted(io::Result<Socket>),
    Received(io::Result<Bytes>),
    Stalled,
    Emptied,
    Sent(io::Result<usize>, Vec<u8>),
}

#[derive(Debug)]
pub struct Bytes(pub Vec<u8>);

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The index of its client. Both directions end when it is dropped.
#[derive(Debug)]
pub struct Socket(pub Rc<usize>);

impl Socket {
    pub fn shutdown_write(&self) {
        with(|world| world.clients[*self.0].told_the_end = true);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A failed test drops its world while it unwinds.
        if !std::thread::panicking() {
            with(|world| world.let_go(*self.0));
        }
    }
}

impl Ring {
    pub fn new(_: Room) -> io::Result<Ring> {
        Ok(Ring)
    }

    pub fn watch(&mut self, _: &Stop, token: u64) -> io::Result<()> {
        act(|world| world.ask(token, Work::Watch))
    }

    pub fn accept(&mut self, _: &Listener, token: u64) -> io::Result<()> {
        act(|world| {
            world.is_asked_to_accept();
            world.ask(token, Work::Accept);
        })
    }

    pub fn receive(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        act(|world| {
            if world.receive_of(*socket.0).is_none() {
                world.ask(token, Work::Receive { client: *socket.0, stopped: false });
            }
        })
    }

    pub fn receive_rest(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        self.stop_receiving(socket)?;
        act(|world| {
            if world.receive_of(*socket.0).is_none() {
                world.ask(token, Work::Rest { client: *socket.0 });
            }
        })
    }

    pub fn stop_receiving(&mut self, socket: &Socket) -> io::Result<()> {
        act(|world| world.stop_receiving(*socket.0))
    }

    pub fn send(&mut self, socket: &Socket, token: u64, bytes: Vec<u8>, from: usize) -> io::Result<()> {
        act(|world| {
            let client = *socket.0;
            world.is_asked_to_send(client, bytes.len() - from);
            world.ask(token, Work::Send { client, bytes, from });
        })
    }

    pub fn wait_for(&mut self, seconds: Option<u32>) -> io::Result<()> {
        act(|world| world.wait(seconds))
    }

    pub fn next_event(&mut self) -> Option<Event> {
        with(|world| world.completions.pop_front())
    }
}

/// A server that was refused gets an error, whatever it asks for.
fn act(what: impl FnOnce(&mut World)) -> io::Result<()> {
    with(|world| {
        what(world);
        if world.over { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    })
}
