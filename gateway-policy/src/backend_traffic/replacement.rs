//! `responseOverride` as a [`ResponseReplacement`].

use std::sync::Arc;

use http::HeaderName;
use towergate_core::format::{FieldText, Format};
use towergate_core::plan::Text;

use super::response_override::{
    BodyType, CustomResponse, CustomResponseBody, OverrideMatch, OverridePathType,
    OverrideRedirect, OverrideSource, ResponseOverride, StatusCodeMatch, StatusCodeType,
};
use crate::FieldError;
use crate::client_traffic::{editable, literal, text_match};
use crate::common::Header;
use crate::field_path::FieldPath;
use crate::parse::{header_name, number, status};
use crate::references::References;
use crate::response_override::{
    Replacement, ReplacementBody, ReplacementRedirect, ReplacementResponse, ReplacementRule,
    ResponseOrigin, ResponseReplacement,
};

/// The key of a ConfigMap that holds a body.
const BODY_KEY: &str = "response.body";

/// Converts the list of replacements.
pub(super) fn replacement(
    at: FieldPath<'_>,
    list: &[ResponseOverride],
    references: &dyn References,
) -> Result<Option<ResponseReplacement>, FieldError> {
    let rules = list.iter().enumerate();
    let rules = rules.map(|(index, item)| rule(at.item(index), item, references).map(Arc::new));
    let rules: Vec<_> = rules.collect::<Result<_, _>>()?;
    Ok((!rules.is_empty()).then_some(ResponseReplacement { rules }))
}

fn rule(
    at: FieldPath<'_>,
    item: &ResponseOverride,
    references: &dyn References,
) -> Result<ReplacementRule, FieldError> {
    let replacement = match (&item.response, &item.redirect) {
        (Some(custom), None) => {
            Replacement::Response(response(at.field("response"), custom, references)?)
        }
        (None, Some(to)) => Replacement::Redirect(redirect(at.field("redirect"), to)?),
        _ => {
            let message = "exactly one of response or redirect must be specified";
            return Err(FieldError::invalid(at, message));
        }
    };
    let match_at = at.field("match");
    let OverrideMatch {
        status_codes,
        response_headers,
    } = item.matches.clone().unwrap_or_default();
    let codes = status_codes.unwrap_or_default();
    let fields = response_headers.unwrap_or_default();
    if codes.is_empty() && fields.is_empty() {
        let message = "at least one of statusCodes or responseHeaders must be specified";
        return Err(FieldError::invalid(match_at, message));
    }
    let codes_at = match_at.field("statusCodes");
    let codes = codes.iter().enumerate();
    let headers_at = match_at.field("responseHeaders");
    let fields = fields.iter().enumerate();
    Ok(ReplacementRule {
        statuses: codes
            .map(|(index, code)| statuses(codes_at.item(index), code))
            .collect::<Result<_, _>>()?,
        headers: fields
            .map(|(index, field)| {
                let at = headers_at.item(index);
                let name = header_name(at.field("name"), field.name.as_deref().unwrap_or_default());
                let value = field.value.clone().unwrap_or_default();
                Ok((name?, text_match(at.field("value"), &value)?))
            })
            .collect::<Result<_, FieldError>>()?,
        origin: match &item.source {
            None | Some(OverrideSource::All) => ResponseOrigin::Any,
            Some(OverrideSource::Local) => ResponseOrigin::Gateway,
            Some(OverrideSource::Backend) => ResponseOrigin::Backend,
            Some(OverrideSource::Other(value)) => {
                return Err(FieldError::unknown_value(at.field("source"), value));
            }
        },
        replacement,
    })
}

/// The inclusive range of statuses that a condition matches.
fn statuses(at: FieldPath<'_>, code: &StatusCodeMatch) -> Result<(u16, u16), FieldError> {
    let required = |field, value: Option<i64>| {
        let missing = || FieldError::invalid(at.field(field), "Required value");
        value.ok_or_else(missing)
    };
    match &code.kind {
        None | Some(StatusCodeType::Value) => {
            let value = status(at.field("value"), required("value", code.value)?)?;
            Ok((value, value))
        }
        Some(StatusCodeType::Range) => {
            let range = code.range.clone().unwrap_or_default();
            let bounds = [range.start, range.end].map(|bound| required("range", bound));
            let [first, last] = bounds.map(|bound| number::<u16>(at.field("range"), Some(bound?)));
            match (first?, last?) {
                (Some(first), Some(last)) if first < last => Ok((first, last)),
                _ => {
                    let message = "end must be greater than start";
                    Err(FieldError::invalid(at.field("range"), message))
                }
            }
        }
        Some(StatusCodeType::Other(value)) => {
            Err(FieldError::unknown_value(at.field("type"), value))
        }
    }
}

fn response(
    at: FieldPath<'_>,
    custom: &CustomResponse,
    references: &dyn References,
) -> Result<ReplacementResponse, FieldError> {
    let CustomResponse {
        content_type,
        body: text,
        status_code,
        header,
    } = custom;
    let header = header.clone().unwrap_or_default();
    let header_at = at.field("header");
    if header.remove.is_some_and(|names| !names.is_empty()) {
        let message = "Remove is not supported for header in CustomResponse";
        return Err(FieldError::invalid(header_at, message));
    }
    let list = |name, list: Option<Vec<Header>>| fields(header_at.field(name), list.as_deref());
    let kind = content_type.as_deref().filter(|kind| !kind.is_empty());
    Ok(ReplacementResponse {
        status: status_code
            .map(|code| response_status(at.field("statusCode"), code))
            .transpose()?,
        content_type: kind
            .map(|kind| literal(at.field("contentType"), kind))
            .transpose()?,
        body: match text {
            Some(text) => body(at.field("body"), text, references)?,
            None => ReplacementBody::default(),
        },
        set: list("set", header.set)?,
        add: list("add", header.add)?,
    })
}

/// Converts the status of a response. A status 1xx is invalid, because a complete response cannot
/// have one.
fn response_status(at: FieldPath<'_>, code: i64) -> Result<u16, FieldError> {
    match status(at, code)? {
        ..200 => {
            let message = format_args!("{code} is not the status of a complete response");
            Err(FieldError::invalid(at, message))
        }
        code => Ok(code),
    }
}

type Fields = Vec<(Text<HeaderName>, Text<Format>)>;

fn fields(at: FieldPath<'_>, list: Option<&[Header]>) -> Result<Fields, FieldError> {
    let list = list.unwrap_or_default().iter().enumerate();
    let field = |(index, header): (usize, &Header)| {
        let at = at.item(index);
        let name = editable(at, header.name.as_deref().unwrap_or_default())?;
        let value = header.value.as_deref().unwrap_or_default();
        // The value must be valid as a header value, not only as a format.
        let parsed = FieldText::parse(value).and_then(|_| value.parse());
        let value = parsed.map_err(|error| FieldError::invalid(at, error))?;
        Ok((name, value))
    };
    list.map(field).collect()
}

/// The text of a body, inline or from a ConfigMap.
fn body(
    at: FieldPath<'_>,
    body: &CustomResponseBody,
    references: &dyn References,
) -> Result<ReplacementBody, FieldError> {
    match &body.kind {
        None | Some(BodyType::Inline) => {
            let at = at.field("inline");
            let text = body.inline.as_deref();
            let text = text.ok_or_else(|| FieldError::invalid(at, "Required value"))?;
            formatted(at, text)
        }
        Some(BodyType::ValueRef) => {
            let at = at.field("valueRef");
            let reference = body.value_ref.clone().unwrap_or_default();
            let values = references.config_map(&at.to_string(), &reference)?;
            let value = values.get(BODY_KEY).or_else(|| values.values().next());
            let value = value.ok_or_else(|| FieldError::invalid(at, "the ConfigMap is empty"))?;
            let text = std::str::from_utf8(value);
            formatted(
                at,
                text.map_err(|_| FieldError::invalid(at, "the body is not UTF-8"))?,
            )
        }
        Some(BodyType::Other(value)) => Err(FieldError::unknown_value(at.field("type"), value)),
    }
}

/// Parses a body that may contain command operators. A `%` that begins no operator is literal, such as that
/// of `width: 100%`.
fn formatted(at: FieldPath<'_>, text: &str) -> Result<ReplacementBody, FieldError> {
    let format = Format::parse_body(text).map_err(|error| FieldError::invalid(at, error))?;
    Ok(match format.literal() {
        Some(text) => ReplacementBody::Plain(text.to_owned()),
        None => ReplacementBody::Format(format.into()),
    })
}

fn redirect(
    at: FieldPath<'_>,
    redirect: &OverrideRedirect,
) -> Result<ReplacementRedirect, FieldError> {
    let OverrideRedirect {
        scheme,
        hostname,
        path,
        port,
        status_code,
    } = redirect.clone();
    let scheme = match scheme {
        Some(super::RedirectScheme::Other(value)) => {
            return Err(FieldError::unknown_value(at.field("scheme"), &value));
        }
        scheme => scheme.map(|scheme| scheme.as_str().to_owned()),
    };
    let path_at = at.field("path");
    let path = match path {
        None => None,
        Some(path) if path.kind == Some(OverridePathType::ReplaceFullPath) => {
            let path = path.replace_full_path.unwrap_or_default();
            if !path.starts_with('/') || http::uri::PathAndQuery::try_from(&*path).is_err() {
                return Err(FieldError::invalid(
                    path_at.field("replaceFullPath"),
                    format_args!("{path:?} is not a path"),
                ));
            }
            Some(path)
        }
        Some(_) => {
            let message = "only ReplaceFullPath is supported for path.type";
            return Err(FieldError::invalid(path_at, message));
        }
    };
    if let Some(name) = &hostname
        && http::uri::Authority::try_from(name.as_str()).is_err()
    {
        let message = format_args!("{name:?} is not a host name");
        return Err(FieldError::invalid(at.field("hostname"), message));
    }
    let status = number(at.field("statusCode"), status_code)?;
    if status.is_some_and(|status| status != 301 && status != 302) {
        return Err(FieldError::invalid(
            at.field("statusCode"),
            "must be 301 or 302",
        ));
    }
    Ok(ReplacementRedirect {
        status,
        scheme,
        host: hostname,
        port: number(at.field("port"), port)?,
        path,
    })
}
