//! Access log lines in a user-defined format with Envoy's command operators.

use towergate_core::access_log::{Entry, LoggedFields};
use towergate_core::format::{Format, FormatContext};
use towergate_policy::envoy_proxy::LogLine;

/// Text in place of an operator without a value.
const MISSING: &str = "-";

/// Writes `entry` as one line. `names` are the header fields that `format` reads.
pub(super) fn write(format: &LogLine, names: &LoggedFields, entry: &Entry, out: &mut Vec<u8>) {
    let context = FormatContext::of_entry(entry, names);
    match format {
        LogLine::Text(format) => {
            let start = out.len();
            format.write_or(&context, MISSING, out);
            // A value from the client must not end the line.
            for byte in &mut out[start..] {
                if byte.is_ascii_control() {
                    *byte = b' ';
                }
            }
        }
        LogLine::Json(fields) => {
            let mut separator = b'{';
            for (name, format) in fields {
                out.push(separator);
                separator = b',';
                // Writing to memory cannot fail.
                let _ = serde_json::to_writer(&mut *out, name);
                out.push(b':');
                write_json(format, &context, out);
            }
            if fields.is_empty() {
                out.push(b'{');
            }
            out.push(b'}');
        }
    }
    out.push(b'\n');
}

/// Writes a value of a JSON format: a number or `null` if it is a single operator, otherwise a string.
fn write_json(format: &Format, context: &FormatContext<'_>, out: &mut Vec<u8>) {
    if format.is_absent(context) {
        out.extend_from_slice(b"null");
        return;
    }
    let mut text = Vec::new();
    format.write_or(context, MISSING, &mut text);
    if format.is_number() {
        out.append(&mut text);
        return;
    }
    let _ = serde_json::to_writer(out, &String::from_utf8_lossy(&text));
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use towergate_core::access_log::LoggedValues;

    use super::super::names::tests::{entry, stream, unrouted};

    use super::*;

    fn line(format: &str, entry: &Entry) -> String {
        let format: LogLine = format.parse().expect("the format is valid");
        let mut out = Vec::new();
        write(&format, &format.fields(), entry, &mut out);
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn a_text_has_the_values_of_the_request_and_a_dash_for_missing_ones() {
        let format = "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):3% %RESPONSE_CODE% %REQ(X-REQUEST-ID)% 5%%";

        assert_eq!(line(format, &entry()), "GET /a? 200 - 5%\n");
    }

    #[test]
    fn a_json_object_has_numbers_texts_and_nulls() {
        let format = r#"{"code": "%RESPONSE_CODE%", "id": "%REQ(X-REQUEST-ID)%", "line": "%REQ(:METHOD)% %REQ(:PATH)%"}"#;

        assert_eq!(
            line(format, &entry()),
            concat!(r#"{"code":200,"id":null,"line":"GET /a?b=\"c\""}"#, "\n")
        );
    }

    #[test]
    fn header_fields_have_the_values_of_request_and_response() {
        let mut entry = entry();
        let value = |text| Some(HeaderValue::from_static(text));
        entry.fields = Some(Box::new(LoggedValues {
            request: vec![None, value("b")],
            response: vec![value("text/plain")],
        }));
        let format =
            r#"{"a": "%REQ(X-A)%", "ab": "%REQ(X-A?X-B)%", "r": "%RESP(CONTENT-TYPE):4%"}"#;

        let expected = concat!(r#"{"a":null,"ab":"b","r":"text"}"#, "\n");
        assert_eq!(line(format, &entry), expected);
        entry.fields = None;
        assert_eq!(line("%REQ(X-A?X-B)%", &entry), "-\n");
    }

    #[test]
    fn operators_of_header_values_have_values_in_a_line() {
        let format = "%PATH(NQ)% %QUERY_PARAM(b)% %REQ_WITHOUT_QUERY(:PATH)% %START_TIME(%Y)% %CONNECTION_ID%";

        assert_eq!(line(format, &entry()), "/a \"c\" /a 2024 -\n");
        let numbers = r#"{"a": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "b": "%RESPONSE_DURATION%", "c": "%UPSTREAM_PROTOCOL%"}"#;
        let expected = concat!(r#"{"a":1,"b":null,"c":"HTTP/1.1"}"#, "\n");
        assert_eq!(line(numbers, &entry()), expected);
    }

    #[test]
    fn no_value_of_the_client_ends_a_line() {
        let mut entry = entry();
        entry.path = "/\n\u{1b}[0m".to_owned();

        assert_eq!(line("%REQ(:PATH)%", &entry), "/  [0m\n");
    }

    #[test]
    fn every_operator_of_the_default_format_agrees_with_it() {
        for entry in [entry(), unrouted(), stream()] {
            let mut out = Vec::new();
            super::super::json::write(&entry, &mut out);
            let default: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
            for (field, operator) in [
                ("start_time", "%START_TIME%"),
                ("method", "%REQ(:METHOD)%"),
                ("x-envoy-origin-path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
                ("protocol", "%PROTOCOL%"),
                ("response_code", "%RESPONSE_CODE%"),
                ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
                (
                    "connection_termination_details",
                    "%CONNECTION_TERMINATION_DETAILS%",
                ),
                ("bytes_received", "%BYTES_RECEIVED%"),
                ("bytes_sent", "%BYTES_SENT%"),
                ("duration", "%DURATION%"),
                (
                    "x-envoy-upstream-service-time",
                    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
                ),
                ("x-forwarded-for", "%REQ(X-FORWARDED-FOR)%"),
                ("user-agent", "%REQ(USER-AGENT)%"),
                ("x-request-id", "%REQ(X-REQUEST-ID)%"),
                (":authority", "%REQ(:AUTHORITY)%"),
                ("upstream_host", "%UPSTREAM_HOST%"),
                ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
                ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
                ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
                ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
                ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
                ("route_name", "%ROUTE_NAME%"),
            ] {
                let format = serde_json::json!({ field: operator }).to_string();
                let own: serde_json::Value =
                    serde_json::from_str(&line(&format, &entry)).expect("it is JSON");
                assert_eq!(own[field], default[field], "{field}");
            }
        }
    }
}
