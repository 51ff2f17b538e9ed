//! Replacement of a path prefix (Gateway API `ReplacePrefixMatch`).
//!
//! A prefix consists of whole path elements: `/a/` is equivalent to `/a`, and neither matches `/ab`. A trailing
//! slash of the replacement is ignored as well: if `/b/` replaces `/a`, the path `/a/x` becomes `/b/x`, and `/a`
//! becomes `/b`. With the prefix `/`, the path `/` becomes `/b/`. Rewrites and redirects replace a prefix alike.
//!
//! For the prefix `/`, Envoy Gateway inserts no slash after the replacement: if `/app` replaces `/`, the path
//! `/x` becomes `/appx`, so a client can leave the intended subtree. This module returns `/app/x`, both for
//! rewrites and for redirects.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Replaces `prefix` at the start of `path` with `replacement`. `None` if `path` does not start with
/// `prefix`.
pub(super) fn replace_prefix(path: &str, prefix: &str, replacement: &str) -> Option<String> {
    let prefix = prefix.trim_end_matches('/');
    let rest = match path.strip_prefix(prefix)? {
        "/" if prefix.is_empty() => "",
        rest if rest.is_empty() || rest.starts_with('/') => rest,
        _ => return None,
    };
    let kept = replacement.trim_end_matches('/');
    Some(if kept.is_empty() {
        format!("/{}", rest.trim_start_matches('/'))
    } else {
        let start = if kept.starts_with('/') { "" } else { "/" };
        let is_root = rest.is_empty() && prefix.is_empty();
        let new = if is_root { replacement } else { kept };
        [start, new, rest].concat()
    })
}

/// Percent-encodes the characters of a replacement that are not ASCII (RFC 3986, section 2.1).
pub(super) fn encode(replacement: &str) -> Cow<'_, str> {
    if replacement.is_ascii() {
        return Cow::Borrowed(replacement);
    }
    let mut out = String::with_capacity(replacement.len() * 3);
    for part in replacement.chars() {
        match part.is_ascii() {
            true => out.push(part),
            false => part.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| {
                write!(out, "%{byte:02X}").expect("a String accepts all text");
            }),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::super::redirect::{Redirect, RedirectFacts};
    use super::super::rewrite::Rewrite;
    use super::super::{PathEdit, RedirectStatus};
    use super::*;
    use crate::http::host::Authority;

    #[test]
    fn characters_outside_ascii_are_percent_encoded() {
        for (text, expected) in [
            ("/a?b%20", "/a?b%20"),
            ("/é/x", "/%C3%A9/x"),
            ("/€", "/%E2%82%AC"),
        ] {
            assert_eq!(encode(text), expected);
        }
    }

    #[test]
    fn a_prefix_is_whole_elements() {
        for (path, prefix, expected) in [
            ("/a", "/a", Some("/b")),
            ("/a", "/a/", Some("/b")),
            ("/a/", "/a", Some("/b/")),
            ("/a/x", "/a/", Some("/b/x")),
            ("/a/x/a", "/a", Some("/b/x/a")),
            ("/ab", "/a", None),
            ("/x", "/a", None),
            ("/", "/", Some("/b")),
            ("/x", "/", Some("/b/x")),
        ] {
            let replaced = replace_prefix(path, prefix, "/b");

            assert_eq!(replaced.as_deref(), expected, "{path} {prefix}");
        }
    }

    #[test]
    fn nothing_in_place_of_a_prefix_leaves_one_slash() {
        for replacement in ["", "/"] {
            for (path, expected) in [("/a", "/"), ("/a/", "/"), ("/a/x", "/x"), ("/a//x", "/x")] {
                let replaced = replace_prefix(path, "/a", replacement);

                assert_eq!(replaced.as_deref(), Some(expected), "{path} {replacement}");
            }
        }
    }

    /// The target of a request after a rewrite.
    fn rewritten(target: &str, prefix: &str, replacement: &str) -> String {
        let rewrite = Rewrite {
            hostname: None,
            path: Some(PathEdit::Prefix(replacement.to_owned())),
        };
        let request = Request::get(target).body(()).unwrap();
        let mut head = request.into_parts().0;

        rewrite
            .apply(&mut head, &authority(), Some(prefix), false)
            .unwrap();
        head.uri.to_string()
    }

    /// The `Location` of a redirect.
    fn redirected(target: &str, prefix: &str, replacement: &str) -> String {
        let redirect = Redirect {
            scheme: None,
            hostname: None,
            port: Some(80),
            path: Some(PathEdit::Prefix(replacement.to_owned())),
            status: RedirectStatus::Found,
        };
        let facts = RedirectFacts {
            scheme: "http",
            authority: &authority(),
            listener_port: 80,
            path: &target.parse().unwrap(),
            matched_prefix: Some(prefix),
        };

        let (_, location) = redirect.location(facts).unwrap();
        location.to_str().unwrap().to_owned()
    }

    fn authority() -> Authority {
        Authority::parse(&HeaderValue::from_static("a.test")).unwrap()
    }

    /// The examples of Gateway API, `HTTPPathModifier.replacePrefixMatch`, and similar cases.
    #[test]
    fn a_rewrite_and_a_redirect_replace_a_prefix_alike() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/", "/foo", "/xyz/", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            (
                "/service/version",
                "/service/",
                "/api/service/",
                "/api/service/version",
            ),
            ("/foo", "/foo", "/xyz/", "/xyz"),
            ("/foo", "/foo/", "/xyz/", "/xyz"),
            ("/foo/", "/foo/", "/xyz", "/xyz/"),
            ("/foo/", "/foo/", "/xyz/", "/xyz/"),
            ("/foo/bar/", "/foo", "/xyz/", "/xyz/bar/"),
            ("/", "/", "/docs/", "/docs/"),
            ("/x", "/", "/docs/", "/docs/x"),
        ] {
            for query in ["", "?p=1"] {
                let target = format!("{path}{query}");
                let location = format!("http://a.test{expected}{query}");

                let rewritten = rewritten(&target, prefix, replacement);
                let redirected = redirected(&target, prefix, replacement);

                let case = format!("{target} {prefix} {replacement}");
                assert_eq!(rewritten, format!("{expected}{query}"), "{case}");
                assert_eq!(redirected, location, "{case}");
            }
        }
    }

    proptest! {
        /// A rewritten path stays below the replacement and contains no empty element.
        #[test]
        fn a_rewrite_stays_below_the_new_prefix(
            prefix in "(/[ab]{1,2}){0,2}/?",
            rest in "(/[ab]{1,2}){0,2}/?",
            replacement in "(/[xy]{1,2}){0,2}/?",
        ) {
            let path = format!("{}{rest}", prefix.trim_end_matches('/'));
            prop_assume!(path.starts_with('/'));

            let out = replace_prefix(&path, &prefix, &replacement).unwrap();

            let new = replacement.trim_end_matches('/');
            prop_assert!(out == new || out.starts_with(&format!("{new}/")), "{out}");
            prop_assert!(out.starts_with('/') && !out.contains("//"), "{out}");
        }
    }
}
