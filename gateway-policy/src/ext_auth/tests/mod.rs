//! Check requests and responses.

mod over_grpc;
mod over_http;

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, request};
use prost::Message;
use towergate_core::LocalReply;
use towergate_core::plan::Text;
use towergate_core::policy::RequestFacts;

use super::body::SentPart;
use super::grpc_service::GrpcFacts;
use super::message::{
    BoolValue, CheckRequest, CheckResponse, DeniedResponse, HeaderField, HeaderValueOption,
    HttpRequest, HttpStatus, OkResponse, QueryParameter, RpcStatus,
};
use super::*;
use crate::secret::SecretText;

const TIMEOUT: Duration = Duration::from_secs(10);

fn head(path: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::get(path).header(HOST, "app.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn names(names: &[&str]) -> Vec<Text<HeaderName>> {
    let parsed = names.iter().map(|name| name.parse::<HeaderName>().unwrap());
    parsed.map(Text::from).collect()
}

fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let all = all.iter().map(|(name, value)| {
        let value = HeaderValue::from_static(value);
        (HeaderName::from_static(name), value)
    });
    all.collect()
}

fn denied(verdict: Verdict) -> LocalReply {
    match verdict {
        Verdict::Deny(reply) => reply,
        Verdict::Allow(changes) => panic!("allowed: {changes:?}"),
    }
}

fn allowed(verdict: Verdict) -> RequestChanges {
    match verdict {
        Verdict::Allow(changes) => changes,
        Verdict::Deny(reply) => panic!("denied: {reply:?}"),
    }
}
