//! Any response of an authorization service decodes to a decision or an error. A response that allows the
//! request changes neither its host nor its framing. A response that denies it has a status and no hop-by-hop
//! fields.
//!
//! Input: if the first byte is odd, a gRPC message follows. If it is even, it selects the status, and header
//! fields follow, one per line.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use towergate_policy::ext_auth::{
    AnswerFields, GrpcAuthService, HttpAuthService, ServiceError, Verdict, is_editable,
};

/// Checks the property for one input.
pub fn check(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let verdict = if first % 2 == 1 {
        GrpcAuthService::read_answer(Bytes::copy_from_slice(rest))
    } else {
        read_http(*first, rest)
    };
    match verdict {
        Ok(Verdict::Allow(changes)) => {
            let request = Request::post("/a?b=c").header("host", "app.test");
            let (mut head, ()) = request
                .header("content-length", "5")
                .body(())
                .expect("valid")
                .into_parts();
            let before = head.uri.clone();
            let applied = changes.apply_to_head(&mut head);
            assert_eq!(head.headers["host"], "app.test");
            assert_eq!(head.headers["content-length"], "5");
            assert!(!head.headers.contains_key("transfer-encoding"));
            assert!(head.uri.path().starts_with('/'));
            assert!(applied.is_ok() || head.uri == before);
        }
        Ok(Verdict::Deny(reply)) => {
            assert!((200..600).contains(&reply.status.as_u16()));
            assert!(reply.headers.iter().all(|(name, _)| is_editable(name)));
        }
        Err(_) => {}
    }
}

fn read_http(first: u8, rest: &[u8]) -> Result<Verdict, ServiceError> {
    let status = StatusCode::from_u16(200 + u16::from(first / 2) * 5).unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n').take(64) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let service = HttpAuthService {
        headers_to_backend: AnswerFields::All,
        ..HttpAuthService::default()
    };
    service.read_answer(status, headers, Bytes::copy_from_slice(rest))
}
