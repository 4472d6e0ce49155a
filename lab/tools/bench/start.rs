//! How a server of the reader's is named on the command line: `NAME=COMMAND`.

/// The place of the port in a command.
pub const PORT: &str = "{port}";

/// A name, and a command of the shell with a place for the port.
///
/// # Errors
/// What is missing.
pub fn parse(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, command)) if !name.is_empty() && command.contains(PORT) => {
            Ok((name.to_string(), command.to_string()))
        }
        Some((_, command)) if !command.contains(PORT) => Err(format!("the command does not say where {PORT} goes")),
        _ => Err("it is NAME=COMMAND".to_string()),
    }
}
