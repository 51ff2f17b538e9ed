//! Envoy Gateway's default access log format: one JSON object per line with 24 fields in this order.

use std::io::Write;

use http::HeaderValue;
use towergate_core::access_log::{Entry, RuleName};
use towergate_core::format::write_rfc3339;

use super::names;

/// Writes `entry` as one line.
pub(super) fn write(entry: &Entry, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    object.raw("start_time", |out| {
        out.push(b'"');
        write_rfc3339(out, entry.start);
        out.push(b'"');
    });
    object.text(
        "method",
        entry.method.as_ref().map(|method| method.as_str()),
    );
    let path = Some(&*entry.path).filter(|path| !path.is_empty());
    object.text("x-envoy-origin-path", path);
    object.text("protocol", entry.protocol.map(names::protocol));
    object.number("response_code", names::status(entry).into());
    object.text(
        "response_flags",
        Some(if entry.flags.is_empty() {
            "-"
        } else {
            &entry.flags
        }),
    );
    let details = Some(&*entry.details).filter(|details| !details.is_empty());
    // Entries of TLS and TCP connections have `connection_termination_details`, those of requests
    // `response_code_details`.
    let stream = entry.rule.as_deref().is_some_and(RuleName::is_stream);
    object.text("response_code_details", details.filter(|_| !stream));
    object.text("connection_termination_details", details.filter(|_| stream));
    object.text(
        "upstream_transport_failure_reason",
        entry.upstream_failure.as_deref(),
    );
    object.number("bytes_received", entry.bytes_received);
    object.number("bytes_sent", entry.bytes_sent);
    object.number("duration", names::millis(entry.duration));
    object.shown(
        "x-envoy-upstream-service-time",
        entry.upstream_time.map(names::millis),
    );
    object.header("x-forwarded-for", entry.forwarded_for.as_ref());
    object.header("user-agent", entry.user_agent.as_ref());
    object.header("x-request-id", entry.request_id.as_ref());
    object.text(":authority", entry.authority.as_deref());
    object.shown("upstream_host", entry.upstream_host.as_ref());
    // A direct response has a route but no cluster.
    let direct = entry.details == "direct_response";
    object.rule(
        "upstream_cluster",
        entry.rule.as_deref().filter(|_| !direct),
        RuleName::write_cluster_name,
    );
    object.shown("upstream_local_address", entry.upstream_local);
    object.shown("downstream_local_address", Some(entry.downstream_local));
    let client = std::net::SocketAddr::new(entry.client, entry.client_port);
    object.shown("downstream_remote_address", Some(client));
    object.text("requested_server_name", entry.server_name.as_deref());
    let route = entry.rule.as_deref().filter(|_| !stream);
    object.rule("route_name", route, RuleName::write_route_name);
    object.end();
}

/// Serializes a JSON object field by field.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            separator: b'{',
        }
    }

    fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }

    fn raw(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        value(self.out);
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        self.raw(name, |out| {
            // Writing to memory cannot fail; `None` becomes `null`.
            let _ = serde_json::to_writer(out, &value);
        });
    }

    fn header(&mut self, name: &str, value: Option<&HeaderValue>) {
        let value = value.map(|value| String::from_utf8_lossy(value.as_bytes()));
        self.text(name, value.as_deref());
    }

    fn number(&mut self, name: &str, value: u64) {
        self.raw(name, |out| {
            let _ = write!(out, "{value}");
        });
    }

    /// Writes a value whose text needs no escaping.
    fn shown(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        self.raw(name, |out| {
            let _ = match value {
                Some(value) => write!(out, "\"{value}\""),
                None => write!(out, "null"),
            };
        });
    }

    fn rule(&mut self, name: &str, rule: Option<&RuleName>, write: fn(&RuleName, &mut Vec<u8>)) {
        self.raw(name, |out| match rule {
            Some(rule) => {
                out.push(b'"');
                write(rule, out);
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::tests::{entry, stream, unrouted};
    use super::*;

    fn line(entry: &Entry) -> String {
        let mut out = Vec::new();
        write(entry, &mut out);
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn fields_and_order_match_envoy_gateway() {
        assert_eq!(
            line(&entry()),
            concat!(
                r#"{"start_time":"2024-02-29T23:59:59.042Z","method":"GET","x-envoy-origin-path":"/a?b=\"c\"","#,
                r#""protocol":"HTTP/2","response_code":200,"response_flags":"-","#,
                r#""response_code_details":"via_upstream","connection_termination_details":null,"#,
                r#""upstream_transport_failure_reason":null,"bytes_received":3,"bytes_sent":14,"duration":12,"#,
                r#""x-envoy-upstream-service-time":"11","x-forwarded-for":"192.0.2.1","user-agent":"café �","#,
                r#""x-request-id":null,":authority":"app.example.com","upstream_host":"10.0.0.1:8080","#,
                r#""upstream_cluster":"httproute/team-a/app/rule/1","upstream_local_address":"10.0.0.2:50000","#,
                r#""downstream_local_address":"127.0.0.1:8443","downstream_remote_address":"192.0.2.1:0","#,
                r#""requested_server_name":"app.example.com","#,
                r#""route_name":"httproute/team-a/app/rule/1/match/2/*_example_com"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn missing_values_are_null() {
        let value: serde_json::Value =
            serde_json::from_str(&line(&unrouted())).expect("it is JSON");

        assert_eq!(value.as_object().map(serde_json::Map::len), Some(24));
        assert_eq!(value["response_code"], 0);
        assert_eq!(value["response_flags"], "NR,DC");
        for name in [
            "response_code_details",
            "upstream_host",
            "route_name",
            "upstream_cluster",
            ":authority",
        ] {
            assert!(value[name].is_null(), "{name}");
        }
    }

    #[test]
    fn a_tcp_connection_has_a_termination_and_a_cluster_but_no_route() {
        let value: serde_json::Value = serde_json::from_str(&line(&stream())).expect("it is JSON");

        assert_eq!(value["upstream_cluster"], "tcproute/team-a/app/rule/-1");
        let end = &value["connection_termination_details"];
        assert_eq!(end, "downstream_remote_disconnect");
        assert_eq!(value["upstream_host"], "10.0.0.1:5432");
        assert_eq!(value["downstream_remote_address"], "192.0.2.1:40000");
        assert_eq!(value["response_code"], 0);
        for name in [
            "method",
            "x-envoy-origin-path",
            "protocol",
            "response_code_details",
            "route_name",
        ] {
            assert!(value[name].is_null(), "{name}");
        }
    }

    #[test]
    fn a_redirect_has_a_route_but_no_cluster() {
        let mut entry = entry();
        entry.details = "direct_response".into();

        let value: serde_json::Value = serde_json::from_str(&line(&entry)).expect("it is JSON");

        assert!(value["upstream_cluster"].is_null());
        assert!(value["route_name"].is_string());
    }

    #[test]
    fn control_characters_of_a_path_are_escaped() {
        let mut entry = entry();
        entry.path = "/\n\"}{\u{2028}\u{0}".to_owned();

        let line = line(&entry);

        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(value["x-envoy-origin-path"], entry.path);
    }
}
