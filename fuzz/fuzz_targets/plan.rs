//! What a client of the lab sends is, cut anywhere, what the lab's servers answer as the client expects.
#![no_main]

use lab::http::Inbox;
use lab::schedule::Plan;
use libfuzzer_sys::{arbitrary, fuzz_target};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    posts: bool,
    length: u16,
    sends: Vec<u16>,
}

fuzz_target!(|input: Input| {
    let plan = if input.posts { Plan::Post(input.length.into()) } else { Plan::Get((input.length % 512).into()) };
    let length = plan.length().expect("it has one");
    let (mut inbox, mut got, mut answers, mut sent) = (Inbox::new(), Vec::new(), 0, 0);
    for send in input.sends.into_iter().chain([u16::MAX; 8]) {
        let mut bytes = vec![0; u64::from(send).min(length - sent) as usize];
        plan.fill(sent, &mut bytes);
        sent += bytes.len() as u64;
        answers += inbox.receive(&bytes, &mut got);
        assert_eq!(answers, if sent == 0 { 0 } else { plan.replies_to(sent) }, "{plan} after {sent} bytes");
        assert_eq!(got, plan.reply().repeat(answers as usize), "{plan} after {sent} bytes");
    }
    assert_eq!((sent, answers), (length, plan.replies()));
});
