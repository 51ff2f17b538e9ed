//! Log lines for mistakes that clients only see as a closed connection or a 403: a header that a policy
//! demands does not arrive. Each line names the cause and the field that mends it.
//!
//! Events come from all workers, so what was said lately is kept in atomics, not behind a lock. Anybody can
//! cause these events; a line per place and reason in ten seconds is all that they get.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use towergate_core::observer::{Event, Observer};
use towergate_core::plan::ListenerId;

/// Seconds between two lines about the same.
const PAUSE: u64 = 10;
/// Places and reasons that are told apart. Two that fall into one slot share its pause.
const SLOTS: usize = 256;
/// The details of a request whose client could not be found out.
const NO_CLIENT: &str = "rejecting_because_detection_failed";

/// Passes events on, and logs those that an operator must hear of.
pub(crate) struct Warnings<O> {
    next: Arc<O>,
    start: Instant,
    /// The second after `start` of the last line, plus one; 0: never.
    said: [AtomicU64; SLOTS],
}

/// What to tell the operator.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Warning<'a> {
    /// Connections to this port lack the PROXY header that it demands; the word says why.
    NoProxyHeader(u16, &'static str),
    /// Requests of this listener lack the header that names the client.
    NoClient(&'a ListenerId),
}

impl<O> Warnings<O> {
    /// Warnings before `next`.
    pub(crate) fn new(next: Arc<O>) -> Self {
        Self {
            next,
            start: Instant::now(),
            said: [const { AtomicU64::new(0) }; SLOTS],
        }
    }

    /// Whether `warning` is due `now` seconds after the start. If it is, it is taken as said.
    fn due(&self, warning: Warning<'_>, now: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        warning.hash(&mut hasher);
        let slot = &self.said[hasher.finish() as usize % SLOTS];
        let last = slot.load(Ordering::Relaxed);
        let over = last == 0 || now + 1 >= last + PAUSE;
        over && slot
            .compare_exchange(last, now + 1, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl<O: Observer> Observer for Warnings<O> {
    fn observe(&self, event: &Event<'_>) {
        self.next.observe(event);
        if let Some(warning) = find(event)
            && self.due(warning, self.start.elapsed().as_secs())
        {
            say(warning);
        }
    }
}

/// The warning that `event` calls for.
fn find<'a>(event: &Event<'a>) -> Option<Warning<'a>> {
    match *event {
        // A load balancer that only looks whether the port is open leaves without a word.
        Event::ProxyRejected(_, "closed" | "io") => None,
        Event::ProxyRejected(port, reason) => Some(Warning::NoProxyHeader(port, reason)),
        Event::Request(listener, entry) if entry.details == NO_CLIENT => {
            Some(Warning::NoClient(listener))
        }
        _ => None,
    }
}

fn say(warning: Warning<'_>) {
    match warning {
        Warning::NoProxyHeader(port, reason) => tracing::warn!(
            port,
            reason,
            "a connection was closed: it does not begin with the PROXY protocol header that the \
             ClientTrafficPolicy demands; let the load balancer send it, or remove `proxyProtocol` \
             (`proxyProtocol.optional: true` also takes connections without it)"
        ),
        Warning::NoClient(listener) => tracing::warn!(
            gateway = %format_args!("{}/{}", listener.namespace, listener.gateway),
            listener = listener.listener,
            reason = NO_CLIENT,
            "a request was refused: the header that names the client is missing or holds no IP address, and \
             the ClientTrafficPolicy has `clientIPDetection.customHeader.failClosed: true`; let the load \
             balancer send the header `clientIPDetection.customHeader.name`, or unset `failClosed`"
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
    fn a_missing_header_calls_for_a_warning_and_a_port_check_does_not() {
        let absent = Event::ProxyRejected(80, "absent");
        assert_eq!(find(&absent), Some(Warning::NoProxyHeader(80, "absent")));
        assert_eq!(find(&Event::ProxyRejected(80, "closed")), None);
        assert_eq!(find(&Event::ConnectionOpened(80)), None);

        let (id, mut entry) = (listener("a"), entry());
        assert_eq!(find(&Event::Request(&id, &entry)), None);
        entry.details = NO_CLIENT.into();
        assert_eq!(
            find(&Event::Request(&id, &entry)),
            Some(Warning::NoClient(&id))
        );
    }

    #[test]
    fn the_same_is_said_once_in_ten_seconds_and_something_else_at_once() {
        let warnings = Warnings::new(Arc::new(()));
        let absent = Warning::NoProxyHeader(80, "absent");
        let said: Vec<u64> = (0..31).filter(|now| warnings.due(absent, *now)).collect();

        assert_eq!(said, [0, 10, 20, 30]);
        assert!(warnings.due(Warning::NoProxyHeader(80, "timeout"), 30));
        assert!(warnings.due(Warning::NoProxyHeader(443, "absent"), 30));
        assert!(warnings.due(Warning::NoClient(&listener("a")), 30));
        assert!(warnings.due(Warning::NoClient(&listener("b")), 30));
        assert!(!warnings.due(Warning::NoClient(&listener("a")), 31));
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
        let warnings = Warnings::new(Arc::clone(&count));

        for _ in 0..3 {
            warnings.observe(&Event::ProxyRejected(80, "absent"));
        }

        assert_eq!(count.0.load(Ordering::Relaxed), 3);
    }
}
