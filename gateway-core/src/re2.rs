//! Translation of RE2's syntax into that of the `regex` crate.
//!
//! Gateway API and Envoy Gateway promise RE2 for regular expressions. The `regex` crate has the same design and
//! nearly the same syntax: flags such as `(?i)`, groups, repetitions and Unicode classes such as `\pL` and
//! `\p{Greek}` are equal. [`translate`] converts the differences in syntax:
//!
//! | RE2 | `regex` crate |
//! |---|---|
//! | `\Q...\E`: literal text | each character escaped |
//! | `{` that begins no repetition: literal | `\{` |
//! | `[` in a class: literal | `\[` |
//! | `&&`, `~~` and `--` in a class: literal | escaped; otherwise operators on sets |
//! | `a**`, `a{2}+`: invalid | rejected; otherwise a repetition of the repetition |
//!
//! Remaining differences: `\d`, `\w`, `\s` and `\b` are those of Unicode, `\C` and octal escapes
//! are rejected, and the flag `x` is accepted.

use std::borrow::Cow;

/// Translates an expression. Invalid expressions remain invalid.
///
/// # Errors
/// A repetition is repeated.
pub(crate) fn translate(expression: &str) -> Result<Cow<'_, str>, regex::Error> {
    if repeats_a_repetition(expression) {
        let message = format!("a repetition follows a repetition in {expression:?}");
        return Err(regex::Error::Syntax(message));
    }
    if !expression.contains(['[', '{']) && !expression.contains("\\Q") {
        return Ok(Cow::Borrowed(expression));
    }
    let mut out = String::with_capacity(expression.len() + 8);
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let (taken, left) = rest.split_at(first.len_utf8());
        rest = match first {
            '\\' if left.starts_with('Q') => push_quoted(&mut out, &left[1..]),
            '\\' => push_escape(&mut out, left),
            '[' => push_class(&mut out, left),
            '{' if !begins_repetition(left) => {
                out.push_str("\\{");
                left
            }
            _ => {
                out.push_str(taken);
                left
            }
        };
    }
    Ok(Cow::Owned(out))
}

/// Whether a repetition follows a repetition, as in `a**` and `a*+?`, which RE2 rejects and the `regex` crate
/// accepts. One `?` after a repetition makes it lazy.
fn repeats_a_repetition(expression: &str) -> bool {
    let mut rest = expression;
    let mut last = Piece::Other;
    let mut unused = String::new();
    while let Some(first) = rest.chars().next() {
        let mut left = &rest[first.len_utf8()..];
        let repeats = match first {
            '*' | '+' | '?' => true,
            '{' if begins_repetition(left) => {
                left = left.split_once('}').map_or("", |(_, after)| after);
                true
            }
            '\\' if left.starts_with('Q') => {
                left = push_quoted(&mut unused, &left[1..]);
                false
            }
            '\\' => {
                left = push_escape(&mut unused, left);
                false
            }
            '[' => {
                left = push_class(&mut unused, left);
                false
            }
            _ => false,
        };
        last = match (repeats, last) {
            (false, _) => Piece::Other,
            (true, Piece::Other) => Piece::Repetition,
            (true, Piece::Repetition) if first == '?' => Piece::LazyRepetition,
            (true, _) => return true,
        };
        rest = left;
    }
    false
}

/// A part of an expression.
enum Piece {
    Repetition,
    /// With its `?`.
    LazyRepetition,
    Other,
}

/// Escapes the text before `\E`, or all of it. Returns the text that follows.
fn push_quoted<'e>(out: &mut String, text: &'e str) -> &'e str {
    let (literal, rest) = text.split_once("\\E").unwrap_or((text, ""));
    out.push_str(&regex::escape(literal));
    rest
}

/// Copies an escape after its `\`, including a name in braces.
fn push_escape<'e>(out: &mut String, text: &'e str) -> &'e str {
    out.push('\\');
    let first = text.chars().next().map_or(0, char::len_utf8);
    let braces = matches!(
        text.as_bytes().first(),
        Some(b'p' | b'P' | b'x' | b'u' | b'U')
    ) && text[first..].starts_with('{');
    let len = match text.find('}') {
        Some(end) if braces => end + 1,
        _ => first,
    };
    out.push_str(&text[..len]);
    &text[len..]
}

/// Copies a class after its `[`.
fn push_class<'e>(out: &mut String, text: &'e str) -> &'e str {
    out.push('[');
    let mut rest = text;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    // A bracket at the start of a class is literal.
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(first) = rest.chars().next() {
        let left = &rest[first.len_utf8()..];
        rest = match first {
            ']' => {
                out.push(']');
                return left;
            }
            '\\' => push_escape(out, left),
            '[' => match left.find(":]").filter(|_| left.starts_with(':')) {
                Some(end) => {
                    out.push_str(&rest[..end + 3]);
                    &left[end + 2..]
                }
                None => {
                    out.push_str("\\[");
                    left
                }
            },
            '&' | '~' => {
                out.extend(['\\', first]);
                left
            }
            '-' if left.starts_with('-') => {
                out.push_str("\\-");
                left
            }
            _ => {
                out.push(first);
                left
            }
        };
    }
    rest
}

/// Whether `{`, which has been read, begins a repetition: `{n}`, `{n,}` or `{n,m}`.
fn begins_repetition(text: &str) -> bool {
    let Some((inside, _)) = text.split_once('}') else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inside.split_once(',') {
        None => is_number(inside),
        Some((min, max)) => is_number(min) && (max.is_empty() || is_number(max)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::text::TextMatch;

    /// RE2, "Syntax": expressions with a matching and a non-matching text.
    #[test]
    fn expressions_in_the_syntax_of_re2_match_as_in_re2() {
        for (expression, yes, no) in [
            ("(?i)/users/.*", "/USERS/12", "/user/12"),
            ("/(?i:users)/x", "/UsErs/x", "/users/X"),
            (r"(?i)googlebot(/\d+)?", "GoogleBOT/2", "Google"),
            (r"/u/\pL+", "/u/aBé", "/u/1"),
            (r"\p{Greek}+", "αβγ", "abg"),
            (r"\P{Lu}+", "abc", "aBc"),
            (r"[[:alpha:]_]+", "ab_", "ab-"),
            (r"[[:^digit:]]+", "ab", "a1"),
            (r"a\Q.*[\Eb+", "a.*[bb", "axb"),
            (r"\Qa+b", "a+b", "aab"),
            ("/v1/{id}", "/v1/{id}", "/v1/id"),
            ("a{2,3}", "aaa", "aaaa"),
            ("a{,2}", "a{,2}", "aa"),
            ("[[]x", "[x", "x"),
            ("[]a]+", "]a", "b"),
            ("[^]a]+", "bc", "b]"),
            ("[a&&b]+", "a&b", "c"),
            ("[a~~b]+", "a~b", "c"),
            ("[--/]+", "-./", ","),
            (r"[\]\-&]+", "]-&", "x"),
            (r"(?P<name>a)(?:b)", "ab", "a"),
            (r"\x{61}\x62", "ab", "xy"),
            ("(?s).+", "a\nb", ""),
            (r"\Aa\z", "a", "a\n"),
            ("a+?b??", "aab", "ac"),
            (r"\*+[*+]+\Q**\E", "**+***", "a"),
            ("(?:a*)*", "aa", "b"),
        ] {
            let matcher = TextMatch::regex(expression).unwrap();

            assert!(matcher.matches(yes), "{expression} {yes}");
            assert!(!matcher.matches(no), "{expression} {no}");
        }
    }

    #[test]
    fn what_re2_rejects_is_rejected() {
        for expression in [
            "(", ")", "a)|(b", "[a", "*", r"(?=a)", r"\1", r"\pX", "a{2,1}", "[b-a]", "\\", "a**",
            "a*+", "a+?*", "a{2}{3}", "(a)*+?",
        ] {
            assert!(TextMatch::regex(expression).is_err(), "{expression}");
        }
    }

    proptest! {
        #[test]
        fn quoted_text_matches_itself_only(text in "[ -~]{0,8}", other in "[ -~]{0,8}") {
            prop_assume!(!text.contains("\\E") && !text.ends_with('\\'));
            let matcher = TextMatch::regex(&format!("\\Q{text}\\E")).unwrap();

            prop_assert!(matcher.matches(&text));
            prop_assert_eq!(matcher.matches(&other), text == other);
        }

        #[test]
        fn no_expression_makes_it_panic(expression in "[a-z\\\\\\[\\]{}^:&~,0-9Qé-]{0,12}") {
            let _ = TextMatch::regex(&expression);
        }
    }
}
