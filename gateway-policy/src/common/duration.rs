//! Durations in the format of Gateway API (GEP-2257).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::{Check, Report};

/// A duration as a string: one to four numbers of one to five digits, each with a unit `h`, `m`, `s` or `ms`.
/// Deserialization accepts an invalid string, so that the policy can be reported as invalid.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationText(pub String);

impl DurationText {
    /// Parses the duration. `None` if the string is invalid.
    pub fn parse(&self) -> Option<Duration> {
        let mut rest = self.0.as_bytes();
        let mut total = Duration::ZERO;
        for _ in 0..4 {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=5).contains(&digits) {
                return None;
            }
            let (number, unit) = rest.split_at(digits);
            let number = number
                .iter()
                .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            let (milliseconds, length) = match unit {
                [b'm', b's', ..] => (1, 2),
                [b's', ..] => (1_000, 1),
                [b'm', ..] => (60_000, 1),
                [b'h', ..] => (3_600_000, 1),
                _ => return None,
            };
            total += Duration::from_millis(number * milliseconds);
            rest = &unit[length..];
            if rest.is_empty() {
                return Some(total);
            }
        }
        None
    }
}

/// The pattern of durations in the schemas of the CRDs.
pub(crate) const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

impl Check for DurationText {
    fn check(&self, report: &mut Report) {
        if self.parse().is_none() {
            report.violation(format!("should match '{DURATION}'"));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn units_add_up_in_any_order() {
        let parse = |text: &str| DurationText(text.to_owned()).parse();

        assert_eq!(parse("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse("1s500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse("5m2ms"), Some(Duration::from_millis(300_002)));
        assert_eq!(parse("0s"), Some(Duration::ZERO));
    }

    /// The examples of GEP-2257, and examples of Go's `time.ParseDuration` that GEP-2257 excludes.
    #[test]
    fn durations_are_those_of_gep_2257() {
        let parse = |text: &str| DurationText(text.to_owned()).parse();
        for (text, milliseconds) in [
            ("0h", 0),
            ("0s", 0),
            ("0h0m0s", 0),
            ("1h", 3_600_000),
            ("30m", 1_800_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("2h30m", 9_000_000),
            ("150m", 9_000_000),
            ("7230s", 7_230_000),
            ("1h30m10s", 5_410_000),
            ("10s30m1h", 5_410_000),
            ("100ms200ms300ms", 600),
            ("1h30m", 5_400_000),
            ("01s", 1_000),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(
                parse(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "0",
            "1",
            "1d",
            "1w",
            "1us",
            "1ns",
            "1.5h",
            "-1s",
            "+1s",
            "1 s",
            " 1s",
            "1s ",
            "1S",
            "100000s",
            "1h1m1s1ms1h",
            "h",
            "s1",
            "1h 30m",
            "infinity",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_text_parses_if_and_only_if_it_matches_the_pattern_of_the_schema(
            text in "([0-9]{0,6}(h|m|s|ms|d)?){0,5}"
        ) {
            let pattern = Regex::new(DURATION).unwrap();

            prop_assert_eq!(DurationText(text.clone()).parse().is_some(), pattern.is_match(&text));
        }
    }
}
