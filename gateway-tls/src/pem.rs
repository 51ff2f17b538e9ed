//! Sections of PEM text, as OpenSSL and Go read them.
//!
//! RFC 7468 excludes headers within a section. OpenSSL still writes headers into encrypted keys (RFC 1421,
//! section 4.6), and some key stores write headers into certificates. Go and OpenSSL skip these headers.
//! `rustls-pki-types` would decode them as base64, so this module removes them first.

use std::borrow::Cow;

use rustls_pki_types::pem::{Error, PemObject};

const BEGIN: &[u8] = b"-----BEGIN ";

/// The sections of type `T` in `pem`, in the order of the text. Sections of other types are skipped, and so
/// is text between sections.
pub(crate) fn sections<T: PemObject>(pem: &[u8]) -> Vec<Result<T, Error>> {
    T::pem_slice_iter(&without_headers(pem)).collect()
}

/// The first section of type `T` in `pem`.
///
/// # Errors
/// [`Error::NoItemsFound`] if `pem` has no section of this type; another error if the section is malformed.
pub(crate) fn first_section<T: PemObject>(pem: &[u8]) -> Result<T, Error> {
    T::from_pem_slice(&without_headers(pem))
}

/// `pem` without the headers of its sections. A header is a line `Name: value`, and may continue on lines
/// that begin with a space or a tab. A line of base64 is never a header, because base64 has no colon.
pub(crate) fn without_headers(pem: &[u8]) -> Cow<'_, [u8]> {
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
        ] {
            assert_eq!(read(pem), expected, "{pem}");
        }
    }

    #[test]
    fn text_without_headers_is_not_copied() {
        let pem = b"-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";

        assert!(matches!(without_headers(pem), Cow::Borrowed(_)));
    }
}
