//! The base64 of a gRPC-Web body is decoded as a whole decoder does it, whatever the pieces in which it arrives.
//!
//! Input: size of the pieces, then the body.
#![no_main]

#[path = "../../gateway-core/tests/properties/grpc_web_text.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
