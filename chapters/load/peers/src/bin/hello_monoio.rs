//! A hello on monoio: io_uring, a runtime for each core, requests parsed by httparse. No limits and no time limits.
//! `hello_monoio PORT [plain]`: `plain` leaves out the two flags of its rings.

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use peers::{HELLO, run};

fn main() {
    run(serve);
}

fn serve(listener: std::net::TcpListener) {
    let mut flags = io_uring::IoUring::builder();
    if std::env::args().nth(2).is_none() {
        flags.setup_single_issuer().setup_coop_taskrun();
    }
    let runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(4096).uring_builder(flags).build();
    let mut runtime = runtime.expect("there is io_uring");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("it is a listener");
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                monoio::spawn(client(stream));
            }
        }
    });
}

async fn client(mut stream: TcpStream) {
    _ = stream.set_nodelay(true);
    let mut replies = Vec::with_capacity(1024);
    let mut bytes = Vec::with_capacity(4096);
    let mut kept = Vec::new();
    loop {
        let (result, buffer) = stream.read(bytes).await;
        bytes = buffer;
        if !matches!(result, Ok(1..)) {
            return;
        }
        // Mostly nothing is kept, and what has come is looked at where it is.
        if !kept.is_empty() {
            kept.append(&mut bytes);
            std::mem::swap(&mut kept, &mut bytes);
        }
        let Some((consumed, requests)) = whole(&bytes) else { return };
        kept.extend_from_slice(&bytes[consumed..]);
        bytes.clear();
        if requests == 0 {
            continue;
        }
        replies.clear();
        (0..requests).for_each(|_| replies.extend_from_slice(HELLO));
        let (result, buffer) = stream.write_all(replies).await;
        replies = buffer;
        if result.is_err() {
            return;
        }
    }
}

/// How many bytes are whole requests, and how many those are; `None` if one is none.
fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut count) = (0, 0);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        match httparse::Request::new(&mut headers).parse(&bytes[at..]) {
            Ok(httparse::Status::Complete(length)) => (at, count) = (at + length, count + 1),
            Ok(httparse::Status::Partial) => return Some((at, count)),
            Err(_) => return None,
        }
    }
}
