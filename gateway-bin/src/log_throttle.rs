//! Rate-limited log lines about misconfigurations and abuse: a header that a policy requires is missing or
//! invalid, or a client uses HTTP/1.0 or exceeds a limit of its connection. Clients only receive a closed
//! connection, a 403 or a 426; the log line states the cause, and the field to change if there is one.
//!
//! Any client can cause these events, so each listener and reason is logged once in ten seconds. All workers
//! report events, so the times of the last lines are atomics instead of values behind a lock.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::Version;
use towergate_core::observer::{Event, Observer};
use towergate_core::plan::ListenerId;

/// Seconds between two lines of one listener and reason.
const INTERVAL: u64 = 10;
/// Number of stored times. Warnings that hash to the same slot share its interval.
const SLOTS: usize = 256;
/// The `response_code_details` of a request whose client address is unknown.
const NO_CLIENT: &str = "rejecting_because_detection_failed";

/// An observer that logs misconfigurations and forwards all events.
pub(crate) struct LogThrottle<O> {
    next: Arc<O>,
    start: Instant,
    /// Times of the last lines, in seconds from `start`, plus one. 0: no line yet.
    last_logged: [AtomicU64; SLOTS],
}

/// A misconfiguration to log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Warning<'a> {
    /// Connections to the port lack the required PROXY protocol header. The text is the reason.
    MissingProxyHeader(u16, &'static str),
    /// Connections to the port have a PROXY protocol header with an invalid part, which the text names.
    InvalidProxyHeader(u16, &'static str),
    /// Clients of the listener use HTTP/1.0.
    OldVersion(&'a ListenerId),
    /// Requests of the listener lack the header with the client address.
    MissingClientAddress(&'a ListenerId),
    /// A client of the port exceeds a limit that protects the gateway.
    Abuse(u16, &'a str),
}

impl<O> LogThrottle<O> {
    /// An observer that forwards its events to `next`.
    pub(crate) fn new(next: Arc<O>) -> Self {
        Self {
            next,
            start: Instant::now(),
            last_logged: [const { AtomicU64::new(0) }; SLOTS],
        }
    }

    /// Returns whether `warning` is due `now` seconds after the start, and if so, records it as logged.
    fn due(&self, warning: Warning<'_>, now: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        warning.hash(&mut hasher);
        let slot = &self.last_logged[hasher.finish() as usize % SLOTS];
        let last = slot.load(Ordering::Relaxed);
        let due = last == 0 || now + 1 >= last + INTERVAL;
        due && slot
            .compare_exchange(last, now + 1, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl<O: Observer> Observer for LogThrottle<O> {
    fn observe(&self, event: &Event<'_>) {
        self.next.observe(event);
        if let Some(warning) = find(event)
            && self.due(warning, self.start.elapsed().as_secs())
        {
            log(warning);
        }
    }
}

/// The misconfiguration that `event` indicates, if any.
fn find<'a>(event: &Event<'a>) -> Option<Warning<'a>> {
    match *event {
        // TCP health checks of load balancers close the connection without sending anything, which is normal.
        Event::ProxyRejected(_, "closed" | "io") => None,
        Event::ProxyRejected(port, reason @ ("absent" | "timeout" | "untrusted")) => {
            Some(Warning::MissingProxyHeader(port, reason))
        }
        Event::ProxyRejected(port, reason) => Some(Warning::InvalidProxyHeader(port, reason)),
        Event::Request(listener, entry)
            if entry.details == "low_version" && entry.protocol == Some(Version::HTTP_10) =>
        {
            Some(Warning::OldVersion(listener))
        }
        Event::Request(listener, entry) if entry.details == NO_CLIENT => {
            Some(Warning::MissingClientAddress(listener))
        }
        Event::Abuse(port, which) => Some(Warning::Abuse(port, which)),
        _ => None,
    }
}

fn log(warning: Warning<'_>) {
    match warning {
        Warning::MissingProxyHeader(port, reason) => tracing::warn!(
            port,
            reason,
            "connection closed: the PROXY protocol header that the ClientTrafficPolicy requires is missing; \
             enable it on the load balancer, or remove `spec.proxyProtocol` \
             (`spec.proxyProtocol.optional: true` accepts connections without it)"
        ),
        Warning::InvalidProxyHeader(port, reason) => tracing::warn!(
            port,
            reason,
            "connection closed: the PROXY protocol header is invalid; `reason` names the invalid part"
        ),
        Warning::OldVersion(listener) => tracing::warn!(
            gateway = %format_args!("{}/{}", listener.namespace, listener.gateway),
            listener = listener.listener,
            "request rejected with 426: HTTP/1.0 is not allowed; set `spec.http1.http10: {{}}` in a \
             ClientTrafficPolicy, or HTTP/1.1 in the client (nginx: `proxy_http_version 1.1`)"
        ),
        Warning::MissingClientAddress(listener) => tracing::warn!(
            gateway = %format_args!("{}/{}", listener.namespace, listener.gateway),
            listener = listener.listener,
            reason = NO_CLIENT,
            "request rejected: the header `spec.clientIPDetection.customHeader.name` of the ClientTrafficPolicy \
             is missing or is not an IP address, and `failClosed` is true; set the header on the load balancer, or \
             unset `failClosed`"
        ),
        Warning::Abuse(port, which) => tracing::warn!(
            port,
            reason = which,
            "connection closed: the client exceeds a limit of its connection, see `towergate_http_downstream_abuse`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::names::tests::entry;

    fn listener(gateway: &str) -> ListenerId {
        ListenerId {
            namespace: "edge".into(),
            gateway: gateway.into(),
            listener: "http".into(),
        }
    }

    #[test]
    fn a_missing_header_is_a_warning_and_a_tcp_health_check_is_not() {
        let absent = Event::ProxyRejected(80, "absent");
        assert_eq!(
            find(&absent),
            Some(Warning::MissingProxyHeader(80, "absent"))
        );
        assert_eq!(find(&Event::ProxyRejected(80, "closed")), None);
        assert_eq!(find(&Event::ConnectionOpened(80)), None);
        assert_eq!(
            find(&Event::Abuse(80, "control_frames")),
            Some(Warning::Abuse(80, "control_frames"))
        );

        let checksum = Event::ProxyRejected(80, "checksum");
        assert_eq!(
            find(&checksum),
            Some(Warning::InvalidProxyHeader(80, "checksum"))
        );

        let (id, mut entry) = (listener("a"), entry());
        assert_eq!(find(&Event::Request(&id, &entry)), None);
        entry.details = NO_CLIENT.into();
        assert_eq!(
            find(&Event::Request(&id, &entry)),
            Some(Warning::MissingClientAddress(&id))
        );
        entry.details = "low_version".into();
        entry.protocol = Some(Version::HTTP_11);
        assert_eq!(find(&Event::Request(&id, &entry)), None);
        entry.protocol = Some(Version::HTTP_10);
        assert_eq!(
            find(&Event::Request(&id, &entry)),
            Some(Warning::OldVersion(&id))
        );
    }

    #[test]
    fn equal_warnings_are_logged_once_in_ten_seconds_and_others_at_once() {
        let throttle = LogThrottle::new(Arc::new(()));
        let absent = Warning::MissingProxyHeader(80, "absent");
        let logged: Vec<u64> = (0..31).filter(|now| throttle.due(absent, *now)).collect();

        assert_eq!(logged, [0, 10, 20, 30]);
        assert!(throttle.due(Warning::MissingProxyHeader(80, "timeout"), 30));
        assert!(throttle.due(Warning::MissingProxyHeader(443, "absent"), 30));
        assert!(throttle.due(Warning::MissingClientAddress(&listener("a")), 30));
        assert!(throttle.due(Warning::MissingClientAddress(&listener("b")), 30));
        assert!(!throttle.due(Warning::MissingClientAddress(&listener("a")), 31));
    }

    #[test]
    fn every_event_is_passed_on() {
        #[derive(Default)]
        struct Count(AtomicU64);
        impl Observer for Count {
            fn observe(&self, _event: &Event<'_>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::<Count>::default();
        let throttle = LogThrottle::new(Arc::clone(&count));

        for _ in 0..3 {
            throttle.observe(&Event::ProxyRejected(80, "absent"));
        }

        assert_eq!(count.0.load(Ordering::Relaxed), 3);
    }
}
