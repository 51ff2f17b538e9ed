//! TCP keep-alive options of client and upstream sockets.

use std::time::Duration;

use socket2::TcpKeepalive;

use crate::plan::Keepalive;

/// Range of times that Linux accepts. For other times it returns `EINVAL`, and the connection would fail.
const TIMES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(32767)];
/// Range of the number of probes that Linux accepts.
const PROBES: [u32; 2] = [1, 127];

/// Socket options for `settings`. An option that is `None` keeps the default of the operating system. Other
/// options are limited to the values that Linux accepts.
pub(crate) fn tcp_keepalive(settings: &Keepalive) -> TcpKeepalive {
    let mut keepalive = TcpKeepalive::new();
    if let Some(idle) = settings.idle {
        keepalive = keepalive.with_time(idle.clamp(TIMES[0], TIMES[1]));
    }
    if let Some(interval) = settings.interval {
        keepalive = keepalive.with_interval(interval.clamp(TIMES[0], TIMES[1]));
    }
    if let Some(probes) = settings.probes {
        keepalive = keepalive.with_retries(probes.clamp(PROBES[0], PROBES[1]));
    }
    keepalive
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn the_kernel_accepts_every_setting() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        for (time, probes, kept) in [
            (Duration::ZERO, 0, (TIMES[0], 1)),
            (Duration::from_millis(1500), 9, (Duration::from_secs(1), 9)),
            (Duration::MAX, u32::MAX, (TIMES[1], 127)),
        ] {
            let settings = Keepalive {
                idle: Some(time),
                interval: Some(time),
                probes: Some(probes),
            };

            socket.set_tcp_keepalive(&tcp_keepalive(&settings)).unwrap();

            let found = (
                socket.tcp_keepalive_time().unwrap(),
                socket.tcp_keepalive_retries().unwrap(),
            );
            assert_eq!(found, kept);
        }
    }
}
