//! A body that is compressed while it is forwarded.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use towergate_core::{Body, BoxError};

use super::encoder::Encoder;

/// Minimum size, in bytes, of output that is forwarded while more input is available.
const CHUNK: usize = 16 * 1024;

/// A body that passes through an encoder. While the inner body is pending, all data that was read from it has
/// been forwarded.
pub(super) struct EncodedBody {
    inner: Body,
    /// `None`: the body has ended.
    encoder: Option<Encoder>,
    /// Whether the encoder may keep input that it has not encoded.
    unflushed: bool,
    /// Trailers, sent after the last data.
    trailers: Option<HeaderMap>,
}

impl EncodedBody {
    pub(super) fn new(inner: Body, encoder: Encoder) -> Self {
        Self {
            inner,
            encoder: Some(encoder),
            unflushed: false,
            trailers: None,
        }
    }

    /// Encodes data. Returns the output if it has at least [`CHUNK`] bytes.
    fn encode(&mut self, data: &[u8]) -> io::Result<Option<Bytes>> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(None);
        };
        encoder.write(data)?;
        self.unflushed = true;
        Ok((encoder.len() >= CHUNK).then(|| encoder.take()))
    }

    /// Encodes all data that was read. Returns the output if there is any.
    fn flush(&mut self) -> io::Result<Option<Bytes>> {
        let Some(encoder) = self.encoder.as_mut().filter(|_| self.unflushed) else {
            return Ok(None);
        };
        encoder.flush()?;
        self.unflushed = false;
        Ok((encoder.len() > 0).then(|| encoder.take()))
    }

    /// Ends the stream. Returns the rest of the output.
    fn finish(&mut self) -> io::Result<Option<Bytes>> {
        match self.encoder.take() {
            Some(encoder) => encoder.finish().map(Some),
            None => Ok(None),
        }
    }
}

impl http_body::Body for EncodedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if this.encoder.is_none() {
                let trailers = this.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let output = match Pin::new(&mut this.inner).poll_frame(cx)? {
                Poll::Pending => match this.flush()? {
                    None => return Poll::Pending,
                    output => output,
                },
                Poll::Ready(None) => this.finish()?,
                Poll::Ready(Some(frame)) => match frame.into_data() {
                    Ok(data) => this.encode(&data)?,
                    Err(frame) => {
                        this.trailers = frame.into_trailers().ok();
                        this.finish()?
                    }
                },
            };
            if let Some(output) = output.filter(|output| !output.is_empty()) {
                return Poll::Ready(Some(Ok(Frame::data(output))));
            }
        }
    }
}
