//! Query parameters, decoded for comparisons.
//!
//! Backends decode the parameters of a query, so a condition on a parameter must compare decoded names and
//! values: `?%70lan=fr%65e` is equal to `?plan=free`. As in Envoy, only escapes of characters that a URL may
//! contain are decoded (RFC 3986, sections 2.2 and 2.3). A decoded value therefore contains no control
//! character, space or byte above 0x7E. Other escapes are kept, with digits in upper case, so that `%c3` and
//! `%C3` are equal (RFC 3986, section 6.2.2.1). A `+` is kept.

use std::borrow::Cow;

/// Value of the first parameter with this name, decoded. A parameter without `=` has an empty
/// value. `name` is compared with decoded names.
///
/// ```
/// use towergate_core::http::query::first_value;
///
/// assert_eq!(first_value("a=1&%70lan=fr%65e", "plan").as_deref(), Some("free"));
/// ```
pub fn first_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.find_map(|pair| {
        let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(own) == name).then(|| decode(value))
    })
}

/// A name or value, decoded. Text without an escape is borrowed.
pub fn decode(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find('%') else {
        return Cow::Borrowed(text);
    };
    let mut decoded = String::with_capacity(text.len());
    decoded.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.get(1..3).map(|digits| (digits, octet(digits))) {
            Some((_, Some(octet))) if is_url_character(octet) => {
                decoded.push(char::from(octet));
                3
            }
            Some((digits, Some(_))) => {
                decoded.push('%');
                decoded.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
                3
            }
            Some((_, None)) | None => {
                decoded.push('%');
                1
            }
        };
        rest = &rest[length..];
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// The octet that two hexadecimal digits encode.
fn octet(digits: &str) -> Option<u8> {
    let digit = |b: &u8| b.is_ascii_hexdigit();
    let all = digits.as_bytes().iter().all(digit);
    all.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Whether a URL may contain an octet without an escape: it is an unreserved or a reserved character.
fn is_url_character(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:/?#[]@%".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_parameter_has_the_same_value() {
        for query in [
            "plan=free",
            "plan=fr%65e",
            "%70lan=free",
            "x&plan=%66%72%65%65&plan=b",
        ] {
            assert_eq!(
                first_value(query, "plan").as_deref(),
                Some("free"),
                "{query}"
            );
        }
        assert_eq!(first_value("plan", "plan").as_deref(), Some(""));
        assert_eq!(first_value("xplan=a&planx=b", "plan"), None);
    }

    #[test]
    fn escapes_of_other_characters_are_kept_in_upper_case() {
        for (text, decoded) in [
            ("a%20b", "a%20b"),
            ("%c3%a9", "%C3%A9"),
            ("%0d%0A", "%0D%0A"),
            ("%2f%3D%26", "/=&"),
            ("a+b", "a+b"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%+1%é1", "%+1%é1"),
        ] {
            assert_eq!(decode(text), decoded, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn decoded_text_has_no_new_control_character_or_space(text in "([ -~]|%[0-9a-fA-F]{2}){0,20}") {
            let decoded = decode(&text);

            proptest::prop_assert!(decoded.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
            proptest::prop_assert_eq!(
                decoded.matches(' ').count(),
                text.matches(' ').count()
            );
        }
    }
}
