//! Framing of the requests of an HTTP/1 connection, found in the received bytes.
//!
//! hyper parses requests leniently: it removes a fragment from the target, and selects one of several
//! framings. It also rejects characters in targets that clients send and Envoy forwards. The framer scans the
//! received bytes before hyper and finds where each head and body begins, whether the bytes arrive in one
//! piece, pipelined, or one by one. The framer
//!
//! - reports invalid heads that hyper accepts ([`LenientParse`]);
//! - percent-encodes characters in targets that hyper rejects (see [`escape`]);
//! - ends the head after a request line without a valid version, such as that of HTTP/0.9, because hyper
//!   parses a head that arrives in several pieces only when it is complete;
//! - passes on no bytes after the start of a malformed chunk (see [`ChunkScan`]);
//! - passes on no bytes after a request with an upgrade until its response is known: if the upgrade is
//!   accepted, these bytes belong to another protocol ([`RequestFramer::settle_upgrade`]).
//!
//! Most heads arrive in one piece. They are scanned line by line without a copy.

use memchr::memchr;

use super::chunk_scan::{ChunkScan, MalformedChunk};
use crate::http::lenient::LenientParse;

/// Maximum length of the name and value of a framing field, in bytes. A longer framing field is invalid.
const MAX_FIELD: usize = 128;
/// Length of the longest name in [`Field::of`], in bytes.
const MAX_NAME: usize = "transfer-encoding".len();

/// State machine that finds the heads and bodies of the requests of a connection.
#[derive(Debug)]
pub(super) struct RequestFramer {
    state: State,
    head: Head,
    /// Received part of an incomplete line of the fields, unless the line is skipped.
    line: Vec<u8>,
    /// Whether the incomplete line is skipped because it is not a framing field.
    skips_line: bool,
    /// Number of complete heads of the connection.
    heads: u64,
    malformed: bool,
    /// Number of tiny chunks since [`RequestFramer::take_tiny_chunks`].
    tiny_chunks: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Before a request line. Empty lines are skipped (RFC 9112, section 2.2).
    Start,
    RequestLine(Part),
    Fields,
    /// Remaining bytes of a body with a length.
    Body(u64),
    Chunked(ChunkScan),
    /// After a request that contains an upgrade and whose response is not known yet.
    Switching,
    /// The rest is not scanned: either the request is rejected and the connection ends, or the connection is
    /// a tunnel.
    Opaque,
}

/// Part of a request line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// In the method. `Some(n)`: the first `n` bytes of `CONNECT` have been received; `None`: the method is
    /// not `CONNECT`.
    Method(Option<u8>),
    /// Before the path, in the scheme or authority. The value is the number of slashes that have been
    /// scanned; `None`: before the first byte of the target.
    Authority(Option<u8>),
    Path,
    Query,
    /// After the second space. `Some(n)`: the first `n` bytes of a version that hyper accepts, and of the line
    /// end, have been received after the last space; `None`: hyper rejects these bytes.
    Version(Option<u8>),
}

/// Facts about the current head.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    lenient: Option<LenientParse>,
    /// Number of `Content-Length` fields, and the value of the first if it is valid.
    lengths: u8,
    length: Option<u64>,
    /// Number of `Transfer-Encoding` fields, and whether the first is `chunked`.
    codings: u8,
    chunked: bool,
    /// Whether the request contains an upgrade, or is a CONNECT.
    switches: bool,
}

/// Result of a scan of received bytes.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Framed {
    /// Number of bytes that the codec may parse. These are all bytes, unless there is a malformed chunk or a
    /// request with an upgrade: then only the bytes before the malformed chunk, or up to the end of the
    /// request.
    pub(super) valid: usize,
    /// Bytes that the codec parses instead of the valid bytes. `None` if the framer has not changed any byte.
    pub(super) replacement: Option<Vec<u8>>,
    /// Index of the request whose invalid head hyper accepts, and the defect.
    pub(super) lenient: Option<(u64, LenientParse)>,
}

impl RequestFramer {
    /// Creates a framer for a connection on which `heads` request heads have been received before.
    pub(super) fn new(heads: u64) -> Self {
        Self {
            state: State::Start,
            head: Head::default(),
            line: Vec::new(),
            skips_line: false,
            heads,
            malformed: false,
            tiny_chunks: 0,
        }
    }

    /// Whether a part of a head has been received.
    pub(super) fn is_within_head(&self) -> bool {
        matches!(self.state, State::RequestLine(_) | State::Fields)
    }

    /// Whether a body of the first `requests` requests is incomplete if no more bytes arrive.
    pub(super) fn is_body_incomplete(&self, requests: u64) -> bool {
        matches!(self.state, State::Body(_) | State::Chunked(_)) && self.heads <= requests
    }

    /// Whether a malformed chunk was found.
    pub(super) fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// Whether scanning has stopped after a request with an upgrade. Its response determines whether the
    /// following bytes are HTTP.
    pub(super) fn is_switching(&self) -> bool {
        matches!(self.state, State::Switching)
    }

    /// Number of tiny chunks since the last call.
    pub(super) fn take_tiny_chunks(&mut self) -> u64 {
        std::mem::take(&mut self.tiny_chunks)
    }

    /// Number of complete heads of the connection.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Continues after the response to a request with an upgrade. `accepted`: the rest of the connection is a
    /// tunnel.
    pub(super) fn settle_upgrade(&mut self, accepted: bool) {
        self.state = match accepted {
            true => State::Opaque,
            false => State::Start,
        };
    }

    /// Scans received bytes.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Framed {
        let mut framed = Framed::default();
        while framed.valid < bytes.len() && !self.malformed && !self.is_switching() {
            let begin = framed.valid;
            let line = self.step(&bytes[begin..], &mut framed);
            if let Some(line) = line {
                let all = framed
                    .replacement
                    .get_or_insert_with(|| bytes[..begin].to_vec());
                all.extend(line);
            } else if let Some(all) = &mut framed.replacement {
                all.extend_from_slice(&bytes[begin..framed.valid]);
            }
        }
        framed
    }

    /// Scans some of `bytes` and adds their number to `framed.valid`. If the framer changed some of these
    /// bytes, returns the changed bytes.
    fn step(&mut self, bytes: &[u8], framed: &mut Framed) -> Option<Vec<u8>> {
        let mut changed = None;
        framed.valid += match self.state {
            State::Start => self.skip_empty_lines(bytes),
            State::RequestLine(part) => {
                let (len, line) = self.request_line(part, bytes);
                changed = line;
                len
            }
            State::Fields => self.fields(bytes, framed),
            State::Body(left) => {
                let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.state = match left - len as u64 {
                    0 => self.after_request(),
                    left => State::Body(left),
                };
                len
            }
            State::Chunked(scan) => self.chunks(scan, bytes),
            State::Switching => 0,
            State::Opaque => bytes.len(),
        };
        changed
    }

    fn skip_empty_lines(&mut self, bytes: &[u8]) -> usize {
        let empty = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
        let len = empty.count();
        if len < bytes.len() {
            self.state = State::RequestLine(Part::Method(Some(0)));
            self.head = Head::default();
        }
        len
    }

    /// Scans the request line from `part` on. Returns the number of scanned bytes. If characters had to be
    /// escaped, also returns the changed bytes.
    fn request_line(&mut self, mut part: Part, bytes: &[u8]) -> (usize, Option<Vec<u8>>) {
        let end = memchr(b'\n', bytes);
        let line = &bytes[..end.map_or(bytes.len(), |end| end + 1)];
        if memchr(b'#', line).is_some() {
            self.head.lenient = Some(LenientParse::Fragment);
        }
        let mut changed = None;
        let has_version;
        if end.is_none() || part != Part::Method(Some(0)) || has_escaped(line) {
            changed = self.escape_line(&mut part, line);
            has_version = matches!(part, Part::Version(Some(_)));
        } else {
            self.head.switches = line.starts_with(b"CONNECT ");
            has_version = ends_with_version(line);
        }
        self.state = match end {
            Some(_) if has_version => State::Fields,
            Some(_) => State::Opaque,
            None => State::RequestLine(part),
        };
        if self.state == State::Opaque {
            changed
                .get_or_insert_with(|| line.to_vec())
                .extend_from_slice(b"\r\n");
        }
        (line.len(), changed)
    }

    /// Advances `part` over `line`. Returns the escaped line if it contains characters that must be escaped.
    fn escape_line(&mut self, part: &mut Part, line: &[u8]) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        for (at, &byte) in line.iter().enumerate() {
            let escaped = match *part {
                Part::Path => escape(byte, false),
                Part::Query => escape(byte, true),
                Part::Method(_) | Part::Authority(_) | Part::Version(_) => None,
            };
            match escaped {
                Some(text) => out
                    .get_or_insert_with(|| line[..at].to_vec())
                    .extend_from_slice(text),
                None => out.iter_mut().for_each(|out| out.push(byte)),
            }
            self.head.switches |= *part == Part::Method(Some(7)) && byte == b' ';
            *part = part.after(byte);
        }
        out
    }

    /// Scans field lines up to the end of the head. Returns the number of scanned bytes.
    fn fields(&mut self, bytes: &[u8], framed: &mut Framed) -> usize {
        let mut at = 0;
        while let Some(len) = memchr(b'\n', &bytes[at..]) {
            let rest = &bytes[at..at + len];
            at += len + 1;
            let is_empty = if self.line.is_empty() && !self.skips_line {
                self.head.add_line(rest)
            } else {
                self.keep_line(rest);
                let line = std::mem::take(&mut self.line);
                !std::mem::take(&mut self.skips_line) && self.head.add_line(&line)
            };
            if is_empty {
                framed.lenient = self.end_head().or(framed.lenient);
                return at;
            }
        }
        self.keep_line(&bytes[at..]);
        bytes.len()
    }

    /// Stores a part of an incomplete line while the line can still be a framing field.
    fn keep_line(&mut self, part: &[u8]) {
        if self.skips_line || part.is_empty() {
            return;
        }
        let room = MAX_FIELD.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        let name = memchr(b':', &self.line);
        let skips = match name {
            Some(_) if Field::of(&self.line).is_none() => true,
            Some(_) => false,
            None => self.line.len() > MAX_NAME,
        };
        if skips {
            self.skips_line = true;
            self.line = Vec::new();
        }
    }

    /// Determines the state after the head. If the head has a defect that hyper accepts, returns the index of
    /// the request and the defect.
    fn end_head(&mut self) -> Option<(u64, LenientParse)> {
        let index = self.heads;
        self.heads += 1;
        let head = self.head;
        self.state = match (head.codings, head.lengths) {
            (0, 0) => self.after_request(),
            (0, 1) => match head.length {
                Some(0) => self.after_request(),
                Some(length) => State::Body(length),
                // hyper rejects the request.
                None => State::Opaque,
            },
            (1, 0) if head.chunked => State::Chunked(ChunkScan::START),
            // The gateway rejects the request because of its framing.
            _ => State::Opaque,
        };
        let lenient = head.lenient.or(match (head.codings, head.lengths) {
            (1.., 1..) => Some(LenientParse::BothFramings),
            (0, 2..) => Some(LenientParse::SameLengths),
            _ => None,
        });
        lenient.map(|lenient| {
            self.state = State::Opaque;
            (index, lenient)
        })
    }

    /// The state after the end of the current request.
    fn after_request(&self) -> State {
        match self.head.switches {
            true => State::Switching,
            false => State::Start,
        }
    }

    fn chunks(&mut self, mut scan: ChunkScan, bytes: &[u8]) -> usize {
        let result = scan.scan(bytes, &mut self.tiny_chunks);
        self.state = match scan {
            ChunkScan::End => self.after_request(),
            scan => State::Chunked(scan),
        };
        result.unwrap_or_else(|MalformedChunk(at)| {
            self.malformed = true;
            self.state = State::Opaque;
            at
        })
    }
}

impl Part {
    /// The part of the request line to which the byte after `byte` belongs.
    fn after(self, byte: u8) -> Self {
        const CONNECT: &[u8] = b"CONNECT";
        match (self, byte) {
            (Self::Method(_), b' ') => Self::Authority(None),
            (Self::Method(matched), _) => Self::Method(
                matched
                    .filter(|at| CONNECT.get(usize::from(*at)) == Some(&byte))
                    .map(|at| at + 1),
            ),
            (Self::Authority(_) | Self::Path | Self::Query, b' ') => Self::Version(Some(0)),
            (Self::Version(_), b' ') => Self::Version(Some(0)),
            (Self::Version(matched), _) => {
                Self::Version(matched.and_then(|at| after_version_byte(at, byte)))
            }
            (Self::Authority(None), b'/') => Self::Path,
            (Self::Authority(None), _) => Self::Authority(Some(0)),
            // `http://host/`.
            (Self::Authority(Some(2..)), b'/') => Self::Path,
            (Self::Authority(Some(2..)), b'?') | (Self::Path, b'?') => Self::Query,
            (Self::Authority(Some(slashes)), b'/') => Self::Authority(Some(slashes + 1)),
            (other, _) => other,
        }
    }
}

/// A field that the framer reads.
enum Field {
    ContentLength,
    TransferEncoding,
    Upgrade,
}

impl Field {
    /// The field of `line`, with its value.
    fn of(line: &[u8]) -> Option<(Self, &[u8])> {
        let found = |name: &[u8], field: Self| {
            let value = line.get(name.len()..)?.strip_prefix(b":")?;
            line[..name.len()]
                .eq_ignore_ascii_case(name)
                .then(|| (field, value.trim_ascii()))
        };
        match line.first()? {
            b'c' | b'C' => found(b"content-length", Self::ContentLength),
            b't' | b'T' => found(b"transfer-encoding", Self::TransferEncoding),
            b'u' | b'U' => found(b"upgrade", Self::Upgrade),
            _ => None,
        }
    }
}

impl Head {
    /// Processes a field line without its LF. Returns whether the line is empty, which ends the head.
    fn add_line(&mut self, line: &[u8]) -> bool {
        match Field::of(line) {
            Some((Field::ContentLength, value)) => {
                self.lengths = self.lengths.saturating_add(1);
                if self.lengths == 1 {
                    self.length = length(value);
                }
                self.check_length(line);
            }
            Some((Field::TransferEncoding, value)) => {
                self.codings = self.codings.saturating_add(1);
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
                self.check_length(line);
            }
            Some((Field::Upgrade, _)) => self.switches = true,
            None => return matches!(line, [] | [b'\r']),
        }
        false
    }

    /// Records a defect if the line may be longer than its stored part. hyper reads the whole line, so hyper
    /// and the framer could read different values.
    fn check_length(&mut self, line: &[u8]) {
        if line.len() >= MAX_FIELD {
            self.lenient = Some(LenientParse::LongFraming);
        }
    }
}

fn length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Number of bytes of a valid version and of the line end that have been received after `byte`, which follows
/// `at` bytes. `None` if `byte` is invalid.
fn after_version_byte(at: u8, byte: u8) -> Option<u8> {
    let is_valid = match at {
        0..=6 => byte == b"HTTP/1."[usize::from(at)],
        7 => matches!(byte, b'0' | b'1'),
        8 => matches!(byte, b'\r' | b'\n'),
        _ => byte == b'\n',
    };
    is_valid.then_some(at + 1)
}

/// Whether the request line has at least two spaces, and a version that hyper accepts after the last one.
fn ends_with_version(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let start = line
        .strip_suffix(b" HTTP/1.1")
        .or_else(|| line.strip_suffix(b" HTTP/1.0"));
    start.is_some_and(|start| memchr(b' ', start).is_some())
}

/// Whether `line` has a byte that [`escape`] may change. The loop has no early exit, so that the compiler can
/// vectorize it.
fn has_escaped(line: &[u8]) -> bool {
    line.iter().fold(false, |found, byte| {
        found | matches!(byte, b'"' | b'<' | b'>' | b'`')
    })
}

/// The percent-encoding of a character that is invalid in a target (RFC 3986, section 3.3) and rejected by
/// hyper. Path normalisation handles the other invalid characters.
fn escape(byte: u8, in_query: bool) -> Option<&'static [u8]> {
    match byte {
        b'"' => Some(b"%22"),
        b'<' => Some(b"%3C"),
        b'>' => Some(b"%3E"),
        b'`' if !in_query => Some(b"%60"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
