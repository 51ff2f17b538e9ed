//! `authorization` of a SecurityPolicy as it is written.

use crate::api_struct::{api_struct, string_enum};
use crate::check::{Report, count};
use crate::common::{CIDR, Method, PathMatch};

string_enum! {
    /// What a rule does.
    pub enum Action {
        Allow = "Allow",
        Deny = "Deny",
    }

    /// What a claim holds.
    pub enum ValueType {
        String = "String",
        StringArray = "StringArray",
    }
}

api_struct! {
    /// Who may do what: the first rule that fits decides.
    pub struct Authorization {
        /// The rules.
        rules: Vec<AuthorizationRule> = "rules",
        /// What happens when none fits; `Deny` by default.
        default_action: Action = "defaultAction",
    }

    /// A rule.
    pub struct AuthorizationRule, rules {
        /// Its name.
        name: String = "name" [Length(1, 253)],
        /// What it does.
        action: Action = "action" [Required],
        /// What is asked for.
        operation: Operation = "operation",
        /// Who asks.
        principal: Principal = "principal",
        /// An expression that must hold too.
        cel: String = "cel" [Length(1, 4096)],
    }

    /// What is asked for.
    pub struct Operation, rules {
        /// One of these methods.
        methods: Vec<Method> = "methods" [Items(1, 16)],
        /// A path.
        path: PathMatch = "path",
    }

    /// Who asks; all parts must hold.
    pub struct Principal, rules {
        /// An address in one of these networks.
        client_cidrs: Vec<String> = "clientCIDRs" [Items(1, 65536), Pattern(CIDR)],
        /// The holder of a token.
        jwt: JwtPrincipal = "jwt",
        /// A request with these headers.
        headers: Vec<HeaderPrincipal> = "headers" [Items(1, 256)],
        /// An address in one of these places.
        client_ip_geo_locations: Vec<GeoLocation> = "clientIPGeoLocations" [Items(1, 65536)],
    }

    /// The holder of a token.
    pub struct JwtPrincipal, rules {
        /// Who gave it.
        provider: String = "provider" [Required, Length(1, 253)],
        /// What it says.
        claims: Vec<JwtClaim> = "claims" [Items(1, 16)],
        /// What it is for.
        scopes: Vec<String> = "scopes" [Items(1, 16), Length(1, 253)],
    }

    /// What a token says.
    pub struct JwtClaim {
        /// The claim.
        name: String = "name" [Required, Length(1, 253)],
        /// What it holds.
        value_type: ValueType = "valueType",
        /// It is one of these.
        values: Vec<String> = "values" [Required, Items(1, 128)],
    }

    /// A request with a header.
    pub struct HeaderPrincipal {
        /// Its name.
        name: String = "name" [Required, Length(1, 256)],
        /// It is one of these.
        values: Vec<String> = "values" [Required, Items(1, 256)],
    }

    /// A place.
    pub struct GeoLocation, rules {
        /// The country.
        country: String = "country" [Length(2, 2), Pattern("^[A-Za-z]{2}$")],
        /// The region.
        region: String = "region" [Length(1, 16), Pattern("^[A-Za-z0-9-]+$")],
        /// The city.
        city: String = "city" [Length(1, 128)],
        /// The autonomous system.
        asn: i64 = "asn" [Range(1, 4294967295)],
        /// The provider.
        isp: String = "isp" [Length(1, 256)],
        /// Whether the address hides somebody.
        anonymous: Anonymous = "anonymous",
    }

    /// Whether an address hides somebody.
    pub struct Anonymous, rules {
        /// In any way.
        is_anonymous: bool = "isAnonymous",
        /// Behind a VPN.
        is_vpn: bool = "isVPN",
        /// Behind a hosting provider.
        is_hosting: bool = "isHosting",
        /// Behind Tor.
        is_tor: bool = "isTor",
        /// Behind a proxy.
        is_proxy: bool = "isProxy",
    }
}

impl AuthorizationRule {
    /// Whether the rule looks at nothing but addresses: the only kind for plain TCP.
    pub(super) fn is_only_networks(&self) -> bool {
        let principal = self.principal.as_ref();
        let others = |p: &Principal| {
            p.jwt.is_some() || p.headers.is_some() || p.client_ip_geo_locations.is_some()
        };
        self.operation.is_none() && self.cel.is_none() && !principal.is_some_and(others)
    }

    fn rules(&self, report: &mut Report) {
        report.rule(
            self.principal.is_some() || self.cel.is_some(),
            "at least one of principal or cel must be specified",
        );
    }
}

impl Operation {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.methods.is_some() || self.path.is_some(),
            "at least one of methods or path must be specified",
        );
    }
}

impl Principal {
    fn rules(&self, report: &mut Report) {
        let given = [
            self.client_cidrs.is_some(),
            self.jwt.is_some(),
            self.headers.is_some(),
            self.client_ip_geo_locations.is_some(),
        ];
        report.rule(
            count(&given) > 0,
            "at least one of clientCIDRs, jwt, headers, or clientIPGeoLocations must be specified",
        );
    }
}

impl JwtPrincipal {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.claims.is_some() || self.scopes.is_some(),
            "at least one of claims or scopes must be specified",
        );
    }
}

impl GeoLocation {
    fn rules(&self, report: &mut Report) {
        let given = [
            self.country.is_some(),
            self.region.is_some(),
            self.city.is_some(),
            self.asn.is_some(),
            self.isp.is_some(),
            self.anonymous.is_some(),
        ];
        report.rule(
            count(&given) > 0,
            "at least one of country, region, city, asn, isp, or anonymous must be specified",
        );
    }
}

impl Anonymous {
    fn rules(&self, report: &mut Report) {
        let given = [
            self.is_anonymous.is_some(),
            self.is_vpn.is_some(),
            self.is_hosting.is_some(),
            self.is_tor.is_some(),
            self.is_proxy.is_some(),
        ];
        report.rule(
            count(&given) > 0,
            "at least one of isAnonymous, isVPN, isHosting, isTor, or isProxy must be specified",
        );
    }
}
