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
//! | `\p{Cs}`, `\x{D800}`: surrogates, which no text has | a class without members |
//! | `\p{C}`: without unassigned code points | `[\p{Cc}\p{Cf}\p{Co}]` |
//! | `\p{Letter}`, `\p{greek}`, `\p{sc=Greek}`: invalid | rejected; otherwise properties of Unicode |
//! | `{` that begins no repetition, as in `a{01}`: literal | `\{` |
//! | `[` in a class: literal | `\[` |
//! | `-` after a class in a class, as in `[\w-.]`: literal | `\-` |
//! | `&&`, `~~` and `--` in a class: literal | escaped; otherwise operators on sets |
//! | `(?P<name>`: names may repeat | `(` |
//! | `(?ii)`, `(?i-i)`: flags may repeat | `(?i)`, `(?-i)` |
//! | `(?)` | no text |
//! | `a**`, `a{2}+`: invalid | rejected; otherwise a repetition of the repetition |
//! | `a{1001}`, `(?x)`, `\u0041`: invalid | rejected |
//! | `[[:foo:]]`: invalid | rejected; otherwise a class of characters |
//!
//! One difference remains: `\C` is rejected.

use std::sync::LazyLock;

use regex::Regex;

/// Maximum count of a repetition in RE2.
const MAX_REPEAT: u32 = 1000;

/// Names of ASCII classes in brackets (RE2, "ASCII character classes").
const ASCII_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Unicode categories that RE2 has: those of the Unicode standard except `LC` and `Cn`.
const CATEGORIES: &str = "L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs C Cc Cf Co Cs";

/// Names of scripts that are as short as an alias: RE2 has no alias, such as `Grek` for `Greek`, and all
/// aliases have four letters.
const SCRIPTS_OF_FOUR_LETTERS: [&str; 9] = [
    "Ahom", "Cham", "Kawi", "Lisu", "Miao", "Modi", "Newa", "Thai", "Toto",
];

/// A class without members.
const EMPTY_CLASS: &str = "[a&&b]";

/// The name of a group in RE2.
static GROUP_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\A[\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]+\z").expect("the expression is valid")
});

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
        'p' | 'P' => return push_property(out, first == 'P', left),
        'x' if surrogate(text).is_some() => {
            let (_, rest) = surrogate(text).unwrap_or_default();
            out.push_str(EMPTY_CLASS);
            return Ok(rest);
        }
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
fn push_property<'e>(out: &mut String, negated: bool, text: &'e str) -> Result<&'e str, Defect> {
    let braced = text.strip_prefix('{').and_then(|text| text.split_once('}'));
    let (name, rest) =
        braced.unwrap_or_else(|| text.split_at(text.chars().next().map_or(0, char::len_utf8)));
    let (negated, name) = match name.strip_prefix('^').filter(|_| braced.is_some()) {
        Some(name) => (!negated, name),
        None => (negated, name),
    };
    let letter = if negated { 'P' } else { 'p' };
    match (name, negated) {
        ("Cs", false) => out.push_str(EMPTY_CLASS),
        ("Cs", true) => out.push_str(r"[a[^a]]"),
        ("C", false) => out.push_str(r"[\p{Cc}\p{Cf}\p{Co}]"),
        ("C", true) => out.push_str(r"[^\p{Cc}\p{Cf}\p{Co}]"),
        ("Any", _) => out.push_str(&format!("\\{letter}{{Any}}")),
        (name, _) if CATEGORIES.split(' ').any(|known| known == name) => {
            out.push_str(&format!("\\{letter}{{{name}}}"));
        }
        (name, _) if may_be_script(name) => {
            out.push_str(&format!("\\{letter}{{Script={name}}}"));
        }
        _ => return Err("a Unicode class that RE2 does not have"),
    }
    Ok(rest)
}

/// Whether `name` is written like the name of a script, such as `Old_Italic`. The `regex` crate rejects the
/// name if there is no script with this name.
fn may_be_script(name: &str) -> bool {
    let is_word = |word: &str| {
        let lower = word.strip_prefix(|first: char| first.is_ascii_uppercase());
        lower.is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase())
        })
    };
    match name.len() {
        4 => SCRIPTS_OF_FOUR_LETTERS.contains(&name),
        _ => name == "SignWriting" || name.split('_').all(|word| is_word(word) || is_linear(word)),
    }
}

/// Whether `word` is the letter of the scripts `Linear_A` and `Linear_B`.
fn is_linear(word: &str) -> bool {
    matches!(word, "A" | "B")
}

/// Parses `x{N}` with the number of a surrogate. Returns the text that follows it.
fn surrogate(text: &str) -> Option<(u32, &str)> {
    let (number, rest) = text.strip_prefix("x{")?.split_once('}')?;
    let number = u32::from_str_radix(number, 16).ok()?;
    (0xD800..=0xDFFF)
        .contains(&number)
        .then_some((number, rest))
}

/// Translates the part of a group that follows the `(?`.
fn push_group<'e>(out: &mut String, text: &'e str) -> Result<&'e str, Defect> {
    let named = text.strip_prefix("P<").or_else(|| text.strip_prefix('<'));
    if let Some((name, rest)) = named.and_then(|text| text.split_once('>'))
        && GROUP_NAME.is_match(name)
    {
        out.push('(');
        return Ok(rest);
    }
    let end = text.find([':', ')']).unwrap_or(text.len());
    let (flags, rest) = text.split_at(end);
    let flags = named
        .is_none()
        .then(|| unique_flags(flags))
        .flatten()
        .ok_or("a flag or group that RE2 does not have")?;
    match rest.strip_prefix(')') {
        Some(rest) if flags.is_empty() => Ok(rest),
        _ => {
            out.push_str("(?");
            out.push_str(&flags);
            Ok(rest)
        }
    }
}

/// `flags` with each flag once: the last occurrence applies. `None` if RE2 rejects `flags`.
fn unique_flags(flags: &str) -> Option<String> {
    let (on, off) = flags.split_once('-').unwrap_or((flags, ""));
    let is_known = |flag: char| "imsU".contains(flag);
    let is_off_empty = flags.contains('-') && off.is_empty();
    if is_off_empty || !on.chars().chain(off.chars()).all(is_known) {
        return None;
    }
    let having = |flags: &str, without: &str| -> String {
        let flag = |flag: &char| flags.contains(*flag) && !without.contains(*flag);
        "imsU".chars().filter(flag).collect()
    };
    let (on, off) = (having(on, off), having(off, ""));
    Some(if off.is_empty() {
        on
    } else {
        format!("{on}-{off}")
    })
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
    if let Some(rest) = push_surrogate_range(out, text)? {
        return Ok(rest);
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

/// Translates a range in a class that begins or ends with a surrogate. No text contains a surrogate, so the
/// range is limited to the characters that it contains.
fn push_surrogate_range<'e>(out: &mut String, text: &'e str) -> Result<Option<&'e str>, Defect> {
    let escaped = |text: &'e str| text.strip_prefix('\\').and_then(surrogate);
    let (min, rest) = match escaped(text) {
        Some((_, rest)) => ("\\x{E000}".to_owned(), rest),
        None => {
            let mut min = String::new();
            let rest = push_class_char(&mut min, text)?;
            (min, rest)
        }
    };
    let Some(end) = rest.strip_prefix('-') else {
        return Ok(None);
    };
    match (escaped(text), escaped(end)) {
        (Some((first, _)), Some((last, _))) if last < first => Err("a range without characters"),
        (Some(_), Some((_, rest))) => {
            out.push_str(EMPTY_CLASS);
            Ok(Some(rest))
        }
        (None, Some((_, rest))) => {
            out.push_str(&min);
            out.push_str("-\\x{D7FF}");
            Ok(Some(rest))
        }
        (Some(_), None) if !end.is_empty() && !end.starts_with(']') => {
            out.push_str(&min);
            out.push('-');
            push_class_char(out, end).map(Some)
        }
        (Some(_) | None, None) => Ok(None),
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
    let is_number = |text: &str| {
        let has_leading_zero = text.len() > 1 && text.starts_with('0');
        !text.is_empty() && !has_leading_zero && text.bytes().all(|b| b.is_ascii_digit())
    };
    match inside.split_once(',') {
        None => is_number(inside),
        Some((min, max)) => is_number(min) && (max.is_empty() || is_number(max)),
    }
}

#[cfg(test)]
mod tests;
