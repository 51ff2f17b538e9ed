//! TLVs, which follow the addresses of version 2. Each consists of type (1 byte), length (2 bytes) and value.

use nom::IResult;
use nom::Parser;
use nom::bytes::complete::take;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16, be_u32};

use super::{Invalid, TooLong};

/// Length of the fields type and length, in bytes.
pub(super) const HEAD: usize = 3;
/// Type of the checksum (`PP2_TYPE_CRC32C`).
pub(super) const CRC32C: u8 = 0x03;

/// Maximum length of a unique id in bytes.
const LONGEST_ID: usize = 128;

/// Well-formed TLVs of a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tlvs<'a>(&'a [u8]);

impl<'a> Tlvs<'a> {
    /// No TLVs.
    pub const EMPTY: Tlvs<'static> = Tlvs(&[]);

    /// Validates all TLVs in `bytes`.
    ///
    /// # Errors
    /// Fails if a TLV is truncated, or its length is invalid for its type.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Invalid> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (after, (kind, value)) = raw(rest).map_err(|_| Invalid::Tlv)?;
            Tlv::decode(kind, value)?;
            rest = after;
        }
        Ok(Self(bytes))
    }

    /// The encoded TLVs as received.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Iterates over the TLVs in the order of the header.
    pub fn iter(self) -> TlvIter<'a> {
        TlvIter(self.raw())
    }

    /// Iterates over types and undecoded values.
    pub(super) fn raw(self) -> Raw<'a> {
        Raw(self.0)
    }
}

impl<'a> IntoIterator for Tlvs<'a> {
    type Item = Tlv<'a>;
    type IntoIter = TlvIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterator over [`Tlvs`].
#[derive(Clone, Debug)]
pub struct TlvIter<'a>(Raw<'a>);

impl<'a> Iterator for TlvIter<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, value) = self.0.next()?;
        Tlv::decode(kind, value).ok()
    }
}

/// Iterator over types and undecoded values. It ends at the first truncated TLV.
#[derive(Clone, Debug)]
pub(super) struct Raw<'a>(&'a [u8]);

impl<'a> Iterator for Raw<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (rest, field) = raw(self.0).ok()?;
        self.0 = rest;
        Some(field)
    }
}

fn raw(input: &[u8]) -> IResult<&[u8], (u8, &[u8]), ()> {
    (be_u8, length_data(be_u16)).parse(input)
}

/// A TLV. Byte values are unvalidated and may be invalid UTF-8.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Tlv<'a> {
    /// Application protocol (`PP2_TYPE_ALPN`).
    Alpn(&'a [u8]),
    /// Host name that the client requested, for example by SNI (`PP2_TYPE_AUTHORITY`).
    Authority(&'a [u8]),
    /// CRC32c checksum of the header (`PP2_TYPE_CRC32C`). The decoder verifies it.
    Crc32c(u32),
    /// Padding (`PP2_TYPE_NOOP`).
    Noop(&'a [u8]),
    /// Connection id of the sender, at most 128 bytes (`PP2_TYPE_UNIQUE_ID`).
    UniqueId(&'a [u8]),
    /// TLS session of the client (`PP2_TYPE_SSL`).
    Ssl(Ssl<'a>),
    /// Network namespace of the sender (`PP2_TYPE_NETNS`).
    Netns(&'a [u8]),
    /// AWS: id of the VPC endpoint (`PP2_SUBTYPE_AWS_VPCE_ID`).
    AwsVpcEndpoint(&'a [u8]),
    /// Azure: id of the private endpoint (`PP2_SUBTYPE_AZURE_PRIVATEENDPOINT_LINKID`).
    AzureLinkId(u32),
    /// Google Cloud: id of the Private Service Connect connection.
    GcpConnectionId(u64),
    /// Any other type, with its value. The types of cloud providers are included if the value does not have
    /// the provider's format, because other senders may also use these types.
    Other(u8, &'a [u8]),
}

impl<'a> Tlv<'a> {
    /// Decodes a value by its type.
    ///
    /// # Errors
    /// Fails if the length is invalid for the type.
    fn decode(kind: u8, value: &'a [u8]) -> Result<Self, Invalid> {
        Ok(match (kind, value) {
            (0x01, _) => Self::Alpn(value),
            (0x02, _) => Self::Authority(value),
            (CRC32C, _) => Self::Crc32c(u32::from_be_bytes(
                value.try_into().map_err(|_| Invalid::Tlv)?,
            )),
            (0x04, _) => Self::Noop(value),
            (0x05, _) if value.len() > LONGEST_ID => return Err(Invalid::Tlv),
            (0x05, _) => Self::UniqueId(value),
            (0x20, _) => Self::Ssl(Ssl::decode(value)?),
            (0x30, _) => Self::Netns(value),
            (0xEA, [0x01, endpoint @ ..]) => Self::AwsVpcEndpoint(endpoint),
            (0xEE, &[0x01, a, b, c, d]) => Self::AzureLinkId(u32::from_le_bytes([a, b, c, d])),
            (0xE0, &[a, b, c, d, e, f, g, h]) => {
                Self::GcpConnectionId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
            _ => Self::Other(kind, value),
        })
    }

    /// Appends the TLV to `out`.
    ///
    /// # Errors
    /// Fails if the value is longer than 65,535 bytes, or a unique id is longer than 128 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        match *self {
            Self::Alpn(value) => encode_tlv(0x01, &[value], out),
            Self::Authority(value) => encode_tlv(0x02, &[value], out),
            Self::Crc32c(sum) => encode_tlv(CRC32C, &[&sum.to_be_bytes()], out),
            Self::Noop(value) => encode_tlv(0x04, &[value], out),
            Self::UniqueId(value) if value.len() > LONGEST_ID => Err(TooLong),
            Self::UniqueId(value) => encode_tlv(0x05, &[value], out),
            Self::Ssl(ssl) => encode_tlv(
                0x20,
                &[&[ssl.client], &ssl.verify.to_be_bytes(), ssl.fields.0],
                out,
            ),
            Self::Netns(value) => encode_tlv(0x30, &[value], out),
            Self::AwsVpcEndpoint(value) => encode_tlv(0xEA, &[&[0x01], value], out),
            Self::AzureLinkId(id) => encode_tlv(0xEE, &[&[0x01], &id.to_le_bytes()], out),
            Self::GcpConnectionId(id) => encode_tlv(0xE0, &[&id.to_be_bytes()], out),
            Self::Other(kind, value) => encode_tlv(kind, &[value], out),
        }
    }
}

/// Appends a TLV of any type to `out`. Its value is the concatenation of the parts in `value`. On error `out`
/// is unchanged.
///
/// # Errors
/// Fails if the value is longer than 65,535 bytes.
pub fn encode_tlv(kind: u8, value: &[&[u8]], out: &mut Vec<u8>) -> Result<(), TooLong> {
    let len: usize = value.iter().map(|part| part.len()).sum();
    let len = u16::try_from(len).map_err(|_| TooLong)?;
    out.push(kind);
    out.extend_from_slice(&len.to_be_bytes());
    for part in value {
        out.extend_from_slice(part);
    }
    Ok(())
}

/// TLS session of the client, as stated by the sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ssl<'a> {
    /// Bit 0: the client connected over TLS. Bit 1: the client presented a certificate on this connection.
    /// Bit 2: the client presented a certificate in this TLS session.
    pub client: u8,
    /// Result of verifying the client certificate. 0 means that the client presented a certificate and it was
    /// verified.
    pub verify: u32,
    /// TLVs nested in the value.
    pub fields: SslFields<'a>,
}

impl<'a> Ssl<'a> {
    fn decode(value: &'a [u8]) -> Result<Self, Invalid> {
        let fixed = (take(1_usize), be_u32).parse(value);
        let (fields, (client, verify)): (&[u8], (&[u8], u32)) =
            fixed.map_err(|_: nom::Err<()>| Invalid::Tlv)?;
        Ok(Self {
            client: client[0],
            verify,
            fields: SslFields::decode(fields)?,
        })
    }

    /// Whether the client connected over TLS.
    pub fn is_tls(&self) -> bool {
        self.client & 0x01 != 0
    }

    /// Whether the client presented a certificate that the sender verified. The client may have presented the
    /// certificate on this connection or earlier in the TLS session.
    pub fn is_verified(&self) -> bool {
        self.client & 0x06 != 0 && self.verify == 0
    }
}

/// TLVs nested in [`Ssl`]. None of them is truncated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SslFields<'a>(&'a [u8]);

impl<'a> SslFields<'a> {
    /// Validates the TLVs in `bytes`. They can be encoded by [`encode_tlv`] with a type from 0x21 to 0x28.
    ///
    /// # Errors
    /// Fails if a TLV is truncated.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Invalid> {
        let len: usize = Raw(bytes).map(|(_, value)| HEAD + value.len()).sum();
        if len == bytes.len() {
            Ok(Self(bytes))
        } else {
            Err(Invalid::Tlv)
        }
    }

    /// Iterates over the TLVs in the order of the header.
    pub fn iter(self) -> impl Iterator<Item = SslField<'a>> {
        Raw(self.0).map(|(kind, value)| match kind {
            0x21 => SslField::Version(value),
            0x22 => SslField::CommonName(value),
            0x23 => SslField::Cipher(value),
            0x24 => SslField::SignatureAlgorithm(value),
            0x25 => SslField::KeyAlgorithm(value),
            0x26 => SslField::Group(value),
            0x27 => SslField::SignatureScheme(value),
            0x28 => SslField::ClientCertificate(value),
            _ => SslField::Other(kind, value),
        })
    }
}

/// A TLV nested in [`Ssl`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SslField<'a> {
    /// TLS version, such as `TLSv1.3` (0x21).
    Version(&'a [u8]),
    /// Common name of the subject of the client certificate (0x22).
    CommonName(&'a [u8]),
    /// Cipher suite (0x23).
    Cipher(&'a [u8]),
    /// Signature algorithm of the sender's certificate (0x24).
    SignatureAlgorithm(&'a [u8]),
    /// Key algorithm of the sender's certificate (0x25).
    KeyAlgorithm(&'a [u8]),
    /// Key exchange group (0x26).
    Group(&'a [u8]),
    /// Signature scheme of the handshake (0x27).
    SignatureScheme(&'a [u8]),
    /// Client certificate in DER (0x28).
    ClientCertificate(&'a [u8]),
    /// Any other type, with its value.
    Other(u8, &'a [u8]),
}
