//! The base64 of a gRPC-Web body decodes to the same bytes in pieces of any size as in one piece.
//!
//! Input: size of the pieces, then the body.
#![no_main]

#[path = "../../gateway-core/tests/properties/grpc_web_text.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
