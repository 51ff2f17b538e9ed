//! Position within a chunked body (RFC 9112, section 7.1), byte by byte.
//!
//! hyper decodes the body. This scan finds the end of the body and rejects two things that hyper accepts: a
//! chunk size with more than 16 digits, and control characters in extensions, which other parsers may
//! interpret as a line end. Lines end in CR LF, as in hyper. In the trailers, hyper treats a lone LF as part
//! of a line, where other parsers treat it as a line end.

use memchr::memchr2;

use super::tiny_chunks::TINY;

/// Maximum number of digits of a chunk size, leading zeros included.
const MAX_DIGITS: u8 = 16;

/// Position within a chunked body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ChunkScan {
    /// Within the digits of a chunk size.
    Size {
        /// Number of digits that have been scanned.
        digits: u8,
        /// Value of the digits.
        size: u64,
    },
    /// After the digits, before the line end.
    Extension(u64),
    /// After the CR of a size line.
    SizeEnd(u64),
    /// Remaining bytes of the chunk.
    Data(u64),
    /// Before the CR after a chunk.
    DataCr,
    /// Between the CR and the LF after a chunk.
    DataLf,
    /// In a line of the trailers.
    Trailers {
        /// Whether the line contains a byte other than its line end.
        filled: bool,
        /// Whether the last byte is a CR.
        cr: bool,
    },
    /// After the body.
    End,
}

/// Error: the body is malformed at this offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct MalformedChunk(pub(super) usize);

impl ChunkScan {
    /// Position before the first chunk.
    pub(super) const START: Self = Self::Size { digits: 0, size: 0 };
    /// Position at the start of a line of the trailers.
    const TRAILERS: Self = Self::Trailers {
        filled: false,
        cr: false,
    };

    /// Scans the next bytes of the body. Returns the number of bytes that belong to the body. Adds the number
    /// of chunks with at most [`TINY`] bytes to `tiny`.
    pub(super) fn scan(&mut self, bytes: &[u8], tiny: &mut u64) -> Result<usize, MalformedChunk> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::End {
            if matches!(*self, Self::SizeEnd(1..=TINY)) {
                *tiny += 1;
            }
            at += self
                .step(&bytes[at..])
                .map_err(|MalformedChunk(offset)| MalformedChunk(at + offset))?;
        }
        Ok(at)
    }

    /// Scans at least one of `bytes`, which must not be empty. Returns the number of scanned bytes.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, MalformedChunk> {
        let byte = bytes[0];
        *self = match *self {
            Self::Size { digits, size } => after_digit(digits, size, byte)?,
            Self::Extension(size) => match byte {
                b'\r' => Self::SizeEnd(size),
                b'\t' => *self,
                _ if byte.is_ascii_control() => return Err(MalformedChunk(0)),
                _ => *self,
            },
            Self::SizeEnd(0) if byte == b'\n' => Self::TRAILERS,
            Self::SizeEnd(size) if byte == b'\n' => Self::Data(size),
            Self::Data(left) => {
                let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *self = match left - len as u64 {
                    0 => Self::DataCr,
                    left => Self::Data(left),
                };
                return Ok(len);
            }
            Self::DataCr if byte == b'\r' => Self::DataLf,
            Self::DataLf if byte == b'\n' => Self::START,
            Self::SizeEnd(_) | Self::DataCr | Self::DataLf => return Err(MalformedChunk(0)),
            Self::Trailers { filled, cr } => return self.trailers(filled, cr, bytes),
            Self::End => Self::End,
        };
        Ok(1)
    }

    /// Skips the bytes of a trailer line up to its CR, or up to its LF after the CR. hyper checks the content
    /// of the line.
    fn trailers(&mut self, filled: bool, cr: bool, bytes: &[u8]) -> Result<usize, MalformedChunk> {
        if cr {
            *self = match (bytes[0], filled) {
                (b'\n', true) => Self::TRAILERS,
                (b'\n', false) => Self::End,
                _ => return Err(MalformedChunk(0)),
            };
            return Ok(1);
        }
        let end = memchr2(b'\r', b'\n', bytes);
        if let Some(at) = end
            && bytes[at] == b'\n'
        {
            return Err(MalformedChunk(at));
        }
        *self = Self::Trailers {
            filled: filled || end != Some(0),
            cr: end.is_some(),
        };
        Ok(end.map_or(bytes.len(), |at| at + 1))
    }
}

/// The position after `byte` in a size line. `digits` is the number of digits before `byte`, and `size` is
/// their value.
fn after_digit(digits: u8, size: u64, byte: u8) -> Result<ChunkScan, MalformedChunk> {
    match (char::from(byte).to_digit(16), byte) {
        (Some(digit), _) if digits < MAX_DIGITS => Ok(ChunkScan::Size {
            digits: digits + 1,
            size: size << 4 | u64::from(digit),
        }),
        (None, b' ' | b'\t' | b';') if digits > 0 => Ok(ChunkScan::Extension(size)),
        (None, b'\r') if digits > 0 => Ok(ChunkScan::SizeEnd(size)),
        _ => Err(MalformedChunk(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans `text` in parts of `part` bytes. Returns the offset of the end of the body, or of its defect.
    fn scanned(text: &[u8], part: usize) -> Result<Option<usize>, usize> {
        let mut scan = ChunkScan::START;
        let mut before = 0;
        for bytes in text.chunks(part) {
            match scan.scan(bytes, &mut 0) {
                Ok(len) if scan == ChunkScan::End => return Ok(Some(before + len)),
                Ok(_) => before += bytes.len(),
                Err(MalformedChunk(at)) => return Err(before + at),
            }
        }
        Ok(None)
    }

    #[test]
    fn tiny_chunks_are_counted_however_they_arrive() {
        let body = b"1\r\na\r\n5;x\r\nabcde\r\n6\r\nabcdef\r\n001\r\na\r\n0\r\n\r\n";
        for part in 1..=body.len() {
            let (mut scan, mut tiny) = (ChunkScan::START, 0);
            for bytes in body.chunks(part) {
                scan.scan(bytes, &mut tiny).unwrap();
            }

            assert_eq!((scan, tiny), (ChunkScan::End, 3), "{part}");
        }
    }

    #[test]
    fn the_end_of_a_body_and_the_place_of_a_defect_do_not_depend_on_arrival() {
        let long = format!("{}1\r\na\r\n0\r\n\r\n", "0".repeat(16));
        // A body, with the offset of its end or of its defect.
        type Case<'a> = (&'a [u8], Result<Option<usize>, usize>);
        let cases: [Case<'_>; 22] = [
            (b"0\r\n\r\nGET", Ok(Some(5))),
            (b"3\r\nabc\r\n0\r\n\r\n", Ok(Some(13))),
            (
                b"A;x=\"y\"\r\n0123456789\r\n000\r\nx: y\r\n\r\nrest",
                Ok(Some(34)),
            ),
            (b"1 ;x\r\na\r\n0\r\n\r\n", Ok(Some(14))),
            (b"1 ;x\r\na\r\n0\r\n\n", Err(12)),
            (b"0\r\nx: y\n\r\n", Err(7)),
            (b"0\r\nx: y\r\n\n", Err(9)),
            (b"0\r\nx\ry\r\n\r\n", Err(5)),
            (b"0\r\n\r\r\n", Err(4)),
            (b"2\r\na", Ok(None)),
            (b"\r\n", Err(0)),
            (b";x\r\n", Err(0)),
            (b"x\r\n", Err(0)),
            (b"-1\r\n", Err(0)),
            (b"1\na", Err(1)),
            (b"1\rx", Err(2)),
            (b"1;x\0y\r\na", Err(3)),
            (b"1;x\ny\r\na", Err(3)),
            (b"1;x\ry\r\na", Err(4)),
            (b"1\r\nab\r\n", Err(4)),
            (b"1\r\na\n", Err(4)),
            (long.as_bytes(), Err(16)),
        ];
        for (text, expected) in cases {
            for part in 1..=text.len() {
                let text_of = String::from_utf8_lossy(text);
                assert_eq!(scanned(text, part), expected, "{text_of:?} in {part}");
            }
        }
    }
}
