//! Responses over gRPC: `CheckResponse`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use prost::Message;
use towergate_core::LocalReply;

use super::changes::is_editable;
use super::message::{CheckResponse, DeniedResponse, HeaderValueOption, OkResponse, Struct};
use super::{
    EditAction, GrpcAuthService, HeaderEdit, QueryEdits, RequestChanges, ServiceError, Verdict,
};

impl GrpcAuthService {
    /// The decision in a `CheckResponse`.
    ///
    /// A response with status OK that contains a denial is a denial.
    ///
    /// # Errors
    /// The message cannot be decoded, reports an error, or allows the request with invalid changes. From a
    /// denial, invalid fields are removed instead.
    pub fn read_answer(message: Bytes) -> Result<Verdict, ServiceError> {
        let answer = CheckResponse::decode(message)?;
        let allowed = answer.status.is_none_or(|status| status.code == 0);
        match (allowed, answer.denied_response) {
            (_, Some(denied)) => Ok(deny(denied)),
            (_, None) if answer.error_response.is_some() => Err(ServiceError::Reported),
            (false, None) => Ok(deny(DeniedResponse::default())),
            (true, None) => {
                let mut ok = answer.ok_response.unwrap_or_default();
                let metadata = ok.dynamic_metadata.take().or(answer.dynamic_metadata);
                let mut changes = allow(ok)?;
                changes.metadata = metadata.map(Struct::into_json).unwrap_or_default();
                Ok(Verdict::Allow(changes))
            }
        }
    }
}

fn deny(denied: DeniedResponse) -> Verdict {
    let code = denied.status.map_or(0, |status| status.code);
    let status = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| (200..600).contains(&status.as_u16()));
    let mut reply = LocalReply::forbidden("ext_authz_denied")
        .with_flag("UAEX")
        .with_body(denied.body);
    reply.status = status.unwrap_or(StatusCode::FORBIDDEN);
    for option in denied.headers {
        if let Ok((name, value)) = field(&option)
            && is_editable(&name)
        {
            reply.headers.push((name, value));
        }
    }
    Verdict::Deny(reply)
}

fn allow(ok: OkResponse) -> Result<RequestChanges, ServiceError> {
    let mut changes = RequestChanges::default();
    for option in &ok.headers {
        let key = option.header.as_ref().map_or("", |header| &*header.key);
        if key == ":path" {
            let path = option.header.as_ref().map_or("", |header| &*header.value);
            let path = Some(path).filter(|path| path.starts_with('/'));
            let path = path.and_then(|path| path.parse().ok());
            changes.path = Some(path.ok_or(ServiceError::Change("path"))?);
        } else {
            let (name, value) = field(option)?;
            let action = request_action(option)?;
            changes.edits.push(HeaderEdit {
                name,
                value,
                action,
            });
        }
    }
    // Names of pseudo-header fields are not valid field names, so such fields cannot be removed.
    let removed = ok.headers_to_remove.iter();
    changes.removed = removed.filter_map(|name| name.parse().ok()).collect();
    for option in &ok.response_headers_to_add {
        let (name, value) = field(option)?;
        if is_editable(&name) {
            let action = response_action(option)?;
            changes.response_edits.push(HeaderEdit {
                name,
                value,
                action,
            });
        }
    }
    let set = ok.query_parameters_to_set.into_iter();
    changes.query = QueryEdits {
        set: set
            .map(|parameter| (parameter.key, parameter.value))
            .collect(),
        remove: ok.query_parameters_to_remove,
    };
    Ok(changes)
}

fn field(option: &HeaderValueOption) -> Result<(HeaderName, HeaderValue), ServiceError> {
    let invalid = || ServiceError::Change("header field");
    let header = option.header.as_ref().ok_or_else(invalid)?;
    let value = if header.value.is_empty() {
        &header.raw_value[..]
    } else {
        header.value.as_bytes()
    };
    let name = HeaderName::from_bytes(header.key.as_bytes()).map_err(|_| invalid())?;
    let value = HeaderValue::from_bytes(value).map_err(|_| invalid())?;
    Ok((name, value))
}

/// The action for a field of the request. By default, the field replaces the client's field of the same name,
/// so that a request never has both.
fn request_action(option: &HeaderValueOption) -> Result<EditAction, ServiceError> {
    match (
        option.append.map(|append| append.value),
        option.append_action,
    ) {
        (Some(true), _) => Ok(EditAction::Append),
        (Some(false), _) | (None, 0) => Ok(EditAction::Overwrite),
        (None, action) => explicit_action(action),
    }
}

/// The action for a field of the response. By default a line is added.
fn response_action(option: &HeaderValueOption) -> Result<EditAction, ServiceError> {
    match (
        option.append.map(|append| append.value),
        option.append_action,
    ) {
        (Some(true), _) | (None, 0) => Ok(EditAction::Add),
        (Some(false), _) => Ok(EditAction::Overwrite),
        (None, action) => explicit_action(action),
    }
}

fn explicit_action(action: i32) -> Result<EditAction, ServiceError> {
    match action {
        1 => Ok(EditAction::AddIfAbsent),
        2 => Ok(EditAction::Overwrite),
        3 => Ok(EditAction::OverwriteExisting),
        _ => Err(ServiceError::Change("append_action")),
    }
}
