//! Writes metrics in the text format of Prometheus (version 0.0.4).
//!
//! The data plane and the controller write their metrics with [`TextWriter`]. The crate `prometheus-client`
//! is not used, because it writes OpenMetrics, which appends `_total` to the name of every counter. Envoy's
//! names do not have this suffix, and dashboards for Envoy must be usable with the gateway.
//!
//! ```
//! use towergate_core::prometheus::{Labels, MetricType, TextWriter};
//!
//! let mut writer = TextWriter::default();
//! writer.family("requests", MetricType::Counter, "Requests received.");
//! writer.sample("requests", &Labels::new("listener", "edge/\"http\""), 3);
//!
//! assert_eq!(
//!     writer.finish(),
//!     "# HELP requests Requests received.\n\
//!      ## TYPE requests counter\n\
//!      requests{listener=\"edge/\\\"http\\\"\"} 3\n"
//! );
//! ```

use std::fmt::{self, Display, Write};

/// Media type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of a metric family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricType {
    /// A value that only increases.
    Counter,
    /// A value that increases and decreases.
    Gauge,
    /// Counts by bucket.
    Histogram,
}

impl Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// The labels of a sample, with escaped values. They are ordered by their text form.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Labels(String);

impl Labels {
    /// Creates labels that consist of one label. [`Self::default`] creates an empty set of labels.
    pub fn new(name: &str, value: &str) -> Self {
        Self::default().with(name, value)
    }

    /// Adds a label.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let separator = if self.0.is_empty() { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        // Writing to a string cannot fail.
        let _ = write!(
            self.0,
            "{separator}{name}=\"{}\"",
            value.replace('\n', "\\n")
        );
        self
    }
}

/// Writes metric families and their samples.
#[derive(Clone, Debug, Default)]
pub struct TextWriter {
    text: String,
}

impl TextWriter {
    /// Starts a family. Its samples must follow.
    pub fn family(&mut self, name: &str, kind: MetricType, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Writes a sample of a counter or gauge.
    pub fn sample(&mut self, name: &str, labels: &Labels, value: impl Display) {
        let _ = match labels.0.is_empty() {
            true => writeln!(self.text, "{name} {value}"),
            false => writeln!(self.text, "{name}{{{}}} {value}", labels.0),
        };
    }

    /// Writes the samples of a histogram. `buckets` contains the count of each bucket, not cumulative counts.
    /// `bounds` contains the upper bounds of all buckets except the last one, which has no upper bound.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: &Labels,
        bounds: &[f64],
        buckets: &[u64],
        sum: f64,
    ) {
        let bucket_name = format!("{name}_bucket");
        let mut count = 0;
        for (index, bucket) in buckets.iter().enumerate() {
            count += bucket;
            let bound = bounds
                .get(index)
                .map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.sample(&bucket_name, &labels.clone().with("le", &bound), count);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// Returns the text of all families and samples.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_and_help_cannot_break_a_line() {
        let mut writer = TextWriter::default();

        writer.family("a", MetricType::Gauge, "x\\\ny");
        writer.sample("a", &Labels::new("l", "q\"b\\n\n").with("m", ""), 0.25);

        assert_eq!(
            writer.finish(),
            "# HELP a x\\\\\\ny\n# TYPE a gauge\na{l=\"q\\\"b\\\\n\\n\",m=\"\"} 0.25\n"
        );
    }

    #[test]
    fn histogram_buckets_are_cumulative_and_the_last_is_infinite() {
        let mut writer = TextWriter::default();

        writer.histogram("t", &Labels::new("l", "a"), &[0.5, 1.0], &[1, 0, 2], 7.5);
        writer.histogram("u", &Labels::default(), &[1.0], &[1, 0], 1.0);

        assert_eq!(
            writer.finish(),
            "t_bucket{l=\"a\",le=\"0.5\"} 1\nt_bucket{l=\"a\",le=\"1\"} 1\nt_bucket{l=\"a\",le=\"+Inf\"} 3\n\
             t_sum{l=\"a\"} 7.5\nt_count{l=\"a\"} 3\n\
             u_bucket{le=\"1\"} 1\nu_bucket{le=\"+Inf\"} 1\nu_sum 1\nu_count 1\n"
        );
    }
}
