//! Detection of invalid request heads that hyper accepts: it removes a fragment from the target, and selects
//! one of several framings. The result is safe, but Envoy rejects these requests, and so does the gateway
//! where the bytes show it.
//!
//! The scan must cost almost nothing, so it is not a parser. It covers heads that begin with a read, as
//! those of clients that wait for responses do, and skips lines that span two reads. A read in the middle of
//! a pipelined head does not look like a request line and is skipped. Header fields are scanned only if the
//! method may have a body.

use memchr::memchr;

use crate::http::lenient::LenientParse;

/// Scan of one head, over one or more reads.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// The request line was recognized.
    recognized: bool,
    /// The request line is complete.
    in_fields: bool,
    /// The last read ended within a line.
    in_line: bool,
    /// The rest of the head needs no scan.
    done: bool,
    /// Number of `Content-Length` fields.
    lengths: u8,
    /// `Transfer-Encoding` is present.
    coded: bool,
}

impl HeadScan {
    /// Scans the next bytes of the head. Bytes after the head are skipped.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> Option<LenientParse> {
        if !self.in_fields && !self.done {
            let (line, rest) = split_line(bytes);
            if !self.recognized && !begins_request(line) {
                self.done = true;
                return None;
            }
            self.recognized = true;
            if memchr(b'#', line).is_some() {
                self.done = true;
                return Some(LenientParse::Fragment);
            }
            bytes = rest?;
            self.in_fields = true;
            self.done = line.starts_with(b"GET ") || line.starts_with(b"HEAD ");
        } else if self.in_line {
            bytes = split_line(bytes).1?;
            self.in_line = false;
        }
        while !self.done {
            let (line, rest) = split_line(bytes);
            let Some(rest) = rest else {
                self.in_line = !line.is_empty();
                break;
            };
            self.count_field(line);
            bytes = rest;
        }
        match (self.lengths, self.coded) {
            (1.., true) => Some(LenientParse::BothFramings),
            (2.., false) => Some(LenientParse::SameLengths),
            _ => None,
        }
    }

    fn count_field(&mut self, line: &[u8]) {
        match line.first() {
            Some(b'c' | b'C') if has_name(line, b"content-length:") => {
                self.lengths = self.lengths.saturating_add(1);
            }
            Some(b't' | b'T') if has_name(line, b"transfer-encoding:") => self.coded = true,
            None | Some(b'\r') => self.done = true,
            Some(_) => {}
        }
    }
}

/// The first line, and the bytes after it; `None` if the line is incomplete.
fn split_line(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b'\n', bytes) {
        Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
        None => (bytes, None),
    }
}

/// Whether `line` begins like a request line: a method, a space, and a path or `http`.
fn begins_request(line: &[u8]) -> bool {
    let method = line.iter().take_while(|b| b.is_ascii_uppercase()).count();
    let target = line.get(method + 1..).unwrap_or_default();
    let blank = line.get(method) == Some(&b' ');
    method > 0 && blank && (target.starts_with(b"/") || target.starts_with(b"http"))
}

fn has_name(line: &[u8], name: &[u8]) -> bool {
    let start = line.get(..name.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(reads: &[&str]) -> Option<LenientParse> {
        let mut scan = HeadScan::default();
        let mut seen = reads.iter().map(|read| scan.scan(read.as_bytes()));
        seen.find_map(|found| found)
    }

    #[test]
    fn invalid_heads_that_hyper_accepts_are_detected() {
        use LenientParse::*;
        let table = [
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Some(Fragment)),
            ("GET /a HTTP/1.1\r\nReferer: /#b\r\n\r\n", None),
            (
                "erer: /#b\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
                None,
            ),
            ("a=b#c", None),
            (
                "POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some(BothFramings),
            ),
            (
                "POST / HTTP/1.1\ntransfer-encoding: chunked\nX: y\nCONTENT-LENGTH: 2\n\n",
                Some(BothFramings),
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
                Some(SameLengths),
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 20\r\n\r\nContent-Length: 2\r\n",
                None,
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 2\r\nX-Content-Length: 2\r\n\r\n",
                None,
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length-X: 2\r\nContent-Length: 2\r\n\r\n",
                None,
            ),
        ];
        for (head, expected) in table {
            assert_eq!(scan(&[head]), expected, "{head:?}");
        }
    }

    proptest! {
        /// A split at any position causes no false detection, and a split outside the framing fields
        /// prevents no detection.
        #[test]
        fn splits_do_not_change_the_result(cut in 0usize..70, double in any::<bool>()) {
            let more = if double { "Content-Length: 2\r\n" } else { "" };
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{more}\r\n#");
            let cut = cut.min(head.len());

            let found = scan(&[&head[..cut], &head[cut..]]);

            prop_assert!(found.is_none() || (double && found == Some(LenientParse::SameLengths)));
            let fields = "POST / HTTP/1.1\r\nHost: a\r\n".len();
            if double && (7..=fields).contains(&cut) {
                prop_assert_eq!(found, Some(LenientParse::SameLengths));
            }
        }
    }
}
