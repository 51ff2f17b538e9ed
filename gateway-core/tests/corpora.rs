//! Runs the corpora of the fuzz targets as tests.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod lab;
mod properties;
#[path = "../../fuzz/replay.rs"]
#[allow(unreachable_pub, reason = "tests of several crates include this file")]
mod replay;

use properties::{
    client_hello, client_ip, format, grpc_web_text, h1_e2e, host, load_report, path,
    proxy_protocol, query, request_framer, router, upstream_response,
};
use replay::replay;

#[test]
fn first_bytes_of_tls_connections() {
    replay("client_hello", client_hello::check);
}

#[test]
fn lines_of_forwarded_addresses() {
    replay("client_ip", client_ip::check);
}

#[test]
fn whole_connections_of_http1() {
    replay("h1_e2e", h1_e2e::check);
}

#[test]
fn formats() {
    replay("format", format::check);
}

#[test]
fn bodies_of_grpc_web() {
    replay("grpc_web_text", grpc_web_text::check);
}

#[test]
fn load_reports() {
    replay("load_report", load_report::check);
}

#[test]
fn hosts() {
    replay("host", host::check);
}

#[test]
fn paths() {
    replay("path", path::check);
}

#[test]
fn query_parameters() {
    replay("query", query::check);
}

#[test]
fn proxy_headers() {
    replay("proxy_protocol", proxy_protocol::check);
}

#[test]
fn requests_in_parts() {
    replay("request_framer", request_framer::check);
}

#[test]
fn responses_of_backends() {
    replay("upstream_response", upstream_response::check);
}

#[test]
fn tables_of_routes() {
    replay("router", router::check);
}
