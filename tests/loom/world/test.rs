//! What a test of the models is: the harness of `tests/loom/` runs it.

/// What a test says: for the reader if it passed, or why it did not.
pub type Said = Result<String, String>;

/// A test: its name, what it does, and how long it takes by comparison.
pub struct Test {
    pub name: String,
    pub run: Box<dyn Fn() -> Said + Send + Sync>,
    /// Long ones begin first.
    pub weight: u32,
}

pub fn test(name: &str, weight: u32, run: impl Fn() -> Said + Send + Sync + 'static) -> Test {
    Test { name: name.to_string(), run: Box::new(run), weight }
}
