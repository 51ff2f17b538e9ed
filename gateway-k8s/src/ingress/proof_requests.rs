//! Requests of a proof, generated from the Ingresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::model::{IngressNginx, ModelRequest};
use super::proof::{STRANGER, describe};
use super::servers::{Location, Server};
use super::settings::IngressSettings;

/// Requests for every host and path: boundary paths, encodings, methods, canaries and clients.
pub fn requests(nginx: &IngressNginx<'_>) -> Vec<ModelRequest> {
    let mut all = Vec::new();
    for server in nginx.servers() {
        for host in host_samples(server) {
            for https in [false, true] {
                for location in &server.locations {
                    of_location(nginx, server, location, &host, https, &mut all);
                }
                all.push(get(https, &host, "/no-such-path/x", STRANGER));
                let paths = nginx.snippet_paths(server);
                all.extend(paths.map(|path| get(https, &host, &target_of(path), STRANGER)));
            }
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|request| seen.insert(describe(request)));
    all
}

/// Repeats each request on which an authentication server decides: with a decision that allows the request,
/// and with 401. Plain GET requests are also repeated with 403 and with an error of the server.
pub fn with_decisions(nginx: &IngressNginx<'_>, requests: Vec<ModelRequest>) -> Vec<ModelRequest> {
    let mut all = Vec::new();
    for request in requests {
        if nginx.auth_call(&request).is_none() {
            all.push(request);
            continue;
        }
        let plain = request.method == "GET" && request.headers.len() == 1;
        let statuses: &[u16] = match plain {
            true => &[200, 401, 403, 503],
            false => &[200, 401],
        };
        all.extend(statuses.iter().map(|status| ModelRequest {
            auth_status: Some(*status),
            ..request.clone()
        }));
    }
    all
}

/// A name for each pattern of a server. The catch-all server gets a name that no other server has.
pub(crate) fn host_samples(server: &Server) -> Vec<String> {
    if server.host.is_empty() {
        return vec!["unknown.invalid".to_owned()];
    }
    let names = std::iter::once(&server.host).chain(&server.aliases);
    let sample = |name: &String| match name.strip_prefix("*.") {
        Some(rest) => format!("sample.{rest}"),
        None => name.clone(),
    };
    names
        .map(sample)
        .chain(server.redirect_from.clone())
        .collect()
}

fn get(https: bool, host: &str, target: &str, client: IpAddr) -> ModelRequest {
    ModelRequest {
        https,
        method: "GET".to_owned(),
        target: target.to_owned(),
        headers: vec![("Host".to_owned(), host.to_owned())],
        client,
        body_len: 0,
        http10: false,
        certificate: None,
        auth_status: None,
    }
}

fn of_location(
    nginx: &IngressNginx<'_>,
    server: &Server,
    location: &Location,
    host: &str,
    https: bool,
    all: &mut Vec<ModelRequest>,
) {
    let default = IngressSettings::default();
    let settings = nginx.settings(location).unwrap_or(&default);
    let path = match server.regex {
        true => sample_of_pattern(&location.path),
        false => location.path.clone(),
    };
    let client = inside(settings);
    let clients = clients(settings);
    let path = match path.strip_prefix('/') {
        Some(_) => path,
        None => format!("/{path}"),
    };
    for target in targets(&path) {
        for client in &clients {
            all.push(get(https, host, &target, *client));
        }
    }
    let path = target_of(&path);
    for method in ["POST", "OPTIONS", "HEAD"] {
        let mut request = get(https, host, &path, client);
        request.method = method.to_owned();
        all.push(request);
    }
    if !settings.removed_request_headers.is_empty() {
        let mut request = get(https, host, &path, client);
        let names = settings.removed_request_headers.iter();
        let fields = names.map(|name| (name.clone(), "sent-by-the-client".to_owned()));
        request.headers.extend(fields);
        all.push(request);
    }
    if let Some(canary) = &location.canary {
        let canary = &canary.canary;
        let mut fields = Vec::new();
        if let Some(name) = &canary.header {
            let own = canary.value.clone();
            for value in ["always", "never", "other"]
                .into_iter()
                .map(str::to_owned)
                .chain(own)
            {
                fields.push((name.clone(), value));
            }
        }
        if let Some(name) = &canary.cookie {
            for value in ["always", "never", "other"] {
                fields.push(("Cookie".to_owned(), format!("a=b; {name}={value}; c=d")));
            }
        }
        for field in fields {
            let mut request = get(https, host, &path, client);
            request.headers.push(field);
            all.push(request);
        }
    }
}

/// The targets of requests for a path: boundary paths and encodings.
fn targets(path: &str) -> BTreeSet<String> {
    let bare = path.trim_end_matches('/');
    let paths = [
        path.to_owned(),
        format!("{bare}/"),
        match bare {
            "" => "/x".to_owned(),
            bare => format!("{bare}x"),
        },
        format!("{bare}/x/y"),
        path.to_ascii_uppercase(),
        match bare {
            "" => "/".to_owned(),
            bare => bare.to_owned(),
        },
    ];
    let mut targets: BTreeSet<String> = paths.iter().map(|path| target_of(path)).collect();
    targets.insert(format!("{}?a=b%20c&d", target_of(path)));
    targets.insert(escaped(path, |byte| {
        byte == b'/' || byte.is_ascii_alphanumeric()
    }));
    // A path with escapes as written, which nginx decodes.
    targets.insert(escaped(path, |byte| byte == b'%' || is_target_byte(byte)));
    if !bare.is_empty() {
        targets.insert(format!("/{}/z", encode_first(&target_of(bare))));
    }
    targets
}

/// The target of requests for a decoded path.
fn target_of(path: &str) -> String {
    escaped(path, is_target_byte)
}

/// Whether clients send a byte of a path without an escape.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"#%<>?\\^`{|}".contains(&byte)
}

/// The path with escapes of all bytes that are not `plain`.
fn escaped(path: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match plain(byte) {
            true => text.push(char::from(byte)),
            false => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

/// A client address that the lists of an Ingress allow.
fn inside(settings: &IngressSettings) -> IpAddr {
    let allowed = settings.allow.first().and_then(|n| n.parse::<IpNet>().ok());
    allowed.map_or(STRANGER, |network| network.addr())
}

/// Client addresses inside and outside of the lists of an Ingress. Each path is requested from all addresses,
/// because a wrongly translated path may also receive requests of a path with other lists.
fn clients(settings: &IngressSettings) -> BTreeSet<IpAddr> {
    let mut clients = BTreeSet::from([inside(settings)]);
    if !settings.allow.is_empty() || !settings.deny.is_empty() {
        clients.insert(STRANGER);
        let denied = settings.deny.first().and_then(|n| n.parse::<IpNet>().ok());
        clients.extend(denied.map(|network| network.addr()));
    }
    clients
}

/// The path without its leading slash, and with its first letter percent-encoded.
fn encode_first(path: &str) -> String {
    let mut rest = path.trim_start_matches('/').chars();
    match rest.next() {
        Some(first) if first.is_ascii() && first != '%' => {
            format!("%{:02x}{}", u32::from(first), rest.as_str())
        }
        Some(first) => format!("{first}{}", rest.as_str()),
        None => String::new(),
    }
}

/// A path that a pattern matches, for common patterns.
fn sample_of_pattern(pattern: &str) -> String {
    let mut sample = pattern
        .trim_start_matches('^')
        .trim_end_matches('$')
        .to_owned();
    for (part, text) in [
        ("(/|$)", "/"),
        ("(/.*)?", "/sample"),
        ("/?(.*)", "/sample"),
        ("(.*)", "sample"),
        ("(.+)", "sample"),
        (".*", "sample"),
        (".+", "sample"),
        ("[0-9]+", "42"),
        ("\\d+", "42"),
        ("[^/]+", "sample"),
        ("[a-z]+", "sample"),
        ("[a-zA-Z0-9_-]+", "sample"),
        ("\\.", "."),
        ("/?", "/"),
    ] {
        sample = sample.replace(part, text);
    }
    // Of several alternatives, the first one is used.
    while let (Some(open), Some(close)) = (sample.find('('), sample.find(')')) {
        if open > close {
            break;
        }
        let first = sample[open + 1..close]
            .split('|')
            .next()
            .unwrap_or_default()
            .to_owned();
        sample.replace_range(open..=close, first.trim_start_matches("?:"));
    }
    sample.replace("//", "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_a_path_are_valid_and_have_all_its_encodings() {
        let all = targets("/a b/<é>?[x]");

        assert!(all.contains("/a%20b/%3c%c3%a9%3e%3f[x]"));
        assert!(all.contains("/a%20b/%3c%c3%a9%3e%3f%5bx%5d"));
        assert!(targets("/a:b").contains("/a%3ab"));
        assert!(targets("/a%20b").contains("/a%20b") && targets("/a%20b").contains("/a%2520b"));
        for target in all.iter().chain(&targets("/")) {
            assert!(
                target.starts_with('/') && target.parse::<http::Uri>().is_ok(),
                "{target}"
            );
        }
    }

    #[test]
    fn common_patterns_have_a_sample() {
        for (pattern, sample) in [
            ("/app(/|$)(.*)", "/app/sample"),
            ("/v2/(users|orders)", "/v2/users"),
            ("/v[0-9]+", "/v42"),
            ("/plain", "/plain"),
        ] {
            assert_eq!(sample_of_pattern(pattern), sample);
        }
    }
}
