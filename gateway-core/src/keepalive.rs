//! TCP keep-alive options of client and upstream sockets.

use socket2::TcpKeepalive;

use crate::plan::Keepalive;

/// Socket options for `settings`. An option that is `None` keeps the default of the operating system.
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
