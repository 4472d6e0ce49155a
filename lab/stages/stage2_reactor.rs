//! Stage 2: one thread for all connections. It sleeps in one place only, `epoll_wait`, and reads just from the sockets
//! that are ready. No read may sleep, so what the server remembers of a client moves from a stack into a session.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use lab::heap::Buffer;
use lab::http::Parser;
use lab::kernel::{Epoll, Events, Interest, Socket};
use lab::point::point;
use lab::runner::{self, LISTENER, STOP, Served, Server};

const BUFFER: usize = 4096;

// ANCHOR: session
/// One client: its socket, and how far its conversation has come.
struct Session {
    socket: Socket,
    /// What has arrived and is not consumed yet: the first `filled` bytes.
    receive: Buffer,
    filled: usize,
    parser: Parser,
}
// ANCHOR_END: session

fn main() -> ExitCode {
    runner::main(module_path!(), serve)
}

// ANCHOR: reactor
/// The reactor: accepts, waits, and serves whoever is ready.
pub fn serve(server: Server) -> io::Result<Served> {
    let interest = if server.flags.level { Interest::READ } else { Interest::READ.edge_triggered() };
    let epoll = Epoll::new()?;
    epoll.add(&server.listener, LISTENER, Interest::READ)?;
    epoll.add(&server.stop, STOP, Interest::READ)?;
    let mut sessions: HashMap<u64, Session> = HashMap::new();
    let mut served = Served { received: 0, replies: 0 };
    let mut accepted = 0;
    let mut events = Events::with_capacity(64);
    loop {
        point("wait");
        epoll.wait(&mut events)?;
        for event in events.iter() {
            match event.token {
                STOP => return Ok(served),
                LISTENER => {
                    while let Some(socket) = server.listener.accept()? {
                        accepted += 1;
                        // A client that cannot be watched cannot be served: its socket is closed here.
                        let Ok(()) = epoll.add(&socket, accepted, interest) else { continue };
                        let (receive, parser) = (Buffer::new(BUFFER), Parser::new());
                        sessions.insert(accepted, Session { socket, receive, filled: 0, parser });
                    }
                }
                id => {
                    let Some(session) = sessions.get_mut(&id) else { continue };
                    if !session.read(server.flags.once, &mut served) {
                        // The socket is closed with its session, and so leaves the interest list.
                        point("remove");
                        sessions.remove(&id);
                    }
                }
            }
        }
    }
}
// ANCHOR_END: reactor

impl Session {
    // ANCHOR: read
    /// Reads what there is and answers it; `false` when the connection is over.
    fn read(&mut self, once: bool, served: &mut Served) -> bool {
        loop {
            point("read");
            let n = match self.socket.read(&mut self.receive[self.filled..]) {
                // The end of the stream. A hang-up needs no branch of its own: it is an event, and the read tells.
                Ok(0) => return false,
                Ok(n) => n,
                // Empty. Only now is the next arrival a change, and so a new event.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            };
            served.received += n as u64;
            self.filled += n;
            if !self.answer(served) {
                return false;
            }
            // ANCHOR: once
            if once {
                // Too early: there may be more in the socket, and an edge is reported only once.
                return true;
            }
            // ANCHOR_END: once
        }
    }
    // ANCHOR_END: read

    /// Answers each request that is complete; `false` when the client does not take its replies.
    fn answer(&mut self, served: &mut Served) -> bool {
        let mut send = [0; 256];
        loop {
            let step = self.parser.advance(&self.receive[..self.filled], self.filled == BUFFER);
            self.receive.copy_within(step.consumed..self.filled, 0);
            self.filled -= step.consumed;
            let Some(reply) = step.reply else { return true };
            let length = reply.write_to(&mut send);
            point("write");
            // No room: a thread of its own would sleep here. This one serves everybody, and lets such a client go.
            if self.socket.write(&send[..length]).ok() != Some(length) {
                return false;
            }
            served.replies += 1;
            if reply.is_last() {
                self.socket.shutdown_write();
            }
        }
    }
}
