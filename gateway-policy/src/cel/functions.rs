//! Functions of CEL and of Kubernetes' extensions.

use std::borrow::Cow;
use std::net::IpAddr;

use super::eval::EvaluationError;
use super::format::is_dns1123_subdomain;
use super::value::Value;

/// A function. If it is called as a method, its first argument precedes the dot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Function {
    Contains,
    Duration,
    EndsWith,
    Int,
    /// Created by [`Parser::format`](super::parser::Parser::format), because it has no name of its own in an
    /// expression.
    IsDns1123Subdomain,
    IsIp,
    LowerAscii,
    Size,
    Split,
    StartsWith,
    String,
    Substring,
    UpperAscii,
}

impl Function {
    /// Names in expressions, and the smallest and the largest number of arguments.
    const NAMES: [(&str, usize, usize, Self); 12] = [
        ("contains", 2, 2, Self::Contains),
        ("duration", 1, 1, Self::Duration),
        ("endsWith", 2, 2, Self::EndsWith),
        ("int", 1, 1, Self::Int),
        ("isIP", 1, 1, Self::IsIp),
        ("lowerAscii", 1, 1, Self::LowerAscii),
        ("size", 1, 1, Self::Size),
        ("split", 2, 2, Self::Split),
        ("startsWith", 2, 2, Self::StartsWith),
        ("string", 1, 1, Self::String),
        ("substring", 2, 3, Self::Substring),
        ("upperAscii", 1, 1, Self::UpperAscii),
    ];

    /// The function with this name and number of arguments.
    pub(super) fn find(name: &str, arguments: usize) -> Option<Self> {
        let mut functions = Self::NAMES.into_iter();
        let found = functions
            .find(|(known, min, max, _)| *known == name && (*min..=*max).contains(&arguments));
        found.map(|(.., function)| function)
    }

    /// The name in expressions.
    fn name(self) -> &'static str {
        let mut functions = Self::NAMES.into_iter();
        let found = functions.find(|(.., function)| *function == self);
        found.map_or("dns1123Subdomain", |(name, ..)| name)
    }

    /// Calls the function with `arguments`.
    ///
    /// # Errors
    /// If an argument has the wrong type or is out of range.
    pub(super) fn call<'a>(self, arguments: &[Value<'a>]) -> Result<Value<'a>, EvaluationError> {
        let wrong = || EvaluationError::new(format!("no such overload of {}", self.name()));
        if self == Self::Size {
            let size = arguments.first().and_then(Value::size);
            let size = size.and_then(|size| i64::try_from(size).ok());
            return size.map(Value::Int).ok_or_else(wrong);
        }
        if self == Self::String {
            let text = arguments.first().and_then(string);
            return text.map(Value::Text).ok_or_else(wrong);
        }
        if let (Self::Int, [Value::Int(value)]) = (self, arguments) {
            return Ok(Value::Int(*value));
        }
        let Some((Value::Text(text), more)) = arguments.split_first() else {
            return Err(wrong());
        };
        match (self, more) {
            (Self::Contains, [Value::Text(part)]) => Ok(Value::Bool(text.contains(&**part))),
            (Self::StartsWith, [Value::Text(part)]) => Ok(Value::Bool(text.starts_with(&**part))),
            (Self::EndsWith, [Value::Text(part)]) => Ok(Value::Bool(text.ends_with(&**part))),
            (Self::Int, []) => text
                .parse()
                .map(Value::Int)
                .map_err(|_| EvaluationError::new(format!("{text:?} is not an integer"))),
            (Self::IsDns1123Subdomain, []) => Ok(Value::Bool(is_dns1123_subdomain(text))),
            (Self::IsIp, []) => Ok(Value::Bool(text.parse::<IpAddr>().is_ok())),
            (Self::LowerAscii, []) => Ok(Value::Text(Cow::Owned(text.to_ascii_lowercase()))),
            (Self::UpperAscii, []) => Ok(Value::Text(Cow::Owned(text.to_ascii_uppercase()))),
            (Self::Duration, []) => duration(text)
                .map(Value::Duration)
                .ok_or_else(|| EvaluationError::new(format!("{text:?} is not a duration"))),
            (Self::Split, [Value::Text(separator)]) => {
                let parts = text.split(&**separator).map(str::to_owned);
                Ok(Value::List(
                    parts.map(|part| Value::Text(part.into())).collect(),
                ))
            }
            (Self::Substring, [Value::Int(from)]) => substring(text, *from, None),
            (Self::Substring, [Value::Int(from), Value::Int(to)]) => {
                substring(text, *from, Some(*to))
            }
            _ => Err(wrong()),
        }
    }
}

/// A value as text; `None`: the value has no text form.
fn string<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(value) => Some(Cow::Owned(value.to_string())),
        Value::Int(value) => Some(Cow::Owned(value.to_string())),
        Value::Double(value) => Some(Cow::Owned(value.to_string())),
        _ => None,
    }
}

/// The characters from `from` up to `to`, or to the end.
fn substring<'a>(text: &str, from: i64, to: Option<i64>) -> Result<Value<'a>, EvaluationError> {
    let characters: Vec<char> = text.chars().collect();
    let to = to.map_or(Some(characters.len()), |to| usize::try_from(to).ok());
    let part = usize::try_from(from)
        .ok()
        .zip(to)
        .and_then(|(from, to)| characters.get(from..to));
    part.map(|part| Value::Text(part.iter().collect::<String>().into()))
        .ok_or_else(|| EvaluationError::new("substring out of range"))
}

/// The nanoseconds of a duration in Go's syntax, such as `1h30m` or `-1.5s`.
fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanoseconds = 0.0;
    while {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, next) = rest.split_at(end.unwrap_or(rest.len()));
        nanoseconds += number * unit_nanoseconds(unit)?;
        rest = next;
        !rest.is_empty()
    } {}
    // A Go duration is limited to about 292 years.
    let in_range = nanoseconds < 9.2e18;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the range has been checked"
    )]
    in_range.then_some((sign * nanoseconds) as i64)
}

fn unit_nanoseconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 6e10,
        "h" => 3.6e12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{EvaluationError, Function, Value, duration};

    #[test]
    fn an_error_contains_the_name_in_expressions() {
        for name in ["startsWith", "isIP", "size"] {
            let function = Function::find(name, 1).or_else(|| Function::find(name, 2));

            let result = function.unwrap().call(&[Value::Int(1)]);

            let expected = EvaluationError::new(format!("no such overload of {name}"));
            assert_eq!(result.unwrap_err(), expected);
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, expected) in [
            ("0s", Some(0)),
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("-10ms", Some(-10_000_000)),
            ("5", None),
            ("s", None),
            ("", None),
            ("1d", None),
            ("1 s", None),
            ("9999999h", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
