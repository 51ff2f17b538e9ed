//! The path of a session cookie (GEP-1619, section "Path"): the part of the path that all requests
//! of a match share.

use towergate_core::plan::{PathMatch, TextMatch};

/// The path of the cookie for requests of `matched`.
pub(super) fn of(matched: &PathMatch) -> String {
    match matched {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => as_attribute(path),
        PathMatch::Regex(regex) => as_attribute(literal_segments(regex.as_str())),
        PathMatch::Grpc(call) => match (&call.service, &call.method) {
            (Some(TextMatch::Exact(service)), Some(TextMatch::Exact(method))) => {
                format!("/{service}/{method}")
            }
            (Some(TextMatch::Exact(service)), _) => format!("/{service}"),
            _ => "/".to_owned(),
        },
    }
}

/// The segments of an anchored regular expression that precede the first segment with an operator.
fn literal_segments(regex: &str) -> &str {
    const OPERATORS: &[char] = &[
        '.', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\', '^', '$',
    ];
    // Alternatives have no common literal part.
    if regex.contains('|') {
        return "/";
    }
    match regex.find(OPERATORS) {
        None => regex,
        Some(operator) => regex[..operator]
            .rsplit_once('/')
            .map_or("/", |(path, _)| path),
    }
}

/// The segments of `path` that precede the first one with a character that is not allowed in the attribute
/// (RFC 6265, section 4.1.1, `path-value`).
fn as_attribute(path: &str) -> String {
    let invalid = |byte: char| byte == ';' || !byte.is_ascii() || byte.is_ascii_control();
    let path = match path.find(invalid) {
        None => path,
        Some(at) => path[..at].rsplit_once('/').map_or("/", |(path, _)| path),
    };
    match path.starts_with('/') {
        true => path.to_owned(),
        false => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use towergate_core::plan::GrpcMethodMatch;

    use super::*;

    #[test]
    fn a_cookie_has_the_literal_part_of_the_match_as_its_path() {
        let exact = |path: &str| of(&PathMatch::Exact(path.to_owned()));
        let prefix = |path: &str| of(&PathMatch::Prefix(path.to_owned()));

        assert_eq!(exact("/a/b"), "/a/b");
        assert_eq!(prefix("/app"), "/app");
        assert_eq!(prefix("/"), "/");
        assert_eq!(prefix("/a/b;Domain=x/c"), "/a");
    }

    #[test]
    fn of_a_regular_expression_the_segments_before_its_first_operator_count() {
        for (regex, path) in [
            ("/p1/p2/.*/p3", "/p1/p2"),
            ("/p1/[a-z]+", "/p1"),
            ("/p1", "/p1"),
            (".*", "/"),
            ("/a|/b/.*", "/"),
            ("/ab?", "/"),
            ("/v1/x{2}", "/v1"),
            (r"/a/b\d", "/a"),
        ] {
            assert_eq!(as_attribute(literal_segments(regex)), path, "{regex}");
        }
    }

    #[test]
    fn of_a_call_the_exact_service_and_method_count() {
        let grpc = |service: Option<&str>, method: Option<&str>| {
            of(&PathMatch::Grpc(GrpcMethodMatch {
                service: service.map(|text| TextMatch::Exact(text.to_owned())),
                method: method.map(|text| TextMatch::Exact(text.to_owned())),
            }))
        };

        assert_eq!(grpc(Some("a.B"), Some("C")), "/a.B/C");
        assert_eq!(grpc(Some("a.B"), None), "/a.B");
        assert_eq!(grpc(None, Some("C")), "/");
    }
}
