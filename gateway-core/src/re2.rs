//! Translates RE2's syntax to that of the `regex` crate.
//!
//! Gateway API and Envoy Gateway specify RE2 for regular expressions. The `regex` crate has the same design
//! and nearly the same syntax: flags such as `(?i)`, groups, repetitions and Unicode classes such as `\pL`
//! and `\p{Greek}` are the same. [`translate`] converts the syntax that differs:
//!
//! | RE2 | `regex` crate |
//! |---|---|
//! | `\d`, `\s`, `\w`, `\b`: ASCII | `[0-9]`, …, `(?-u:\b)`; otherwise Unicode classes |
//! | `\Q...\E`: literal text | each character escaped |
//! | `\012`: an octal number | `\x{A}` |
//! | `\<`, `\>`: literal | without `\`; otherwise boundaries of words |
//! | `\p{^Lu}` | `\P{Lu}` |
//! | `\p{Cs}`: surrogates, which no text has | a class without members |
//! | `{` that begins no repetition: literal | `\{` |
//! | `[` in a class: literal | `\[` |
//! | `-` after a class in a class, as in `[\w-.]`: literal | `\-` |
//! | `&&`, `~~` and `--` in a class: literal | escaped; otherwise operators on sets |
//! | `(?P<name>`: names may repeat | `(` |
//! | `(?)` | `(?:)` |
//! | `a**`, `a{2}+`: invalid | rejected; otherwise a repetition of the repetition |
//! | `a{1001}`, `(?x)`, `\u0041`: invalid | rejected |
//! | `[[:foo:]]`: invalid | rejected; otherwise a class of characters |
//!
//! One difference remains: `\C` is rejected.

/// Maximum count of a repetition in RE2.
const MAX_REPEAT: u32 = 1000;

/// Names of ASCII classes in brackets (RE2, "ASCII character classes").
const ASCII_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Reason why RE2 rejects an expression that the `regex` crate would accept.
type Defect = &'static str;

/// A part of an expression.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Piece {
    Repetition,
    /// With its `?`.
    LazyRepetition,
    Other,
}

/// Translates an expression. Invalid expressions remain invalid.
///
/// # Errors
/// Fails if RE2 rejects the expression but the `regex` crate would accept it.
pub(crate) fn translate(expression: &str) -> Result<String, regex::Error> {
    let defect = |defect| regex::Error::Syntax(format!("{defect} in {expression:?}"));
    let mut out = String::with_capacity(expression.len() + 8);
    let mut rest = expression;
    let mut last = Piece::Other;
    while !rest.is_empty() {
        let is_question = rest.starts_with('?');
        let (piece, left) = push_piece(&mut out, rest).map_err(defect)?;
        last = match (piece, last) {
            (Piece::Repetition, Piece::Repetition) if is_question => Piece::LazyRepetition,
            (Piece::Repetition, Piece::Repetition | Piece::LazyRepetition) => {
                return Err(defect("a repetition follows a repetition"));
            }
            (piece, _) => piece,
        };
        rest = left;
    }
    Ok(out)
}

/// Translates the first piece of `text`, which must not be empty. Returns the text after the piece.
fn push_piece<'e>(out: &mut String, text: &'e str) -> Result<(Piece, &'e str), Defect> {
    let first = text.chars().next().unwrap_or_default();
    let left = &text[first.len_utf8()..];
    let left = match first {
        '*' | '+' | '?' => {
            out.push(first);
            return Ok((Piece::Repetition, left));
        }
        '{' if begins_repetition(left) => {
            return push_repetition(out, left).map(|left| (Piece::Repetition, left));
        }
        '{' => {
            out.push_str("\\{");
            left
        }
        '\\' if left.starts_with('Q') => push_quoted(out, &left[1..]),
        '\\' => push_escape(out, left)?,
        '[' => push_class(out, left)?,
        '(' if left.starts_with('?') => push_group(out, &left[1..])?,
        _ => {
            out.push(first);
            left
        }
    };
    Ok((Piece::Other, left))
}

/// Copies the part of `{n}`, `{n,}` or `{n,m}` that follows the `{`.
fn push_repetition<'e>(out: &mut String, text: &'e str) -> Result<&'e str, Defect> {
    let (counts, rest) = text.split_once('}').unwrap_or((text, ""));
    let is_large = |count: &str| {
        let count = count.parse::<u32>();
        count.map_or(true, |count| count > MAX_REPEAT)
    };
    if counts
        .split(',')
        .any(|count| !count.is_empty() && is_large(count))
    {
        return Err("a repetition of more than 1000");
    }
    out.push('{');
    out.push_str(counts);
    out.push('}');
    Ok(rest)
}

/// Escapes the text up to `\E`, or the whole text if there is no `\E`. Returns the text that follows.
fn push_quoted<'e>(out: &mut String, text: &'e str) -> &'e str {
    let (literal, rest) = text.split_once("\\E").unwrap_or((text, ""));
    out.push_str(&regex::escape(literal));
    rest
}

/// Translates the part of an escape that follows the `\`.
fn push_escape<'e>(out: &mut String, text: &'e str) -> Result<&'e str, Defect> {
    let Some(first) = text.chars().next() else {
        out.push('\\');
        return Ok(text);
    };
    let left = &text[first.len_utf8()..];
    match first {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str(r"[\t\n\f\r ]"),
        'S' => out.push_str(r"[^\t\n\f\r ]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'b' | 'B' => out.push_str(&format!(r"(?-u:\{first})")),
        'p' | 'P' => return Ok(push_property(out, first == 'P', left)),
        '0'..='7' => return push_octal(out, text),
        'u' | 'U' => return Err("an escape that RE2 does not have"),
        // The character is written without `\`. With `\`, the `regex` crate would treat it as a word
        // boundary.
        '<' | '>' => out.push(first),
        'x' => {
            let len = match left.strip_prefix('{') {
                Some(number) => number.find('}').map_or(left.len(), |end| end + 2),
                None => left
                    .bytes()
                    .take(2)
                    .take_while(u8::is_ascii_hexdigit)
                    .count(),
            };
            out.push_str("\\x");
            out.push_str(&left[..len]);
            return Ok(&left[len..]);
        }
        _ => out.extend(['\\', first]),
    }
    Ok(left)
}

/// Translates up to three octal digits. A single digit other than 0 would be a backreference, which is an
/// error.
fn push_octal<'e>(out: &mut String, text: &'e str) -> Result<&'e str, Defect> {
    let is_octal = |byte: &u8| (b'0'..=b'7').contains(byte);
    let (digits, rest) = text.split_at(text.bytes().take(3).take_while(is_octal).count());
    if digits.len() == 1 && digits != "0" {
        return Err("a backreference");
    }
    let number = u32::from_str_radix(digits, 8).unwrap_or_default();
    out.push_str(&format!("\\x{{{number:X}}}"));
    Ok(rest)
}

/// Translates the part of a Unicode class that follows the `\p` or `\P`.
fn push_property<'e>(out: &mut String, negated: bool, text: &'e str) -> &'e str {
    let braced = text.strip_prefix('{').and_then(|text| text.split_once('}'));
    let (name, rest) =
        braced.unwrap_or_else(|| text.split_at(text.chars().next().map_or(0, char::len_utf8)));
    let (negated, name) = match name.strip_prefix('^').filter(|_| braced.is_some()) {
        Some(name) => (!negated, name),
        None => (negated, name),
    };
    match (name, negated) {
        ("Cs", false) => out.push_str("[a&&b]"),
        ("Cs", true) => out.push_str(r"[a[^a]]"),
        (name, false) => out.push_str(&format!("\\p{{{name}}}")),
        (name, true) => out.push_str(&format!("\\P{{{name}}}")),
    }
    rest
}

/// Translates the part of a group that follows the `(?`.
fn push_group<'e>(out: &mut String, text: &'e str) -> Result<&'e str, Defect> {
    let is_word = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let named = text.strip_prefix("P<").or_else(|| text.strip_prefix('<'));
    if let Some((name, rest)) = named.and_then(|text| text.split_once('>'))
        && is_word(name)
    {
        out.push('(');
        return Ok(rest);
    }
    let end = text.find([':', ')']).unwrap_or(text.len());
    let (flags, rest) = text.split_at(end);
    if named.is_none() && !flags.bytes().all(|flag| b"imsU-".contains(&flag)) {
        return Err("a flag or group that RE2 does not have");
    }
    out.push_str("(?");
    out.push_str(flags);
    if flags.is_empty() && rest.starts_with(')') {
        out.push(':');
    }
    Ok(rest)
}

/// Translates the part of a class that follows the `[`.
fn push_class<'e>(out: &mut String, text: &'e str) -> Result<&'e str, Defect> {
    out.push('[');
    let mut rest = text;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    let mut is_first = true;
    while !rest.is_empty() {
        // A bracket at the start of a class is literal.
        if let Some(after) = rest.strip_prefix(']').filter(|_| !is_first) {
            out.push(']');
            return Ok(after);
        }
        rest = push_class_item(out, rest)?;
        is_first = false;
    }
    Ok(rest)
}

/// Translates the first item of a class: a class, a range or a character.
fn push_class_item<'e>(out: &mut String, text: &'e str) -> Result<&'e str, Defect> {
    if let Some((name, rest)) = text
        .strip_prefix("[:")
        .and_then(|text| text.split_once(":]"))
    {
        if !ASCII_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err("an unknown class in brackets");
        }
        out.push_str(&text[..text.len() - rest.len()]);
        return Ok(rest);
    }
    if let Some(escape) = text.strip_prefix('\\')
        && escape.starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P'])
    {
        return push_escape(out, escape);
    }
    let rest = push_class_char(out, text)?;
    match rest.strip_prefix('-') {
        Some(end) if !end.is_empty() && !end.starts_with(']') => {
            out.push('-');
            push_class_char(out, end)
        }
        _ => Ok(rest),
    }
}

/// Translates the first character of `text`, which is inside a class.
fn push_class_char<'e>(out: &mut String, text: &'e str) -> Result<&'e str, Defect> {
    let first = text.chars().next().unwrap_or_default();
    let left = &text[first.len_utf8()..];
    match first {
        '\\' => return push_escape(out, left),
        '[' | ']' | '&' | '~' | '-' | '^' => out.extend(['\\', first]),
        _ => out.push(first),
    }
    Ok(left)
}

/// Whether the `{` before `text` begins a repetition: `{n}`, `{n,}` or `{n,m}`.
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

    /// The expressions of RE2's documentation ("Syntax"), each with a matching and a non-matching string.
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
            (r"[\w-.]+", "a-.b", "a/b"),
            (r"[^\w-/]+", ".:", "a-"),
            (r"[\d-z]+", "1-z", "a"),
            (r"[\s-\w]+", "a -", "/"),
            (r"[[:digit:]-z]+", "1-z", "a"),
            (r"[\w--/]+", "a-./", ","),
            (r"[a-c\x61-\x63\--]+", "abc-", "d"),
            (r"[+--]+", "+,-", "."),
            (r"[a\]-c]+", "a]b", "-"),
            (r"[^a^]+", "b", "^"),
            (r"\p{^Lu}+", "ab", "AB"),
            (r"[\p{^Lu}x]+", "ab", "AB"),
            (r"\P{^Lu}+", "AB", "ab"),
            (r"a\p{Cs}?", "a", "b"),
            (r"[\p{Cs}a]\P{Cs}", "ab", "b"),
            ("(?P<n>a)(?P<n>b)(?<n>c)", "abc", "ab"),
            (r"\101[\102]\0?", "AB", "A1"),
            (r"\<a\>", "<a>", "a"),
            (r"a\b{b}", "a{b}", "ab"),
            (r"\w+", "aZ_9", "é"),
            (r"\W", "é", "a"),
            (r"\d", "1", "١"),
            (r"\D", "١", "1"),
            (r"\s", "\t", "\u{b}"),
            (r"\S", "\u{a0}", "\r"),
            (r"[^\w/]+", "é", "a"),
            (r"[\W\d]+", "é1", "a"),
            (r"a\bé", "aé", "a"),
            (r".\Bé", "éé", "a"),
            (r"(?i)\w", "\u{212a}", "é"),
            ("(?)a{1000}?", &*"a".repeat(1000), "a"),
        ] {
            let matcher = TextMatch::regex(expression).unwrap();

            assert!(matcher.matches(yes), "{expression} {yes}");
            assert!(!matcher.matches(no), "{expression} {no}");
        }
    }

    #[test]
    fn large_counts_fit_into_the_maximum_size() {
        for expression in [
            r"/users/\w{1,64}",
            r"[\w.-]{1,255}",
            r"/d/\w{32}/\w{32}",
            r"\w{1,1000}",
            r"\d{1,1000}",
            r"[^/]{1,1000}",
            ".{1,1000}",
            r"\S{1,1000}",
            r"(?i)[a-z0-9._%+-]{1,64}@[a-z0-9.-]{1,255}",
        ] {
            assert!(TextMatch::regex(expression).is_ok(), "{expression}");
        }
    }

    #[test]
    fn what_re2_rejects_is_rejected() {
        for expression in [
            "(",
            ")",
            "a)|(b",
            "[a",
            "*",
            r"(?=a)",
            r"\1",
            r"\pX",
            "a{2,1}",
            "[b-a]",
            "\\",
            "a**",
            "a*+",
            "a+?*",
            "a{2}{3}",
            "(a)*+?",
            "[[:foo:]]",
            "a{1001}",
            "a{1,1001}",
            "a{99999999999}",
            "(?x)a",
            "(?u:a)",
            "(?<=a)b",
            r"\u0041",
            r"[\u0041]",
            r"[a-\d]",
            "[a--]",
            r"\8",
            r"[\1]",
            r"[\Q]",
            r"\p{^Foo}",
            "(?P<a b>c)",
            "[]",
            "[^]",
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
