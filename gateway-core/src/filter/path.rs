//! Replacing the prefix of a path (Gateway API `ReplacePrefixMatch`).
//!
//! A prefix is a number of whole path elements: `/a/` is `/a`, and neither takes `/ab`. Rewrites and
//! redirects differ in one thing, as in Envoy Gateway: a rewrite forgets a slash at the end of the new
//! prefix, a redirect keeps it, so that `/a/` with `/b/` for `/a` is rewritten to `/b/` and redirected
//! to `/b//`.
//!
//! In place of the prefix `/`, Envoy Gateway puts the new one without a slash in between: with `/app`,
//! `/x` becomes `/appx`. So the client can leave the tree that the rule meant to confine it to. Here
//! it becomes `/app/x`, for rewrites and redirects alike.

/// What stands at the end of the new prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TrailingSlash {
    /// Is forgotten.
    Drop,
    /// Is kept.
    Keep,
}

/// `path`, which begins with `prefix`, with `replacement` in its place. `None` if it does not begin
/// with it.
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
        /// A rewrite stays below the new prefix, and adds no empty element.
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
