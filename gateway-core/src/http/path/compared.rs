//! The forms of a path that are compared with the paths of rules.
//!
//! Several spellings of a path are equivalent: the hex digits of an escape have no case, and `[` is invalid in a
//! path unless it is escaped (RFC 3986, sections 6.2.2.1 and 3.3). Rules must match all of them, otherwise a
//! client could bypass a rule. The forwarded path keeps the spelling of the client, as in Envoy.
//!
//! | form | compared with | `/%c3%a9/[x]%3A` | the same, decoded |
//! |---|---|---|---|
//! | literal | exact paths, prefixes, gRPC methods | `/%C3%A9/%5Bx%5D%3A` | `/%C3%A9/%5Bx%5D:` |
//! | text | regular expressions | the path, then the literal form | `/é/[x]:` |
//!
//! Decoded forms are those of ingress-nginx, where `/a:b` and `/a%3Ab` are one path.

use memchr::memchr3;

use super::{BadPath, escaped, push_escape};

/// Start of the characters that stand for bytes that are not UTF-8 in decoded text.
const RAW_BYTES: u32 = 0x10_FF00;

/// The forms of a path in which they differ from the path itself. Part of the extensions of a sanitized request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ComparedPath {
    literal: String,
    decoded: Option<String>,
}

impl ComparedPath {
    /// The forms of a normalised path. `None`: all forms are equal to the path. `decodes`: whether rules are
    /// compared with the decoded path.
    ///
    /// # Errors
    /// [`BadPath`] if the path is to be decoded and has an invalid escape, or an escaped line feed, which no
    /// expression with `.` matches.
    pub fn of(path: &str, decodes: bool) -> Result<Option<Self>, BadPath> {
        if memchr3(b'%', b'[', b']', path.as_bytes()).is_none() {
            return Ok(None);
        }
        let mut literal = String::with_capacity(path.len());
        for part in parts(path) {
            if decodes && matches!(part, Part::Plain(b'%') | Part::Escape(b'\n')) {
                return Err(BadPath);
            }
            part.write(decodes, &mut literal);
        }
        let decoded = decodes.then(|| text(parts(path).map(Part::byte).collect()));
        Ok((decodes || literal != path).then_some(Self { literal, decoded }))
    }

    /// The form that is compared with exact paths and prefixes.
    pub fn literal(&self) -> &str {
        &self.literal
    }

    /// The decoded path. `None`: rules are not compared with the decoded path. Bytes that are not UTF-8 are
    /// characters of a private area.
    pub fn decoded(&self) -> Option<&str> {
        self.decoded.as_deref()
    }

    /// Length of the part of `path` whose literal form has `length` bytes.
    pub(crate) fn length_in(&self, path: &str, length: usize) -> usize {
        let (mut at, mut literal) = (0, String::new());
        for part in parts(path) {
            if literal.len() >= length {
                break;
            }
            part.write(self.decoded.is_some(), &mut literal);
            at += part.length();
        }
        at
    }
}

/// Percent-encodes decoded text as nginx does after a rewrite.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match u32::from(character) {
            _ if character.is_ascii_graphic() && !"\"#%?<>\\^`{|}".contains(character) => {
                out.push(character);
            }
            code @ RAW_BYTES.. => push_escape(&mut out, code.to_le_bytes()[0]),
            _ => character
                .encode_utf8(&mut [0; 4])
                .bytes()
                .for_each(|byte| push_escape(&mut out, byte)),
        }
    }
    out
}

/// A character of a path, or an escape.
#[derive(Clone, Copy, Debug)]
enum Part {
    Plain(u8),
    Escape(u8),
}

impl Part {
    fn byte(self) -> u8 {
        match self {
            Self::Plain(byte) | Self::Escape(byte) => byte,
        }
    }

    /// Length in the path.
    fn length(self) -> usize {
        match self {
            Self::Plain(_) => 1,
            Self::Escape(_) => 3,
        }
    }

    /// Writes the literal form.
    fn write(self, decodes: bool, out: &mut String) {
        match self {
            Self::Plain(byte @ (b'[' | b']')) => push_escape(out, byte),
            Self::Plain(byte) => out.push(char::from(byte)),
            Self::Escape(byte) if decodes && is_path_byte(byte) => out.push(char::from(byte)),
            Self::Escape(byte) => push_escape(out, byte),
        }
    }
}

fn parts(path: &str) -> impl Iterator<Item = Part> {
    let mut rest = path.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let escape = escaped(after).filter(|_| first == b'%');
        rest = if escape.is_some() { &after[2..] } else { after };
        Some(escape.map_or(Part::Plain(first), Part::Escape))
    })
}

/// Whether a byte may be in a path without an escape (RFC 3986, section 3.3).
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte)
}

fn text(bytes: Vec<u8>) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        let raw = chunk.invalid().iter();
        out.extend(raw.filter_map(|byte| char::from_u32(RAW_BYTES + u32::from(*byte))));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn literal(path: &str, decodes: bool) -> String {
        let compared = ComparedPath::of(path, decodes).unwrap();
        compared.map_or_else(|| path.to_owned(), |compared| compared.literal)
    }

    #[test]
    fn spellings_of_a_path_have_one_literal_form() {
        for (path, literal_form, decoded_form) in [
            ("/a", "/a", "/a"),
            ("/%c3%a9", "/%C3%A9", "/%C3%A9"),
            ("/a[b]", "/a%5Bb%5D", "/a%5Bb%5D"),
            ("/a%5bb%5d", "/a%5Bb%5D", "/a%5Bb%5D"),
            ("/a%3ab", "/a%3Ab", "/a:b"),
            ("/a%2520", "/a%2520", "/a%2520"),
            ("/%40fs", "/%40fs", "/@fs"),
        ] {
            assert_eq!(literal(path, false), literal_form);
            assert_eq!(literal(path, true), decoded_form);
        }
    }

    #[test]
    fn an_expression_is_compared_with_decoded_text() {
        let decoded = |path| {
            let compared = ComparedPath::of(path, true).unwrap().unwrap();
            compared.decoded.unwrap()
        };

        assert_eq!(decoded("/%c3%a9%20%5bx]"), "/é [x]");
        assert_eq!(
            encode(&decoded("/%ff/%C3%A9%3B%3F%25")),
            "/%FF/%C3%A9;%3F%25"
        );
        assert_eq!(ComparedPath::of("/%0a", true), Err(BadPath));
        assert_eq!(ComparedPath::of("/%", true), Err(BadPath));
        assert_eq!(ComparedPath::of("/%", false), Ok(None));
    }

    #[test]
    fn a_prefix_of_the_literal_form_is_found_in_the_path() {
        let compared = ComparedPath::of("/a%3ab[/x%20", true).unwrap().unwrap();

        assert_eq!(compared.literal(), "/a:b%5B/x%20");
        assert_eq!(
            compared.length_in("/a%3ab[/x%20", "/a:b%5B".len()),
            "/a%3ab[".len()
        );
    }

    proptest! {
        /// All encodings of a path have the literal form of the path.
        #[test]
        fn every_encoding_has_the_same_forms(path in "/[ -\"$->@-~é]{0,12}", pick in prop::collection::vec(0..3_u8, 40)) {
            let mut spelled = String::from("/");
            for (byte, pick) in path.bytes().skip(1).zip(&pick) {
                match pick {
                    0 if is_path_byte(byte) || b"[]".contains(&byte) => spelled.push(char::from(byte)),
                    1 => write!(spelled, "%{byte:02x}").unwrap(),
                    _ => push_escape(&mut spelled, byte),
                }
            }
            let mut whole = String::from("/");
            path.bytes().skip(1).for_each(|byte| push_escape(&mut whole, byte));

            prop_assert_eq!(literal(&spelled, true), literal(&whole, true));
            let decoded = ComparedPath::of(&whole, true).unwrap().map(|one| one.decoded.unwrap());
            prop_assert_eq!(decoded.unwrap_or_else(|| "/".to_owned()), path);
        }
    }
}
