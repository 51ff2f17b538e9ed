//! Location of a client.

use serde::{Deserialize, Serialize};

use super::{Access, Subject};
use crate::geoip::{ClientLocation, GeoFields};

/// A location. All parts that are set must match.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct LocationMatch {
    /// Country (ISO 3166-1 alpha-2), in any case.
    pub country: Option<String>,
    /// Region (ISO 3166-2) in any case, with or without the country: `US-MA` or `MA`.
    pub region: Option<String>,
    /// City, by its English name.
    pub city: Option<String>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// Internet service provider.
    pub isp: Option<String>,
    /// Use of anonymizing networks.
    pub anonymous: AnonymityMatch,
}

/// A condition on the use of anonymizing networks. All parts that are set must match. An address that is not
/// in the database does not use an anonymizing network.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct AnonymityMatch {
    /// Whether the client uses any anonymizing network.
    pub any: Option<bool>,
    /// Whether the client uses a VPN.
    pub vpn: Option<bool>,
    /// Whether the client uses a hosting provider.
    pub hosting: Option<bool>,
    /// Whether the client uses an exit node of Tor.
    pub tor: Option<bool>,
    /// Whether the client uses a public proxy.
    pub proxy: Option<bool>,
}

impl LocationMatch {
    /// The fields that databases must have, so that the location of a client can be compared with this
    /// location.
    pub fn fields(&self) -> GeoFields {
        let used = |is: bool, fields| match is {
            true => fields,
            false => GeoFields::default(),
        };
        used(self.country.is_some(), GeoFields::COUNTRY)
            | used(
                self.region.is_some(),
                GeoFields::COUNTRY | GeoFields::REGION,
            )
            | used(self.city.is_some(), GeoFields::CITY)
            | used(self.asn.is_some(), GeoFields::ASN)
            | used(self.isp.is_some(), GeoFields::ISP)
            | used(
                self.anonymous != AnonymityMatch::default(),
                GeoFields::ANONYMOUS,
            )
    }

    fn matches(&self, client: &ClientLocation<'_>) -> bool {
        let same = |own: &Option<String>, theirs: Option<&str>| {
            own.as_deref().is_none_or(|own| Some(own) == theirs)
        };
        self.matches_country(client)
            && self.matches_region(client)
            && same(&self.city, client.city)
            && self.asn.is_none_or(|own| Some(own) == client.asn)
            && same(&self.isp, client.isp)
            && self.anonymous.matches(client)
    }

    fn matches_country(&self, client: &ClientLocation<'_>) -> bool {
        self.country.as_deref().is_none_or(|own| {
            let theirs = client.country;
            theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(own))
        })
    }

    fn matches_region(&self, client: &ClientLocation<'_>) -> bool {
        let Some(own) = self.region.as_deref() else {
            return true;
        };
        let same = |own: &str, theirs: Option<&str>| {
            theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(own))
        };
        let (country, region) = match own.split_once('-') {
            Some((country, region)) => (Some(country), region),
            None => (None, own),
        };
        same(region, client.region) && country.is_none_or(|own| same(own, client.country))
    }
}

impl AnonymityMatch {
    fn matches(&self, client: &ClientLocation<'_>) -> bool {
        [
            (self.any, client.is_anonymous),
            (self.vpn, client.is_vpn),
            (self.hosting, client.is_hosting),
            (self.tor, client.is_tor),
            (self.proxy, client.is_proxy),
        ]
        .into_iter()
        .all(|(own, theirs)| own.is_none_or(|own| own == theirs))
    }
}

/// Whether the client is at one of `locations`. A client whose location cannot be determined matches every
/// rule that denies, and no rule that allows.
pub(super) fn is_at_one_of(
    locations: &[LocationMatch],
    subject: &Subject<'_>,
    access: Access,
) -> bool {
    let fields = locations.iter().map(LocationMatch::fields);
    let needed = fields.fold(GeoFields::default(), |all, own| all | own);
    let found = subject.databases.zip(subject.client);
    let found = found.filter(|(databases, _)| databases.fields().contains(needed));
    let found = found.and_then(|(databases, client)| databases.locate(client, needed).ok());
    match found {
        Some(client) => locations.iter().any(|own| own.matches(&client)),
        None => access == Access::Deny,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;
    use towergate_core::policy::{HeadPolicy, RequestHead, ResponseEffects};

    use super::*;
    use crate::authorization::{
        AccessRule, AuthorizationRules, LocationAuthorization, OperationMatch, PrincipalMatch,
    };
    use crate::geoip::GeoDatabaseFiles;
    use crate::geoip::test_database::{
        TestFolder, anonymous_database, city_database, network_database,
    };
    use crate::jwt::VerifiedTokens;

    const LONDON: &str = "192.0.2.7";
    const BOSTON: &str = "198.51.100.3";
    const TOR: &str = "198.51.100.7";
    const NOWHERE: &str = "203.0.113.1";

    fn rules(location: LocationMatch, access: Access) -> AuthorizationRules {
        AuthorizationRules {
            rules: vec![AccessRule {
                name: "place".to_owned(),
                access,
                principal: PrincipalMatch {
                    locations: Some(vec![location]),
                    ..PrincipalMatch::default()
                },
                operation: OperationMatch::default(),
                condition: None,
            }],
            default: match access {
                Access::Allow => Access::Deny,
                Access::Deny => Access::Allow,
            },
            databases: Vec::new(),
        }
    }

    /// The decision for a client, with databases of all kinds.
    fn decide(
        files: &Arc<GeoDatabaseFiles>,
        rules: &AuthorizationRules,
        client: Option<&str>,
    ) -> Access {
        let (head, ()) = Request::new(()).into_parts();
        rules.decide(&Subject {
            head: &head,
            version: head.version,
            client: client.map(|address| address.parse().unwrap()),
            connection: None,
            tokens: &VerifiedTokens::default(),
            databases: Some(&files.load()),
        })
    }

    fn all_databases(folder: &TestFolder) -> Arc<GeoDatabaseFiles> {
        GeoDatabaseFiles::open(vec![
            folder.write("city.mmdb", &city_database()),
            folder.write("isp.mmdb", &network_database()),
            folder.write("anonymous.mmdb", &anonymous_database()),
        ])
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_location_matches_if_all_of_its_parts_do() {
        let folder = TestFolder::new("parts");
        let files = all_databases(&folder);
        let none = LocationMatch::default;
        let country = |code| LocationMatch {
            country: text(code),
            ..none()
        };
        let region = |code| LocationMatch {
            region: text(code),
            ..none()
        };
        let tor = |tor| LocationMatch {
            anonymous: AnonymityMatch {
                tor: Some(tor),
                ..AnonymityMatch::default()
            },
            ..none()
        };
        let city = LocationMatch {
            city: text("London"),
            ..none()
        };
        let asn = LocationMatch {
            asn: Some(64500),
            ..none()
        };
        let isp = LocationMatch {
            isp: text("Example Net"),
            ..none()
        };
        let both = LocationMatch {
            country: text("US"),
            ..tor(false)
        };
        let cases = [
            (country("gb"), vec![LONDON]),
            (country("US"), vec![BOSTON, TOR]),
            (region("MA"), vec![BOSTON, TOR]),
            (region("US-MA"), vec![BOSTON, TOR]),
            (region("GB-MA"), vec![]),
            (city, vec![LONDON]),
            (asn, vec![LONDON]),
            (isp, vec![LONDON]),
            (tor(true), vec![TOR]),
            (tor(false), vec![LONDON, BOSTON, NOWHERE]),
            (both, vec![BOSTON]),
        ];
        for (location, expected) in cases {
            let rules = rules(location, Access::Allow);
            let allowed = [LONDON, BOSTON, TOR, NOWHERE].into_iter();
            let allowed =
                allowed.filter(|client| decide(&files, &rules, Some(client)) == Access::Allow);
            assert_eq!(allowed.collect::<Vec<_>>(), expected, "{rules:?}");
        }
    }

    #[test]
    fn a_client_that_cannot_be_located_is_denied_by_both_kinds_of_rules() {
        let folder = TestFolder::new("unknown");
        let files = all_databases(&folder);
        let country = LocationMatch {
            country: text("GB"),
            ..LocationMatch::default()
        };
        for access in [Access::Allow, Access::Deny] {
            let rules = rules(country.clone(), access);
            // The databases have no IPv6 addresses.
            for client in [None, Some("2001:db8::1")] {
                assert_eq!(decide(&files, &rules, client), Access::Deny, "{access:?}");
            }
        }
    }

    #[test]
    fn requests_are_answered_500_while_no_database_has_a_field_that_is_compared() {
        let folder = TestFolder::new("missing");
        let path = folder.path("anonymous.mmdb");
        let files = GeoDatabaseFiles::open(vec![folder.write("c.mmdb", &city_database()), path]);
        let tor = AnonymityMatch {
            tor: Some(true),
            ..AnonymityMatch::default()
        };
        let location = LocationMatch {
            anonymous: tor,
            ..LocationMatch::default()
        };
        let policy = LocationAuthorization::new(rules(location, Access::Deny), files);

        let (mut head, ()) = Request::new(()).into_parts();
        let mut effects = ResponseEffects::default();
        let checked = policy.check(&mut RequestHead::outside_gateway(&mut head, &mut effects));

        assert_eq!(checked.unwrap_err().status, 500);
    }
}
