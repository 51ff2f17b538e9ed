//! Encoders of content codings, from bytes to bytes.

use std::io::{self, Write};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;

use super::ContentCoding;

/// Compression level of gzip: the default of zlib.
const GZIP_LEVEL: u32 = 6;

/// Quality and window (2^18 bytes) of Brotli: the defaults of Envoy.
const BROTLI: (u32, u32) = (3, 18);

/// Compression level of Zstandard: the default of its library.
const ZSTD_LEVEL: i32 = 3;

/// Window of Zstandard: 2^17 bytes, so that an encoder needs less than 1 MiB.
const ZSTD_WINDOW: u32 = 17;

/// An encoder that collects its output.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// Creates an encoder.
    ///
    /// # Errors
    /// Zstandard cannot allocate memory.
    pub(super) fn new(coding: ContentCoding) -> io::Result<Self> {
        Ok(match coding {
            ContentCoding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Self::Gzip(GzEncoder::new(Vec::new(), level))
            }
            ContentCoding::Brotli => {
                let (quality, window) = BROTLI;
                let writer = CompressorWriter::new(Vec::new(), 4096, quality, window);
                Self::Brotli(Box::new(writer))
            }
            ContentCoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Encodes `data`. The encoder may keep some of it.
    ///
    /// # Errors
    /// The encoder failed.
    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.writer().write_all(data)
    }

    /// Encodes the input that the encoder has kept.
    ///
    /// # Errors
    /// The encoder failed.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }

    /// Ends the stream and returns the rest of the output.
    ///
    /// # Errors
    /// The encoder failed.
    pub(super) fn finish(self) -> io::Result<Bytes> {
        let rest = match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        };
        Ok(rest.into())
    }

    /// Number of bytes that [`take`](Self::take) returns.
    pub(super) fn len(&mut self) -> usize {
        self.output().len()
    }

    /// Takes the output.
    pub(super) fn take(&mut self) -> Bytes {
        std::mem::take(self.output()).into()
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }
}
