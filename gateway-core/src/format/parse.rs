//! Parsing of strings with command operators.

use http::HeaderValue;

use super::error::FormatError;
use super::operator::Operator;
use super::{Format, Part};
use crate::text::Text;

/// The value of a header field. It is constant, or contains operators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FieldText {
    /// A constant value.
    Plain(Text<HeaderValue>),
    /// A value that depends on the request.
    Format(Text<Format>),
}

impl FieldText {
    /// Parses a header value. `%%` is a literal `%`.
    ///
    /// # Errors
    /// [`FormatError`] names the operator, or the string that is not a valid header value.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let visible = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
        if text.trim() != text || !text.bytes().all(visible) {
            return Err(FormatError::HeaderValue(text.to_owned()));
        }
        let format: Format = text.parse()?;
        let plain: Option<String> = format
            .parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => Some(&**text),
                Part::Operator(..) => None,
            })
            .collect();
        let Some(plain) = plain else {
            return Ok(Self::Format(format.into()));
        };
        match HeaderValue::from_str(&plain) {
            Ok(value) => Ok(Self::Plain(value.into())),
            Err(_) => Err(FormatError::HeaderValue(text.to_owned())),
        }
    }
}

/// Splits a string into its parts.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, FormatError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        literal.push_str(&rest[..start]);
        rest = &rest[start..];
        if let Some(after) = rest.strip_prefix("%%") {
            literal.push('%');
            rest = after;
            continue;
        }
        let found = command(rest).ok_or_else(|| FormatError::Unfinished(text.to_owned()))?;
        let whole = &rest[..found.length];
        let operator = Operator::new(found.name, found.args, whole)?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        }
        parts.push(Part::Operator(operator, found.limit));
        rest = &rest[found.length..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts)
}

/// The text, in which each operator that is not supported is replaced by `-` and each `%` that starts no operator
/// is doubled; and the errors of the operators.
pub(super) fn replace_unsupported(text: &str) -> (String, Vec<FormatError>) {
    let mut errors = Vec::new();
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        let (before, found) = rest.split_at(start);
        replaced.push_str(before);
        if let Some(after) = found.strip_prefix("%%") {
            replaced.push_str("%%");
            rest = after;
            continue;
        }
        let Some(operator) = command(found) else {
            errors.push(FormatError::Unfinished(text.to_owned()));
            replaced.push_str("%%");
            rest = &found[1..];
            continue;
        };
        let (whole, after) = found.split_at(operator.length);
        match Operator::new(operator.name, operator.args, whole) {
            Ok(_) => replaced.push_str(whole),
            Err(error) => {
                errors.push(error);
                replaced.push('-');
            }
        }
        rest = after;
    }
    replaced.push_str(rest);
    (replaced, errors)
}

/// The text, in which each `%` that starts no operator is doubled. An operator name has at least three
/// characters, so the `%` in `%2F%20` are literal.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        let (before, found) = rest.split_at(start);
        escaped.push_str(before);
        let named = |found: &Command<'_>| {
            found.name.len() > 2
                && found
                    .name
                    .starts_with(|first: char| first.is_ascii_uppercase())
        };
        let length = match command(found).filter(named) {
            Some(operator) => operator.length,
            None if found.starts_with("%%") => 2,
            None => {
                escaped.push('%');
                1
            }
        };
        let (kept, after) = found.split_at(length);
        escaped.push_str(kept);
        rest = after;
    }
    escaped.push_str(rest);
    escaped
}

/// The parts of an operator, as in the source text.
struct Command<'t> {
    name: &'t str,
    args: Option<&'t str>,
    limit: Option<usize>,
    length: usize,
}

/// Parses the operator at the start of `text`: `%NAME%`, `%NAME(ARGS)%` or `%NAME(ARGS):LIMIT%`. As in Envoy,
/// the arguments end at the first parenthesis that completes an operator, so they may contain parentheses and
/// percent signs.
fn command(text: &str) -> Option<Command<'_>> {
    let inner = text.strip_prefix('%')?;
    let named = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let name = inner.bytes().take_while(|byte| named(*byte)).count();
    let (name, rest) = inner.split_at(name);
    if name.is_empty() {
        return None;
    }
    let done = |args, after: &str| {
        let (limit, after) = limit(after)?;
        let after = after.strip_prefix('%')?;
        Some(Command {
            name,
            args,
            limit,
            length: text.len() - after.len(),
        })
    };
    let Some(args) = rest.strip_prefix('(') else {
        return done(None, rest);
    };
    let mut ends = args.match_indices(')');
    ends.find_map(|(end, _)| done(Some(&args[..end]), &args[end + 1..]))
}

/// Parses the limit `:N` at the start of `text`, if there is one. Also returns the text that follows.
fn limit(text: &str) -> Option<(Option<usize>, &str)> {
    let Some(number) = text.strip_prefix(':') else {
        return Some((None, text));
    };
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, after) = number.split_at(digits);
    Some((Some(digits.parse().ok()?), after))
}
