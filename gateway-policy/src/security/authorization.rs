//! `authorization`: rules that allow or deny requests.

use std::path::PathBuf;

use towergate_core::plan::{Text, TextMatch};

use crate::api_struct::{api_struct, string_enum};
use crate::authorization::{
    Access, AccessExpression, AccessRule, AnonymityMatch, AuthorizationRules, ClaimMatch,
    ClaimTest, Condition, HeaderMatch, LocationMatch, OperationMatch, OperationPath,
    PathComparison, PrincipalMatch, TokenMatch,
};
use crate::check::{Report, count};
use crate::common::{CIDR, Method, PathMatch, PathMatchKind};
use crate::field_path::FieldPath;
use crate::geoip::GeoFields;
use crate::parse::{header_name, network};
use crate::{FieldError, References};

string_enum! {
    /// The effect of a rule.
    pub enum Action {
        Allow = "Allow",
        Deny = "Deny",
    }

    /// The type of a claim.
    pub enum ValueType {
        String = "String",
        StringArray = "StringArray",
    }
}

api_struct! {
    /// Authorization of requests. The first rule that matches decides; denied requests receive 403.
    pub struct Authorization {
        /// Rules, in order of evaluation.
        rules: Vec<AuthorizationRule> = "rules",
        /// Effect if no rule matches. Default: `Deny`.
        default_action: Action = "defaultAction",
    }

    /// A rule: its conditions and its effect.
    pub struct AuthorizationRule, rules {
        /// Name of the rule. Default: generated.
        name: String = "name" [Length(1, 253)],
        /// Effect of the rule.
        action: Action = "action" [Required],
        /// Condition on the method and path. Default: all requests match.
        operation: Operation = "operation",
        /// Condition on the client.
        principal: Principal = "principal",
        /// CEL expression over Envoy's attributes that must also be true. Unknown attributes
        /// invalidate the policy.
        cel: String = "cel" [Length(1, 4096)],
    }

    /// A condition on the method and path of a request.
    pub struct Operation, rules {
        /// Methods. One of them must match.
        methods: Vec<Method> = "methods" [Items(1, 16)],
        /// Condition on the path.
        path: PathMatch = "path",
    }

    /// A condition on the client of a request. All parts that are set must match.
    pub struct Principal, rules {
        /// Networks in CIDR notation. One of them must contain the client address.
        client_cidrs: Vec<String> = "clientCIDRs" [Items(1, 65536), Pattern(CIDR)],
        /// Condition on the JWT of the request.
        jwt: JwtPrincipal = "jwt",
        /// Conditions on request headers. All of them must match.
        headers: Vec<HeaderPrincipal> = "headers" [Items(1, 256)],
        /// Locations. One of them must contain the client address.
        client_ip_geo_locations: Vec<GeoLocation> = "clientIPGeoLocations" [Items(1, 65536)],
    }

    /// A condition on a JWT that the policy's `jwt` section has verified.
    pub struct JwtPrincipal, rules {
        /// Name of the provider in the policy's `jwt` section.
        provider: String = "provider" [Required, Length(1, 253)],
        /// Conditions on claims. All of them must match.
        claims: Vec<JwtClaim> = "claims" [Items(1, 16)],
        /// Scopes. The token must have all of them.
        scopes: Vec<String> = "scopes" [Items(1, 16), Length(1, 253)],
    }

    /// A condition on a claim of a JWT.
    pub struct JwtClaim {
        /// Name of the claim. Dots separate the names of nested claims.
        name: String = "name" [Required, Length(1, 253)],
        /// Type of the claim. Default: `String`.
        value_type: ValueType = "valueType" [DefaultText("String")],
        /// Values. One of them must match.
        values: Vec<String> = "values" [Required, Items(1, 128)],
    }

    /// A condition on a request header.
    pub struct HeaderPrincipal {
        /// Name of the header.
        name: String = "name" [Required, Length(1, 256)],
        /// Values. One of them must match exactly.
        values: Vec<String> = "values" [Required, Items(1, 256)],
    }

    /// The location of a client address. All parts that are set must match.
    pub struct GeoLocation, rules {
        /// Country (ISO 3166-1 alpha-2).
        country: String = "country" [Length(2, 2), Pattern("^[A-Za-z]{2}$")],
        /// Region (ISO 3166-2).
        region: String = "region" [Length(1, 16), Pattern("^[A-Za-z0-9-]+$")],
        /// City.
        city: String = "city" [Length(1, 128)],
        /// Number of the autonomous system.
        asn: i64 = "asn" [Range(1, 4294967295)],
        /// Internet service provider.
        isp: String = "isp" [Length(1, 256)],
        /// Use of an anonymizing network.
        anonymous: Anonymous = "anonymous",
    }

    /// The use of an anonymizing network. All parts that are set must match.
    pub struct Anonymous, rules {
        /// Whether the address belongs to any anonymizing network.
        is_anonymous: bool = "isAnonymous",
        /// Whether the address belongs to a VPN.
        is_vpn: bool = "isVPN",
        /// Whether the address belongs to a hosting provider.
        is_hosting: bool = "isHosting",
        /// Whether the address is an exit node of Tor.
        is_tor: bool = "isTor",
        /// Whether the address is a public proxy.
        is_proxy: bool = "isProxy",
    }
}

impl AuthorizationRule {
    /// Whether the rule depends only on client addresses. Other rules are invalid for TCP.
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
        let set = [
            self.client_cidrs.is_some(),
            self.jwt.is_some(),
            self.headers.is_some(),
            self.client_ip_geo_locations.is_some(),
        ];
        report.rule(
            count(&set) > 0,
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
        let set = [
            self.country.is_some(),
            self.region.is_some(),
            self.city.is_some(),
            self.asn.is_some(),
            self.isp.is_some(),
            self.anonymous.is_some(),
        ];
        report.rule(
            count(&set) > 0,
            "at least one of country, region, city, asn, isp, or anonymous must be specified",
        );
    }
}

impl Anonymous {
    fn rules(&self, report: &mut Report) {
        let set = [
            self.is_anonymous.is_some(),
            self.is_vpn.is_some(),
            self.is_hosting.is_some(),
            self.is_tor.is_some(),
            self.is_proxy.is_some(),
        ];
        report.rule(
            count(&set) > 0,
            "at least one of isAnonymous, isVPN, isHosting, isTor, or isProxy must be specified",
        );
    }
}

impl Authorization {
    /// Converts this section of the spec, at `path`. `providers` are the policy's JWT providers: names and identities.
    pub(super) fn policy(
        &self,
        path: FieldPath<'_>,
        providers: &[(String, String)],
        references: &dyn References,
    ) -> Result<AuthorizationRules, FieldError> {
        let at = path.field("rules");
        let known = Known {
            providers,
            databases: references.geoip_databases(),
        };
        let rules = self.rules.iter().flatten().enumerate();
        let rules = rules.map(|(index, rule)| rule.convert(at.item(index), index, known));
        let by_location = |rule: &AuthorizationRule| {
            let principal = rule.principal.as_ref();
            principal.is_some_and(|own| own.client_ip_geo_locations.is_some())
        };
        let databases = match self.rules.iter().flatten().any(by_location) {
            true => known.databases.to_vec(),
            false => Vec::new(),
        };
        Ok(AuthorizationRules {
            rules: rules.collect::<Result<_, _>>()?,
            default: access(path.field("defaultAction"), self.default_action.as_ref())?,
            databases,
        })
    }
}

/// Objects that rules may refer to.
#[derive(Clone, Copy)]
struct Known<'k> {
    /// The policy's JWT providers: names and identities.
    providers: &'k [(String, String)],
    /// Files of the GeoIP databases.
    databases: &'k [PathBuf],
}

fn access(path: FieldPath<'_>, action: Option<&Action>) -> Result<Access, FieldError> {
    match action {
        Some(Action::Allow) => Ok(Access::Allow),
        Some(Action::Deny) | None => Ok(Access::Deny),
        Some(Action::Other(word)) => Err(FieldError::unknown_value(path.to_string(), word)),
    }
}

impl AuthorizationRule {
    fn convert(
        &self,
        path: FieldPath<'_>,
        index: usize,
        known: Known<'_>,
    ) -> Result<AccessRule, FieldError> {
        let principal = self.principal.as_ref();
        let principal = principal.map(|p| p.convert(path.field("principal"), known));
        let operation = self.operation.as_ref();
        let operation = operation.map(|operation| operation.convert(path.field("operation")));
        let condition = self.cel.as_deref().map(|text| {
            let expression = text.parse::<Text<AccessExpression>>();
            let invalid = |error| FieldError::invalid(path.field("cel").to_string(), error);
            Ok::<_, FieldError>(Condition {
                expression: expression.map_err(invalid)?,
                providers: known.providers.to_vec(),
            })
        });
        Ok(AccessRule {
            name: self.name.clone().unwrap_or_else(|| format!("rule/{index}")),
            access: access(path.field("action"), self.action.as_ref())?,
            principal: principal.transpose()?.unwrap_or_default(),
            operation: operation.transpose()?.unwrap_or_default(),
            condition: condition.transpose()?,
        })
    }
}

impl Operation {
    fn convert(&self, path: FieldPath<'_>) -> Result<OperationMatch, FieldError> {
        let at = path.field("methods");
        let methods = self.methods.iter().flatten().enumerate();
        let methods = methods.map(|(index, method)| {
            let parsed = method.as_str().parse::<Text<http::Method>>();
            parsed.map_err(|e| FieldError::invalid(at.item(index).to_string(), e))
        });
        let at = path.field("path");
        let compared = self.path.as_ref().map(|path| {
            let value = path.value.clone().unwrap_or_else(|| "/".to_owned());
            let test = match &path.kind {
                None | Some(PathMatchKind::PathPrefix) => PathComparison::Prefix(value),
                Some(PathMatchKind::Exact) => PathComparison::Whole(TextMatch::Exact(value)),
                Some(PathMatchKind::RegularExpression) => {
                    let expression = TextMatch::regex(&value);
                    let at = at.field("value");
                    let invalid = |error| FieldError::invalid(at.to_string(), error);
                    PathComparison::Whole(expression.map_err(invalid)?)
                }
                Some(PathMatchKind::Other(word)) => {
                    return Err(FieldError::unknown_value(at.to_string(), word));
                }
            };
            let invert = path.invert.unwrap_or(false);
            Ok(OperationPath { test, invert })
        });
        Ok(OperationMatch {
            methods: methods.collect::<Result<_, _>>()?,
            path: compared.transpose()?,
        })
    }
}

impl Principal {
    fn convert(&self, path: FieldPath<'_>, known: Known<'_>) -> Result<PrincipalMatch, FieldError> {
        let at = path.field("clientCIDRs");
        let networks = self.client_cidrs.as_ref().map(|list| {
            let list = list.iter().enumerate();
            list.map(|(index, text)| network(at.item(index), text))
                .collect()
        });
        let at = path.field("headers");
        let headers = self.headers.iter().flatten().enumerate();
        let headers = headers.map(|(index, header)| {
            let at = at.item(index);
            Ok(HeaderMatch {
                name: header_name(at.field("name"), header.name.as_deref().unwrap_or(""))?,
                values: header.values.clone().unwrap_or_default(),
            })
        });
        let token = self
            .jwt
            .as_ref()
            .map(|jwt| jwt.convert(path.field("jwt"), known.providers));
        let at = path.field("clientIPGeoLocations");
        let locations = self.client_ip_geo_locations.as_ref();
        if locations.is_some() && known.databases.is_empty() {
            let reason = "no GeoIP database is available; name one with --geoip-database";
            return Err(FieldError::invalid(at, reason));
        }
        let locations = locations.map(|list| {
            let list = list.iter().enumerate();
            list.map(|(index, location)| location.convert(at.item(index)))
                .collect()
        });
        Ok(PrincipalMatch {
            networks: networks.transpose()?,
            headers: headers.collect::<Result<_, FieldError>>()?,
            token: token.transpose()?,
            locations: locations.transpose()?,
        })
    }
}

impl Authorization {
    /// The location fields that rules compare: the path of each list of locations, and the fields that the
    /// list compares. Invalid locations are skipped.
    pub fn location_fields(&self) -> impl Iterator<Item = (String, GeoFields)> {
        let path = FieldPath::SPEC;
        let rules = self.rules.iter().flatten().enumerate();
        rules.filter_map(move |(index, rule)| {
            let list = rule.principal.as_ref()?.client_ip_geo_locations.as_ref()?;
            let path = path.field("authorization");
            let path = path.field("rules");
            let path = path.item(index);
            let path = path.field("principal");
            let path = path.field("clientIPGeoLocations");
            let found = list.iter().filter_map(|one| one.convert(path).ok());
            let fields = found.map(|location| location.fields());
            let fields = fields.fold(GeoFields::default(), |all, own| all | own);
            Some((path.to_string(), fields))
        })
    }
}

impl GeoLocation {
    fn convert(&self, path: FieldPath<'_>) -> Result<LocationMatch, FieldError> {
        let asn = self.asn.map(|asn| {
            u32::try_from(asn).map_err(|error| FieldError::invalid(path.field("asn"), error))
        });
        let anonymous = self.anonymous.as_ref().map(|own| AnonymityMatch {
            any: own.is_anonymous,
            vpn: own.is_vpn,
            hosting: own.is_hosting,
            tor: own.is_tor,
            proxy: own.is_proxy,
        });
        Ok(LocationMatch {
            country: self.country.clone(),
            region: self.region.clone(),
            city: self.city.clone(),
            asn: asn.transpose()?,
            isp: self.isp.clone(),
            anonymous: anonymous.unwrap_or_default(),
        })
    }
}

impl JwtPrincipal {
    fn convert(
        &self,
        path: FieldPath<'_>,
        providers: &[(String, String)],
    ) -> Result<TokenMatch, FieldError> {
        let name = self.provider.as_deref().unwrap_or_default();
        let Some((_, provider)) = providers.iter().find(|(known, _)| known == name) else {
            let at = path.field("provider").to_string();
            let reason = format!("{name:?} is not a provider of this policy");
            return Err(FieldError::invalid(at, reason));
        };
        let claims = self.claims.iter().flatten().map(|claim| {
            let test = match &claim.value_type {
                None | Some(ValueType::String) => ClaimTest::String,
                Some(ValueType::StringArray) => ClaimTest::StringArray,
                Some(ValueType::Other(word)) => {
                    let at = path.field("claims").to_string();
                    return Err(FieldError::unknown_value(&at, word));
                }
            };
            Ok(ClaimMatch {
                name: claim.name.clone().unwrap_or_default(),
                test,
                values: claim.values.clone().unwrap_or_default(),
            })
        });
        Ok(TokenMatch {
            claims: claims.collect::<Result<_, FieldError>>()?,
            scopes: self.scopes.clone().unwrap_or_default(),
            provider: provider.clone(),
        })
    }
}
