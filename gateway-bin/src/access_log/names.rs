//! Values of an entry in the form of Envoy Gateway's access log.

use std::time::Duration;

use http::Version;
use towergate_core::access_log::Entry;

/// Protocol name such as `HTTP/1.1` or `HTTP/2`.
pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Milliseconds, rounded down.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The response status, 0 if none was sent.
pub(super) fn status(entry: &Entry) -> u16 {
    entry.status.map_or(0, |status| status.as_u16())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use http::{HeaderValue, Method, StatusCode};
    use towergate_core::access_log::RuleName;
    use towergate_core::plan::{RouteId, RouteKind};

    use super::*;

    /// A successful request.
    pub(crate) fn entry() -> Entry {
        Entry {
            start: UNIX_EPOCH + Duration::from_millis(1_709_251_199_042),
            duration: Duration::from_micros(12_900),
            request_duration: None,
            response_duration: None,
            connection: None,
            method: Some(Method::GET),
            path: "/a?b=\"c\"".to_owned(),
            protocol: Some(Version::HTTP_2),
            status: Some(StatusCode::OK),
            flags: Default::default(),
            details: "via_upstream".into(),
            upstream_failure: None,
            bytes_received: 3,
            bytes_sent: 14,
            upstream_time: Some(Duration::from_millis(11)),
            forwarded_for: Some(HeaderValue::from_static("192.0.2.1")),
            user_agent: Some(HeaderValue::from_bytes(b"caf\xc3\xa9 \xff").expect("it is a value")),
            request_id: None,
            authority: Some("app.example.com".into()),
            upstream_host: Some(([10, 0, 0, 1], 8080).into()),
            upstream_local: Some(([10, 0, 0, 2], 50000).into()),
            upstream_protocol: Some(Version::HTTP_11),
            attempts: 1,
            grpc_status: None,
            downstream_local: ([127, 0, 0, 1], 8443).into(),
            client: [192, 0, 2, 1].into(),
            client_port: 0,
            peer: ([127, 0, 0, 1], 50001).into(),
            server_name: Some("app.example.com".into()),
            tls: None,
            client_certificate: None,
            fingerprints: None,
            fields: None,
            rule: Some(Arc::new(RuleName {
                route: Arc::new(RouteId {
                    kind: RouteKind::Http,
                    namespace: "team-a".to_owned(),
                    name: "app".to_owned(),
                }),
                rule: 1,
                matched: 2,
                hostname: "*.example.com".into(),
            })),
        }
    }

    /// A request that no rule matches and whose client closed the connection before the response.
    pub(crate) fn unrouted() -> Entry {
        Entry {
            status: None,
            flags: "NR,DC".into(),
            details: Default::default(),
            upstream_time: None,
            forwarded_for: None,
            user_agent: None,
            authority: None,
            upstream_host: None,
            upstream_local: None,
            server_name: None,
            rule: None,
            ..entry()
        }
    }

    /// A connection of a TCPRoute.
    pub(crate) fn stream() -> Entry {
        let mut stream = unrouted();
        stream.method = None;
        stream.path = String::new();
        stream.protocol = None;
        stream.flags = Default::default();
        stream.details = "downstream_remote_disconnect".into();
        stream.upstream_host = Some(([10, 0, 0, 1], 5432).into());
        stream.client_port = 40000;
        stream.rule = entry().rule.map(|rule| {
            let route = Arc::new(RouteId {
                kind: RouteKind::Tcp,
                ..(*rule.route).clone()
            });
            let mut rule = (*rule).clone();
            rule.route = route;
            rule.into()
        });
        stream
    }

    #[test]
    fn dots_of_the_hostname_become_underscores() {
        let mut out = Vec::new();

        let rule = entry().rule.expect("it has one");
        rule.write_route_name(&mut out);

        assert_eq!(
            String::from_utf8_lossy(&out),
            "httproute/team-a/app/rule/1/match/2/*_example_com"
        );
    }
}
