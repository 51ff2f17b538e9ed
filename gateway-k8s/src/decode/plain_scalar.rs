//! The value of an unquoted YAML scalar, as in kubectl.
//!
//! kubectl converts YAML to JSON with `sigs.k8s.io/yaml`, which reads the words and numbers of YAML 1.1: `yes` and `on`
//! are booleans, `0644` is octal, digits may contain underscores. JSON has one form for the number 8080, so
//! `8.08e3` is a valid port.

/// The value of an unquoted scalar.
#[derive(Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text,
}

impl Plain {
    /// The value of `text`.
    pub(super) fn of(text: &str) -> Self {
        if is_null(text) {
            return Self::Null;
        }
        if let Some(value) = boolean(text) {
            return Self::Bool(value);
        }
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Self::Text;
        }
        match text.contains('_') {
            true => Self::number(&text.replace('_', "")),
            false => Self::number(text),
        }
    }

    /// The value of a text that begins like a number.
    fn number(text: &str) -> Self {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if let Some(value) = with_radix(digits) {
            return match negative {
                false => Self::Unsigned(value),
                true => 0_i64
                    .checked_sub_unsigned(value)
                    .map_or(Self::Text, Self::Signed),
            };
        }
        if let Ok(value) = text.parse() {
            return Self::Unsigned(value);
        }
        if let Ok(value) = text.parse() {
            return Self::Signed(value);
        }
        // The number formats of Rust and YAML agree here: words such as `inf` have been excluded above.
        match text.parse() {
            Ok(value) => Self::float(value),
            Err(_) => Self::Text,
        }
    }

    /// A number with a fraction or an exponent. Without a fractional part it is an integer, as in JSON. A number that
    /// is too large for `f64` is text.
    fn float(value: f64) -> Self {
        if !value.is_finite() {
            return Self::Text;
        }
        // `Display` writes no exponent.
        let digits = value.to_string();
        if let Ok(value) = digits.parse() {
            return Self::Unsigned(value);
        }
        match digits.parse() {
            Ok(value) => Self::Signed(value),
            Err(_) => Self::Float(value),
        }
    }

    /// A description for error messages.
    pub(super) fn noun(&self, text: &str) -> String {
        match self {
            Self::Bool(_) => format!("the boolean `{text}`"),
            Self::Unsigned(_) | Self::Signed(_) | Self::Float(_) => format!("the number `{text}`"),
            Self::Null | Self::Text => format!("`{text}`"),
        }
    }
}

/// Whether unquoted `text` is null.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The value of an unquoted boolean.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "y" | "Y" | "on" | "On" | "ON" => {
            Some(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "n" | "N" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// Whether unquoted `text` is infinite or not a number, which JSON cannot express.
pub(super) fn is_not_finite(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// The key of a JSON object for an unquoted YAML key that is a boolean or an integer: the value as text. For
/// example, `0x10` becomes `16`. `None`: the key is used as written.
pub(super) fn key(text: &str) -> Option<String> {
    match Plain::of(text) {
        Plain::Bool(value) => Some(value.to_string()),
        Plain::Unsigned(value) => Some(value.to_string()),
        Plain::Signed(value) => Some(value.to_string()),
        Plain::Null | Plain::Float(_) | Plain::Text => None,
    }
}

/// Converts a scalar to JSON. `plain`: the scalar is unquoted.
pub(crate) fn scalar(text: &str, plain: bool) -> serde_json::Value {
    if !plain {
        return text.into();
    }
    match Plain::of(text) {
        Plain::Null => serde_json::Value::Null,
        Plain::Bool(value) => value.into(),
        Plain::Unsigned(value) => value.into(),
        Plain::Signed(value) => value.into(),
        Plain::Float(value) => value.into(),
        Plain::Text => text.into(),
    }
}

/// The value of digits with a prefix that sets the radix. A leading zero marks octal digits.
fn with_radix(digits: &str) -> Option<u64> {
    let (prefix, rest) = digits.split_at_checked(2)?;
    let (rest, radix) = match prefix {
        "0x" | "0X" => (rest, 16),
        "0o" | "0O" => (rest, 8),
        "0b" | "0B" => (rest, 2),
        _ => (digits.strip_prefix('0')?, 8),
    };
    // A sign after the prefix is invalid, but `from_str_radix` would accept it.
    let is_digit = rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    is_digit.then(|| u64::from_str_radix(rest, radix).ok())?
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What `sigs.k8s.io/yaml` 1.6 returns for these scalars.
    #[test]
    fn unquoted_scalars_have_the_values_of_kubectl() {
        for (texts, expected) in [
            ("y Y yes Yes YES on On ON true True TRUE", json!(true)),
            ("n N no No NO off Off OFF false False FALSE", json!(false)),
            ("~ null Null NULL", Value::Null),
            (
                "80 +80 0x50 0X50 0o120 0O120 0120 0b1010000 8_0 8_0_",
                json!(80),
            ),
            ("8e1 8E1 80.0 80. 8.0e1 .8e2 800e-1 0x_50 8_0.0", json!(80)),
            ("-80 -0x50 -0120 -0b1010000 -8e1 -80.0", json!(-80)),
            ("0 -0 00 0. 0e5", json!(0)),
            ("08 8 8.", json!(8)),
            ("019", json!(19)),
            ("9.5 09.5 9_.5 95e-1", json!(9.5)),
            (".5 +.5 0.5", json!(0.5)),
            ("18446744073709551615 0xffffffffffffffff", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            (
                "18446744073709551616",
                json!(18_446_744_073_709_552_000_f64),
            ),
            ("1e30 1e3_0", json!(1e30)),
        ] {
            for text in texts.split(' ') {
                assert_eq!(scalar(text, true), expected, "{text}");
            }
        }
        for text in "yEs oN tRUE nUll 1e400 _1 inf nan Infinity NaN 12:30 2024-01-01 1.2.3 0b 0o 0o8 0xg 0x 0x+1 0b2 \
                     0x10000000000000000 0x1p4 1e 1e+ + - = << 10.0.0.0/8"
            .split_ascii_whitespace()
        {
            assert_eq!(scalar(text, true), json!(text));
        }
    }

    #[test]
    fn keys_are_texts_of_their_values() {
        for (text, expected) in [
            ("on", Some("true")),
            ("no", Some("false")),
            ("0644", Some("420")),
            ("80", Some("80")),
            ("-1", Some("-1")),
            ("a", None),
            ("~", None),
        ] {
            assert_eq!(key(text).as_deref(), expected, "{text}");
        }
    }
}
