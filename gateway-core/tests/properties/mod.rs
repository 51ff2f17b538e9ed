//! Properties that hold for any input. Fuzz targets search for counterexamples, and tests check the inputs of
//! the corpora.

#![allow(unreachable_pub, reason = "shared by a test and the fuzz targets")]

pub mod client_hello;
pub mod client_ip;
pub mod format;
pub mod grpc_web_text;
pub mod h1_e2e;
pub mod host;
pub mod load_report;
pub mod path;
pub mod proxy_protocol;
pub mod query;
pub mod request_framer;
pub mod router;
pub mod upstream_response;
