//! Possible intended values of a part of a match.

/// The single reading of a valid part, or all possible readings of an invalid part.
#[derive(Debug)]
pub(super) enum Readings<T> {
    /// The part is valid.
    One(T),
    /// The part is invalid. Never empty.
    Several(Vec<T>),
}

impl<T> Readings<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(all) => all,
        }
    }
}

/// Calls `add` with every combination of readings.
pub(super) fn product<A: Clone, B: Clone, C: Clone, D: Clone>(
    parts: (Readings<A>, Readings<B>, Readings<C>, Readings<D>),
    mut add: impl FnMut(A, B, C, D),
) {
    // Nearly all matches are valid; this case clones nothing.
    let (a, b, c, d) = match parts {
        (Readings::One(a), Readings::One(b), Readings::One(c), Readings::One(d)) => {
            return add(a, b, c, d);
        }
        parts => parts,
    };
    for a in a.as_slice() {
        for b in b.as_slice() {
            for c in c.as_slice() {
                for d in d.as_slice() {
                    add(a.clone(), b.clone(), c.clone(), d.clone());
                }
            }
        }
    }
}

/// The literal text with which every match of a regular expression begins; empty if it is uncertain. The
/// expression may be invalid.
pub(super) fn literal_start(expression: &str) -> String {
    if has_open_alternative(expression) {
        return String::new();
    }
    let mut literal = String::new();
    let mut rest = expression.strip_prefix('^').unwrap_or(expression).chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => match rest.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => literal.push(escaped),
                _ => break,
            },
            // These operators may make the preceding item optional.
            '*' | '?' | '{' => {
                literal.pop();
                break;
            }
            '.' | '+' | '(' | ')' | '[' | ']' | '}' | '|' | '^' | '$' => break,
            letter => literal.push(letter),
        }
    }
    literal
}

/// Whether an alternative occurs outside of groups. A best guess for invalid expressions.
fn has_open_alternative(expression: &str) -> bool {
    let mut depth = 0_usize;
    let mut letters = expression.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// An expression for every string that begins with `literal`. It is at least as long as `written`,
/// because longer expressions take precedence.
pub(super) fn starting_with(literal: &str, written: &str) -> String {
    let mut expression = regex_escape(literal);
    while expression.chars().count() <= written.chars().count() {
        expression.push_str(".*");
    }
    if !expression.ends_with(".*") {
        expression.push_str(".*");
    }
    expression
}

/// A regular expression that matches `text` only.
fn regex_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_punctuation() && !matches!(letter, '/' | '-' | '_' | '<' | '>') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// Whether a string contains special characters of regular expressions.
pub(super) fn looks_like_expression(text: &str) -> bool {
    text.contains([
        '.', '*', '?', '+', '[', ']', '(', ')', '{', '}', '|', '^', '$', '\\',
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_start_ends_where_an_expression_begins() {
        for (expression, literal) in [
            ("/admin[", "/admin"),
            ("^/admin/(a|b", "/admin/"),
            ("/admin/.*", "/admin/"),
            ("/admin/?(", "/admin"),
            ("/admins*[", "/admin"),
            ("/v1\\.0/(", "/v1.0/"),
            ("/a\\d(", "/a"),
            ("(?i)/admin[", ""),
            ("/admin|/secret[", ""),
            ("/admin)|(/secret[", ""),
            (".*", ""),
            ("", ""),
        ] {
            assert_eq!(literal_start(expression), literal, "{expression}");
        }
    }

    #[test]
    fn the_expression_for_a_start_is_no_shorter_than_the_one_that_was_written() {
        for (literal, written) in [
            ("/a.b/", "/a\\.b/[a-z]+["),
            ("/admin", "/admin["),
            ("", "("),
        ] {
            let expression = starting_with(literal, written);
            let regex = regex::Regex::new(&format!("^(?:{expression})$")).unwrap();

            assert!(expression.chars().count() >= written.chars().count());
            assert!(regex.is_match(literal) && regex.is_match(&format!("{literal}x/y")));
            assert!(literal.is_empty() || !regex.is_match("x"));
        }
    }
}
