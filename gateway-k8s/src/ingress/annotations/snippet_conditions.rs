//! Directives of snippets that apply to some paths only: `rewrite` with a redirect, and `if` on the path.

use super::AnnotationReader;
use super::snippets::{redirect, reply_of_block};
use crate::ingress::nginx_conf::Directive;
use crate::ingress::settings::{Redirect, SnippetAction, SnippetLocation};

/// Characters of regular expressions.
const OPERATORS: &[char] = &[
    '.', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\', '^', '$',
];

/// Reads `rewrite ^/a$ /b redirect`: a redirect of one path. The query of the request is kept, as in nginx.
pub(super) fn rewrite(
    reader: &mut AnnotationReader<'_>,
    of_server: bool,
    [pattern, to, flag]: [&str; 3],
) -> bool {
    let code = match flag {
        "redirect" => 302,
        "permanent" => 301,
        _ => return false,
    };
    let Some((path, group)) = one_path(pattern) else {
        return false;
    };
    if !of_server && !has_path(reader, &path) {
        return false;
    }
    let to = match group {
        Some(group) => to.replace("$1", &group),
        None => to.to_owned(),
    };
    // With a final `?`, nginx omits the query of the request, which the redirect here would keep.
    if to.contains(['$', '?']) {
        return false;
    }
    let Some(found) = redirect(&code.to_string(), &to) else {
        return false;
    };
    let action = SnippetAction::Redirect(Redirect {
        keeps_query: true,
        ..found
    });
    add(reader, &path, action);
    true
}

/// Reads `if ($uri = /a) { return ...; }`: a reply for one path.
pub(super) fn condition(
    reader: &mut AnnotationReader<'_>,
    of_server: bool,
    directive: &Directive,
) -> bool {
    let text = directive.args.join(" ");
    let inner = text
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    let words: Vec<&str> = inner.unwrap_or_default().split_whitespace().collect();
    let path = match words[..] {
        ["$uri" | "$request_uri", "=", path] if !path.contains(['$', '?']) => Some(path.to_owned()),
        ["$uri" | "$request_uri", "~", pattern] => one_path(pattern).map(|(path, _)| path),
        _ => None,
    };
    let block = directive.block.as_deref().unwrap_or_default();
    let (Some(path), Some(action)) = (path, reply_of_block(block)) else {
        return false;
    };
    if !path.starts_with('/') || !of_server && !has_path(reader, &path) {
        return false;
    }
    add(reader, &path, action);
    true
}

fn add(reader: &mut AnnotationReader<'_>, path: &str, action: SnippetAction) {
    reader.settings.locations.push(SnippetLocation {
        path: path.to_owned(),
        exact: true,
        regex: false,
        action,
    });
}

/// The only path that a pattern such as `^(/a)$` matches, and the value of its group.
fn one_path(pattern: &str) -> Option<(String, Option<String>)> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let literal = |text: &str| !text.contains(OPERATORS);
    if literal(inner) {
        return inner.starts_with('/').then(|| (inner.to_owned(), None));
    }
    let (before, rest) = inner.split_once('(')?;
    let (group, after) = rest.split_once(')')?;
    let path = format!("{before}{group}{after}");
    (literal(&path) && path.starts_with('/')).then(|| (path, Some(group.to_owned())))
}

/// Whether a path of the Ingress contains `path`, so that requests for `path` may belong to the Ingress.
fn has_path(reader: &AnnotationReader<'_>, path: &str) -> bool {
    let rules = reader.ingress.spec.rules.iter();
    let mut paths = rules
        .filter_map(|rule| rule.http.as_ref())
        .flat_map(|http| &http.paths);
    paths.any(|one| {
        let own = one.path.as_deref().unwrap_or("/");
        let own = own.strip_prefix('^').unwrap_or(own);
        let end = own.find(OPERATORS).unwrap_or(own.len());
        path.starts_with(own[..end].trim_end_matches('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_one_path_is_found() {
        for (pattern, path, group) in [
            ("^(/phpmyadmin)$", Some("/phpmyadmin"), Some("/phpmyadmin")),
            ("^/a/(b)$", Some("/a/b"), Some("b")),
            ("^/a$", Some("/a"), None),
            ("^/a.*$", None, None),
            ("/a$", None, None),
            ("^(a)$", None, None),
        ] {
            let found = one_path(pattern);

            let (found, text) = found.map_or((None, None), |(path, group)| (Some(path), group));
            assert_eq!(
                (found.as_deref(), text.as_deref()),
                (path, group),
                "{pattern}"
            );
        }
    }
}
