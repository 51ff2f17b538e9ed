//! `clientIPDetection`: the source of the client address.

use towergate_core::http::client_ip::ClientIpRule;

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::check::{Report, count};
use crate::common::CIDR;
use crate::field_path::FieldPath;
use crate::parse::{header_name, network, number};

api_struct! {
    /// The source of the client address. Exactly one field must be set.
    pub struct ClientIpDetection, rules {
        /// The address is an entry of `X-Forwarded-For`.
        x_forwarded_for: XForwardedFor = "xForwardedFor",
        /// The address is the value of another header.
        custom_header: CustomHeader = "customHeader",
        /// The address is the peer of the connection, or that in its PROXY header.
        direct_source_ip: DirectSourceIp = "directSourceIP",
    }

    /// The entry of `X-Forwarded-For` that is the client address. Either `numTrustedHops` or
    /// `trustedCIDRs` must be set.
    pub struct XForwardedFor, rules {
        /// Position of the entry, counted from the right. 0 means 1.
        num_trusted_hops: i64 = "numTrustedHops" [Range(0, 4294967295)],
        /// Networks of trusted proxies: the rightmost entry outside of them is the client address.
        trusted_cidrs: Vec<String> = "trustedCIDRs" [Items(1, usize::MAX), Pattern(CIDR)],
        /// Whether the peer's address is not appended to the header. Default: `false`.
        disable_append: bool = "disableXForwardedForAppend",
    }

    /// A header with the client address.
    pub struct CustomHeader {
        /// Name of the header.
        name: String = "name" [Required, Length(1, 255), Pattern("^[A-Za-z0-9-]+$")],
        /// Whether requests without a valid address in the header are rejected with 403. Default:
        /// `false`: the peer is the client.
        fail_closed: bool = "failClosed",
    }

    /// The peer of the connection. Has no settings.
    pub struct DirectSourceIp {}
}

impl ClientIpDetection {
    fn rules(&self, report: &mut Report) {
        let set = [
            self.x_forwarded_for.is_some(),
            self.custom_header.is_some(),
            self.direct_source_ip.is_some(),
        ];
        report.rule(
            count(&set) == 1,
            "exactly one of xForwardedFor, customHeader, or directSourceIP must be set",
        );
    }

    /// Converts the section. The caller has checked the rules of the schema. An empty section selects the
    /// address of the peer.
    pub(super) fn rule(&self, at: FieldPath<'_>) -> Result<ClientIpRule, FieldError> {
        let Self {
            x_forwarded_for,
            custom_header,
            direct_source_ip: _,
        } = self;
        if let Some(forwarded) = x_forwarded_for {
            return forwarded.rule(at.field("xForwardedFor"));
        }
        let Some(CustomHeader { name, fail_closed }) = custom_header else {
            return Ok(ClientIpRule::Peer);
        };
        let at = at.field("customHeader");
        Ok(ClientIpRule::Header {
            name: header_name(at.field("name"), name.as_deref().unwrap_or_default())?,
            fail_closed: fail_closed.unwrap_or(false),
        })
    }
}

impl XForwardedFor {
    fn rules(&self, report: &mut Report) {
        let set = [
            self.num_trusted_hops.is_some(),
            self.trusted_cidrs.is_some(),
        ];
        report.rule(
            count(&set) == 1,
            "only one of numTrustedHops or trustedCIDRs must be set",
        );
    }

    fn rule(&self, at: FieldPath<'_>) -> Result<ClientIpRule, FieldError> {
        let Self {
            num_trusted_hops,
            trusted_cidrs,
            disable_append,
        } = self;
        let append = *disable_append != Some(true);
        if let Some(hops) = number(at.field("numTrustedHops"), *num_trusted_hops)? {
            return Ok(ClientIpRule::TrustedHops { hops, append });
        }
        let at = at.field("trustedCIDRs");
        let texts = trusted_cidrs.iter().flatten().enumerate();
        let networks = texts.map(|(index, text)| network(at.item(index), text));
        Ok(ClientIpRule::TrustedNetworks {
            networks: networks.collect::<Result<_, _>>()?,
            append,
        })
    }
}
