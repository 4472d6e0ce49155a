//! Where a body ends: after the bytes that its head counts, or with the last of its chunks (RFC 9112, 7.1). A body is
//! counted and not kept, and the framing of chunks is read a byte at a time, so any split of the stream is read alike.

/// The longest body that is taken, in bytes: the 10 MiB of the upload.
pub const MAX_BODY: u64 = 10 * 1024 * 1024;

/// So many bytes of chunk extensions, leading zeros and trailers are skipped in one request.
pub const MAX_SKIPPED: u16 = 4096;

/// A body that is being read.
#[derive(Clone, Copy)]
pub struct Body {
    /// Bytes of it that have come.
    taken: u32,
    /// Bytes to come up to its end, or to that of the chunk: in a chunk-size line, what its digits say.
    left: u32,
    skipped: u16,
    place: Place,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A body that its head counts.
    Counted,
    /// The first digit of a chunk-size.
    Size,
    /// Another digit, or what ends the number.
    Digits,
    /// Blanks between the number and a `;`.
    Blanks,
    Extension,
    /// The LF of a chunk-size line.
    SizeEnd,
    /// The data of a chunk.
    Data,
    /// The CR behind it.
    DataCr,
    DataLf,
    /// A trailer field, or the empty line that ends the body.
    Trailer,
    Name,
    Value,
    /// The LF of a trailer field.
    ValueEnd,
    /// The LF of the empty line.
    End,
    Over,
}

impl Body {
    /// One of so many bytes.
    pub fn counted(bytes: u32) -> Body {
        let place = if bytes > 0 { Place::Counted } else { Place::Over };
        Body { taken: 0, left: bytes, skipped: 0, place }
    }

    /// One in chunks.
    pub fn chunked() -> Body {
        Body { taken: 0, left: 0, skipped: 0, place: Place::Size }
    }

    /// Bytes of it that have come, without the framing.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Bytes of it that are still to come: of one in chunks, at most so many.
    pub fn left(&self) -> u32 {
        if self.place == Place::Counted { self.left } else { MAX_BODY as u32 - self.taken }
    }

    /// Whether all of it has come.
    pub fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// Takes what is the body's at the front of `bytes`, and returns how many bytes those are.
    ///
    /// # Errors
    /// The status line of the error, if the framing is broken or past a limit.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < bytes.len() && self.place != Place::Over {
            if matches!(self.place, Place::Counted | Place::Data) {
                let n = (bytes.len() - at).min(self.left as usize);
                at += n;
                self.taken += n as u32;
                self.left -= n as u32;
                if self.left == 0 {
                    self.place = if self.place == Place::Data { Place::DataCr } else { Place::Over };
                }
            } else {
                self.place = self.frame(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Takes one byte of the framing. Only CR LF ends a line: where one reader ends it at a lone CR or LF and another
    /// does not, a request can be smuggled past one of them.
    fn frame(&mut self, byte: u8) -> Result<Place, &'static str> {
        Ok(match (self.place, byte) {
            (Place::Size | Place::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).expect("it is a hexadecimal digit");
                // No limit and no digit is so long that this overflows.
                self.left = self.left * 16 + digit;
                if u64::from(self.taken) + u64::from(self.left) > MAX_BODY {
                    return Err("413 Content Too Large");
                }
                if self.left == 0 {
                    // It may be a leading zero, of which there can be any number.
                    self.skip("400 Bad Request")?;
                }
                Place::Digits
            }
            (Place::Digits | Place::Blanks, b' ' | b'\t') => {
                self.skip("400 Bad Request")?;
                Place::Blanks
            }
            (Place::Digits | Place::Blanks, b';') | (Place::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.skip("400 Bad Request")?;
                Place::Extension
            }
            (Place::Digits | Place::Extension, b'\r') => Place::SizeEnd,
            (Place::SizeEnd, b'\n') if self.left == 0 => Place::Trailer,
            (Place::SizeEnd, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::Trailer, b'\r') => Place::End,
            (Place::End, b'\n') => Place::Over,
            (Place::Name, b':') | (Place::Value, b'\t' | b' '..=b'~' | 0x80..) => {
                self.skip("431 Request Header Fields Too Large")?;
                Place::Value
            }
            (Place::Trailer | Place::Name, byte) if is_token(byte) => {
                self.skip("431 Request Header Fields Too Large")?;
                Place::Name
            }
            (Place::Value, b'\r') => Place::ValueEnd,
            (Place::ValueEnd, b'\n') => Place::Trailer,
            _ => return Err("400 Bad Request"),
        })
    }

    fn skip(&mut self, refusal: &'static str) -> Result<(), &'static str> {
        self.skipped += 1;
        if self.skipped > MAX_SKIPPED { Err(refusal) } else { Ok(()) }
    }
}

/// Of the name of a field (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_to_come_is_counted_down_and_of_chunks_is_what_they_may_have_at_most() {
        let mut counted = Body::counted(10);
        assert_eq!(counted.take(b"hello"), Ok(5));
        assert_eq!((counted.taken(), counted.left()), (5, 5));
        let mut chunked = Body::chunked();
        assert_eq!(chunked.take(b"5\r\nhello\r\n3\r\nab"), Ok(15));
        assert_eq!((chunked.taken(), chunked.left()), (7, MAX_BODY as u32 - 7));
    }
}
