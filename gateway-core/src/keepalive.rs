//! TCP keep-alive options of client and upstream sockets.

use socket2::TcpKeepalive;

use crate::plan::Keepalive;

/// The socket options for `settings`; options that are `None` keep the default of the system.
pub(crate) fn tcp_keepalive(settings: &Keepalive) -> TcpKeepalive {
    let mut keepalive = TcpKeepalive::new();
    if let Some(idle) = settings.idle {
        keepalive = keepalive.with_time(idle);
    }
    if let Some(interval) = settings.interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(probes) = settings.probes {
        keepalive = keepalive.with_retries(probes);
    }
    keepalive
}
