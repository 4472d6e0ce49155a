//! What the addresses and numbers of the records stand for: `session 1`, `buffer 2`, `session 1's lock`, `fd 7`.

pub use crate::terms::{LIMIT, LISTENER, STOP, TICK};

/// Memory that was allocated, and what became of it.
#[derive(Clone, Debug)]
pub struct Block {
    /// `session 1`: its type, and the how-manieth of that type.
    pub name: String,
    /// Its type: `Session`.
    pub label: &'static str,
    /// Where it begins.
    pub address: u64,
    /// In bytes.
    pub size: u64,
    /// It has pages of its own, which are taken away when it is freed.
    pub own_pages: bool,
    /// Where it was allocated: an index into the records.
    pub allocated: usize,
    /// Where it was freed, each time: indices into the records.
    pub freed: Vec<usize>,
}

impl Block {
    fn contains(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|offset| offset < self.size.max(1))
    }

    /// Whether it is one of what the exhibits are about, not of the server's own household.
    pub fn is_of_interest(&self) -> bool {
        is_of_interest(self.label)
    }
}

/// Sessions and buffers; not the shared epoll instance, the queue, the totals, the table of the sessions.
pub fn is_of_interest(label: &str) -> bool {
    !matches!(label, "Epoll" | "Queue" | "Totals" | "Table" | "Listener")
}

/// Everything in the records that has a name.
#[derive(Debug, Default)]
pub struct Objects {
    /// Memory, in the order in which it was allocated.
    pub blocks: Vec<Block>,
    /// Locks outside of any block, in order of appearance.
    pub(super) locks: Vec<u64>,
    /// Which descriptor a token stood for, from which record on.
    pub(super) tokens: Vec<(usize, u64, u64)>,
    /// Whether there was more than one connection.
    pub many_connections: bool,
    /// The records that say that a role had to wait.
    pub(super) refused: Vec<usize>,
    /// The records that say that the reactor's map gave up its share of something.
    pub map_releases: Vec<usize>,
}

impl Objects {
    /// The block that an address lay in when record `at` was made: of those that were allocated there, the newest.
    pub fn block(&self, address: u64, at: usize) -> Option<&Block> {
        self.blocks.iter().rev().find(|block| block.allocated <= at && block.contains(address))
    }

    /// The name of what an address stood for.
    pub fn name(&self, address: u64, at: usize) -> String {
        match self.block(address, at) {
            Some(block) => block.name.clone(),
            None => format!("{address:#x}"),
        }
    }

    /// The name of a task: of the object it points to, or its number.
    pub fn task(&self, task: u64, at: usize) -> String {
        match self.block(task, at) {
            Some(block) => block.name.clone(),
            None if self.is_key(task, at) => self.token(task, at),
            // No address is as low as that (vm.mmap_min_addr).
            None if task < 0x1_0000 => format!("task {task}"),
            None => format!("{task:#x}"),
        }
    }

    /// The name of a lock: of the object that it is a part of.
    pub fn lock(&self, address: u64, at: usize) -> String {
        match (self.block(address, at), self.locks.iter().position(|lock| *lock == address)) {
            (Some(block), _) if block.label == "Table" => "the table's lock".to_string(),
            (Some(block), _) if block.label == "Queue" => "the queue's lock".to_string(),
            (Some(block), _) => format!("{}'s lock", block.name),
            (None, Some(position)) => format!("lock {}", position + 1),
            (None, None) => format!("the lock at {address:#x}"),
        }
    }

    /// The name of a condition variable: of the object that it is a part of.
    pub fn variable(&self, address: u64, at: usize) -> String {
        match self.block(address, at) {
            Some(block) if block.label == "Queue" => "the queue".to_string(),
            Some(block) => block.name.clone(),
            None => format!("{address:#x}"),
        }
    }

    /// What the object of a lock is called, for `lock session 1`.
    pub fn locked(&self, address: u64, at: usize) -> String {
        match self.block(address, at) {
            Some(block) if block.label == "Table" => "the table".to_string(),
            Some(block) if block.label == "Queue" => "the queue".to_string(),
            Some(block) => block.name.clone(),
            None => self.lock(address, at).trim_start_matches("lock ").to_string(),
        }
    }

    /// Whether a number is the token of a socket, and has the number of its descriptor in it.
    fn is_key(&self, task: u64, at: usize) -> bool {
        self.tokens.iter().any(|(from, token, fd)| *from < at && *token == task && number_of(task) == *fd)
    }

    /// What an event's token stood for: `fd 6`, or with its generation `fd 6 (gen 2)`.
    pub fn token(&self, token: u64, at: usize) -> String {
        match token {
            LISTENER => "listener".to_string(),
            STOP => "stop".to_string(),
            LIMIT => "limit".to_string(),
            _ => match self.tokens.iter().rev().find(|(from, known, _)| *from < at && *known == token) {
                Some((_, _, fd)) if number_of(token) == *fd && token >> 32 > 0 => {
                    format!("fd {fd} (gen {})", token >> 32)
                }
                Some((_, _, fd)) => format!("fd {fd}"),
                None => format!("token {token}"),
            },
        }
    }
}

/// The number of the descriptor in a key: its lower half. The upper half is a generation, or 0.
pub fn number_of(key: u64) -> u64 {
    key & u64::from(u32::MAX)
}

/// The role's name.
pub fn role_name(roles: &[String], role: usize) -> &str {
    roles.get(role).map_or("a thread without a role", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_with_its_generation_if_it_has_one_and_from_when_it_is_known() {
        let (plain, second) = (6, 2 << 32 | 6);
        let objects = Objects { tokens: vec![(10, plain, 6), (20, second, 6), (30, 77, 6)], ..Objects::default() };
        assert_eq!(objects.token(plain, 11), "fd 6");
        assert_eq!(objects.token(second, 21), "fd 6 (gen 2)");
        assert_eq!(objects.token(second, 20), format!("token {second}"), "it comes with this record");
        // A token of its own, which is no key.
        assert_eq!(objects.token(77, 31), "fd 6");
        assert!(objects.is_key(second, 21) && !objects.is_key(second, 20) && !objects.is_key(77, 31));
        assert!(!objects.is_key(1 << 32 | 6, 21), "another generation");
        assert_eq!([LISTENER, STOP, LIMIT].map(|token| objects.token(token, 0)), ["listener", "stop", "limit"]);
    }
}
