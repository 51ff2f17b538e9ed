//! What hyper mends in a request's head without a word: it cuts off a fragment, and picks one of several
//! framings. What it makes of them is safe, but Envoy refuses such requests, and so do we where a look at
//! the bytes tells.
//!
//! The look must cost next to nothing. So it is not a parser: it sees heads that begin with a read, as
//! those of clients do that wait for their answers, and no line that two reads share. A read in the midst
//! of a pipelined head does not look like the beginning of one and is left alone. Fields are looked at only
//! where a body is expected.

use memchr::memchr;

use crate::http::mended::Mended;

/// Looks at one head, read by read.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// The request line was recognised.
    began: bool,
    /// The request line is over.
    in_fields: bool,
    /// The last read ended in the midst of a line.
    in_line: bool,
    /// There is nothing to be seen any more.
    done: bool,
    lengths: u8,
    coded: bool,
}

impl HeadScan {
    /// Looks at the next bytes of the head. What follows the head is not looked at.
    pub(crate) fn look(&mut self, mut bytes: &[u8]) -> Option<Mended> {
        if !self.in_fields && !self.done {
            let (line, rest) = split_line(bytes);
            if !self.began && !begins_request(line) {
                self.done = true;
                return None;
            }
            self.began = true;
            if memchr(b'#', line).is_some() {
                self.done = true;
                return Some(Mended::Fragment);
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
            self.note_field(line);
            bytes = rest;
        }
        match (self.lengths, self.coded) {
            (1.., true) => Some(Mended::BothFramings),
            (2.., false) => Some(Mended::SameLengths),
            _ => None,
        }
    }

    fn note_field(&mut self, line: &[u8]) {
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

/// The first line, and what follows it; `None` if the line does not end here.
fn split_line(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b'\n', bytes) {
        Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
        None => (bytes, None),
    }
}

/// Whether the line begins like that of a request: a method, a blank, a path or `http`.
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

    fn look(reads: &[&str]) -> Option<Mended> {
        let mut scan = HeadScan::default();
        let mut seen = reads.iter().map(|read| scan.look(read.as_bytes()));
        seen.find_map(|found| found)
    }

    #[test]
    fn what_hyper_would_mend_is_seen() {
        use Mended::*;
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
            assert_eq!(look(&[head]), expected, "{head:?}");
        }
    }

    proptest! {
        /// Reads may be cut anywhere: nothing is seen that is not there, and a cut that no field of
        /// interest shares hides nothing.
        #[test]
        fn cuts_invent_nothing(cut in 0usize..70, double in any::<bool>()) {
            let more = if double { "Content-Length: 2\r\n" } else { "" };
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{more}\r\n#");
            let cut = cut.min(head.len());

            let found = look(&[&head[..cut], &head[cut..]]);

            prop_assert!(found.is_none() || (double && found == Some(Mended::SameLengths)));
            let fields = "POST / HTTP/1.1\r\nHost: a\r\n".len();
            if double && (7..=fields).contains(&cut) {
                prop_assert_eq!(found, Some(Mended::SameLengths));
            }
        }
    }
}
