//! Replacement of a path prefix (Gateway API `ReplacePrefixMatch`).
//!
//! A prefix consists of whole path elements: `/a/` is equivalent to `/a`, and neither matches `/ab`. The
//! result has no empty element: if `/b/` replaces `/a`, the path `/a/x` becomes `/b/x`, both in rewrites and
//! in redirects. If the path equals the prefix, a trailing slash of the replacement is handled as in Envoy
//! Gateway: a rewrite changes `/a` to `/b`, a redirect changes it to `/b/`. For the prefix `/`, both rewrites
//! and redirects keep the slash: `/` becomes `/b/`.
//!
//! For the prefix `/`, Envoy Gateway inserts no slash after the replacement: if `/app` replaces `/`, the path
//! `/x` becomes `/appx`, so a client can leave the intended subtree. This module returns `/app/x`, both for
//! rewrites and for redirects.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Handling of a trailing slash of the replacement if the path equals the prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TrailingSlash {
    /// Drops the slash, for rewrites.
    Drop,
    /// Keeps the slash, for redirects.
    Keep,
}

/// Replaces `prefix` at the start of `path` with `replacement`. `None` if `path` does not start with
/// `prefix`.
pub(super) fn replace_prefix(
    path: &str,
    prefix: &str,
    replacement: &str,
    slash: TrailingSlash,
) -> Option<String> {
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
        let keep = prefix.is_empty() || slash == TrailingSlash::Keep;
        let new = if rest.is_empty() && keep {
            replacement
        } else {
            kept
        };
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
    use proptest::prelude::*;

    use super::*;

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
            for slash in [TrailingSlash::Drop, TrailingSlash::Keep] {
                let replaced = replace_prefix(path, prefix, "/b", slash);

                assert_eq!(replaced.as_deref(), expected, "{path} {prefix}");
            }
        }
    }

    #[test]
    fn nothing_in_place_of_a_prefix_leaves_one_slash() {
        for replacement in ["", "/"] {
            for (path, expected) in [("/a", "/"), ("/a/", "/"), ("/a/x", "/x"), ("/a//x", "/x")] {
                for slash in [TrailingSlash::Drop, TrailingSlash::Keep] {
                    let replaced = replace_prefix(path, "/a", replacement, slash);

                    assert_eq!(replaced.as_deref(), Some(expected), "{path} {replacement}");
                }
            }
        }
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
            ("/", "/", "/docs/", "/docs/"),
            ("/x", "/", "/docs/", "/docs/x"),
        ] {
            for slash in [TrailingSlash::Drop, TrailingSlash::Keep] {
                let replaced = replace_prefix(path, prefix, replacement, slash);

                assert_eq!(
                    replaced.as_deref(),
                    Some(expected),
                    "{path} {prefix} {replacement}"
                );
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

            let out = replace_prefix(&path, &prefix, &replacement, TrailingSlash::Drop).unwrap();

            let new = replacement.trim_end_matches('/');
            prop_assert!(out == new || out.starts_with(&format!("{new}/")), "{out}");
            prop_assert!(out.starts_with('/') && !out.contains("//"), "{out}");
        }
    }
}
