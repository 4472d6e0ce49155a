//! The client against servers that are wrong: each byte that it gets is compared with what is due, and each count with
//! what was sent.

use super::*;
use std::net::TcpListener;

use crate::record::blackbox::MAIN;

/// A safety net for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connected client, and the server's end.
fn pair(plan: Plan) -> (Client, TcpStream) {
    pair_within(plan, PATIENCE)
}

fn pair_within(plan: Plan, limit: Duration) -> (Client, TcpStream) {
    let blackbox = Blackbox::new(256).expect("there is a memfd");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it is bound").port();
    let mut client = Client::new(blackbox, port, plan, limit);
    client.connect().expect("it listens");
    let (server, _) = listener.accept().expect("somebody has connected");
    server.set_read_timeout(Some(PATIENCE)).expect("a socket has the option");
    (client, server)
}

/// What the client is told when it finishes its plan at a server that says just this and then ends the stream.
fn told(plan: Plan, bytes: &[u8]) -> (Client, io::Result<()>) {
    let (mut client, mut server) = pair(plan);
    server.write_all(bytes).expect("there is room");
    server.shutdown(Shutdown::Write).expect("it is connected");
    client.write(client.left()).expect("there is room");
    let result = client.finish();
    (client, result)
}

fn kind<T>(result: &io::Result<T>) -> Option<ErrorKind> {
    result.as_ref().err().map(io::Error::kind)
}

fn events(client: &Client) -> Vec<(Kind, u64, u64)> {
    client.blackbox.records().iter().map(|record| (record.kind, record.a, record.b)).collect()
}

fn read_to_end(server: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    server.read_to_end(&mut got).expect("the stream ends in order");
    got
}

#[test]
fn a_reply_in_which_any_one_byte_is_wrong_is_not_taken() {
    for plan in [Plan::Get(1), Plan::Post(16)] {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        let sent = plan.length().expect("it has an end");
        for at in 0..plan.reply().len() {
            let mut client = Client::new(blackbox, 1, plan, PATIENCE);
            (client.totals.sent, client.pending) = (sent, plan.reply());
            client.pending[at] ^= 1;
            let got = client.pending.clone();
            assert_eq!(kind(&client.check_reply()), Some(ErrorKind::InvalidData), "byte {at} of {plan}");
            let wrong = Misdelivery { client: CLIENT, got, due: plan.reply(), made_for: None };
            assert_eq!(client.misdelivery(), Some(&wrong));
        }
    }
}

#[test]
fn a_client_with_a_wrong_reply_has_failed_and_has_none() {
    let due = Plan::Get(1).reply();
    for at in [0, due.len() - 1] {
        let mut got = due.clone();
        got[at] ^= 1;
        let (client, result) = told(Plan::Get(1), &got);
        assert_eq!(kind(&result), Some(ErrorKind::InvalidData));
        assert_eq!(client.failure().map(io::Error::kind), Some(ErrorKind::InvalidData));
        assert_eq!((client.totals().replies, client.totals().received), (0, due.len() as u64));
        assert_eq!(client.misdelivery().map(|wrong| &wrong.got), Some(&got));
    }
}

#[test]
fn the_second_reply_is_compared_as_the_first_is() {
    let due = Plan::Get(2).reply();
    let (client, result) = told(Plan::Get(2), &[&due[..], &due.to_ascii_lowercase()].concat());
    assert_eq!((kind(&result), client.totals().replies), (Some(ErrorKind::InvalidData), 1));
    assert_eq!(client.misdelivery().map(|wrong| &wrong.got), Some(&due.to_ascii_lowercase()));
}

#[test]
fn a_stream_that_ends_before_the_last_byte_that_is_due_is_too_short() {
    for plan in [Plan::Get(1), Plan::Get(3), Plan::Post(16)] {
        let all = plan.reply().repeat(plan.replies() as usize);
        for cut in [0, plan.reply().len(), all.len() - 1].map(|cut: usize| cut.min(all.len() - 1)) {
            let (client, result) = told(plan, &all[..cut]);
            assert_eq!(kind(&result), Some(ErrorKind::UnexpectedEof), "{cut} of {} bytes", all.len());
            assert_eq!(client.failure().map(io::Error::kind), Some(ErrorKind::UnexpectedEof));
            let whole = (cut / plan.reply().len()) as u64;
            assert_eq!((client.owed(), client.totals().replies), (plan.replies() - whole, whole));
            assert!(client.misdelivery().is_none() && !client.is_served());
            let (last, ..) = *events(&client).last().expect("it has recorded");
            assert_eq!(last, Kind::ClientEnd);
        }
        let (client, result) = told(plan, &all);
        assert!(result.is_ok() && client.failure().is_none() && client.is_served() && client.owed() == 0);
        let (length, sent) = (all.len() as u64, plan.length().expect("it has an end"));
        assert_eq!(client.totals(), ClientTotals { sent, received: length, replies: plan.replies() });
    }
}

#[test]
fn a_stream_that_has_more_than_is_due_is_too_long() {
    for plan in [Plan::Get(1), Plan::Get(2), Plan::Post(16)] {
        let all = plan.reply().repeat(plan.replies() as usize);
        // Anything, the beginning of one more reply, and one more reply.
        for more in [&b"x"[..], &plan.reply()[..1], &plan.reply()] {
            let (client, result) = told(plan, &[&all, more].concat());
            assert_eq!(kind(&result), Some(ErrorKind::InvalidData), "{more:?} after what is due to {plan}");
            assert_eq!(client.totals().replies, plan.replies());
            let wrong = client.misdelivery().expect("it was not its own");
            assert_eq!((&wrong.got[..], &wrong.due[..]), (more, &[][..]));
        }
    }
    // Of a plan that asks for nothing any reply is too much.
    let (mut client, mut server) = pair(Plan::Raw);
    client.send(10).expect("there is room");
    server.write_all(&Plan::Raw.reply()).expect("there is room");
    assert_eq!(kind(&client.receive()), Some(ErrorKind::InvalidData));
}

#[test]
fn a_reply_to_half_a_request_is_not_due_yet() {
    let (mut client, mut server) = pair(Plan::Get(2));
    client.send(28).expect("there is room");
    server.write_all(&Plan::Get(2).reply()).expect("there is room");
    assert_eq!(kind(&client.receive()), Some(ErrorKind::InvalidData));
}

#[test]
fn a_reply_may_come_in_any_pieces() {
    let (mut client, mut server) = pair(Plan::Get(2));
    client.send(58).expect("there is room");
    let all = Plan::Get(2).reply().repeat(2);
    let mut got = 0;
    for piece in [&all[..1], &all[1..51], &all[51..52], &all[52..103], &all[103..]] {
        server.write_all(piece).expect("there is room");
        client.receive().expect("so far it is right");
        got += piece.len() as u64;
        assert_eq!((client.totals().received, client.totals().replies), (got, got / (all.len() / 2) as u64));
    }
    assert!(client.is_served());
    client.receive().expect("that nothing has come is no error");
    assert_eq!(client.totals().received, all.len() as u64);
    let (_, bytes, total) = *events(&client).last().expect("it has recorded");
    assert_eq!((bytes, total), (1, all.len() as u64));
}

#[test]
fn the_first_bytes_that_are_wrong_are_the_ones_that_are_told() {
    let (mut client, mut server) = pair(Plan::Post(8));
    client.send(60).expect("there is room");
    for text in ["first", "second"] {
        server.write_all(text.as_bytes()).expect("there is room");
        assert!(client.receive().is_err());
    }
    assert_eq!(client.misdelivery().map(|wrong| &wrong.got[..]), Some(&b"first"[..]));
}

#[test]
fn every_byte_of_the_plan_arrives_once_and_in_order() {
    let plan = Plan::Post(200_000);
    let length = plan.length().expect("it has an end");
    let (mut client, mut server) = pair(plan);
    let mut due = vec![0; length as usize];
    plan.fill(0, &mut due);
    let got = std::thread::scope(|scope| {
        let got = scope.spawn(|| {
            let mut got = vec![0; length as usize];
            server.read_exact(&mut got).expect("all of it comes");
            server.write_all(&plan.reply()).expect("there is room");
            (got, read_to_end(&mut server))
        });
        client.send(10).expect("there is room");
        assert_eq!((client.left(), client.owed(), client.is_served()), (length - 10, 1, false));
        client.finish().expect("it is served");
        got.join().expect("no panic")
    });
    assert!(got.0 == due && got.1.is_empty());
    assert_eq!(client.totals(), ClientTotals { sent: length, received: plan.reply().len() as u64, replies: 1 });
    let sends: Vec<_> = events(&client).into_iter().filter(|event| event.0 == Kind::ClientSend).collect();
    assert_eq!(sends, [(Kind::ClientSend, 10, 10), (Kind::ClientSend, length - 10, length)]);
    assert_eq!(events(&client).last(), Some(&(Kind::ClientFin, 0, 0)));
}

#[test]
fn who_has_closed_its_side_sends_no_more_and_is_owed_what_it_asked_for() {
    let (mut client, mut server) = pair(Plan::Get(3));
    assert!(!client.has_closed() && !client.is_served());
    client.send(29 + 28).expect("there is room");
    assert_eq!(client.owed(), 3, "the rest of the plan is still to come");
    client.fin().expect("it is connected");
    assert!(client.has_closed());
    assert_eq!((client.owed(), client.left()), (1, 0));
    assert_eq!(read_to_end(&mut server).len(), 57);
    server.write_all(&Plan::Get(3).reply()).expect("there is room");
    client.finish().expect("one reply is due, and it came");
    assert_eq!((client.totals().sent, client.totals().replies), (57, 1));
    // After its end it does nothing.
    client.finish().expect("there is nothing to do");
    assert!(client.is_served());
}

#[test]
fn a_reset_reaches_the_server_and_ends_the_plan() {
    let (mut client, mut server) = pair(Plan::Get(1));
    client.reset().expect("it is connected");
    assert_eq!(kind(&server.read(&mut [0; 8])), Some(ErrorKind::ConnectionReset));
    assert!(client.is_served() && !client.has_closed());
    client.finish().expect("nothing is left to do");
    client.send_rest_and_half_close().expect("nothing is left to do");
    client.finish_in_two_writes().expect("nothing is left to do");
    assert_eq!(client.totals(), ClientTotals::default());
    assert_eq!(kind(&client.reset()), Some(ErrorKind::NotConnected));
    assert_eq!(kind(&client.connection()), Some(ErrorKind::NotConnected));
    assert_eq!(
        events(&client).iter().map(|event| event.0).collect::<Vec<_>>(),
        [Kind::ClientConnect, Kind::ClientReset]
    );
}

#[test]
fn a_server_that_breaks_off_is_a_failure_with_the_systems_own_error() {
    let (mut client, server) = pair(Plan::Get(1));
    client.send(29).expect("there is room");
    break_off(server).expect("it is connected");
    assert_eq!(kind(&client.finish()), Some(ErrorKind::ConnectionReset));
    assert_eq!(client.failure().and_then(io::Error::raw_os_error), Some(libc::ECONNRESET));
}

#[test]
fn the_last_words_come_with_the_end_of_the_clients_side() {
    let (mut client, mut server) = pair(Plan::Get(1));
    std::thread::scope(|scope| {
        // It answers only when it has seen the end.
        scope.spawn(|| {
            assert_eq!(read_to_end(&mut server).len(), 29);
            server.write_all(&Plan::Get(1).reply()).expect("there is room");
        });
        client.send_rest_and_half_close().expect("it is served");
    });
    assert!(client.has_closed() && client.totals().replies == 1);
    let before: Vec<_> = events(&client).into_iter().map(|event| event.0).take(3).collect();
    assert_eq!(before, [Kind::ClientConnect, Kind::ClientSend, Kind::ClientFin]);
}

#[test]
fn a_plan_in_two_writes_is_cut_at_a_third() {
    let (mut client, mut server) = pair(Plan::Get(1));
    server.write_all(&Plan::Get(1).reply()).expect("there is room");
    // The reply is there before the request, but is taken after it.
    client.finish_in_two_writes().expect("it is served");
    let sends: Vec<_> = events(&client).into_iter().filter(|event| event.0 == Kind::ClientSend).collect();
    assert_eq!(sends, [(Kind::ClientSend, 9, 9), (Kind::ClientSend, 20, 29)]);
}

#[test]
fn without_waiting_it_sends_a_piece_and_takes_what_is_there() {
    let plan = Plan::Post(2 * MAX_SEND);
    let (mut client, mut server) = pair(plan);
    let length = plan.length().expect("it has an end");
    for sent in [MAX_SEND, 2 * MAX_SEND, length, length] {
        client.go_on().expect("that nothing has come is no error");
        assert_eq!((client.totals().sent, client.totals().received), (sent, 0));
    }
    let sends = events(&client).into_iter().filter(|event| event.0 == Kind::ClientSend);
    let pieces = [(MAX_SEND, MAX_SEND), (MAX_SEND, 2 * MAX_SEND), (length - 2 * MAX_SEND, length)];
    assert_eq!(sends.map(|event| (event.1, event.2)).collect::<Vec<_>>(), pieces);
    let (mut got, mut due) = (vec![0; length as usize], vec![0; length as usize]);
    server.read_exact(&mut got).expect("it has arrived");
    plan.fill(0, &mut due);
    assert!(got == due);
    assert!(!client.is_served());
    server.write_all(&plan.reply()).expect("there is room");
    server.shutdown(Shutdown::Write).expect("it is connected");
    client.wait_until("the reply", || Ok(available(&client) == plan.reply().len())).expect("it comes");
    client.go_on().expect("it is right");
    assert!(client.is_served());
    client.go_on().expect("an end is no error when nothing is owed");
}

fn available(client: &Client) -> usize {
    let mut bytes = [0; 4096];
    client.stream().and_then(|stream| stream.peek(&mut bytes)).expect("it is connected")
}

#[test]
fn without_waiting_an_early_end_and_a_wrong_reply_are_seen_all_the_same() {
    let (mut client, server) = pair(Plan::Get(2));
    server.shutdown(Shutdown::Write).expect("it is connected");
    let ended =
        std::iter::repeat_with(|| client.go_on()).take(20_000).find(|result| result.is_err()).expect("it comes");
    assert_eq!(kind(&ended), Some(ErrorKind::UnexpectedEof));
    let (mut client, mut server) = pair(Plan::Get(2));
    server.write_all(b"HTTP/1.0").expect("there is room");
    let wrong =
        std::iter::repeat_with(|| client.go_on()).take(20_000).find(|result| result.is_err()).expect("it comes");
    assert_eq!((kind(&wrong), client.misdelivery().is_some()), (Some(ErrorKind::InvalidData), true));
}

#[test]
fn the_queues_of_the_servers_socket_are_read_from_outside() {
    let (mut client, mut server) = pair(Plan::Raw);
    let inode = client.connection().expect("it is there").inode;
    let link = std::fs::read_link(format!("/proc/self/fd/{}", server.as_raw_fd())).expect("it is open");
    assert_eq!(link.to_str(), Some(format!("socket:[{inode}]").as_str()));
    let (queues, probe) =
        (|unread, untaken| SocketQueues { unread, untaken, inode }, client.wire().expect("connected"));
    assert_eq!(client.connection().ok(), Some(queues(0, 0)));
    client.send(1000).expect("there is room");
    assert_eq!(probe.connection().ok(), Some(Some(queues(1000, 0))));
    server.read_exact(&mut [0; 400]).expect("they are there");
    assert_eq!(client.connection().ok(), Some(queues(600, 0)));
    // The end of the input is no byte of it.
    client.fin().expect("it is connected");
    assert_eq!(client.connection().ok(), Some(queues(600, 0)));
    // What the client's kernel has no room for stays with the server.
    server.set_nonblocking(true).expect("a socket has the option");
    while server.write(&[0; 65_536]).is_ok() {}
    assert!(client.connection().is_ok_and(|queues| queues.untaken > 0 && queues.unread == 600));
    break_off(server).expect("it is connected");
    // Another test may be between a fork and its exec, and have the socket open for so long.
    client.wait_until("the RST", || Ok(client.connection().is_err())).expect("it comes");
    assert_eq!((kind(&client.connection()), probe.connection().ok()), (Some(ErrorKind::NotFound), Some(None)));
}

#[test]
fn bytes_that_the_server_has_no_room_for_are_held_back_and_not_under_way() {
    let (client, _server) = pair(Plan::Raw);
    let (stream, probe) = (client.stream().expect("it is connected"), client.wire().expect("it is connected"));
    assert_eq!(probe.in_flight().ok(), Some(0));
    stream.set_nonblocking(true).expect("a socket has the option");
    while (&mut &*stream).write(&[0; 65_536]).is_ok() {}
    client.wait_until("what fits", || Ok(probe.in_flight()? == 0)).expect("it arrives");
    assert!(unacknowledged(stream).is_ok_and(|bytes| bytes > 0) && unsent(stream).is_ok_and(|bytes| bytes > 0));
}

#[test]
fn a_cut_wakes_a_client_that_waits() {
    let (mut client, _server) = pair(Plan::Get(1));
    let probe = client.wire().expect("it is connected");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| client.finish());
        probe.cut();
        assert!(waits.join().expect("no panic").is_err());
    });
}

#[test]
fn bytes_that_are_streamed_are_counted_and_end_with_a_reset() {
    let (mut client, mut server) = pair(Plan::Raw);
    let server = std::thread::spawn(move || while matches!(server.read(&mut [0; 4096]), Ok(1..)) {});
    client.stream_and_reset(100_000);
    assert_eq!(client.totals().sent, 100_000);
    assert_eq!(events(&client).last(), Some(&(Kind::ClientReset, 0, 0)));
    let _ = server.join();
    // A server that is gone is no reason to panic, and there is no connection any more.
    client.stream_and_reset(10);
    assert_eq!(client.totals().sent, 100_000);
}

#[test]
fn what_does_not_arrive_within_the_limit_is_named() {
    let (client, _server) = pair_within(Plan::Raw, Duration::from_millis(1));
    let error = client.wait_until("the moon", || Ok(false)).expect_err("it never comes");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::TimedOut, "the moon did not arrive".to_string()));
    let asked = std::cell::Cell::new(0);
    client.wait_until("it", || Ok(asked.replace(asked.get() + 1) == 1)).expect("at the second look");
    assert_eq!(asked.get(), 2);
    assert_eq!(kind(&client.wait_until("it", || Err(ErrorKind::NotFound.into()))), Some(ErrorKind::NotFound));
}

#[test]
fn a_client_plays_the_role_that_it_is_given_and_leaves_low_numbers_to_the_server() {
    let (client, _server) = pair(Plan::Get(1));
    assert_eq!(client.role(), CLIENT);
    assert!(client.stream().is_ok_and(|stream| stream.as_raw_fd() >= 24));
    let port = client.stream().and_then(TcpStream::local_addr).expect("it is connected").port();
    assert_eq!(events(&client), [(Kind::ClientConnect, u64::from(port), 0)]);
    let mut other = Client::new(client.blackbox, client.server.port(), Plan::Post(7), PATIENCE).playing(MAIN);
    assert_eq!((other.role(), other.plan(), other.is_served()), (MAIN, Plan::Post(7), true), "not connected yet");
    assert_eq!(kind(&other.send(1)), Some(ErrorKind::NotConnected));
    other.finish().expect("without a connection there is nothing to finish");
    other.note(Kind::ClientFin, 0, 0);
    assert_eq!(client.blackbox.records().last().map(|record| record.role), Some(MAIN));
}

/// An acknowledgement that is delayed is waited for by nobody who can see the bytes.
#[test]
fn a_byte_that_has_arrived_need_not_be_acknowledged() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it is bound").port();
    let blackbox = Blackbox::new(64).expect("there is a memfd");
    let mut client = Client::new(blackbox, port, Plan::Raw, Duration::from_secs(20));
    client.connect().expect("it listens");
    let (server, _) = listener.accept().expect("somebody has connected");
    let off = 0_i32;
    // SAFETY: the option is read from an int.
    unsafe {
        let size = size_of_val(&off) as libc::socklen_t;
        libc::setsockopt(server.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_QUICKACK, (&raw const off).cast(), size);
    }
    // At least one of them is looked at before the 40 ms are over.
    let in_flight = (0..20).any(|_| {
        client.send(1).expect("there is room");
        client.wire().and_then(|wire| wire.in_flight()).expect("it is connected") > 0
    });
    assert!(in_flight);
    assert_eq!(client.connection().expect("it is connected").unread, client.totals().sent);
}

/// One visit at a server that has read the request and then says this; with `None` it says nothing and stays.
fn visited(says: Option<&[u8]>, stays: bool) -> (io::Result<()>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it is bound").port();
    let limit = if says.is_some() || !stays { PATIENCE } else { Duration::from_millis(20) };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (mut server, _) = listener.accept().expect("somebody comes");
            let mut got = vec![0; 29];
            if stays {
                server.read_exact(&mut got).expect("the request comes");
            }
            says.map(|says| server.write_all(says));
            // Without an answer the visitor is the one who ends it.
            if says.is_none() {
                let _ = server.read(&mut [0; 1]);
            }
            got
        });
        let result = visit(port, Plan::Get(1), stays, limit);
        (result, server.join().expect("no panic"))
    })
}

#[test]
fn a_visitor_checks_its_reply_if_it_stays() {
    let due = Plan::Get(1).reply();
    let (result, request) = visited(Some(&due), true);
    assert!(result.is_ok() && request == Plan::Get(1).head().as_bytes());
    let mut wrong = due.clone();
    *wrong.last_mut().expect("it has bytes") ^= 1;
    assert_eq!(kind(&visited(Some(&wrong), true).0), Some(ErrorKind::InvalidData));
    assert_eq!(kind(&visited(Some(&due[1..]), true).0), Some(ErrorKind::UnexpectedEof));
    assert_eq!(kind(&visited(None, true).0), Some(ErrorKind::WouldBlock));
    assert!(visited(None, false).0.is_ok(), "who breaks off waits for nothing");
}

#[test]
fn totals_are_added_number_by_number() {
    let one = ClientTotals { sent: 1, received: 10, replies: 100 };
    let two = ClientTotals { sent: 2, received: 20, replies: 200 };
    assert_eq!([one, two].into_iter().sum::<ClientTotals>(), ClientTotals { sent: 3, received: 30, replies: 300 });
}

#[test]
fn a_descriptor_that_is_moved_out_of_the_way_is_the_same_connection() {
    let (client, mut server) = pair(Plan::Raw);
    let moved = out_of_the_way(client.stream().and_then(TcpStream::try_clone).expect("it is connected"));
    (&moved).write_all(b"x").expect("there is room");
    server.read_exact(&mut [0; 1]).expect("it comes");
    // SAFETY: fcntl(2) on an open descriptor.
    assert_eq!(unsafe { libc::fcntl(moved.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
}

#[test]
fn what_a_machine_lacks_is_told_with_the_error_and_a_wrong_server_lacks_nothing() {
    let room = lacks(&ErrorKind::StorageFull.into()).expect("there is a remedy");
    assert!(room.contains("net.ipv4.tcp_rmem"), "{room}");
    let files = lacks(&io::Error::from_raw_os_error(libc::EMFILE)).expect("there is a remedy");
    assert!(files.contains("ulimit -n") && files.contains("os error 24"), "{files}");
    for errno in [libc::ECONNREFUSED, libc::ECONNRESET, libc::EPIPE] {
        assert_eq!(lacks(&io::Error::from_raw_os_error(errno)), None);
    }
    assert_eq!(lacks(&ErrorKind::InvalidData.into()), None);
}

#[test]
fn a_client_waits_for_room_where_the_server_reads_late() {
    let plan = Plan::Post(16 << 20);
    let (mut client, mut server) = pair(plan);
    let length = plan.length().expect("it has an end");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // More than the queues of both sides have room for: the client is held up.
            std::thread::sleep(Duration::from_millis(20));
            let all = io::copy(&mut (&server).take(length), &mut io::sink()).expect("it comes");
            assert_eq!(all, length);
            server.write_all(&plan.reply()).expect("there is room");
        });
        client.finish().expect("it is served");
    });
    assert_eq!((client.totals().sent, client.totals().replies), (length, 1));
}

#[test]
fn a_client_that_no_one_reads_from_gives_up_when_its_limit_is_over() {
    let (mut client, server) = pair_within(Plan::Post(64 << 20), Duration::from_millis(50));
    assert_eq!(kind(&client.finish()), Some(ErrorKind::TimedOut));
    assert!(client.left() > 0);
    // It is told of nothing but what has come.
    assert_eq!(kind(&client.poll(libc::POLLIN)), Some(ErrorKind::TimedOut));
    assert_eq!(client.poll(libc::POLLIN | libc::POLLRDHUP).expect_err("nothing comes").kind(), ErrorKind::TimedOut);
    drop(server);
    assert_ne!(client.poll(libc::POLLIN).expect("the end has come") & (libc::POLLIN | libc::POLLHUP), 0);
}

#[test]
fn who_has_broken_off_sends_no_rest_by_any_way() {
    let all: [fn(&mut Client) -> io::Result<()>; 2] = [Client::send_rest_and_half_close, Client::finish_in_two_writes];
    for finish in all {
        let (mut client, _server) = pair(Plan::Get(2));
        client.reset().expect("it is connected");
        finish(&mut client).expect("there is nothing left to do");
        assert_eq!(client.totals().sent, 0);
    }
}

#[test]
fn where_the_kernel_does_not_say_what_is_held_back_all_may_be_on_its_way() {
    let (unix, _other) = std::os::unix::net::UnixStream::pair().expect("two sockets");
    let stream = TcpStream::from(std::os::fd::OwnedFd::from(unix));
    assert_eq!(unsent(&stream).expect("no error"), 0);
}
