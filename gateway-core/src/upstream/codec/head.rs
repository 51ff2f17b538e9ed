//! Encodes request heads and decodes response heads of HTTP/1.1 (RFC 9112, sections 3 to 6).

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::CONNECTION;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version, response,
};

use super::Malformed;
use crate::http::upgrade::has_token;
use crate::http::{framing, hop_by_hop};

/// Maximum size in bytes of a response head.
pub(super) const MAX_HEAD: usize = 60 * 1024;
/// Maximum number of fields of a response head or of its trailers.
pub(super) const MAX_LINES: usize = 100;

/// Writes a request head. The caller must have prepared the head: origin form, one Host, correct framing.
pub(super) fn encode(method: &Method, target: &Uri, headers: &HeaderMap, out: &mut Vec<u8>) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    let target = target.path_and_query().map_or("/", |path| path.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        encode_field(name, value, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a field line.
#[inline(always)]
pub(super) fn encode_field(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Framing of a response body (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// Content-Length.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// The body ends when the connection closes.
    Close,
}

/// A decoded response head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: response::Parts,
    pub(super) framing: Framing,
    /// Whether the backend keeps the connection open after the response.
    pub(super) keep_alive: bool,
    /// Whether the head has hop-by-hop fields.
    hop_by_hop: bool,
}

impl Head {
    /// Returns whether this is an interim response, which another head follows.
    pub(super) fn is_interim(&self) -> bool {
        is_interim(self.parts.status)
    }

    /// Applies [`hop_by_hop::response`] to a head that has hop-by-hop fields, or whose status is 204 or outside
    /// 200 to 599. Other heads need no change: their framing has been checked before.
    ///
    /// # Errors
    /// [`Malformed`] if the response must not be forwarded.
    pub(super) fn clean(&mut self) -> Result<(), Malformed> {
        let status = self.parts.status.as_u16();
        if !self.hop_by_hop && status != 204 && (200..600).contains(&status) {
            return Ok(());
        }
        hop_by_hop::response(&mut self.parts, None).map_err(|_| Malformed)
    }
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Decodes a head from the start of `bytes`; `None` if it is incomplete. `to_head`: the request method was
/// HEAD. `spent` contains the fields of the request; the response reuses its allocation.
///
/// # Errors
/// [`Malformed`] if the bytes are not a head, exceed [`MAX_HEAD`], or have ambiguous framing.
pub(super) fn decode(
    bytes: &mut BytesMut,
    to_head: bool,
    spent: &mut HeaderMap,
) -> Result<Option<Head>, Malformed> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut lines,
    );
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => len,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return Ok(None),
        _ => return Err(Malformed),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed)?;
    let version = match response.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let mut parts = Response::new(()).into_parts().0;
    parts.status = status;
    parts.version = version;
    if !is_interim(status) {
        parts.headers = std::mem::take(spent);
        parts.headers.clear();
    }
    let fields = Fields::find(response.headers, bytes);
    fields.take(bytes, len, &mut parts.headers)?;

    let hop_by_hop = hop_by_hop::has_connection_fields(&parts.headers);
    Ok(Some(Head {
        framing: find_framing(&mut parts, to_head, hop_by_hop)?,
        keep_alive: keeps_alive(&parts, hop_by_hop),
        hop_by_hop,
        parts,
    }))
}

/// Positions of the fields in the bytes of a head.
pub(super) struct Fields {
    positions: [Position; MAX_LINES],
    count: usize,
}

/// Start and end of a name and its value. 16 bits suffice, because a head is shorter than 64 KiB.
#[derive(Clone, Copy, Default)]
struct Position {
    name: [u16; 2],
    value: [u16; 2],
}

impl Fields {
    /// Records the positions of `lines`, which were parsed from the first [`MAX_HEAD`] bytes of `bytes`.
    pub(super) fn find(lines: &[httparse::Header<'_>], bytes: &[u8]) -> Self {
        let position = |part: &[u8]| {
            let begin = part.as_ptr() as usize - bytes.as_ptr() as usize;
            [begin as u16, (begin + part.len()) as u16]
        };
        let mut this = Self {
            positions: [Position::default(); MAX_LINES],
            count: lines.len(),
        };
        for (line, found) in lines.iter().zip(&mut this.positions) {
            found.name = position(line.name.as_bytes());
            found.value = position(line.value);
        }
        this
    }

    /// Splits the first `len` bytes off `bytes` and adds their fields to `headers`. The values share the
    /// memory of the bytes.
    pub(super) fn take(
        &self,
        bytes: &mut BytesMut,
        len: usize,
        headers: &mut HeaderMap,
    ) -> Result<(), Malformed> {
        let text = bytes.split_to(len).freeze();
        headers.reserve(self.count);
        let range = |[begin, end]: [u16; 2]| usize::from(begin)..usize::from(end);
        for position in &self.positions[..self.count] {
            let name = HeaderName::from_bytes(&text[range(position.name)]);
            let value = HeaderValue::from_maybe_shared(text.slice(range(position.value)));
            headers.append(name.map_err(|_| Malformed)?, value.map_err(|_| Malformed)?);
        }
        Ok(())
    }
}

/// Determines the framing of the body. `hop_by_hop`: the head has hop-by-hop fields.
fn find_framing(
    parts: &mut response::Parts,
    to_head: bool,
    hop_by_hop: bool,
) -> Result<Framing, Malformed> {
    let chunked = hop_by_hop && framing::is_chunked(&parts.headers).map_err(|_| Malformed)?;
    let length = framing::canonical_length(&mut parts.headers).map_err(|_| Malformed)?;
    let status = parts.status;
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || to_head;
    match (chunked, length) {
        (true, Some(_)) => Err(Malformed),
        // HTTP/1.0 has no chunked coding, and recipients would frame this message differently.
        (true, None) if parts.version < Version::HTTP_11 => Err(Malformed),
        _ if bodiless => Ok(Framing::Length(0)),
        (true, None) => Ok(Framing::Chunked),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) => Ok(Framing::Close),
    }
}

/// Returns whether the connection persists after the response (RFC 9112, section 9.3).
fn keeps_alive(parts: &response::Parts, hop_by_hop: bool) -> bool {
    if !hop_by_hop || !parts.headers.contains_key(CONNECTION) {
        return parts.version >= Version::HTTP_11;
    }
    !has_token(&parts.headers, &CONNECTION, "close")
        && (parts.version >= Version::HTTP_11
            || has_token(&parts.headers, &CONNECTION, "keep-alive"))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> Result<Option<Head>, Malformed> {
        decode(&mut BytesMut::from(text), false, &mut HeaderMap::new())
    }

    fn framing_of(text: &str) -> Option<Framing> {
        decoded(text).ok().map(|head| head.unwrap().framing)
    }

    #[test]
    fn a_head_is_split_off_and_the_following_bytes_are_kept() {
        let mut bytes = BytesMut::from(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-B:  b \r\nset-cookie: c\r\ncontent-length: 2\r\n\r\nhi",
        );

        let head = decode(&mut bytes, false, &mut HeaderMap::new())
            .unwrap()
            .unwrap();

        assert_eq!(head.parts.status, 200);
        let cookies = head.parts.headers.get_all("set-cookie").iter();
        assert_eq!(cookies.collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(head.parts.headers["x-b"], "b");
        assert_eq!((head.framing, head.keep_alive), (Framing::Length(2), true));
        assert_eq!(bytes, "hi");
    }

    #[test]
    fn the_response_reuses_the_allocation_of_the_request_fields_but_not_their_values() {
        let mut spent = HeaderMap::with_capacity(50);
        for (name, value) in [
            ("authorization", "secret"),
            ("cookie", "a"),
            ("cookie", "b"),
        ] {
            spent.append(name, HeaderValue::from_static(value));
        }
        let capacity = spent.capacity();
        let mut bytes = BytesMut::from(
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\nx-b: b\r\n\r\n",
        );

        let interim = decode(&mut bytes, false, &mut spent).unwrap().unwrap();
        assert!(interim.is_interim());
        assert_eq!((interim.parts.headers.len(), spent.len()), (1, 3));
        let head = decode(&mut bytes, false, &mut spent).unwrap().unwrap();

        let fields: Vec<_> = head.parts.headers.iter().collect();
        assert_eq!(
            fields,
            [(
                &HeaderName::from_static("x-b"),
                &HeaderValue::from_static("b")
            )]
        );
        assert_eq!(head.parts.headers.capacity(), capacity);
        assert!(spent.is_empty());
    }

    #[test]
    fn an_incomplete_head_needs_more_bytes_and_a_long_one_is_malformed() {
        let head = "HTTP/1.1 200 OK\r\nx: y\r\n\r\n";
        for end in 0..head.len() {
            assert!(decoded(&head[..end]).unwrap().is_none(), "{end}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
        assert!(decoded(&long).is_err());
        assert!(decoded(&format!("{long}\r\n\r\n")).is_err());
        let many = "x: y\r\n".repeat(MAX_LINES + 1);
        assert!(decoded(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).is_err());
    }

    #[test]
    fn invalid_heads_are_malformed() {
        for text in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nna me: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname : x\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\0\r\n\r\n",
        ] {
            assert!(decoded(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ambiguous_framing_is_malformed() {
        let with = |lines: &str| framing_of(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));

        assert_eq!(with("content-length: 5\r\n"), Some(Framing::Length(5)));
        assert_eq!(
            with("transfer-encoding: Chunked\r\n"),
            Some(Framing::Chunked)
        );
        assert_eq!(with(""), Some(Framing::Close));
        for lines in [
            "content-length: 5\r\ncontent-length: 5\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: identity\r\n",
        ] {
            assert_eq!(with(lines), None, "{lines}");
        }
        let old = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(framing_of(old), None);
    }

    #[test]
    fn responses_without_content_have_no_body_whatever_their_fields() {
        for status in [100, 101, 103, 204, 304] {
            let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n");
            assert_eq!(framing_of(&text), Some(Framing::Length(0)), "{status}");
        }
        let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        let head = decode(&mut bytes, true, &mut HeaderMap::new())
            .unwrap()
            .unwrap();
        assert_eq!(head.framing, Framing::Length(0));
    }

    #[test]
    fn the_connection_persists_as_the_backend_indicates() {
        for (version, line, persists) in [
            ("1.1", "", true),
            ("1.1", "connection: close\r\n", false),
            ("1.1", "connection: keep-alive, Close\r\n", false),
            ("1.0", "", false),
            ("1.0", "connection: Keep-Alive\r\n", true),
            ("1.0", "connection: keep-alive, close\r\n", false),
        ] {
            let text = format!("HTTP/{version} 200 OK\r\n{line}content-length: 0\r\n\r\n");
            let head = decoded(&text).unwrap().unwrap();
            assert_eq!(head.keep_alive, persists, "{version} {line}");
        }
    }

    proptest! {
        #[test]
        fn a_written_head_is_read_back(
            path in "/[a-z0-9/%]{0,20}(\\?[a-z=&]{0,9})?",
            fields in prop::collection::vec(("x-[a-z]{1,8}", "[!-~]([ -~]{0,18}[!-~])?"), 0..9),
        ) {
            let mut request = Request::get(&path);
            for (name, value) in &fields {
                request = request.header(name, value);
            }
            let head = request.body(()).unwrap().into_parts().0;
            let mut out = Vec::new();

            encode(&head.method, &head.uri, &head.headers, &mut out);

            let mut lines = [httparse::EMPTY_HEADER; 16];
            let mut read = httparse::Request::new(&mut lines);
            prop_assert_eq!(read.parse(&out), Ok(httparse::Status::Complete(out.len())));
            prop_assert_eq!(read.path, Some(path.as_str()));
            let mut got: Vec<_> = read.headers.iter().map(|h| (h.name, h.value)).collect();
            let mut sent: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
            got.sort_unstable();
            sent.sort_unstable();
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn no_input_causes_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = [b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat();
            let _ = decode(
                &mut BytesMut::from(&text[..]),
                false,
                &mut HeaderMap::new(),
            );
        }
    }
}
