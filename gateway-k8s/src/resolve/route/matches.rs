//! What requests of a rule are like.

use towergate_core::plan::{GrpcMethodMatch, Match, NameMatch, PathMatch, TextMatch};

use crate::api::grpc_route::{GrpcMethodMatch as GrpcMethod, GrpcRouteMatch};
use crate::api::http_route::{HttpPathMatch, HttpRouteMatch, HttpValueMatch};

/// The matches of a rule of an HTTPRoute; without any, every request.
///
/// # Errors
/// What is wrong with one of them, as a sentence.
pub(super) fn http(matches: &[HttpRouteMatch]) -> Result<Vec<Match>, String> {
    if matches.is_empty() {
        return Ok(vec![Match::default()]);
    }
    all(matches, http_match)
}

/// Not collected: that makes room for four, where nearly all rules have one, of thousands of rules.
fn all<M>(matches: &[M], one: impl Fn(&M) -> Result<Match, String>) -> Result<Vec<Match>, String> {
    let mut all = Vec::with_capacity(matches.len());
    for (at, written) in matches.iter().enumerate() {
        all.push(one(written).map_err(|fault| format!("matches[{at}].{fault}"))?);
    }
    Ok(all)
}

fn http_match(written: &HttpRouteMatch) -> Result<Match, String> {
    let path = written.path.as_ref().map(path).transpose();
    let method = written.method.as_deref().map(method).transpose();
    Ok(Match {
        path: path?.unwrap_or_else(|| Match::default().path),
        method: method?,
        headers: headers(&written.headers)?,
        query: query(&written.query_params)?,
    })
}

fn path(written: &HttpPathMatch) -> Result<PathMatch, String> {
    let value = written.value.as_deref().unwrap_or("/");
    match written.kind.as_deref().unwrap_or("PathPrefix") {
        "PathPrefix" => Ok(PathMatch::Prefix(absolute(value)?)),
        "Exact" => Ok(PathMatch::Exact(absolute(value)?)),
        "RegularExpression" => match regex(value) {
            Ok(TextMatch::Regex(regex)) => Ok(PathMatch::Regex(regex)),
            Ok(_) => Err("path.value is no regular expression.".to_owned()),
            Err(fault) => Err(format!("path.value {fault}")),
        },
        other => Err(format!(
            "path.type {other:?} is not known: PathPrefix, Exact and RegularExpression are."
        )),
    }
}

fn absolute(path: &str) -> Result<String, String> {
    if path.starts_with('/') {
        return Ok(path.to_owned());
    }
    Err(format!("path.value {path:?} does not begin with a slash."))
}

fn regex(expression: &str) -> Result<TextMatch, String> {
    TextMatch::regex(expression)
        .map_err(|fault| format!("{expression:?} is not a regular expression: {fault}."))
}

fn method(written: &str) -> Result<towergate_core::plan::Text<http::Method>, String> {
    written
        .parse()
        .map_err(|_| format!("method {written:?} is not a method."))
}

/// How a value is compared.
fn value(written: &HttpValueMatch) -> Result<TextMatch, String> {
    match written.kind.as_deref().unwrap_or("Exact") {
        "Exact" => Ok(TextMatch::Exact(written.value.clone())),
        "RegularExpression" => regex(&written.value),
        other => Err(format!(
            "type {other:?} is not known: Exact and RegularExpression are."
        )),
    }
}

/// Of entries with equivalent names only the first counts (Gateway API, `HTTPHeaderMatch`).
fn headers(
    written: &[HttpValueMatch],
) -> Result<Vec<NameMatch<towergate_core::plan::Text<http::HeaderName>>>, String> {
    let mut matches: Vec<NameMatch<towergate_core::plan::Text<http::HeaderName>>> = Vec::new();
    for (at, header) in written.iter().enumerate() {
        let name = header
            .name
            .parse()
            .map_err(|_| format!("headers[{at}].name {:?} is not a header name.", header.name))?;
        let value = value(header).map_err(|fault| format!("headers[{at}] {fault}"))?;
        if !matches.iter().any(|held| held.name == name) {
            matches.push(NameMatch { name, value });
        }
    }
    Ok(matches)
}

/// Of entries with the same name only the first counts (Gateway API, `HTTPQueryParamMatch`).
fn query(written: &[HttpValueMatch]) -> Result<Vec<NameMatch<String>>, String> {
    let mut matches: Vec<NameMatch<String>> = Vec::new();
    for (at, parameter) in written.iter().enumerate() {
        let value = value(parameter).map_err(|fault| format!("queryParams[{at}] {fault}"))?;
        if !matches.iter().any(|held| held.name == parameter.name) {
            let name = parameter.name.clone();
            matches.push(NameMatch { name, value });
        }
    }
    Ok(matches)
}

/// The matches of a rule of a GRPCRoute; without any, every call.
///
/// # Errors
/// What is wrong with one of them, as a sentence.
pub(super) fn grpc(matches: &[GrpcRouteMatch]) -> Result<Vec<Match>, String> {
    if matches.is_empty() {
        return Ok(vec![Match::default()]);
    }
    all(matches, grpc_match)
}

fn grpc_match(written: &GrpcRouteMatch) -> Result<Match, String> {
    let path = written
        .method
        .as_ref()
        .map(grpc_method)
        .transpose()?
        .flatten();
    Ok(Match {
        path: path.unwrap_or_else(|| Match::default().path),
        headers: headers(&written.headers)?,
        ..Default::default()
    })
}

/// `None`: neither service nor method is given, which every call has.
fn grpc_method(written: &GrpcMethod) -> Result<Option<PathMatch>, String> {
    let text = |part: &Option<String>| {
        let part = part.as_deref().filter(|text| !text.is_empty());
        part.map(|text| match written.kind.as_deref().unwrap_or("Exact") {
            "Exact" => Ok(TextMatch::Exact(text.to_owned())),
            "RegularExpression" => regex(text).map_err(|fault| format!("method {fault}")),
            other => Err(format!(
                "method.type {other:?} is not known: Exact and RegularExpression are."
            )),
        })
        .transpose()
    };
    let (service, method) = (text(&written.service)?, text(&written.method)?);
    if service.is_none() && method.is_none() {
        return Ok(None);
    }
    Ok(Some(PathMatch::Grpc(GrpcMethodMatch { service, method })))
}
