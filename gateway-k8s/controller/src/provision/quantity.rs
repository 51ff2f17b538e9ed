//! Comparison of Kubernetes resource quantities.

use serde_json::Value;

/// Whether two values are equal, or are quantities of the same size.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    one == other || read(one).is_some_and(|size| read(other) == Some(size))
}

/// The size of a quantity in billionths. `None`: the value is not a quantity, or is out of range.
fn read(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => parse(&number.to_string()),
        Value::String(text) => parse(text),
        _ => None,
    }
}

/// Parses `[+-]digits[.digits][suffix]`. The suffix is a unit or a decimal exponent.
fn parse(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, tens) = unit(suffix)?;
    let places = i32::try_from(fraction.len()).ok()?;
    let tens = tens.checked_add(9)?.checked_sub(places)?;
    let power = 10_i128.checked_pow(tens.unsigned_abs())?;
    let size = digits.checked_mul(factor)?;
    let size = match tens < 0 {
        true if size % power != 0 => return None,
        true => size / power,
        false => size.checked_mul(power)?,
    };
    Some(sign * size)
}

/// The multiplier of a suffix: a factor and a power of ten.
fn unit(suffix: &str) -> Option<(i128, i32)> {
    let tens = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        "Ki" => return Some((1 << 10, 0)),
        "Mi" => return Some((1 << 20, 0)),
        "Gi" => return Some((1 << 30, 0)),
        "Ti" => return Some((1 << 40, 0)),
        "Pi" => return Some((1 << 50, 0)),
        "Ei" => return Some((1 << 60, 0)),
        exponent => exponent.strip_prefix(['e', 'E'])?.parse().ok()?,
    };
    Some((1, tens))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_compared_by_size() {
        for (one, other) in [
            (json!("1000m"), json!("1")),
            (json!(1), json!("1")),
            (json!(0.5), json!("500m")),
            (json!("0.5Gi"), json!("512Mi")),
            (json!("1e3"), json!("1k")),
            (json!("1E"), json!("1e18")),
            (json!("-1.50"), json!("-1500m")),
        ] {
            assert!(same(&one, &other), "{one} {other}");
        }
        for (one, other) in [
            ("1", "2"),
            ("1M", "1Mi"),
            ("x", "y"),
            ("", "0"),
            ("1", "1x"),
        ] {
            assert!(!same(&json!(one), &json!(other)), "{one} {other}");
        }
        assert!(same(&json!("x"), &json!("x")));
        assert_eq!(parse("9e999999999"), None);
    }
}
