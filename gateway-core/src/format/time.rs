//! The operator `START_TIME`: times in UTC, in a format of `strftime`.

use std::time::{SystemTime, UNIX_EPOCH};

/// A parsed time format.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TimeFormat(Box<[TimePart]>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum TimePart {
    Literal(Box<str>),
    Field(TimeField),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TimeField {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// Hour from 1 to 12.
    TwelveHour,
    /// `AM` or `PM`.
    HalfDay,
    /// Last two digits of the year.
    ShortYear,
    /// Day of the month, padded with a space.
    PaddedDay,
    /// Day of the year, from 1.
    DayOfYear,
    /// English name of the month.
    MonthName(NameLength),
    /// English name of the day of the week.
    DayName(NameLength),
    /// Seconds since the Unix epoch.
    Seconds,
    /// Fraction of the second, with this number of digits.
    Fraction(u8),
}

/// Whether a name is abbreviated to three letters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NameLength {
    Short,
    Full,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// The Unix epoch was a Thursday.
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// The format if the operator has no argument: RFC 3339 with milliseconds.
const DEFAULT: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";

impl TimeFormat {
    /// Parses a format. If it is empty, the result is RFC 3339 with milliseconds. `None` if a conversion is
    /// not supported.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = if text.is_empty() { DEFAULT } else { text };
        let mut parts = Vec::new();
        let mut literal = String::new();
        while let Some(start) = rest.find('%') {
            literal.push_str(&rest[..start]);
            rest = &rest[start + 1..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (width, after) = rest.split_at(digits);
            let conversion = after.chars().next()?;
            rest = &after[conversion.len_utf8()..];
            let mut add = |fields: &[TimeField], between: &str| {
                for (at, field) in fields.iter().enumerate() {
                    if at > 0 {
                        literal.push_str(between);
                    }
                    if !literal.is_empty() {
                        parts.push(TimePart::Literal(std::mem::take(&mut literal).into()));
                    }
                    parts.push(TimePart::Field(*field));
                }
            };
            use TimeField as F;
            match (width, conversion) {
                (width, 'f') => {
                    let width = if width.is_empty() {
                        Some(9)
                    } else {
                        width.parse().ok()
                    };
                    let width = width.filter(|width| (1..=9).contains(width))?;
                    add(&[F::Fraction(width)], "");
                }
                ("", 'Y') => add(&[F::Year], ""),
                ("", 'm') => add(&[F::Month], ""),
                ("", 'd') => add(&[F::Day], ""),
                ("", 'H') => add(&[F::Hour], ""),
                ("", 'M') => add(&[F::Minute], ""),
                ("", 'S') => add(&[F::Second], ""),
                ("", 's') => add(&[F::Seconds], ""),
                ("", 'F') => add(&[F::Year, F::Month, F::Day], "-"),
                ("", 'T') => add(&[F::Hour, F::Minute, F::Second], ":"),
                ("", 'R') => add(&[F::Hour, F::Minute], ":"),
                ("", 'D') => add(&[F::Month, F::Day, F::ShortYear], "/"),
                ("", 'I') => add(&[F::TwelveHour], ""),
                ("", 'p') => add(&[F::HalfDay], ""),
                ("", 'y') => add(&[F::ShortYear], ""),
                ("", 'e') => add(&[F::PaddedDay], ""),
                ("", 'j') => add(&[F::DayOfYear], ""),
                ("", 'b' | 'h') => add(&[F::MonthName(NameLength::Short)], ""),
                ("", 'B') => add(&[F::MonthName(NameLength::Full)], ""),
                ("", 'a') => add(&[F::DayName(NameLength::Short)], ""),
                ("", 'A') => add(&[F::DayName(NameLength::Full)], ""),
                ("", 'z') => literal.push_str("+0000"),
                ("", 'Z') => literal.push_str("UTC"),
                ("", '%') => literal.push('%'),
                _ => return None,
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(TimePart::Literal(literal.into()));
        }
        Some(Self(parts.into()))
    }

    /// Appends `time`. A time before the Unix epoch is replaced by the epoch.
    pub(super) fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs();
        let (year, month, day) = civil(seconds / 86_400);
        for part in &self.0 {
            let field = match part {
                TimePart::Literal(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                TimePart::Field(field) => field,
            };
            match field {
                TimeField::Year => digits(out, year, 4),
                TimeField::Month => digits(out, month, 2),
                TimeField::Day => digits(out, day, 2),
                TimeField::Hour => digits(out, seconds / 3600 % 24, 2),
                TimeField::Minute => digits(out, seconds / 60 % 60, 2),
                TimeField::Second => digits(out, seconds % 60, 2),
                TimeField::TwelveHour => digits(out, (seconds / 3600 + 11) % 12 + 1, 2),
                TimeField::HalfDay => {
                    let morning = seconds / 3600 % 24 < 12;
                    out.extend_from_slice(if morning { b"AM" } else { b"PM" });
                }
                TimeField::ShortYear => digits(out, year % 100, 2),
                TimeField::PaddedDay if day < 10 => {
                    out.push(b' ');
                    digits(out, day, 1);
                }
                TimeField::PaddedDay => digits(out, day, 2),
                TimeField::DayOfYear => digits(out, day_of_year(year, month, day), 3),
                TimeField::MonthName(length) => name(out, &MONTHS, month - 1, *length),
                TimeField::DayName(length) => name(out, &DAYS, seconds / 86_400 % 7, *length),
                TimeField::Seconds => out.extend_from_slice(seconds.to_string().as_bytes()),
                TimeField::Fraction(width) => {
                    let cut = 10_u64.pow(9 - u32::from(*width));
                    digits(
                        out,
                        u64::from(since.subsec_nanos()) / cut,
                        u32::from(*width),
                    );
                }
            }
        }
    }
}

/// Appends `time` in the format of Envoy: RFC 3339 in UTC with milliseconds. A time before the Unix epoch is
/// replaced by the epoch.
pub fn write_rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    for (value, width, before) in [
        (year, 4, None),
        (month, 2, Some(b'-')),
        (day, 2, Some(b'-')),
        (hour, 2, Some(b'T')),
        (minute, 2, Some(b':')),
        (second, 2, Some(b':')),
        (u64::from(since.subsec_millis()), 3, Some(b'.')),
    ] {
        out.extend(before);
        digits(out, value, width);
    }
    out.push(b'Z');
}

fn name(out: &mut Vec<u8>, names: &[&str], index: u64, length: NameLength) {
    let index = usize::try_from(index).unwrap_or_default();
    let name = names.get(index).copied().unwrap_or_default();
    let end = match length {
        NameLength::Short => 3,
        NameLength::Full => name.len(),
    };
    out.extend_from_slice(&name.as_bytes()[..end.min(name.len())]);
}

/// The day of the year, from 1.
fn day_of_year(year: u64, month: u64, day: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let index = usize::try_from(month - 1).unwrap_or_default();
    let before: u64 = before.get(index).copied().unwrap_or_default();
    before + day + u64::from(leap && month > 2)
}

fn digits(out: &mut Vec<u8>, value: u64, width: u32) {
    for place in (0..width).rev() {
        let digit = value / 10_u64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

/// Year, month and day (Gregorian calendar) of the day that is `days` days after the Unix epoch. The
/// calculation uses years that begin in March, so that the leap day is the last day of a year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(format: &str) -> Option<String> {
        // 2024-02-29T23:59:59.042007Z
        let time = UNIX_EPOCH + Duration::new(1_709_251_199, 42_007_000);
        let mut out = Vec::new();
        TimeFormat::parse(format)?.write(time, &mut out);
        String::from_utf8(out).ok()
    }

    #[test]
    fn a_time_is_written_in_its_format() {
        for (format, expected) in [
            ("", Some("2024-02-29T23:59:59.042Z")),
            ("%Y", Some("2024")),
            ("%F %T", Some("2024-02-29 23:59:59")),
            ("%s.%3f", Some("1709251199.042")),
            ("%s.%6f %f", Some("1709251199.042007 042007000")),
            ("at %H%%", Some("at 23%")),
            ("%a, %d %b %y %R %z", Some("Thu, 29 Feb 24 23:59 +0000")),
            (
                "%A %e %B %I%p %j %D %Z",
                Some("Thursday 29 February 11PM 060 02/29/24 UTC"),
            ),
            ("%Q", None),
            ("%", None),
            ("%0f", None),
            ("%3Y", None),
        ] {
            assert_eq!(written(format).as_deref(), expected, "{format}");
        }
    }

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_102_444_799_042, "2099-12-31T23:59:59.042Z"),
        ] {
            let mut out = Vec::new();

            write_rfc3339(&mut out, UNIX_EPOCH + Duration::from_millis(millis));

            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    #[test]
    fn days_follow_each_other_for_four_centuries() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4)
                && (!year.is_multiple_of(100) || year.is_multiple_of(400)) =>
            {
                29
            }
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut date = (1970, 1, 1);
        for day in 0..146_097 {
            assert_eq!(civil(day), date);
            date = match date {
                (year, 12, 31) => (year + 1, 1, 1),
                (year, month, day) if day == length(year, month) => (year, month + 1, 1),
                (year, month, day) => (year, month, day + 1),
            };
        }
    }
}
