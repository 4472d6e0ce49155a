//! The arrivals, at a server of this test.

use super::*;
use std::net::TcpListener;

/// A round at a server that gives each connection what this says; and how many it had.
fn round_at(reply: impl Fn(usize) -> Vec<u8> + Sync) -> (io::Result<()>, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            for n in 0.. {
                let (mut client, _) = listener.accept().expect("somebody comes");
                let mut asked = vec![0; Plan::Get(1).head().len()];
                match client.read_exact(&mut asked) {
                    Ok(()) => assert_eq!(asked, Plan::Get(1).head().as_bytes()),
                    Err(_) => return n,
                }
                // Who has been dismissed already is not there any more.
                let _ = client.write_all(&reply(n));
            }
            unreachable!("it is told to stop")
        });
        let result = round(port, Duration::from_secs(20));
        drop(TcpStream::connect(("127.0.0.1", port)));
        (result, server.join().expect("no panic"))
    })
}

#[test]
fn all_come_and_each_must_get_its_reply() {
    let (result, came) = round_at(|_| http::HELLO.to_vec());
    assert_eq!((result.map_err(|error| error.kind()), came), (Ok(()), 64));
}

#[test]
fn one_wrong_or_short_reply_is_enough() {
    for at in [0, 31, 32, 63] {
        let mut wrong = http::HELLO.to_vec();
        *wrong.last_mut().expect("it has bytes") ^= 1;
        for (reply, kind) in [(wrong, ErrorKind::InvalidData), (http::HELLO[1..].to_vec(), ErrorKind::UnexpectedEof)] {
            let (result, _) = round_at(|n| if n == at { reply.clone() } else { http::HELLO.to_vec() });
            assert_eq!(result.map_err(|error| error.kind()), Err(kind), "connection {at}");
        }
    }
}
