//! Frames: length, kind, and a JSON payload.
//!
//! ```text
//! length of the payload, 4 bytes, big endian │ kind, 1 byte │ payload
//! ```

use super::WireError;

/// Maximum length of a payload, in bytes. A route has at most about 2 MB: the API server rejects
/// larger objects.
pub const MAX_FRAME: usize = 64 << 20;

/// Bytes before the payload.
pub(super) const HEADER: usize = 5;

/// The content of a frame.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A listener that the receiver lacks. Its routes are sent in other frames.
    Head,
    /// A route for requests. The receiver lacks this route.
    Route,
    /// A route for connections. The receiver lacks this route.
    Stream,
    /// The steps that build the new table from the old table and the parts of earlier frames.
    Table,
    /// The plan, with table indices instead of its parts.
    Plan,
    /// Differences of endpoints.
    Endpoints,
    /// The end of an update, with its version.
    Commit,
    /// The first frame of a data plane: its name and the parts that it holds.
    Hello,
    /// Report of a data plane: whether it serves a version.
    Report,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Head,
        Self::Route,
        Self::Stream,
        Self::Table,
        Self::Plan,
        Self::Endpoints,
        Self::Commit,
        Self::Hello,
        Self::Report,
    ];

    /// The byte that encodes the kind.
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Head => b'h',
            Self::Route => b'r',
            Self::Stream => b's',
            Self::Table => b't',
            Self::Plan => b'p',
            Self::Endpoints => b'e',
            Self::Commit => b'c',
            Self::Hello => b'H',
            Self::Report => b'R',
        }
    }

    fn of(byte: u8) -> Result<Self, WireError> {
        let found = Self::ALL.into_iter().find(|kind| kind.byte() == byte);
        found.ok_or(WireError::UnknownKind(byte))
    }
}

/// Appends a frame with the payload that `payload` writes.
///
/// # Errors
/// [`WireError::TooLong`], or the error of `payload`; `out` is then unchanged.
pub fn write_frame(
    out: &mut Vec<u8>,
    kind: Kind,
    payload: impl FnOnce(&mut Vec<u8>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind.byte()]);
    let written = payload(out).and_then(|()| {
        let length = out.len() - start - HEADER;
        match u32::try_from(length) {
            Ok(short) if length <= MAX_FRAME => Ok(short),
            _ => Err(WireError::TooLong(length)),
        }
    });
    match written {
        Ok(length) => out[start..start + 4].copy_from_slice(&length.to_be_bytes()),
        Err(_) => out.truncate(start),
    }
    written.map(|_| ())
}

/// Appends a frame with `value` as JSON.
pub(super) fn write_json(
    out: &mut Vec<u8>,
    kind: Kind,
    value: &impl serde::Serialize,
) -> Result<(), WireError> {
    write_frame(out, kind, |out| {
        serde_json::to_writer(out, value).map_err(WireError::Unwritable)
    })
}

/// Splits a stream of bytes, received in chunks of any size, into frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    /// Number of bytes at the start of `bytes` that have been returned in frames.
    done: usize,
}

impl FrameReader {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.done);
        self.done = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame; `None`: more bytes are needed.
    ///
    /// # Errors
    /// If the kind of the frame is unknown or its length exceeds the maximum.
    pub fn next_frame(&mut self) -> Result<Option<(Kind, &[u8])>, WireError> {
        let Some((header, rest)) = self.bytes[self.done..].split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [a, b, c, d, kind] = *header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let kind = Kind::of(kind)?;
        if length > MAX_FRAME {
            return Err(WireError::TooLong(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.done + HEADER;
        self.done = start + length;
        Ok(Some((kind, &self.bytes[start..self.done])))
    }

    /// Whether all bytes have been returned in frames.
    pub fn is_empty(&self) -> bool {
        self.done == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_in_pieces_of_any_size() {
        let mut bytes = Vec::new();
        for (kind, payload) in [
            (Kind::Route, &b"abc"[..]),
            (Kind::Commit, b""),
            (Kind::Head, b"d"),
        ] {
            write_frame(&mut bytes, kind, |out| {
                out.extend_from_slice(payload);
                Ok(())
            })
            .expect("it is short");
        }
        for size in 1..=bytes.len() {
            let mut reader = FrameReader::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                reader.push(piece);
                while let Some((kind, payload)) = reader.next_frame().expect("they are good") {
                    found.push((kind, payload.to_vec()));
                }
            }
            let expected = [
                (Kind::Route, &b"abc"[..]),
                (Kind::Commit, b""),
                (Kind::Head, b"d"),
            ];
            assert_eq!(
                found,
                expected.map(|(kind, payload)| (kind, payload.to_vec()))
            );
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn an_invalid_header_is_rejected_before_its_payload_is_buffered() {
        let read = |bytes: &[u8]| {
            let mut reader = FrameReader::default();
            reader.push(bytes);
            reader
                .next_frame()
                .map(|_| ())
                .map_err(|error| error.to_string())
        };

        assert_eq!(
            read(&[0, 0, 0, 1, b'?']),
            Err("unknown message kind 63".to_owned())
        );
        assert!(read(&[255, 0, 0, 0, b'r']).is_err_and(|error| error.contains("too long")));
        assert_eq!(read(&[0, 0, 0, 1, b'r']), Ok(()));
    }

    #[test]
    fn a_frame_that_cannot_be_encoded_leaves_the_output_unchanged() {
        let mut out = b"before".to_vec();

        let written = write_frame(&mut out, Kind::Route, |out| {
            out.push(1);
            Err(WireError::NoSuchPart(1))
        });

        assert!(written.is_err());
        assert_eq!(out, b"before");
    }
}
