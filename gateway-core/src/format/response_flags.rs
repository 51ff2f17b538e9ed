//! Long names of response flags.

use super::value::text;

/// Flags and their long names, from Envoy's documentation of access logs.
const NAMES: [(&str, &str); 26] = [
    ("DC", "DownstreamConnectionTermination"),
    ("DF", "DnsResolutionFailed"),
    ("DI", "DelayInjected"),
    ("DO", "DropOverload"),
    ("DPE", "DownstreamProtocolError"),
    ("DR", "DownstreamRemoteReset"),
    ("DT", "DurationTimeout"),
    ("FI", "FaultInjected"),
    ("IH", "InvalidEnvoyRequestHeaders"),
    ("LR", "LocalReset"),
    ("NC", "NoClusterFound"),
    ("NR", "NoRouteFound"),
    ("OM", "OverloadManagerTerminated"),
    ("RL", "RateLimited"),
    ("RLSE", "RateLimitServiceError"),
    ("SI", "StreamIdleTimeout"),
    ("UAEX", "UnauthorizedExternalService"),
    ("UC", "UpstreamConnectionTermination"),
    ("UF", "UpstreamConnectionFailure"),
    ("UH", "NoHealthyUpstream"),
    ("UMSDR", "UpstreamMaxStreamDurationReached"),
    ("UO", "UpstreamOverflow"),
    ("UPE", "UpstreamProtocolError"),
    ("UR", "UpstreamRemoteReset"),
    ("URX", "UpstreamRetryLimitExceeded"),
    ("UT", "UpstreamRequestTimeout"),
];

/// Appends the long names of flags that are separated by commas. A flag
/// without a long name is copied.
pub(super) fn write_long(flags: &str, out: &mut Vec<u8>) -> bool {
    for (at, flag) in flags.split(',').enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let known = NAMES.iter().find(|(short, _)| *short == flag);
        text(out, Some(known.map_or(flag, |(_, long)| *long)));
    }
    true
}
