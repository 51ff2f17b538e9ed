//! Load reports of endpoints (ORCA: `xds.data.orca.v3.OrcaLoadReport`) in header fields or trailers of responses.
//!
//! | field | value |
//! |---|---|
//! | `endpoint-load-metrics-bin` | the protobuf message in Base64 |
//! | `endpoint-load-metrics: BIN CAFE` | the same |
//! | `endpoint-load-metrics: JSON {"cpu_utilization": 0.3}` | the message as JSON |
//! | `endpoint-load-metrics: TEXT cpu_utilization=0.3,named_metrics.queue=2` | pairs of metric and number |

use data_encoding::{BASE64, BASE64_NOPAD};
use http::{HeaderMap, HeaderName};

use crate::plan::UtilizationBalancing;

/// Name of the field whose value begins with the name of its format, for example `JSON`.
const FIELD: HeaderName = HeaderName::from_static("endpoint-load-metrics");
/// Name of the field whose value is a protobuf message.
const BINARY_FIELD: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

/// Field numbers and names of the message's scalar fields. The deprecated integer `rps` (3) is not read.
const SCALARS: [(u64, &str); 5] = [
    (1, "cpu_utilization"),
    (2, "mem_utilization"),
    (6, "rps_fractional"),
    (7, "eps"),
    (9, "application_utilization"),
];
/// Field numbers and names of the message's maps.
const MAPS: [(u64, &str); 3] = [
    (4, "request_cost"),
    (5, "utilization"),
    (8, "named_metrics"),
];

/// A load report: metrics by name. The name of a map entry contains the name of the map, for example
/// `named_metrics.queue`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport(Vec<(String, f64)>);

impl LoadReport {
    /// The report in header fields or trailers. `None` if the report is absent or malformed.
    pub fn of_fields(fields: &HeaderMap) -> Option<Self> {
        if let Some(binary) = fields.get(BINARY_FIELD) {
            return Self::decode_base64(binary.to_str().ok()?);
        }
        Self::parse(fields.get(FIELD)?.to_str().ok()?)
    }

    /// Removes reports from header fields or trailers.
    pub fn remove_from(fields: &mut HeaderMap) {
        fields.remove(FIELD);
        fields.remove(BINARY_FIELD);
    }

    /// Parses a value of `endpoint-load-metrics`. Returns `None` if the value is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (format, report) = text.trim().split_once(' ')?;
        match format {
            "BIN" => Self::decode_base64(report.trim()),
            "JSON" => Self::parse_json(report),
            "TEXT" => Self::parse_text(report),
            _ => None,
        }
    }

    /// Value of a metric; 0 if the report does not contain it.
    pub fn metric(&self, name: &str) -> f64 {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or(0.0, |(_, value)| *value)
    }

    /// Weight of the endpoint: requests per second, divided by the utilization plus a penalty for errors.
    /// `None` if the report lacks the requests per second or the utilization.
    ///
    /// The utilization is the first of these values that is above zero: `application_utilization`, the
    /// maximum of the metrics that `settings` names, `cpu_utilization`.
    pub fn weight(&self, settings: &UtilizationBalancing) -> Option<f64> {
        let rate = self.metric("rps_fractional");
        let named = settings.metrics.iter().map(|name| self.metric(name));
        let candidates = [
            self.metric("application_utilization"),
            named.fold(0.0, f64::max),
            self.metric("cpu_utilization"),
        ];
        let utilization = candidates.into_iter().find(|value| *value > 0.0)?;
        if rate <= 0.0 {
            return None;
        }
        let penalty = f64::from(settings.error_penalty_percent) / 100.0;
        let weight = rate / (utilization + self.metric("eps") / rate * penalty);
        (weight.is_finite() && weight > 0.0).then_some(weight)
    }

    /// Adds a metric. Returns `None` if the value is negative or not a number.
    fn add(&mut self, name: String, value: f64) -> Option<()> {
        (value.is_finite() && value >= 0.0).then(|| self.0.push((name, value)))
    }

    fn parse_text(text: &str) -> Option<Self> {
        let mut report = Self::default();
        for pair in text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=')?;
            report.add(name.trim().to_owned(), value.trim().parse().ok()?)?;
        }
        Some(report)
    }

    fn parse_json(text: &str) -> Option<Self> {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
        let mut report = Self::default();
        for (name, value) in fields {
            let name = snake_case(&name);
            match value {
                serde_json::Value::Number(number) => report.add(name, number.as_f64()?)?,
                serde_json::Value::Object(entries) => {
                    for (key, value) in entries {
                        report.add(format!("{name}.{key}"), value.as_f64()?)?;
                    }
                }
                // Values of other types are skipped. An example is a string: the JSON of protobuf represents
                // 64-bit integers as strings, and no metric that is used here is an integer.
                _ => {}
            }
        }
        Some(report)
    }

    fn decode_base64(text: &str) -> Option<Self> {
        let encoding = if text.ends_with('=') || text.len().is_multiple_of(4) {
            BASE64
        } else {
            BASE64_NOPAD
        };
        Self::decode(&encoding.decode(text.as_bytes()).ok()?)
    }

    /// Decodes a protobuf message. Returns `None` if it is malformed. Unknown fields are skipped.
    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut report = Self::default();
        while !bytes.is_empty() {
            let (number, value) = read_field(&mut bytes)?;
            let name_in = |names: &[(u64, &'static str)]| {
                let found = names.iter().find(|(known, _)| *known == number);
                found.map(|(_, name)| *name)
            };
            match value {
                FieldValue::Double(value) => {
                    if let Some(name) = name_in(&SCALARS) {
                        report.add(name.to_owned(), value)?;
                    }
                }
                FieldValue::Bytes(entry) => {
                    if let Some(map) = name_in(&MAPS) {
                        let (key, value) = read_entry(entry)?;
                        report.add(format!("{map}.{key}"), value)?;
                    }
                }
                FieldValue::Other => {}
            }
        }
        Some(report)
    }
}

/// Value of a field (protobuf, "Encoding").
enum FieldValue<'b> {
    Double(f64),
    Bytes(&'b [u8]),
    /// A value of a type that load reports do not use.
    Other,
}

/// Number and value of the next field.
fn read_field<'b>(bytes: &mut &'b [u8]) -> Option<(u64, FieldValue<'b>)> {
    let tag = read_varint(bytes)?;
    let value = match tag & 7 {
        0 => {
            read_varint(bytes)?;
            FieldValue::Other
        }
        1 => {
            let eight = bytes.split_off(..8)?;
            FieldValue::Double(f64::from_le_bytes(eight.try_into().ok()?))
        }
        2 => {
            let len = usize::try_from(read_varint(bytes)?).ok()?;
            FieldValue::Bytes(bytes.split_off(..len)?)
        }
        5 => {
            bytes.split_off(..4)?;
            FieldValue::Other
        }
        _ => return None,
    };
    Some((tag >> 3, value))
}

/// Key and value of a map entry.
fn read_entry(mut bytes: &[u8]) -> Option<(&str, f64)> {
    let (mut key, mut value) = ("", 0.0);
    while !bytes.is_empty() {
        match read_field(&mut bytes)? {
            (1, FieldValue::Bytes(text)) => key = std::str::from_utf8(text).ok()?,
            (2, FieldValue::Double(number)) => value = number,
            _ => {}
        }
    }
    Some((key, value))
}

/// An integer of at most 64 bits.
fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Converts `cpuUtilization` to `cpu_utilization`. The JSON of protobuf allows both forms.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn double(number: u8, value: f64) -> Vec<u8> {
        [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
    }

    #[test]
    fn the_three_formats_of_a_report_are_equal() {
        let text = "TEXT cpu_utilization=0.5, rps_fractional=20, named_metrics.queue=3";
        let json = r#"JSON {"cpuUtilization": 0.5, "rps_fractional": 20, "namedMetrics": {"queue": 3}, "rps": "20"}"#;
        let entry = [&[0x0a, 5][..], b"queue", &double(2, 3.0)].concat();
        let message = [
            double(1, 0.5),
            double(6, 20.0),
            vec![8 << 3 | 2, u8::try_from(entry.len()).unwrap()],
            entry,
            vec![3 << 3, 20],
        ];
        let binary = format!("BIN {}", BASE64.encode(&message.concat()));

        let expected = LoadReport(vec![
            ("cpu_utilization".to_owned(), 0.5),
            ("rps_fractional".to_owned(), 20.0),
            ("named_metrics.queue".to_owned(), 3.0),
        ]);
        let sorted = |report: Option<LoadReport>| {
            let mut report = report.unwrap();
            report.0.sort_by(|a, b| a.0.cmp(&b.0));
            report
        };
        for written in [text, json, &binary] {
            assert_eq!(
                sorted(LoadReport::parse(written)),
                sorted(Some(expected.clone())),
                "{written}"
            );
        }
    }

    #[test]
    fn malformed_reports_are_not_read() {
        for written in [
            "",
            "cpu_utilization=0.5",
            "TEXT cpu_utilization",
            "TEXT cpu_utilization=-1",
            "TEXT cpu_utilization=NaN",
            "TEXT cpu_utilization=inf",
            "JSON [1]",
            "JSON {\"cpu_utilization\": -1}",
            "BIN CQ==",
            "BIN !",
            "XML <a/>",
        ] {
            assert_eq!(LoadReport::parse(written), None, "{written}");
        }
    }

    #[test]
    fn the_weight_is_the_rate_by_utilization_with_a_penalty_for_errors() {
        let settings = |metrics: &[&str], error_penalty_percent| UtilizationBalancing {
            metrics: metrics.iter().map(|name| (*name).to_owned()).collect(),
            error_penalty_percent,
            ..UtilizationBalancing::default()
        };
        for (report, metrics, penalty, expected) in [
            (
                "rps_fractional=100,cpu_utilization=0.5",
                &[][..],
                0,
                Some(200.0),
            ),
            (
                "rps_fractional=100,cpu_utilization=0.5,application_utilization=0.2",
                &[],
                0,
                Some(500.0),
            ),
            (
                "rps_fractional=100,cpu_utilization=0.5,named_metrics.a=0.8",
                &["named_metrics.a", "mem_utilization"],
                0,
                Some(125.0),
            ),
            (
                "rps_fractional=100,eps=50,cpu_utilization=0.5",
                &[],
                100,
                Some(100.0),
            ),
            (
                "rps_fractional=100,eps=50,cpu_utilization=0.5",
                &[],
                0,
                Some(200.0),
            ),
            ("rps_fractional=0,cpu_utilization=0.5", &[], 0, None),
            ("rps_fractional=100", &[], 0, None),
        ] {
            let parsed = LoadReport::parse(&format!("TEXT {report}")).unwrap();

            assert_eq!(
                parsed.weight(&settings(metrics, penalty)),
                expected,
                "{report}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = LoadReport::decode(&bytes);
        }

        #[test]
        fn a_weight_is_a_positive_number(text in "(TEXT|JSON) [a-z_=,.0-9e{}\":-]{0,40}") {
            let report = LoadReport::parse(&text).unwrap_or_default();
            let weight = report.weight(&UtilizationBalancing::default());

            prop_assert!(weight.is_none_or(|weight| weight > 0.0 && weight.is_finite()));
        }
    }
}
