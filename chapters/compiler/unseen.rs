//! compiles
//!
//! Use after free without a pointer: the task carries a number, and the number has been given to somebody else.

struct Client {
    name: &'static str,
    replies: Vec<String>,
}

fn main() {
    let mut clients: Vec<Option<Client>> = Vec::new();
    let new = |name| Some(Client { name, replies: Vec::new() });

    // Client A connects and gets number 0, the lowest that is free, as the kernel numbers descriptors.
    clients.push(new("A"));
    let task = (0, "A's balance is 42".to_string());

    // A hangs up, B connects, and the number is free again.
    clients[0] = None;
    clients[0] = new("B");

    // The worker is done with its task only now.
    let (number, reply) = task;
    if let Some(client) = &mut clients[number] {
        client.replies.push(reply);
    }
    for client in clients.iter().flatten() {
        println!("{} was told: {:?}", client.name, client.replies);
    }
}
