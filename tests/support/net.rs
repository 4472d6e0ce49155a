//! The modelled kernel as a machine without threads: descriptors, epoll, one listener, TCP streams, events.
//!
//! Each function is one system call, done at once. Who calls when is not its business: `tests/loom/world/kernel.rs`
//! puts the models around it, `tests/game/kernel.rs` the game, and `tests/kernel_model.rs` compares it call by call with
//! Linux.
//!
//! What it knows, after `net/ipv4/tcp.c` and `fs/eventpoll.c`:
//! - a descriptor gets the lowest free number; closing takes it off every interest list;
//! - an interest list has a ready list, in the order of the wake-ups. A wait asks each file on it anew, reports what is
//!   still there, and puts a level-triggered file back at the end. What a full buffer left over stays in front;
//! - hang-up and error are always asked for;
//! - a one-shot file that was reported has an empty mask: hang-up and error are not reported either, and no wake-up
//!   puts it on the ready list. `EPOLL_CTL_ADD` and `EPOLL_CTL_MOD` ask the file at once;
//! - an edge is a wake-up: each arrival is one, and so is a FIN, an RST, and the server's own `shutdown(2)`;
//! - a wake-up reaches every list that asks for the file, but of those that ask exclusively only the first, in the
//!   order in which they began to ask, in whose instance a thread sleeps, and all before it;
//! - bytes that arrived before an RST can still be read; then the error is told once, by whichever call asks first;
//!   then the stream is at its end. After a FIN an RST is no error to a reader.
//!
//! What it leaves out:
//! - the time that a packet needs: what a client does has arrived when its call ends, and each send arrives in one
//!   piece;
//! - full buffers: a write never gives `EAGAIN` and is never short, a client's send always fits;
//! - the limit on descriptors; signals; a client's own errors once its server has closed;
//! - `EPOLLOUT`, `EPOLLPRI` and urgent data, connections that the server opens; by which rule the kernel chooses among
//!   several listeners of one port: the script says which.
// Each world uses a part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

/// An error number.
pub type Errno = i32;
/// A descriptor.
pub type Fd = usize;
/// A client's end of a connection.
pub type Client = usize;

const IN: u32 = libc::EPOLLIN as u32;
const RDHUP: u32 = libc::EPOLLRDHUP as u32;
const HUP: u32 = libc::EPOLLHUP as u32;
const ERR: u32 = libc::EPOLLERR as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const ONE_SHOT: u32 = libc::EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;
/// The bits that say how, not what.
const HOW: u32 = EDGE | ONE_SHOT | EXCLUSIVE;
/// Whatever is asked for.
const ANY: u32 = !HOW;
/// What can be asked for exclusively.
const EXCLUSIVE_OK: u32 = IN | libc::EPOLLOUT as u32 | HUP | ERR | EDGE | EXCLUSIVE;

#[derive(Default)]
pub struct Net {
    files: Vec<Option<File>>,
    streams: Vec<Stream>,
    /// Connections that nobody has accepted yet, for each listener.
    backlogs: Vec<VecDeque<usize>>,
    /// The epoll instances in which a thread sleeps. Whoever calls knows.
    pub asleep: Vec<Fd>,
    /// How many files were put on lists.
    added: usize,
    /// The files of the last wait's events.
    reported: Vec<Fd>,
}

#[derive(Hash)]
enum File {
    Epoll(Epoll),
    /// With its backlog.
    Listener(usize),
    Stream(usize),
    Event(u64),
}

#[derive(Default, Hash)]
struct Epoll {
    interest: BTreeMap<Fd, Item>,
    ready: VecDeque<Fd>,
}

struct Item {
    token: u64,
    /// As it was last asked for, with what is always asked for.
    asked: u32,
    /// False between a one-shot report and the next `EPOLL_CTL_MOD`.
    armed: bool,
    /// The how-manieth that was put on a list.
    number: usize,
}

impl Item {
    fn new(token: u64, mask: u32, number: usize) -> Item {
        Item { token, asked: mask | ERR | HUP, armed: true, number }
    }

    /// What the kernel has left of the mask.
    fn mask(&self) -> u32 {
        if self.armed { self.asked } else { self.asked & HOW }
    }
}

/// What an item once asked for is forgotten by the kernel.
impl Hash for Item {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.token, self.mask(), self.number).hash(state);
    }
}

/// One line of an interest list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watched {
    pub token: u64,
    /// As it was last asked for.
    pub mask: u32,
    /// False between a one-shot report and the next `EPOLL_CTL_MOD`.
    pub armed: bool,
}

/// A connection: the server's socket, and what its client has seen of it.
#[derive(Default, Hash)]
struct Stream {
    arrived: VecDeque<u8>,
    /// The client has closed its sending side.
    fin: bool,
    /// The server has closed its sending side.
    shut: bool,
    /// Nothing comes or goes any more.
    dead: bool,
    /// Not told to the server yet.
    error: Option<Errno>,
    /// The server has, or had, a descriptor for it.
    accepted: bool,
    /// The server's descriptor is closed, or it will never have one.
    closed: bool,
    /// The client has left.
    gone: bool,
    /// What has arrived at the client.
    replies: Vec<u8>,
}

/// The state of the machine: all but what is looked at only between two lines of one call.
impl Hash for Net {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.files, &self.streams, &self.backlogs, self.added).hash(state);
    }
}

impl Epoll {
    fn hear(&mut self, fd: Fd) {
        if !self.ready.contains(&fd) {
            self.ready.push_back(fd);
        }
    }
}

impl Stream {
    fn mask(&self) -> u32 {
        let mut mask = 0;
        if self.dead || (self.fin && self.shut) {
            mask |= HUP;
        }
        if self.fin || self.dead {
            mask |= IN | RDHUP;
        }
        if !self.arrived.is_empty() {
            mask |= IN;
        }
        if self.error.is_some() {
            mask |= ERR;
        }
        mask
    }
}

impl Net {
    fn open(&mut self, file: File) -> Fd {
        let fd = self.files.iter().position(Option::is_none).unwrap_or(self.files.len());
        if fd == self.files.len() {
            self.files.push(None);
        }
        self.files[fd] = Some(file);
        fd
    }

    fn file(&self, fd: Fd) -> Result<&File, Errno> {
        self.files.get(fd).and_then(Option::as_ref).ok_or(libc::EBADF)
    }

    fn epoll(&mut self, fd: Fd) -> Result<&mut Epoll, Errno> {
        match self.files.get_mut(fd).and_then(Option::as_mut) {
            Some(File::Epoll(epoll)) => Ok(epoll),
            Some(_) => Err(libc::EINVAL),
            None => Err(libc::EBADF),
        }
    }

    fn stream(&mut self, fd: Fd) -> Result<&mut Stream, Errno> {
        match *self.file(fd)? {
            File::Stream(stream) => Ok(&mut self.streams[stream]),
            _ => Err(libc::ENOTSOCK),
        }
    }

    /// What `poll(2)` would say of a file.
    fn mask(&self, fd: Fd) -> u32 {
        match self.file(fd) {
            Ok(File::Listener(backlog)) if !self.backlogs[*backlog].is_empty() => IN,
            Ok(File::Event(count)) if *count > 0 => IN,
            Ok(File::Stream(stream)) => self.streams[*stream].mask(),
            _ => 0,
        }
    }

    /// Something has happened to a file: every list that asks for `what` hears of it, if it need not stop before. A
    /// change of a connection's state is told to everybody who is armed (`ANY`), and the next wait finds out whether it
    /// is what was asked for.
    fn wake(&mut self, fd: Fd, what: u32) {
        let mut exclusive = Vec::new();
        for (at, file) in self.files.iter_mut().enumerate() {
            let Some(File::Epoll(epoll)) = file else { continue };
            let Some(item) = epoll.interest.get(&fd).filter(|item| item.mask() & what & !HOW != 0) else { continue };
            match item.asked & EXCLUSIVE {
                0 => epoll.hear(fd),
                _ => exclusive.push((item.number, at)),
            }
        }
        exclusive.sort_unstable();
        for (_, at) in exclusive {
            if let Some(File::Epoll(epoll)) = &mut self.files[at] {
                epoll.hear(fd);
            }
            if self.asleep.contains(&at) {
                break;
            }
        }
    }

    fn wake_stream(&mut self, stream: usize, what: u32) {
        if let Some(fd) = self.socket_of(stream) {
            self.wake(fd, what);
        }
    }

    pub fn epoll_create(&mut self) -> Fd {
        self.open(File::Epoll(Epoll::default()))
    }

    /// One more listener, on the one port that there is.
    pub fn listen(&mut self) -> Fd {
        self.backlogs.push(VecDeque::new());
        self.open(File::Listener(self.backlogs.len() - 1))
    }

    pub fn eventfd(&mut self) -> Fd {
        self.open(File::Event(0))
    }

    pub fn add(&mut self, epoll: Fd, fd: Fd, token: u64, mask: u32) -> Result<(), Errno> {
        self.file(fd)?;
        if mask & EXCLUSIVE != 0 && mask & !EXCLUSIVE_OK != 0 {
            return Err(libc::EINVAL);
        }
        let number = self.added;
        let list = self.epoll(epoll)?;
        if list.interest.contains_key(&fd) {
            return Err(libc::EEXIST);
        }
        list.interest.insert(fd, Item::new(token, mask, number));
        self.added += 1;
        self.ask(epoll, fd)
    }

    pub fn modify(&mut self, epoll: Fd, fd: Fd, token: u64, mask: u32) -> Result<(), Errno> {
        self.file(fd)?;
        if mask & EXCLUSIVE != 0 {
            return Err(libc::EINVAL);
        }
        let item = self.epoll(epoll)?.interest.get_mut(&fd).ok_or(libc::ENOENT)?;
        if item.asked & EXCLUSIVE != 0 {
            return Err(libc::EINVAL);
        }
        *item = Item::new(token, mask, item.number);
        self.ask(epoll, fd)
    }

    /// A file that is ready when it comes to a list is on its ready list at once.
    fn ask(&mut self, epoll: Fd, fd: Fd) -> Result<(), Errno> {
        let now = self.mask(fd);
        let list = self.epoll(epoll)?;
        let asked = list.interest[&fd].mask() & !HOW;
        if now & asked != 0 && !list.ready.contains(&fd) {
            list.ready.push_back(fd);
        }
        Ok(())
    }

    pub fn delete(&mut self, epoll: Fd, fd: Fd) -> Result<(), Errno> {
        self.file(fd)?;
        let list = self.epoll(epoll)?;
        list.interest.remove(&fd).ok_or(libc::ENOENT)?;
        list.ready.retain(|other| *other != fd);
        Ok(())
    }

    /// Reports at most `room` events: tokens and masks.
    pub fn poll(&mut self, epoll: Fd, room: usize) -> Result<Vec<(u64, u32)>, Errno> {
        let mut waiting = std::mem::take(&mut self.epoll(epoll)?.ready);
        let (mut events, mut again) = (Vec::new(), VecDeque::new());
        self.reported.clear();
        while events.len() < room {
            let Some(fd) = waiting.pop_front() else { break };
            let now = self.mask(fd);
            let item = self.epoll(epoll)?.interest.get_mut(&fd).expect("what is ready is on the list");
            let asked = item.mask() & !HOW;
            if now & asked == 0 {
                continue;
            }
            events.push((item.token, now & asked));
            if item.asked & ONE_SHOT != 0 {
                item.armed = false;
            } else if item.asked & EDGE == 0 {
                again.push_back(fd);
            }
            self.reported.push(fd);
        }
        waiting.extend(again);
        self.epoll(epoll)?.ready = waiting;
        Ok(events)
    }

    pub fn accept(&mut self, listener: Fd) -> Result<Option<Fd>, Errno> {
        let backlog = match *self.file(listener)? {
            File::Listener(backlog) => backlog,
            _ => return Err(libc::EINVAL),
        };
        Ok(self.backlogs[backlog].pop_front().map(|stream| {
            self.streams[stream].accepted = true;
            self.open(File::Stream(stream))
        }))
    }

    pub fn read(&mut self, fd: Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
        let stream = self.stream(fd)?;
        if !stream.arrived.is_empty() || buffer.is_empty() {
            let n = buffer.len().min(stream.arrived.len());
            for (to, from) in buffer.iter_mut().zip(stream.arrived.drain(..n)) {
                *to = from;
            }
            return Ok(n);
        }
        if stream.fin {
            return Ok(0);
        }
        match stream.error.take() {
            Some(error) => Err(error),
            None if stream.dead => Ok(0),
            None => Err(libc::EAGAIN),
        }
    }

    pub fn write(&mut self, fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
        let stream = self.stream(fd)?;
        if stream.dead || stream.shut {
            return Err(stream.error.take().unwrap_or(libc::EPIPE));
        }
        stream.replies.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    pub fn shutdown_write(&mut self, fd: Fd) -> Result<(), Errno> {
        self.stream(fd)?.shut = true;
        self.wake(fd, ANY);
        Ok(())
    }

    pub fn raise(&mut self, fd: Fd) -> Result<(), Errno> {
        match self.files.get_mut(fd).and_then(Option::as_mut) {
            Some(File::Event(count)) => *count += 1,
            _ => return Err(libc::EBADF),
        }
        self.wake(fd, IN);
        Ok(())
    }

    pub fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        match *self.file(fd)? {
            File::Stream(stream) => self.streams[stream].closed = true,
            // Whoever waits there is cut.
            File::Listener(backlog) => {
                let waiting = std::mem::take(&mut self.backlogs[backlog]);
                waiting.into_iter().for_each(|stream| self.streams[stream].closed = true);
            }
            _ => {}
        }
        self.files[fd] = None;
        for file in self.files.iter_mut().flatten() {
            if let File::Epoll(epoll) = file {
                epoll.interest.remove(&fd);
                epoll.ready.retain(|other| *other != fd);
            }
        }
        Ok(())
    }

    /// A client connects.
    pub fn connect(&mut self) -> Client {
        self.connect_to(0)
    }

    /// A client connects, and the kernel chooses the `n`th of the listeners, counted round. It is refused if there is
    /// none.
    pub fn connect_to(&mut self, n: usize) -> Client {
        self.streams.push(Stream::default());
        let client = self.streams.len() - 1;
        let listens = |(fd, file): (Fd, &Option<File>)| match file {
            Some(File::Listener(backlog)) => Some((*backlog, fd)),
            _ => None,
        };
        let mut listeners: Vec<_> = self.files.iter().enumerate().filter_map(listens).collect();
        listeners.sort_unstable();
        match listeners.get(n % listeners.len().max(1)) {
            None => self.streams[client].closed = true,
            Some(&(backlog, listener)) => {
                self.backlogs[backlog].push_back(client);
                self.wake(listener, IN);
            }
        }
        client
    }

    /// Whether the server has taken this client in.
    pub fn was_accepted(&self, client: Client) -> bool {
        self.streams[client].accepted
    }

    /// Connections that nobody has accepted, and whose listener is still open.
    pub fn waiting(&self) -> usize {
        let waiting = |file: &File| if let File::Listener(n) = file { self.backlogs[*n].len() } else { 0 };
        self.files.iter().flatten().map(waiting).sum()
    }

    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        let stream = &mut self.streams[client];
        if !stream.closed && !stream.dead && !stream.fin && !bytes.is_empty() {
            stream.arrived.extend(bytes);
            self.wake_stream(client, IN);
        }
    }

    /// The client closes its sending side.
    pub fn fin(&mut self, client: Client) {
        let stream = &mut self.streams[client];
        if !stream.closed && !stream.dead && !stream.fin {
            stream.fin = true;
            self.wake_stream(client, ANY);
        }
    }

    /// The client breaks the connection off. Where both sides have closed theirs there is nothing to break.
    pub fn reset(&mut self, client: Client) {
        let stream = &mut self.streams[client];
        let over = stream.fin && stream.shut;
        stream.gone = true;
        if !stream.closed && !stream.dead && !over {
            stream.dead = true;
            stream.error = Some(if stream.fin { libc::EPIPE } else { libc::ECONNRESET });
            self.wake_stream(client, ANY);
        }
    }

    /// What has arrived at the client since it last asked, and whether its stream is at its end.
    pub fn receive(&mut self, client: Client) -> (usize, bool) {
        let stream = &mut self.streams[client];
        let n = stream.replies.drain(..).count();
        (n, stream.shut || stream.closed)
    }

    /// What has arrived at the client.
    pub fn replies(&self, client: Client) -> &[u8] {
        &self.streams[client].replies
    }

    /// The files that the events of the last wait were about, in their order.
    pub fn reported(&self) -> &[Fd] {
        &self.reported
    }

    /// Which connection a descriptor is the server's end of.
    pub fn stream_of(&self, fd: Fd) -> Option<Client> {
        match self.file(fd) {
            Ok(File::Stream(stream)) => Some(*stream),
            _ => None,
        }
    }

    /// How many descriptors are open.
    pub fn open_files(&self) -> usize {
        self.files.iter().flatten().count()
    }

    /// Bytes that have arrived on this descriptor, and that nobody has read.
    pub fn unread_of(&self, fd: Fd) -> usize {
        match self.file(fd) {
            Ok(File::Stream(stream)) => self.streams[*stream].arrived.len(),
            _ => 0,
        }
    }

    /// The same for one who knows its client.
    pub fn unread(&self, client: Client) -> usize {
        self.streams[client].arrived.len()
    }

    /// The server's end of a connection, while it is open.
    pub fn socket_of(&self, client: Client) -> Option<Fd> {
        (0..self.files.len()).find(|fd| self.stream_of(*fd) == Some(client))
    }

    /// What is on the interest lists, by instance and descriptor.
    pub fn watched(&self) -> impl Iterator<Item = Watched> {
        let lists = self.files.iter().flatten().filter_map(|file| match file {
            File::Epoll(epoll) => Some(epoll.interest.values()),
            _ => None,
        });
        lists.flatten().map(|item| Watched { token: item.token, mask: item.asked & !(ERR | HUP), armed: item.armed })
    }

    /// The lines under this token, by instance.
    pub fn asking(&self, token: u64) -> impl Iterator<Item = Watched> {
        self.watched().filter(move |watched| watched.token == token)
    }

    /// How many clients there are, or were.
    pub fn clients(&self) -> usize {
        self.streams.len()
    }

    /// Whether the client has closed its sending side while somebody was there to see.
    pub fn has_ended(&self, client: Client) -> bool {
        self.streams[client].fin
    }

    /// Whether the client has broken the connection off.
    pub fn has_left(&self, client: Client) -> bool {
        self.streams[client].gone
    }

    /// Whether the server has closed the connection with bytes in it that nobody had read. Who broke off does not mind.
    pub fn was_discarded(&self, client: Client) -> bool {
        let stream = &self.streams[client];
        stream.accepted && stream.closed && !stream.gone && !stream.arrived.is_empty()
    }

    /// Whether a wait would report something.
    pub fn has_event(&self, epoll: Fd) -> bool {
        let Ok(File::Epoll(epoll)) = self.file(epoll) else { return false };
        epoll.ready.iter().any(|fd| self.mask(*fd) & epoll.interest[fd].mask() & !HOW != 0)
    }

    /// Whether a wait would report something, or may.
    pub fn has_ready(&self, epoll: Fd) -> bool {
        matches!(self.file(epoll), Ok(File::Epoll(epoll)) if !epoll.ready.is_empty())
    }

    /// As if the bytes that the server has not read were gone.
    pub fn drop_unread(&mut self, client: Client) {
        self.streams[client].arrived.clear();
    }

    /// Whether the server has not closed this connection yet.
    pub fn is_served(&self, client: Client) -> bool {
        !self.streams[client].closed
    }

    pub fn is_open(&self, fd: Fd) -> bool {
        self.file(fd).is_ok()
    }
}
