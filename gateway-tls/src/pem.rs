//! Sections of PEM text, as OpenSSL and Go read them.
//!
//! RFC 7468 excludes headers within a section. OpenSSL still writes headers into encrypted keys (RFC 1421,
//! section 4.6), and some key stores write headers into certificates. Go and OpenSSL skip these headers.
//! `rustls-pki-types` would decode them as base64, so this module removes them first.
//!
//! Go skips a section without an END line of the same label: `-----BEGIN CERTIFICATE-----` requires
//! `-----END CERTIFICATE-----`. This module removes such a section if another BEGIN or END line follows it.

use std::borrow::Cow;
use std::ops::Range;

use rustls_pki_types::pem::{Error, PemObject};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// The sections of type `T` in `pem`, in the order of the text. Sections of other types are skipped, and so
/// is text between sections.
pub(crate) fn sections<T: PemObject>(pem: &[u8]) -> Vec<Result<T, Error>> {
    T::pem_slice_iter(&normalize(pem)).collect()
}

/// The first section of type `T` in `pem`.
///
/// # Errors
/// [`Error::NoItemsFound`] if `pem` has no section of this type; another error if the section is malformed.
pub(crate) fn first_section<T: PemObject>(pem: &[u8]) -> Result<T, Error> {
    T::from_pem_slice(&normalize(pem))
}

/// `pem` without headers and without the sections that Go skips because of their labels.
pub(crate) fn normalize(pem: &[u8]) -> Cow<'_, [u8]> {
    let pem = without_headers(pem);
    let skipped = skipped_sections(&pem);
    if skipped.is_empty() {
        return pem;
    }
    let mut text = Vec::with_capacity(pem.len());
    let mut at = 0;
    for section in skipped {
        text.extend_from_slice(&pem[at..section.start]);
        at = section.end;
    }
    text.extend_from_slice(&pem[at..]);
    Cow::Owned(text)
}

/// The sections whose next BEGIN or END line is not an END line of the same label. A section at the end of
/// `pem` without an END line is not among them: the text may have been cut off, which is an error.
fn skipped_sections(pem: &[u8]) -> Vec<Range<usize>> {
    let mut skipped = Vec::new();
    let mut open: Option<(usize, &[u8])> = None;
    let mut at = 0;
    for line in pem.split_inclusive(|byte| *byte == b'\n') {
        let (start, text) = (at, line.trim_ascii_end());
        at += line.len();
        if let Some(begin) = text.strip_prefix(BEGIN) {
            skipped.extend(open.replace((start, begin)).map(|(from, _)| from..start));
        } else if let Some(end) = text.strip_prefix(END) {
            let mismatch = open.take().filter(|(_, begin)| *begin != end);
            skipped.extend(mismatch.map(|(from, _)| from..at));
        }
    }
    skipped
}

/// `pem` without the headers of its sections. A header is a line `Name: value`, and may continue on lines
/// that begin with a space or a tab. A line of base64 is never a header, because base64 has no colon.
fn without_headers(pem: &[u8]) -> Cow<'_, [u8]> {
    if !pem.contains(&b':') {
        return Cow::Borrowed(pem);
    }
    let mut text = Vec::with_capacity(pem.len());
    let mut place = Place::Outside;
    for line in pem.split_inclusive(|byte| *byte == b'\n') {
        place = place.next(line);
        if place != Place::Header {
            text.extend_from_slice(line);
        }
    }
    Cow::Owned(text)
}

/// The part of PEM text to which a line belongs.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Place {
    /// Between sections, or within the base64 of a section.
    Outside,
    /// The first line of a section.
    Begin,
    /// A header.
    Header,
}

impl Place {
    /// Returns the part to which `line` belongs. `self` is the part of the line before `line`.
    fn next(self, line: &[u8]) -> Self {
        let continues = line.starts_with(b" ") || line.starts_with(b"\t");
        match self {
            _ if line.starts_with(BEGIN) => Self::Begin,
            Self::Begin | Self::Header if line.contains(&b':') => Self::Header,
            Self::Header if continues => Self::Header,
            _ => Self::Outside,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;

    use super::*;

    /// The contents of the certificates in `pem`; `None` for a malformed certificate.
    fn read(pem: &str) -> Vec<Option<Vec<u8>>> {
        let sections = sections::<CertificateDer<'_>>(pem.as_bytes());
        let sections = sections.into_iter();
        sections
            .map(|one| one.ok().map(|der| der.to_vec()))
            .collect()
    }

    /// The forms that the documentation and the tests of Go's `encoding/pem` describe.
    #[test]
    fn sections_are_read_as_by_go() {
        let abc = || vec![Some(b"abc".to_vec())];
        for (pem, expected) in [
            (
                "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\r\nYWJj\r\n-----END CERTIFICATE-----\r\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----  \nYW\nJj \n-----END CERTIFICATE-----  \n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\nX-Issuer: CN=a, O=b\n\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\r\nA: b\r\nC: d\r\n\r\nYWJj\r\n-----END CERTIFICATE-----\r\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\nA: b\n c: d\n\te\n\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "Bag Attributes\n    localKeyID: 01\nsubject=CN = a\n\
                 -----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "-----BEGIN X509 CRL-----\nA: b\n\nYWJj\n-----END X509 CRL-----\n\
                 -----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\nYWJj:\n-----END CERTIFICATE-----\n",
                vec![Some(vec![])],
            ),
            (
                "-----BEGIN CERTIFICATE-----\nYWJj\nA: b\n-----END CERTIFICATE-----\n",
                vec![None],
            ),
            ("", vec![]),
            (
                "-----BEGIN CERTIFICATE-----\nYWJj\n-----END X-----\n",
                vec![],
            ),
            (
                "-----BEGIN CERTIFICATE-----\neHl6\n-----END X-----\n\
                 -----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n\
                 -----BEGIN CERTIFICATE-----\neHl6\n-----END X-----\n",
                abc(),
            ),
            (
                "-----BEGIN X-----\neHl6\n-----END CERTIFICATE-----\n\
                 -----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\neHl6\n-----END CERTIFICATE----- x\n\
                 -----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\neHl6\n-----END CERTIFICATE----\n\
                 -----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\neHl6\n\
                 -----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
            (
                "-----BEGIN CERTIFICATE-----\nA: b\n\neHl6\n-----END X-----\n\
                 -----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
                abc(),
            ),
        ] {
            assert_eq!(read(pem), expected, "{pem}");
        }
    }

    #[test]
    fn a_section_without_an_end_is_an_error_at_the_end_of_the_text() {
        let pem = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n\
                   -----BEGIN CERTIFICATE-----\neHl6\n";

        assert_eq!(read(pem), [Some(b"abc".to_vec()), None]);
    }

    #[test]
    fn text_without_headers_is_not_copied() {
        let pem = b"-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";

        assert!(matches!(normalize(pem), Cow::Borrowed(_)));
    }
}
