//! `compressor`: compression of responses.

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::common::Quantity;
use crate::compression::{Compressor, ContentCoding, MIN_LENGTH, ResponseCompression};
use crate::field_path::FieldPath;
use crate::parse::bytes;

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

/// Converts the list of codings. If a coding occurs twice, the first item applies.
pub(super) fn compression(
    at: FieldPath<'_>,
    list: &[Compression],
) -> Result<Option<ResponseCompression>, FieldError> {
    let mut compressors: Vec<Compressor> = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let at = at.item(index);
        let coding = match &item.kind {
            Some(CompressionType::Gzip) => ContentCoding::Gzip,
            Some(CompressionType::Brotli) => ContentCoding::Brotli,
            Some(CompressionType::Zstd) => ContentCoding::Zstd,
            Some(CompressionType::Other(value)) => {
                return Err(FieldError::unknown_value(at.field("type"), value));
            }
            None => return Err(FieldError::invalid(at.field("type"), "Required value")),
        };
        let least = at.field("minContentLength");
        let least = bytes(least, item.min_content_length.as_ref(), 0, u64::MAX)?;
        if compressors.iter().all(|known| known.coding != coding) {
            compressors.push(Compressor {
                coding,
                min_length: least.unwrap_or(MIN_LENGTH),
            });
        }
    }
    Ok((!compressors.is_empty()).then_some(ResponseCompression { compressors }))
}
