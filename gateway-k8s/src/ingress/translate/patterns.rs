//! Regular expressions for the paths of a host on which paths are regular expressions.
//!
//! nginx searches the decoded path of a request for the expression `^PATH`, without regard to case. An
//! expression of Gateway API must match the whole path, and if several expressions match, the longest
//! applies. The translation therefore completes each expression, and makes the expression that nginx compares
//! first the longest.

use crate::ingress::servers::Server;

/// Text that makes an expression longer without changing what the expression matches.
const PADDING: &str = "(?:)";

/// Characters that have a special meaning in a regular expression.
const SYNTAX: &str = r"\.+*?()|[]{}^$";

/// The regular expression of Gateway API for a path.
pub(crate) fn pattern(path: &str) -> String {
    let branches = branches(path);
    let mut whole = branches.iter().enumerate();
    let whole: Vec<String> = whole
        .by_ref()
        .map(|(at, branch)| whole_path(branch, at == 0))
        .collect();
    match &whole[..] {
        [one] => format!("(?i){one}"),
        several => format!("(?i)(?:{})", several.join("|")),
    }
}

/// Completes an alternative so that it matches whole paths. nginx anchors only the first alternative at the
/// start of the path.
fn whole_path(branch: &str, first: bool) -> String {
    let anchored = branch.strip_prefix('^');
    let start = match first || anchored.is_some() {
        true => "",
        false => ".*",
    };
    let branch = anchored.unwrap_or(branch);
    match branch.strip_suffix('$') {
        Some(whole) if !whole.ends_with('\\') => format!("{start}{whole}"),
        _ if is_open(branch) => format!("{start}{branch}"),
        _ => format!("{start}{branch}.*"),
    }
}

/// Whether an expression matches all paths with its prefix.
fn is_open(path: &str) -> bool {
    path.ends_with(".*") && !path.ends_with("\\.*") || path.ends_with("(.*)")
}

/// The alternatives at the top level of an expression, outside of all groups.
fn branches(pattern: &str) -> Vec<&str> {
    let mut branches = Vec::new();
    let (mut start, mut depth, mut class) = (0, 0_usize, None);
    let mut characters = pattern.char_indices();
    while let Some((at, character)) = characters.next() {
        match (character, class) {
            ('\\', _) => drop(characters.next()),
            // A bracket at the start of a character class belongs to the class.
            (']', Some(open)) if !matches!(&pattern[open..at], "[" | "[^") => class = None,
            (_, Some(_)) => {}
            ('[', None) => class = Some(at),
            ('(', None) => depth += 1,
            (')', None) => depth = depth.saturating_sub(1),
            ('|', None) if depth == 0 => {
                branches.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&pattern[start..]);
    branches
}

/// Sets the expressions of a host with regular expressions.
///
/// The locations are in the order of nginx. If two expressions can match the same path, the expression of the
/// first location becomes longer than the other expression.
pub(crate) fn set_expressions(server: &mut Server) {
    if !server.regex {
        return;
    }
    let mut later: Vec<(String, usize)> = Vec::new();
    for location in server.locations.iter_mut().rev() {
        let mut expression = pattern(&location.path);
        let literal = literal_start(&location.path);
        let longest = later
            .iter()
            .filter(|(other, _)| other.starts_with(&literal) || literal.starts_with(&**other))
            .map(|(_, length)| *length)
            .max();
        let mut length = expression.chars().count();
        while longest.is_some_and(|longest| length <= longest) {
            expression.push_str(PADDING);
            length += PADDING.len();
        }
        later.push((literal, length));
        location.expression = expression;
    }
}

/// The text, in lower case, at the start of all paths that an expression matches.
fn literal_start(path: &str) -> String {
    if branches(path).len() > 1 {
        return String::new();
    }
    let path = path.strip_prefix('^').unwrap_or(path);
    let end = path.find(|c| SYNTAX.contains(c)).unwrap_or(path.len());
    let mut literal = path[..end].to_ascii_lowercase();
    if path[end..].starts_with(['?', '*', '{']) {
        literal.pop();
    }
    literal
}

/// The pattern and the substitution of a rewrite. `$1` becomes `\1`; a reference to a group that the path
/// does not have is removed.
pub(crate) fn rewrite(path: &str, target: &str) -> (String, String) {
    let groups = regex::Regex::new(path).map_or(0, |regex| regex.captures_len() - 1);
    let mut substitution = String::new();
    let mut rest = target.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek().and_then(|digit| digit.to_digit(10))) {
            ('$', Some(digit)) => {
                rest.next();
                if usize::try_from(digit).is_ok_and(|digit| (1..=groups).contains(&digit)) {
                    substitution.push('\\');
                    substitution.push_str(&digit.to_string());
                }
            }
            ('\\', _) => substitution.push_str("\\\\"),
            _ => substitution.push(c),
        }
    }
    if branches(path).len() > 1 {
        // If the expression matches a part of the path, nginx still replaces the whole path.
        return (format!("(?i)^.*?(?:{path}).*$"), substitution);
    }
    let path = path.strip_prefix('^').unwrap_or(path);
    let end = match path {
        path if path.ends_with('$') => "",
        path if is_open(path) => "$",
        _ => ".*$",
    };
    (format!("(?i)^{path}{end}"), substitution)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::servers::Location;

    #[test]
    fn a_pattern_matches_at_the_start() {
        assert_eq!(pattern("/a/[0-9]+"), "(?i)/a/[0-9]+.*");
        assert_eq!(pattern("/a$"), "(?i)/a");
        assert_eq!(pattern("^/a(/|$)(.*)"), "(?i)/a(/|$)(.*)");
    }

    #[test]
    fn only_the_first_alternative_is_anchored() {
        assert_eq!(pattern("/adm|x"), "(?i)(?:/adm.*|.*x.*)");
        assert_eq!(pattern("/a$|^/b|/c$"), "(?i)(?:/a|/b.*|.*/c)");
        assert_eq!(pattern(r"/(a|b)[|\]]\|"), r"(?i)/(a|b)[|\]]\|.*");
        assert_eq!(pattern("/[]|]x"), "(?i)/[]|]x.*");
    }

    #[test]
    fn the_expression_of_an_earlier_location_is_longer_if_both_may_match() {
        let of = |paths: &[&str]| {
            let location = |path: &&str| Location {
                path: (*path).to_owned(),
                ..Location::default()
            };
            let mut server = Server {
                regex: true,
                locations: paths.iter().map(location).collect(),
                ..Server::default()
            };
            set_expressions(&mut server);
            let locations = server.locations.into_iter();
            locations.map(|one| one.expression).collect::<Vec<_>>()
        };

        assert_eq!(
            of(&["/ad.*", "/adm", "/xyz"]),
            ["(?i)/ad.*(?:)", "(?i)/adm.*", "(?i)/xyz.*"]
        );
        assert_eq!(of(&["/(.*)", "/foo"]), ["(?i)/(.*)(?:)", "(?i)/foo.*"]);
        assert_eq!(
            of(&["/adm", "/ad.", "/ADM"]),
            ["(?i)/adm.*(?:)(?:)", "(?i)/ad..*(?:)", "(?i)/ADM.*"]
        );
    }

    #[test]
    fn groups_of_a_rewrite_are_numbered() {
        assert_eq!(
            rewrite("/app(/|$)(.*)", "/$2"),
            ("(?i)^/app(/|$)(.*)$".to_owned(), "/\\2".to_owned())
        );
        assert_eq!(rewrite("/app", "/x/$1").1, "/x/");
        assert_eq!(rewrite("/a|x(.)", "/$1").0, "(?i)^.*?(?:/a|x(.)).*$");
    }
}
