//! A server of one thread with a fault to choose: the proof that each kind of finding is found.

use std::collections::HashMap;
use std::io;

use lab::heap::Raw;
use lab::kernel::{Epoll, Events, Interest, Socket};
use lab::point::point;
use lab::runner::{LISTENER, STOP, Served, Server};

pub const NONE: u8 = 0;
pub const NO_REARM: u8 = 1;
pub const NO_CLOSE: u8 = 2;
pub const ONE_READ: u8 = 3;
pub const MISCOUNT: u8 = 4;
pub const LEAK: u8 = 5;
pub const FREE_TWICE: u8 = 6;
pub const FORGET_THE_SOCKET: u8 = 7;

pub fn serve<const FAULT: u8>(server: Server) -> io::Result<Served> {
    let epoll = Epoll::new()?;
    epoll.add(&server.listener, LISTENER, Interest::READ)?;
    epoll.add(&server.stop, STOP, Interest::READ)?;
    let once = Interest::READ.edge_triggered().one_shot();
    let mut sockets: HashMap<u64, Socket> = HashMap::new();
    let mut served = Served { received: 0, replies: 0 };
    let (mut events, mut id, mut buffer) = (Events::with_capacity(8), 0, [0; 8]);
    let note = Raw::new(0_u64);
    'serving: loop {
        point("wait");
        epoll.wait(&mut events)?;
        for event in events.iter() {
            match event.token {
                STOP => break 'serving,
                LISTENER => {
                    while let Some(socket) = server.listener.accept()? {
                        id += 1;
                        epoll.add(&socket, id, once)?;
                        sockets.insert(id, socket);
                    }
                }
                id => {
                    let Some(socket) = sockets.get(&id) else { continue };
                    point("read");
                    while let Ok(n @ 1..) = socket.read(&mut buffer) {
                        served.received += if FAULT == MISCOUNT { 1 } else { n as u64 };
                        if FAULT == ONE_READ {
                            break;
                        }
                    }
                    if event.hung_up() && FAULT != NO_CLOSE {
                        let socket = sockets.remove(&id);
                        if FAULT == FORGET_THE_SOCKET {
                            std::mem::forget(socket);
                        }
                    } else if FAULT != NO_REARM && !event.hung_up() {
                        point("rearm");
                        epoll.modify(socket, id, once)?;
                    }
                }
            }
        }
    }
    if FAULT != LEAK {
        let again = note.clone();
        // SAFETY: nobody else has it; the second time is the fault.
        unsafe {
            note.free();
            if FAULT == FREE_TWICE {
                again.free();
            }
        }
    }
    Ok(served)
}
