//! The creation time of an object, which decides between conflicting objects.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::meta::ObjectMeta;

/// Creation time of an object. Values are ordered by precedence. They are compared as instants, because
/// different texts can denote the same time, for example with `Z` and with `+00:00`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum CreationTime {
    /// The object has no timestamp, like most manifests.
    Absent,
    /// Nanoseconds since 1970-01-01 UTC.
    At(i128),
    /// The text is not a valid RFC 3339 time.
    Unreadable(String),
}

impl CreationTime {
    /// The time in `metadata.creationTimestamp`.
    pub fn of(meta: &ObjectMeta) -> Self {
        match &meta.creation_timestamp {
            None => Self::Absent,
            Some(text) => Self::parse(text),
        }
    }

    /// The time in a text in the format of RFC 3339.
    pub(crate) fn parse(text: &str) -> Self {
        match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(time) => Self::At(time.unix_timestamp_nanos()),
            Err(_) => Self::Unreadable(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> CreationTime {
        CreationTime::of(&ObjectMeta {
            creation_timestamp: Some(text.to_owned()),
            ..ObjectMeta::default()
        })
    }

    /// The cases of Go's `time.Parse` with `time.RFC3339`, which an API server uses.
    #[test]
    fn times_are_compared_as_instants() {
        for equal in [
            ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00+00:00"],
            ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000Z"],
            ["2024-01-01T00:00:00Z", "2024-01-01T02:00:00+02:00"],
            ["2024-01-01T00:00:00Z", "2023-12-31T19:30:00-04:30"],
        ] {
            assert_eq!(time(equal[0]), time(equal[1]), "{equal:?}");
        }
        for ascending in [
            ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5Z"],
            ["2024-01-01T00:00:00.25Z", "2024-01-01T00:00:00.5Z"],
            ["2024-01-01T01:00:00+02:00", "2024-01-01T00:00:00Z"],
            ["1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"],
            ["2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"],
        ] {
            assert!(time(ascending[0]) < time(ascending[1]), "{ascending:?}");
        }
    }

    #[test]
    fn objects_without_a_time_come_first_and_those_with_another_text_last() {
        let absent = CreationTime::of(&ObjectMeta::default());
        let valid = time("2024-01-01T00:00:00Z");

        assert!(absent < valid);
        for text in [
            "",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01 00:00:00",
            "2024-02-30T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "yesterday",
        ] {
            assert!(valid < time(text), "{text:?}");
        }
    }
}
