//! Replacement of a path prefix (Gateway API `ReplacePrefixMatch`).
//!
//! A prefix consists of whole path elements: `/a/` equals `/a`, and neither matches `/ab`. A trailing slash
//! of the replacement is handled as in Envoy Gateway: a rewrite drops it, a redirect keeps it. If `/b/`
//! replaces `/a` in the path `/a/`, the rewrite is `/b/` and the redirect `/b//`.
//!
//! For the prefix `/`, Envoy Gateway inserts no slash after the replacement: with `/app`, `/x` becomes
//! `/appx`, so a client can leave the intended subtree. This module returns `/app/x` for rewrites and
//! redirects.

/// Handling of a trailing slash of the replacement.
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
        let new = match slash {
            TrailingSlash::Keep if !prefix.is_empty() || rest.is_empty() => replacement,
            _ => kept,
        };
        [start, new, rest].concat()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
