//! JA3 and JA4 fingerprints of ClientHellos. A fingerprint identifies the TLS library of a client.
//!
//! ```text
//! records of the ClientHello ──> OfferedTls ──┬─ ja3 ─> MD5 of versions, suites, extensions, groups, formats
//!                                             └─ ja4 ─> t13d1516h2_8daaf6152771_e5627efa2ab1
//! ```
//!
//! GREASE values (RFC 8701) are omitted, because clients choose them at random. A client can send any
//! ClientHello, so a fingerprint proves nothing about the client.

use std::fmt::Write;

use md5::{Digest, Md5};
use sha2::Sha256;

use super::client_hello::{HelloError, Reader, message};
use crate::http::settings::FingerprintSettings;

/// Types of the ClientHello extensions from which fingerprints are computed.
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// Fingerprints of the ClientHello of a client. `None`: the fingerprint is not configured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsFingerprints {
    /// JA3, 32 hexadecimal digits.
    pub ja3: Option<Box<str>>,
    /// JA4.
    pub ja4: Option<Box<str>>,
}

impl TlsFingerprints {
    /// The fingerprints of the ClientHello at the start of `bytes`, which may span several records. `None`:
    /// no fingerprint is configured, or the ClientHello is malformed.
    pub fn of(bytes: &[u8], settings: FingerprintSettings) -> Option<Self> {
        if settings == FingerprintSettings::default() {
            return None;
        }
        let offered = OfferedTls::parse(&message(bytes).ok()?).ok()?;
        Some(Self {
            ja3: settings.ja3.then(|| offered.ja3().into()),
            ja4: settings.ja4.then(|| offered.ja4().into()),
        })
    }
}

/// The parts of a ClientHello from which fingerprints are computed, without GREASE values, in the client's
/// order.
#[derive(Debug, Default)]
struct OfferedTls {
    version: u16,
    suites: Vec<u16>,
    extensions: Vec<u16>,
    groups: Vec<u16>,
    formats: Vec<u8>,
    signatures: Vec<u16>,
    versions: Vec<u16>,
    /// First protocol that the client offers by ALPN. Empty: none.
    protocol: Vec<u8>,
}

impl OfferedTls {
    /// Parses the body of a ClientHello (RFC 8446, section 4.1.2).
    fn parse(body: &[u8]) -> Result<Self, HelloError> {
        let mut rest = Reader(body);
        let version = rest.u16()?;
        rest.take(32)?;
        let session = rest.u8()?;
        rest.take(session.into())?;
        let suites = rest.u16()?;
        let suites = numbers(rest.take(suites.into())?);
        let compressions = rest.u8()?;
        rest.take(compressions.into())?;
        let mut offered = Self {
            version,
            suites,
            ..Self::default()
        };
        if !rest.0.is_empty() {
            let length = rest.u16()?;
            let mut extensions = Reader(rest.take(length.into())?);
            while !extensions.0.is_empty() {
                let kind = extensions.u16()?;
                let length = extensions.u16()?;
                offered.add_extension(kind, extensions.take(length.into())?)?;
            }
        }
        Ok(offered)
    }

    fn add_extension(&mut self, kind: u16, data: &[u8]) -> Result<(), HelloError> {
        if is_grease(kind) {
            return Ok(());
        }
        self.extensions.push(kind);
        let mut rest = Reader(data);
        match kind {
            SUPPORTED_GROUPS | SIGNATURE_ALGORITHMS => {
                let length = rest.u16()?;
                let list = numbers(rest.take(length.into())?);
                match kind {
                    SUPPORTED_GROUPS => self.groups = list,
                    _ => self.signatures = list,
                }
            }
            SUPPORTED_VERSIONS => {
                let length = rest.u8()?;
                self.versions = numbers(rest.take(length.into())?);
            }
            POINT_FORMATS => {
                let length = rest.u8()?;
                self.formats = rest.take(length.into())?.to_vec();
            }
            ALPN => {
                rest.u16()?;
                let length = rest.u8()?;
                self.protocol = rest.take(length.into())?.to_vec();
            }
            _ => {}
        }
        Ok(())
    }

    /// The JA3 fingerprint: the MD5 hash of `version,suites,extensions,groups,formats`, each in decimal
    /// numbers.
    fn ja3(&self) -> String {
        let lists = [
            joined(&self.suites, "-", decimal),
            joined(&self.extensions, "-", decimal),
            joined(&self.groups, "-", decimal),
            joined(&self.formats, "-", |format, text| {
                decimal(u16::from(format), text);
            }),
        ];
        hex(&Md5::digest(format!(
            "{},{}",
            self.version,
            lists.join(",")
        )))
    }

    /// The JA4 fingerprint, as specified by FoxIO.
    fn ja4(&self) -> String {
        let version = self.versions.iter().max().copied();
        let version = match version.unwrap_or(self.version) {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            _ => "00",
        };
        let name = match self.extensions.contains(&SERVER_NAME) {
            true => 'd',
            false => 'i',
        };
        let suites = self.suites.len().min(99);
        let extensions = self.extensions.len().min(99);
        let [first, last] = ends(&self.protocol);
        let mut sorted = self.suites.clone();
        sorted.sort_unstable();
        let listed = |kind: &u16| ![SERVER_NAME, ALPN].contains(kind);
        let mut others: Vec<u16> = self.extensions.iter().copied().filter(listed).collect();
        others.sort_unstable();
        let mut settings = joined(&others, ",", hexadecimal);
        if !self.signatures.is_empty() {
            settings.push('_');
            settings.push_str(&joined(&self.signatures, ",", hexadecimal));
        }
        let suites_hash = short_hash(&joined(&sorted, ",", hexadecimal));
        let settings_hash = match self.extensions.is_empty() {
            true => short_hash(""),
            false => short_hash(&settings),
        };
        format!(
            "t{version}{name}{suites:02}{extensions:02}{first}{last}_{suites_hash}_{settings_hash}"
        )
    }
}

/// The 16-bit numbers of a list, without GREASE values.
fn numbers(bytes: &[u8]) -> Vec<u16> {
    let (pairs, _) = bytes.as_chunks();
    let numbers = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    numbers.filter(|number| !is_grease(*number)).collect()
}

/// Whether a value is a GREASE value: `0x0a0a`, `0x1a1a` and so on up to `0xfafa`.
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// The first and the last character of a protocol name. If one of these characters is not alphanumeric, the
/// first and the last digit of the hexadecimal form of the name.
fn ends(protocol: &[u8]) -> [char; 2] {
    let (Some(first), Some(last)) = (protocol.first(), protocol.last()) else {
        return ['0', '0'];
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(*first), char::from(*last)];
    }
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 15)]
}

fn joined<T: Copy>(list: &[T], separator: &str, write: impl Fn(T, &mut String)) -> String {
    let mut text = String::new();
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        write(*item, &mut text);
    }
    text
}

fn decimal(number: u16, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{number}");
}

fn hexadecimal(number: u16, text: &mut String) {
    let _ = write!(text, "{number:04x}");
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// The first 12 hexadecimal digits of the SHA-256 hash of `text`. For an empty text, 12 zeros.
fn short_hash(text: &str) -> String {
    match text {
        "" => "0".repeat(12),
        text => hex(&Sha256::digest(text)[..6]),
    }
}

#[cfg(test)]
mod tests;
