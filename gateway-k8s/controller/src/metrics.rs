//! Numbers about the controller, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::serve::{DataPlaneReport, PlaneReport, Reports};

/// Counters and gauges.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    by_kind: Mutex<BTreeMap<&'static str, OfKind>>,
    leads: AtomicBool,
    told: AtomicBool,
    serving: AtomicBool,
    resolved: AtomicU64,
    resolving_micros: AtomicU64,
    published: AtomicU64,
    due: AtomicU64,
    written: AtomicU64,
    conflicts: AtomicU64,
    failed: AtomicU64,
    without_address: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct OfKind {
    objects: usize,
    failures: u64,
}

/// How a write of a status ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Write {
    /// It was taken.
    Written,
    /// Somebody else was faster.
    Conflict,
    /// It was not taken.
    Failed,
}

impl Metrics {
    /// A watch of a kind failed.
    pub(crate) fn watch_failed(&self, kind: &'static str) {
        self.of_kind(kind, |of| of.failures += 1);
    }

    /// How many objects of a kind there are.
    pub(crate) fn count_objects(&self, kind: &'static str, objects: usize) {
        self.of_kind(kind, |of| of.objects = objects);
    }

    fn of_kind(&self, kind: &'static str, change: impl FnOnce(&mut OfKind)) {
        // Numbers are whole after a panic, too.
        let mut by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        change(by_kind.entry(kind).or_default());
    }

    /// Everything was resolved, in this time, and data planes have been told, even if there are none.
    pub(crate) fn resolved(&self, took: Duration) {
        self.told.store(true, Ordering::Relaxed);
        self.resolved.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.resolving_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Something new went to data planes.
    pub(crate) fn published(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    /// Data planes can get what is published.
    pub(crate) fn set_serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// Whether data planes can get what was decided.
    pub(crate) fn is_ready(&self) -> bool {
        self.told.load(Ordering::Relaxed) && self.serving.load(Ordering::Relaxed)
    }

    /// Whether we lead.
    pub(crate) fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    /// How many statuses are not as they are to be.
    pub(crate) fn set_due(&self, due: usize) {
        self.due.store(due as u64, Ordering::Relaxed);
    }

    /// How many Gateways have no address.
    pub(crate) fn set_without_address(&self, gateways: usize) {
        self.without_address
            .store(gateways as u64, Ordering::Relaxed);
    }

    /// A write of a status ended.
    pub(crate) fn status_written(&self, how: Write) {
        let counter = match how {
            Write::Written => &self.written,
            Write::Conflict => &self.conflicts,
            Write::Failed => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them, and what data planes say.
    pub(crate) fn render(&self, reports: &Reports) -> String {
        let mut page = Page(String::new());
        page.planes(reports);
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        page.one(
            "leader",
            "gauge",
            "1 if this controller writes.",
            u8::from(self.leads.load(Ordering::Relaxed)),
        );
        page.one(
            "ready",
            "gauge",
            "1 once data planes can get a plan.",
            u8::from(self.is_ready()),
        );
        page.one(
            "resolutions_total",
            "counter",
            "How often everything was resolved.",
            load(&self.resolved),
        );
        let seconds = Duration::from_micros(load(&self.resolving_micros)).as_secs_f64();
        page.one(
            "resolution_seconds_total",
            "counter",
            "Time spent on resolving.",
            seconds,
        );
        page.one(
            "publications_total",
            "counter",
            "How often something new went to data planes.",
            load(&self.published),
        );
        page.one(
            "statuses_due",
            "gauge",
            "Statuses that are not as they are to be.",
            load(&self.due),
        );
        page.one(
            "gateways_without_address",
            "gauge",
            "Gateways for which there is no address.",
            load(&self.without_address),
        );
        page.head("status_writes_total", "counter", "Writes of statuses.");
        for (result, counter) in [
            ("written", &self.written),
            ("conflict", &self.conflicts),
            ("failed", &self.failed),
        ] {
            page.line("status_writes_total", &[("result", result)], load(counter));
        }
        let by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        page.head("objects", "gauge", "Objects by kind.");
        for (kind, of) in &*by_kind {
            page.line("objects", &[("kind", kind)], of.objects);
        }
        page.head("watch_failures_total", "counter", "Failures of watches.");
        for (kind, of) in &*by_kind {
            page.line("watch_failures_total", &[("kind", kind)], of.failures);
        }
        page.0
    }
}

/// A page of metrics.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "# HELP towergate_controller_{name} {help}");
        let _ = writeln!(self.0, "# TYPE towergate_controller_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "towergate_controller_{name}{labels} {value}");
    }

    fn planes(&mut self, reports: &Reports) {
        type Count = fn(&PlaneReport, &DataPlaneReport) -> bool;
        let counts: [(&str, &str, Count); 3] = [
            ("data_planes", "Data planes that are connected.", |_, _| {
                true
            }),
            (
                "data_planes_behind",
                "Those of them that do not serve the newest version.",
                |plane, one| one.in_force < plane.published,
            ),
            (
                "data_planes_refusing",
                "Those of them that could not serve a version.",
                |_, one| one.refused.is_some(),
            ),
        ];
        for (name, help, counts) in counts {
            self.head(name, "gauge", help);
            for (plane, report) in &reports.planes {
                let all = report.data_planes.values();
                let count = all.filter(|one| counts(report, one)).count();
                self.line(name, &[("plane", plane)], count);
            }
        }
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_number_with_its_labels() {
        let metrics = Metrics::default();
        metrics.set_leads(true);
        metrics.count_objects("Gateway", 3);
        metrics.watch_failed("Gateway");
        metrics.status_written(Write::Conflict);
        metrics.resolved(Duration::from_millis(250));

        let behind = DataPlaneReport {
            name: "pod".to_owned(),
            address: ([192, 0, 2, 1], 1).into(),
            in_force: Some(1),
            refused: None,
        };
        let plane = PlaneReport {
            published: Some(2),
            data_planes: [(0, behind)].into(),
        };
        let reports = Reports {
            planes: [("d/edge".to_owned(), plane)].into(),
        };

        let page = metrics.render(&reports);

        for line in [
            "towergate_controller_leader 1",
            "towergate_controller_ready 0",
            "towergate_controller_objects{kind=\"Gateway\"} 3",
            "towergate_controller_watch_failures_total{kind=\"Gateway\"} 1",
            "towergate_controller_status_writes_total{result=\"conflict\"} 1",
            "towergate_controller_resolution_seconds_total 0.25",
            "# TYPE towergate_controller_objects gauge",
            "towergate_controller_data_planes{plane=\"d/edge\"} 1",
            "towergate_controller_data_planes_behind{plane=\"d/edge\"} 1",
            "towergate_controller_data_planes_refusing{plane=\"d/edge\"} 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
    }
}
