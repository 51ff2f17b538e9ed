//! Reads the server name out of a ClientHello that somebody else will answer.
//!
//! What is passed on may be meant for a server that knows more, or less, of TLS than ours does. So
//! nothing is looked at beyond the lengths on the way to the `server_name` extension (RFC 8446,
//! sections 4.1.2 and 5.1; RFC 6066, section 3). What can be read in two ways is refused: we and the
//! server could take it for different names.

use std::borrow::Cow;
use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use towergate_tls::name::normalize_server_name;

/// The largest ClientHello, in bytes. Those with post-quantum keys take two thousand.
const LIMIT: usize = 64 * 1024;
/// Room made for more of one.
const MORE: usize = 2048;
/// The type of records with handshake messages.
const HANDSHAKE: u8 = 22;
/// The type of the message.
const CLIENT_HELLO: u8 = 1;
/// The extension, and the type of a name in it.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Why there is no ClientHello.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoHello {
    /// More bytes are needed.
    Partial,
    /// It is none, or is not well formed.
    Malformed,
}

use NoHello::{Malformed, Partial};

/// Reads from `io` until there is a whole ClientHello; gives all bytes that were read, and the server
/// name: in lower case, without a trailing dot; `None` if there is none or it is an address.
///
/// # Errors
/// A word for metrics.
pub(super) async fn read<Io: AsyncRead + Unpin>(
    io: &mut Io,
) -> Result<(BytesMut, Option<String>), &'static str> {
    let mut bytes = BytesMut::with_capacity(MORE);
    loop {
        match io.read_buf(&mut bytes).await {
            Ok(0) => return Err("client_left"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err("client_left"),
        }
        match server_name(&bytes) {
            Ok(name) => return Ok((bytes, name)),
            Err(Partial) if bytes.len() <= LIMIT => bytes.reserve(MORE),
            Err(_) => return Err("malformed_client_hello"),
        }
    }
}

/// The server name of the ClientHello at the start of `bytes`.
pub(super) fn server_name(bytes: &[u8]) -> Result<Option<String>, NoHello> {
    let message = message(bytes)?;
    // Whatever is missing from here on is missing for good.
    let name = name_in(&message).map_err(|_| Malformed)?;
    let Some(name) = name else {
        return Ok(None);
    };
    let name = std::str::from_utf8(name).map_err(|_| Malformed)?;
    Ok(normalize_server_name(name).map(Cow::into_owned))
}

/// The body of the ClientHello, put together from its records.
fn message(bytes: &[u8]) -> Result<Cow<'_, [u8]>, NoHello> {
    let mut rest = Reader(bytes);
    let mut message = Cow::Borrowed(&[][..]);
    loop {
        if rest.u8()? != HANDSHAKE || rest.u8()? != 3 {
            return Err(Malformed);
        }
        rest.u8()?;
        let length = usize::from(rest.u16()?);
        // Empty fragments of handshake messages are forbidden, and longer ones than 2^14 as well.
        if length == 0 || length > 1 << 14 {
            return Err(Malformed);
        }
        // What is there of a record may already say that it is none of ours.
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

/// Where the message ends, if it is all there.
fn end_of(message: &[u8]) -> Result<Option<usize>, NoHello> {
    match message {
        [first, ..] if *first != CLIENT_HELLO => Err(Malformed),
        [_, a, b, c, ..] => {
            let end = 4 + usize::from(*a) * 65536 + usize::from(*b) * 256 + usize::from(*c);
            match end {
                end if end > LIMIT => Err(Malformed),
                end => Ok((message.len() >= end).then_some(end)),
            }
        }
        _ => Ok(None),
    }
}

/// The name in a ClientHello's body.
fn name_in(body: &[u8]) -> Result<Option<&[u8]>, NoHello> {
    let mut rest = Reader(body);
    // Version and random.
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
    let mut extensions = Reader(rest.whole(length.into())?);
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

/// The only name of the extension.
fn host_name(data: &[u8]) -> Result<&[u8], NoHello> {
    let mut rest = Reader(data);
    let length = rest.u16()?;
    let mut names = Reader(rest.whole(length.into())?);
    if names.u8()? != HOST_NAME {
        return Err(Malformed);
    }
    let length = names.u16()?;
    match names.whole(length.into())? {
        [] => Err(Malformed),
        name => Ok(name),
    }
}

/// Takes bytes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NoHello> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Partial)?;
        self.0 = rest;
        Ok(taken)
    }

    /// All that is left, which must be so long.
    fn whole(&mut self, length: usize) -> Result<&'a [u8], NoHello> {
        if self.0.len() != length {
            return Err(Malformed);
        }
        self.take(length)
    }

    fn u8(&mut self) -> Result<u8, NoHello> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, NoHello> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests;
