//! The PROXY header at the start of a connection to a backend.

use bytes::Bytes;

use crate::plan::ProxyHeaderVersion;
use crate::proxy_protocol::{Addresses, Transport, encode_v1, encode_v2};

/// The PROXY header for a client's connection. `client` is `None` if the gateway itself connects: for a
/// health check of the endpoint, or for a service that a policy calls.
pub(super) fn proxy_header(version: ProxyHeaderVersion, client: Option<Addresses>) -> Bytes {
    let mut header = Vec::new();
    match version {
        ProxyHeaderVersion::V1 => encode_v1(client, &mut header),
        ProxyHeaderVersion::V2 => {
            let client = client.map(|addresses| (Transport::Stream, addresses));
            encode_v2(client, &[], false, &mut header)
                .expect("a header without TLVs is not too long");
        }
    }
    header.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_client_or_no_one() {
        let client = Addresses {
            source: "192.0.2.1:1000".parse().unwrap(),
            destination: "192.0.2.2:80".parse().unwrap(),
        };

        let of = |version, client| proxy_header(version, client);

        let line = of(ProxyHeaderVersion::V1, Some(client));
        assert_eq!(line, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n");
        assert_eq!(of(ProxyHeaderVersion::V1, None), "PROXY UNKNOWN\r\n");
        assert_eq!(of(ProxyHeaderVersion::V2, Some(client)).len(), 28);
        assert_eq!(of(ProxyHeaderVersion::V2, None)[12], 0x20);
    }
}
