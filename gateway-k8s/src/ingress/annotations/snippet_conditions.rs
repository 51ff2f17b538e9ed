//! Directives of snippets that apply to some paths only: `rewrite` with a redirect, and `if` on the path.

use super::AnnotationReader;
use super::directives::may_reject;
use super::snippets::{Applied, deny, redirect, redirect_of_block, rejection_of_block};
use crate::ingress::deny_rules::{DenyRule, PartTest, RequestCondition};
use crate::ingress::nginx_conf::Directive;
use crate::ingress::settings::{Redirect, SnippetLocation};

/// Characters of regular expressions.
const OPERATORS: &[char] = &[
    '.', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\', '^', '$',
];

/// Reads `rewrite ^/a$ /b redirect`: a redirect of one path. The query of the request is kept, as by nginx.
/// If the directive has no equivalent, requests for the paths that match are rejected.
pub(super) fn rewrite(
    reader: &mut AnnotationReader<'_>,
    of_server: bool,
    [pattern, to, flag]: [&str; 3],
) -> Applied {
    if redirect_of_one_path(reader, of_server, [pattern, to, flag]) {
        return Applied::Translated;
    }
    let rule = DenyRule::of_path(PartTest::Matches(pattern.to_owned()), None);
    if rule.cel().is_none() {
        return Applied::Left;
    }
    reader.settings.deny_rules.push(rule);
    Applied::Rejected
}

fn redirect_of_one_path(
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
    // With a final `?`, nginx omits the query of the request. A redirect of the gateway would keep the query.
    if to.contains(['$', '?']) {
        return false;
    }
    let Some(found) = redirect(&code.to_string(), &to) else {
        return false;
    };
    let found = Redirect {
        keeps_query: true,
        ..found
    };
    add(reader, &path, found);
    true
}

/// Reads `if`: a redirect of one path, or a condition on requests that are rejected.
pub(super) fn condition(
    reader: &mut AnnotationReader<'_>,
    of_server: bool,
    directive: &Directive,
) -> Applied {
    let words = words(&directive.args);
    let block = directive.block.as_deref().unwrap_or_default();
    if let Some(redirect) = redirect_of_block(block)
        && let Some(path) = path_of(&words)
        && path.starts_with('/')
        && (of_server || has_path(reader, &path))
    {
        add(reader, &path, redirect);
        return Applied::Translated;
    }
    if !block.iter().any(may_reject) {
        return Applied::Left;
    }
    let Some(condition) = RequestCondition::parse(&words) else {
        return Applied::Left;
    };
    let status = rejection_of_block(block);
    deny(reader, vec![condition], status);
    match status {
        Some(_) => Applied::Translated,
        None => Applied::Rejected,
    }
}

/// The words of a condition, without its parentheses.
fn words(args: &[String]) -> Vec<&str> {
    let mut words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Some(first) = words.first_mut() {
        *first = first.strip_prefix('(').unwrap_or(first);
    }
    if let Some(last) = words.last_mut() {
        *last = last.strip_suffix(')').unwrap_or(last);
    }
    // A parenthesis beside a quoted word is a word of its own.
    let from = usize::from(args.first().is_some_and(|first| first == "("));
    let to =
        words.len() - usize::from(args.len() > 1 && args.last().is_some_and(|last| last == ")"));
    words.get(from..to).unwrap_or_default().to_vec()
}

/// The only path that a condition names.
fn path_of(words: &[&str]) -> Option<String> {
    match words {
        ["$uri" | "$request_uri", "=", path] if !path.contains(['$', '?']) => {
            Some((*path).to_owned())
        }
        ["$uri" | "$request_uri", "~", pattern] => one_path(pattern).map(|(path, _)| path),
        _ => None,
    }
}

fn add(reader: &mut AnnotationReader<'_>, path: &str, redirect: Redirect) {
    reader.settings.locations.push(SnippetLocation {
        path: path.to_owned(),
        exact: true,
        regex: false,
        redirect,
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
