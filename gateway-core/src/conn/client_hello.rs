//! Reads the server name of a ClientHello on a port on which backends may terminate TLS.
//!
//! The backend and the gateway may support different parts of TLS. Therefore only the length fields that lead
//! to the `server_name` extension are parsed (RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3).
//! Ambiguous encodings are rejected, because the gateway and the backend could decode different names from
//! them.

use std::borrow::Cow;
use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use towergate_tls::name::normalize_server_name;

/// Maximum size of a ClientHello, in bytes. A ClientHello with a post-quantum key share has about 2000 bytes.
const MAX_HELLO: usize = 64 * 1024;
/// Buffer growth per read, in bytes.
const READ_SIZE: usize = 2048;
/// Content type of handshake records.
const HANDSHAKE: u8 = 22;
/// Handshake message type of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// Type of the `server_name` extension.
const SERVER_NAME: u16 = 0;
/// Type of a DNS hostname in the `server_name` extension.
const HOST_NAME: u8 = 0;

/// Reason why no ClientHello was parsed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HelloError {
    /// More bytes are required.
    Partial,
    /// The bytes are not a ClientHello, or the ClientHello is malformed.
    Malformed,
}

use HelloError::{Malformed, Partial};

/// Reads a complete ClientHello from `io`. Returns all bytes that were read, and the server name in lower
/// case without a trailing dot. The server name is `None` if it is absent or an IP address.
///
/// # Errors
/// The reason of the failure, for metrics.
pub(crate) async fn read<Io: AsyncRead + Unpin>(
    io: &mut Io,
) -> Result<(BytesMut, Option<String>), &'static str> {
    let mut bytes = BytesMut::with_capacity(READ_SIZE);
    loop {
        match io.read_buf(&mut bytes).await {
            Ok(0) => return Err("client_left"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err("client_left"),
        }
        match server_name(&bytes) {
            Ok(name) => return Ok((bytes, name)),
            Err(Partial) if bytes.len() <= MAX_HELLO => bytes.reserve(READ_SIZE),
            Err(_) => return Err("malformed_client_hello"),
        }
    }
}

/// Server name of the ClientHello at the start of `bytes`.
pub(super) fn server_name(bytes: &[u8]) -> Result<Option<String>, HelloError> {
    let message = message(bytes)?;
    // The message is complete. Therefore missing bytes mean that the message is malformed.
    let name = name_in(&message).map_err(|_| Malformed)?;
    let Some(name) = name else {
        return Ok(None);
    };
    let name = std::str::from_utf8(name).map_err(|_| Malformed)?;
    Ok(normalize_server_name(name).map(Cow::into_owned))
}

/// Body of the ClientHello, assembled from its records.
pub(super) fn message(bytes: &[u8]) -> Result<Cow<'_, [u8]>, HelloError> {
    let mut rest = Reader(bytes);
    let mut message = Cow::Borrowed(&[][..]);
    loop {
        if rest.u8()? != HANDSHAKE || rest.u8()? != 3 {
            return Err(Malformed);
        }
        rest.u8()?;
        let length = usize::from(rest.u16()?);
        // The length of a handshake fragment must be between 1 and 2^14 bytes (RFC 8446, section 5.1).
        if length == 0 || length > 1 << 14 {
            return Err(Malformed);
        }
        // An incomplete record is also examined: its first bytes suffice to reject another message type.
        let fragment = &rest.0[..length.min(rest.0.len())];
        if message.is_empty() {
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
        if let Some(end) = end_of(&message)? {
            return Ok(match message {
                Cow::Borrowed(message) => Cow::Borrowed(&message[4..end]),
                Cow::Owned(mut message) => {
                    message.truncate(end);
                    message.drain(..4);
                    Cow::Owned(message)
                }
            });
        }
        rest.take(length)?;
    }
}

/// Offset of the end of the message, if the message is complete.
fn end_of(message: &[u8]) -> Result<Option<usize>, HelloError> {
    match message {
        [first, ..] if *first != CLIENT_HELLO => Err(Malformed),
        [_, a, b, c, ..] => {
            let end = 4 + usize::from(*a) * 65536 + usize::from(*b) * 256 + usize::from(*c);
            match end {
                end if end > MAX_HELLO => Err(Malformed),
                end => Ok((message.len() >= end).then_some(end)),
            }
        }
        _ => Ok(None),
    }
}

/// Server name in the body of a ClientHello.
fn name_in(body: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    let mut rest = Reader(body);
    // Skips version and random.
    rest.take(2 + 32)?;
    let session = rest.u8()?;
    rest.take(session.into())?;
    let suites = rest.u16()?;
    rest.take(suites.into())?;
    let compressions = rest.u8()?;
    rest.take(compressions.into())?;
    if rest.0.is_empty() {
        return Ok(None);
    }
    let length = rest.u16()?;
    let mut extensions = Reader(rest.take_all(length.into())?);
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let length = extensions.u16()?;
        let data = extensions.take(length.into())?;
        if kind == SERVER_NAME && name.replace(host_name(data)?).is_some() {
            return Err(Malformed);
        }
    }
    Ok(name)
}

/// The name in the `server_name` extension, which must contain exactly one name.
fn host_name(data: &[u8]) -> Result<&[u8], HelloError> {
    let mut rest = Reader(data);
    let length = rest.u16()?;
    let mut names = Reader(rest.take_all(length.into())?);
    if names.u8()? != HOST_NAME {
        return Err(Malformed);
    }
    let length = names.u16()?;
    match names.take_all(length.into())? {
        [] => Err(Malformed),
        name => Ok(name),
    }
}

/// Cursor that takes bytes from the front of a slice.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Partial)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Takes all remaining bytes. Their number must be `length`.
    fn take_all(&mut self, length: usize) -> Result<&'a [u8], HelloError> {
        if self.0.len() != length {
            return Err(Malformed);
        }
        self.take(length)
    }

    pub(super) fn u8(&mut self) -> Result<u8, HelloError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, HelloError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests;
