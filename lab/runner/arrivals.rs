//! Arrivals: many connections, one after another and at once.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::direct::schedule::Plan;
use crate::http;

/// How many connections a round opens one after another, and how many at once.
const ARRIVALS: usize = 32;

/// One client: connected, with its request sent.
fn connect(port: u16, limit: Duration) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(Plan::Get(1).head().as_bytes())?;
    Ok(stream)
}

/// Takes the reply, and leaves.
fn leave(mut stream: TcpStream) -> io::Result<()> {
    let mut reply = vec![0; http::HELLO.len()];
    stream.read_exact(&mut reply)?;
    if reply != http::HELLO {
        return Err(io::Error::new(ErrorKind::InvalidData, "the reply is not the one that is due"));
    }
    Ok(())
}

/// One round against the server at `port` of 127.0.0.1. No single wait is longer than `limit`.
///
/// # Errors
/// Those of `connect(2)`, `read(2)` and `write(2)`, and `InvalidData` for a wrong reply.
pub fn round(port: u16, limit: Duration) -> io::Result<()> {
    for _ in 0..ARRIVALS {
        leave(connect(port, limit)?)?;
    }
    let all: Vec<_> = (0..ARRIVALS).map(|_| connect(port, limit)).collect::<io::Result<_>>()?;
    all.into_iter().try_for_each(leave)
}

#[cfg(test)]
mod tests;
