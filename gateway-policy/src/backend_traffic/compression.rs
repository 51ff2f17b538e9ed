//! `compressor`: compression of responses.

use crate::api_struct::{api_struct, string_enum};
use crate::common::Quantity;

string_enum! {
    /// A content coding.
    pub enum CompressionType {
        Gzip = "Gzip",
        Brotli = "Brotli",
        Zstd = "Zstd",
    }
}

api_struct! {
    /// A content coding and its settings.
    pub struct Compression {
        /// Content coding.
        kind: CompressionType = "type" [Required],
        /// Settings of Brotli.
        brotli: CompressionOptions = "brotli",
        /// Settings of gzip.
        gzip: CompressionOptions = "gzip",
        /// Settings of Zstandard.
        zstd: CompressionOptions = "zstd",
        /// Size in bytes below which a response is not compressed. Default: 30.
        min_content_length: Quantity = "minContentLength",
    }

    /// Settings of a content coding. Has no fields.
    pub struct CompressionOptions {}
}
