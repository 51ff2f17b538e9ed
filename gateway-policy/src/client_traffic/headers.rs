//! `spec.headers` of a ClientTrafficPolicy as settings of the plan.

use std::collections::HashSet;

use http::HeaderValue;
use towergate_core::filter::{HeaderEdit, HeaderEdits};
use towergate_core::plan::{self, Text, TextMatch};

use super::model::{
    EnvoyHeaders, HostSettings, RequestId, UnderscoresAction, XForwardedClientCert, XfccDetail,
    XfccMode,
};
use crate::FieldError;
use crate::common::{Header, HeaderChange, StringMatch, StringMatchKind};
use crate::parse::{bytes, header_name};

/// Settings of header handling.
pub(super) fn header_settings(
    headers: Option<&EnvoyHeaders>,
) -> Result<plan::HeaderSettings, FieldError> {
    let Some(headers) = headers else {
        return Ok(plan::HeaderSettings::default());
    };
    let EnvoyHeaders {
        enable_envoy_headers,
        disable_rate_limit_headers,
        x_forwarded_client_cert,
        with_underscores_action,
        preserve_x_request_id,
        request_id,
        early_request_headers,
        late_response_headers,
        max_request_header_limit,
        host,
    } = headers;
    if preserve_x_request_id.is_some() && request_id.is_some() {
        return Err(FieldError::invalid(
            "spec.headers",
            "preserveXRequestID and requestID cannot both be set.",
        ));
    }
    let limit = bytes(
        "spec.headers.maxRequestHeaderLimit",
        max_request_header_limit.as_ref(),
        1024,
        8192 * 1024,
    )?;
    let defaults = plan::HeaderSettings::default();
    Ok(plan::HeaderSettings {
        envoy_headers: enable_envoy_headers.unwrap_or(false),
        request_id: request_id_mode(*preserve_x_request_id, request_id.as_ref())?,
        underscores: underscores(with_underscores_action.as_ref())?,
        xfcc: xfcc(x_forwarded_client_cert.as_ref())?,
        xfcc_details: xfcc_details(x_forwarded_client_cert.as_ref())?,
        early: edits(
            "spec.headers.earlyRequestHeaders",
            early_request_headers.as_ref(),
        )?,
        late: edits(
            "spec.headers.lateResponseHeaders",
            late_response_headers.as_ref(),
        )?,
        strip_trailing_host_dot: strips_dot(host.as_ref()),
        // Envoy counts in KiB.
        max_request_head: limit.map_or(defaults.max_request_head, |limit| {
            usize::try_from(limit.next_multiple_of(1024)).unwrap_or(usize::MAX)
        }),
        rate_limit_headers: *disable_rate_limit_headers != Some(true),
    })
}

fn strips_dot(host: Option<&HostSettings>) -> bool {
    host.is_some_and(|host| host.strip_trailing_host_dot == Some(true))
}

fn request_id_mode(
    preserve: Option<bool>,
    mode: Option<&RequestId>,
) -> Result<plan::RequestIdMode, FieldError> {
    Ok(match mode {
        None if preserve == Some(true) => plan::RequestIdMode::PreserveOrGenerate,
        None | Some(RequestId::Generate) => plan::RequestIdMode::Generate,
        Some(RequestId::PreserveOrGenerate) => plan::RequestIdMode::PreserveOrGenerate,
        Some(RequestId::Preserve) => plan::RequestIdMode::Preserve,
        Some(RequestId::Disable) => plan::RequestIdMode::Disable,
        Some(RequestId::Other(word)) => {
            return Err(FieldError::unknown_value("spec.headers.requestID", word));
        }
    })
}

fn underscores(action: Option<&UnderscoresAction>) -> Result<plan::Underscores, FieldError> {
    Ok(match action {
        None | Some(UnderscoresAction::RejectRequest) => plan::Underscores::Reject,
        Some(UnderscoresAction::Allow) => plan::Underscores::Allow,
        Some(UnderscoresAction::DropHeader) => plan::Underscores::Drop,
        Some(UnderscoresAction::Other(word)) => {
            return Err(FieldError::unknown_value(
                "spec.headers.withUnderscoresAction",
                word,
            ));
        }
    })
}

fn xfcc(settings: Option<&XForwardedClientCert>) -> Result<plan::XfccMode, FieldError> {
    let Some(XForwardedClientCert {
        mode,
        cert_details_to_add: _,
    }) = settings
    else {
        return Ok(plan::XfccMode::Sanitize);
    };
    Ok(match mode {
        None | Some(XfccMode::Sanitize) => plan::XfccMode::Sanitize,
        Some(XfccMode::ForwardOnly) => plan::XfccMode::ForwardOnly,
        Some(XfccMode::AppendForward) => plan::XfccMode::AppendForward,
        Some(XfccMode::SanitizeSet) => plan::XfccMode::SanitizeSet,
        Some(XfccMode::AlwaysForwardOnly) => plan::XfccMode::AlwaysForwardOnly,
        Some(XfccMode::Other(word)) => {
            return Err(FieldError::unknown_value(
                "spec.headers.xForwardedClientCert.mode",
                word,
            ));
        }
    })
}

/// What is told of a client's certificate beside `By` and `Hash`.
fn xfcc_details(settings: Option<&XForwardedClientCert>) -> Result<plan::XfccDetails, FieldError> {
    const FIELD: &str = "spec.headers.xForwardedClientCert.certDetailsToAdd";
    let added = settings.and_then(|settings| settings.cert_details_to_add.as_deref());
    let mut details = plan::XfccDetails::default();
    for detail in added.unwrap_or_default() {
        match detail {
            XfccDetail::Subject => details.subject = true,
            XfccDetail::Cert => details.cert = true,
            XfccDetail::Chain => details.chain = true,
            XfccDetail::Dns => details.dns = true,
            XfccDetail::Uri => details.uri = true,
            XfccDetail::Other(word) => return Err(FieldError::unknown_value(FIELD, word)),
        }
    }
    Ok(details)
}

/// Edits in the order of Envoy: what adds first, what removes last and wins. Of several entries of
/// one operation for the same name the first counts, as in Gateway API.
fn edits(field: &str, change: Option<&HeaderChange>) -> Result<HeaderEdits, FieldError> {
    let Some(HeaderChange {
        set,
        add,
        add_if_absent,
        remove,
        remove_on_match,
    }) = change
    else {
        return Ok(HeaderEdits::default());
    };
    let mut edits = Vec::new();
    for (list, operation, make) in [
        (add, "add", HeaderEdit::Add as fn(_, _) -> _),
        (set, "set", HeaderEdit::Set),
        (add_if_absent, "addIfAbsent", HeaderEdit::AddIfAbsent),
    ] {
        let mut seen = HashSet::new();
        for header in list.iter().flatten() {
            let (name, value) = field_line(&format!("{field}.{operation}"), header)?;
            if seen.insert(name.to_string()) {
                edits.push(make(name, value));
            }
        }
    }
    for name in remove.iter().flatten() {
        let name = editable(&format!("{field}.remove"), name)?;
        edits.push(HeaderEdit::Remove(name));
    }
    for matching in remove_on_match.iter().flatten() {
        let field = format!("{field}.removeOnMatch");
        edits.push(HeaderEdit::RemoveMatching(lower_case(text_match(
            &field, matching,
        )?)));
    }
    Ok(HeaderEdits(edits))
}

fn field_line(
    field: &str,
    header: &Header,
) -> Result<(Text<http::HeaderName>, Text<HeaderValue>), FieldError> {
    let Header { name, value } = header;
    let name = editable(field, name.as_deref().unwrap_or_default())?;
    let value = literal(field, value.as_deref().unwrap_or_default())?;
    Ok((name, value))
}

/// A name that may be edited: not one that says where a message ends or whom it is for.
fn editable(field: &str, name: &str) -> Result<Text<http::HeaderName>, FieldError> {
    let name = header_name(field, name)?;
    match name.as_str() {
        "host" | "connection" | "content-length" | "transfer-encoding" => Err(FieldError::invalid(
            field,
            format_args!("{name} cannot be edited"),
        )),
        _ => Ok(name),
    }
}

/// A value without command operators, in which `%%` stands for `%`.
fn literal(field: &str, text: &str) -> Result<Text<HeaderValue>, FieldError> {
    let plain = text.replace("%%", "");
    if plain.contains('%') {
        return Err(FieldError::invalid(
            field,
            format_args!("command operators are not supported: {text:?}"),
        ));
    }
    let value = text.replace("%%", "%");
    if value.trim() != value || !value.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')) {
        return Err(FieldError::invalid(
            field,
            format_args!("{text:?} is no value of a header"),
        ));
    }
    HeaderValue::from_str(&value)
        .map(Text::from)
        .map_err(|error| FieldError::invalid(field, error))
}

/// A match of the plan.
pub(super) fn text_match(field: &str, matching: &StringMatch) -> Result<TextMatch, FieldError> {
    let StringMatch { kind, value } = matching;
    let value = value.clone().unwrap_or_default();
    Ok(match kind {
        None | Some(StringMatchKind::Exact) => TextMatch::Exact(value),
        Some(StringMatchKind::Prefix) => TextMatch::Prefix(value),
        Some(StringMatchKind::Suffix) => TextMatch::Suffix(value),
        Some(StringMatchKind::RegularExpression) => {
            TextMatch::regex(&value).map_err(|error| FieldError::invalid(field, error))?
        }
        Some(StringMatchKind::Other(word)) => return Err(FieldError::unknown_value(field, word)),
    })
}

/// Names of headers are compared in lower case.
fn lower_case(matching: TextMatch) -> TextMatch {
    match matching {
        TextMatch::Exact(text) => TextMatch::Exact(text.to_ascii_lowercase()),
        TextMatch::Prefix(text) => TextMatch::Prefix(text.to_ascii_lowercase()),
        TextMatch::Suffix(text) => TextMatch::Suffix(text.to_ascii_lowercase()),
        regex @ TextMatch::Regex(_) => regex,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: serde_json::Value) -> Result<HeaderEdits, FieldError> {
        edits("f", Some(&serde_json::from_value(json).unwrap()))
    }

    fn one(name: &str, value: &str) -> Result<HeaderEdits, FieldError> {
        change(serde_json::json!({"set": [{"name": name, "value": value}]}))
    }

    #[test]
    fn removing_comes_last_and_so_wins() {
        let edits = change(serde_json::json!({
            "removeOnMatch": [{"type": "Prefix", "value": "X-Drop-"}],
            "remove": ["x-a"],
            "addIfAbsent": [{"name": "x-c", "value": "3"}],
            "set": [{"name": "x-b", "value": "2"}],
            "add": [{"name": "X-A", "value": "1"}],
        }));

        let shown = format!("{:?}", edits.unwrap().0);
        assert_eq!(
            shown,
            r#"[Add("x-a", "1"), Set("x-b", "2"), AddIfAbsent("x-c", "3"), Remove("x-a"), RemoveMatching(Prefix("x-drop-"))]"#
        );
    }

    #[test]
    fn of_entries_for_one_name_the_first_counts() {
        let edits = change(serde_json::json!({
            "set": [{"name": "x-a", "value": "1"}, {"name": "X-A", "value": "2"}],
        }));

        assert_eq!(format!("{:?}", edits.unwrap().0), r#"[Set("x-a", "1")]"#);
    }

    #[test]
    fn names_and_values_that_are_none_are_refused() {
        for (name, value) in [
            ("", "empty"),
            ("Example/Header/1", ":/"),
            ("Example:Header:3", ":/"),
            ("example-header-2", "multi-line\n"),
            ("example-header-4", "  invalid"),
            ("x-a", "%DOWNSTREAM_REMOTE_ADDRESS%"),
            ("x-a", "100%"),
            ("Host", "other.test"),
            ("Transfer-Encoding", "chunked"),
        ] {
            assert!(one(name, value).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn a_doubled_percent_sign_is_one() {
        let edits = one("x-a", "100%%").unwrap();

        assert_eq!(format!("{:?}", edits.0), r#"[Set("x-a", "100%")]"#);
    }
}
