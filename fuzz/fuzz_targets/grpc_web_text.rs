//! A base64 body of gRPC-Web decodes to the same bytes, whether it arrives in one piece or in several.
//!
//! Input: size of the pieces, then the body.
#![no_main]

#[path = "../../gateway-core/tests/properties/grpc_web_text.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
