//! Frames: a length, a kind, a payload of JSON.
//!
//! ```text
//! length of the payload, 4 bytes, big endian │ kind, 1 byte │ payload
//! ```

use super::WireError;

/// The longest payload, in bytes. A route is at most some 2 MB: the API server takes no larger object.
pub const MAX_FRAME: usize = 64 << 20;

/// Bytes before the payload.
pub(super) const HEADER: usize = 5;

/// What a frame holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A part that the receiver lacks: a listener without routes.
    Head,
    /// A part that the receiver lacks: a route of requests.
    Route,
    /// A part that the receiver lacks: a route of connections.
    Stream,
    /// How the new table is made of the old one and of the parts that came before this frame.
    Table,
    /// The plan, with places of the table for its parts.
    Plan,
    /// Differences of endpoints.
    Endpoints,
    /// The end of an update: its version.
    Commit,
    /// What a data plane is and has: its first frame.
    Hello,
    /// What became of a version.
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

    /// The byte that stands for it.
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

/// Appends a frame with what `payload` writes.
///
/// # Errors
/// [`WireError::TooLong`], or what `payload` fails with; `out` is as before then.
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

/// Finds frames in a stream of bytes that comes in pieces of any size.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    /// So many of `bytes` have been given out.
    done: usize,
}

impl FrameReader {
    /// More bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.done);
        self.done = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame; `None`: it is not complete yet.
    ///
    /// # Errors
    /// If it is none that this protocol has.
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

    /// Whether all bytes have been given out.
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
    fn nonsense_is_refused_before_it_is_kept() {
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
            Err("a message of the unknown kind 63".to_owned())
        );
        assert!(read(&[255, 0, 0, 0, b'r']).is_err_and(|error| error.contains("too long")));
        assert_eq!(read(&[0, 0, 0, 1, b'r']), Ok(()));
    }

    #[test]
    fn a_frame_that_cannot_be_written_leaves_nothing_behind() {
        let mut out = b"before".to_vec();

        let written = write_frame(&mut out, Kind::Route, |out| {
            out.push(1);
            Err(WireError::NoSuchPart(1))
        });

        assert!(written.is_err());
        assert_eq!(out, b"before");
    }
}
