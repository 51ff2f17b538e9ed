//! Values that exceed the size of a cookie are split over several cookies.
//!
//! ```text
//! NAME=~3~first part    NAME.1=second part    NAME.2=third part
//! ```
//!
//! Browsers keep cookies of at most 4 096 bytes, name and value together. A value that fits into one cookie
//! is written unchanged. Otherwise the first part contains the number of parts, so that a remaining part of
//! an earlier value is not used.

use std::borrow::Cow;

/// Maximum length of one cookie's value, in bytes.
const LONGEST: usize = 3_800;
/// Maximum number of cookies of one value. With this number, two tokens stay below the limit of 60 KiB for a
/// request's header fields.
pub(super) const MOST: usize = 6;
/// Prefix of a value that starts with a number of parts.
const MARK: char = '~';

/// Name of part `index` of the cookie `name`.
pub(super) fn name(name: &str, index: usize) -> String {
    match index {
        0 => name.to_owned(),
        index => format!("{name}.{index}"),
    }
}

/// The parts of a value, in ASCII. `None` if there would be too many parts.
pub(super) fn split(value: &str) -> Option<Vec<Cow<'_, str>>> {
    if value.len() <= LONGEST && !value.starts_with(MARK) {
        return Some(vec![Cow::Borrowed(value)]);
    }
    let count = value.len().div_ceil(LONGEST).max(1);
    if count > MOST || !value.is_ascii() {
        return None;
    }
    let parts = (0..count).map(|index| {
        let start = index * LONGEST;
        let part = &value[start..value.len().min(start + LONGEST)];
        match index {
            0 => Cow::Owned(format!("{MARK}{count}{MARK}{part}")),
            _ => Cow::Borrowed(part),
        }
    });
    Some(parts.collect())
}

/// Joins the parts of a value. The first part is `first`; `part` returns the others. `None` if a part is
/// missing.
pub(super) fn join<'v>(
    first: &'v str,
    part: impl Fn(usize) -> Option<&'v str>,
) -> Option<Cow<'v, str>> {
    let Some(rest) = first.strip_prefix(MARK) else {
        return Some(Cow::Borrowed(first));
    };
    let (count, start) = rest.split_once(MARK)?;
    let count: usize = count.parse().ok().filter(|count| *count <= MOST)?;
    let mut value = start.to_owned();
    for index in 1..count {
        value.push_str(part(index)?);
    }
    Some(Cow::Owned(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_missing_part_and_a_count_that_is_too_large_give_no_value() {
        let value = "x".repeat(2 * LONGEST);
        let parts = split(&value).unwrap();

        assert_eq!(parts.len(), 2);
        assert_eq!(join(&parts[0], |_| None), None);
        assert_eq!(join("~99~x", |_| Some("x")), None);
        assert_eq!(join("~x", |_| Some("x")), None);
        assert!(split(&"x".repeat(MOST * LONGEST + 1)).is_none());
    }

    proptest! {
        /// Joining the parts returns the value, and each part fits into a cookie.
        #[test]
        fn join_reverses_split(value in "[!-:<-~]{0,40}", repeat in 1_usize..400) {
            let value = value.repeat(repeat);
            let parts = split(&value).unwrap();

            let joined = join(&parts[0], |index| parts.get(index).map(|part| &**part));

            prop_assert_eq!(&*joined.unwrap(), value.as_str());
            prop_assert!(parts.iter().all(|part| part.len() <= LONGEST + 4));
        }
    }
}
