//! The lines of Prometheus' text format.

use std::fmt::Write;

use foldhash::HashMap;

use super::counts::{BOUNDS, Histogram, Reasons};

/// Counts with their labels, in the order of these.
pub(super) type Rows<'a, C> = [(String, &'a C)];

/// The text so far.
#[derive(Default)]
pub(super) struct Page(pub(super) String);

/// Families with a sample for each row, or with several.
impl Page {
    pub(super) fn counters<C>(
        &mut self,
        name: &str,
        help: &str,
        rows: &Rows<'_, C>,
        value: fn(&C) -> u64,
    ) {
        self.values(name, "counter", help, rows, value);
    }

    pub(super) fn gauges<C>(
        &mut self,
        name: &str,
        help: &str,
        rows: &Rows<'_, C>,
        value: fn(&C) -> u64,
    ) {
        self.values(name, "gauge", help, rows, value);
    }

    pub(super) fn values<C>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        rows: &Rows<'_, C>,
        value: fn(&C) -> u64,
    ) {
        self.family(name, kind, help);
        for (labels, counts) in rows {
            self.sample(name, labels, value(counts));
        }
    }

    /// A counter for each word, which stands in a further label.
    pub(super) fn reasons<C>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        rows: &Rows<'_, C>,
        reasons: fn(&C) -> &Reasons,
    ) {
        self.family(name, "counter", help);
        for (labels, counts) in rows {
            for (why, count) in reasons(counts) {
                let labels = format!("{labels},{label}=\"{}\"", escape(why));
                self.sample(name, &labels, *count);
            }
        }
    }

    /// A counter for each class of status that came up.
    pub(super) fn classes<C>(
        &mut self,
        name: &str,
        help: &str,
        rows: &Rows<'_, C>,
        classes: fn(&C) -> &[u64; 10],
    ) {
        self.family(name, "counter", help);
        for (labels, counts) in rows {
            let classes = classes(counts).iter().enumerate();
            for (class, count) in classes.filter(|(_, count)| **count > 0) {
                let labels = format!("{labels},envoy_response_code_class=\"{class}\"");
                self.sample(name, &labels, *count);
            }
        }
    }

    pub(super) fn histograms<C>(
        &mut self,
        name: &str,
        help: &str,
        rows: &Rows<'_, C>,
        histogram: fn(&C) -> &Histogram,
    ) {
        self.family(name, "histogram", help);
        for (labels, counts) in rows {
            self.histogram(name, labels, histogram(counts));
        }
    }
}

/// The lines of the format.
impl Page {
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    pub(super) fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let mut count = 0;
        for (bucket, more) in histogram.buckets.iter().enumerate() {
            count += more;
            let bound = BOUNDS
                .get(bucket)
                .map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.sample(
                &format!("{name}_bucket"),
                &format!("{labels},le=\"{bound}\""),
                count,
            );
        }
        let _ = writeln!(self.0, "{name}_sum{{{labels}}} {}", histogram.sum);
        self.sample(&format!("{name}_count"), labels, count);
    }
}

/// A value of a label.
pub(super) fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Counts with their labels.
pub(super) fn rows<K, C>(
    counts: &HashMap<K, C>,
    label: impl Fn(&K) -> String,
) -> Vec<(String, &C)> {
    sorted(counts.iter().map(|(key, counts)| (label(key), counts)))
}

/// In the order of the labels.
pub(super) fn sorted<T>(samples: impl Iterator<Item = (String, T)>) -> Vec<(String, T)> {
    let mut samples: Vec<_> = samples.collect();
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    samples
}
