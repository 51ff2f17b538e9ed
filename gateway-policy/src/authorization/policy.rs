//! Authorization with databases of client locations.

use std::sync::Arc;

use towergate_core::LocalReply;
use towergate_core::policy::Live;
use towergate_core::policy::{BuiltPolicy, HeadPolicy, RequestHead};

use super::{AuthorizationRules, LocationMatch};
use crate::geoip::{GeoDatabaseFiles, GeoFields};

/// Rules that compare the location of the client.
///
/// While no database has a field that a rule compares, all requests receive 500. If they were authorized
/// without that field, a rule that denies would match no request.
#[derive(Clone, Debug)]
pub struct LocationAuthorization {
    rules: Arc<AuthorizationRules>,
    databases: Arc<GeoDatabaseFiles>,
    needed: GeoFields,
}

impl LocationAuthorization {
    /// A policy with `rules`, which reads locations from `databases`.
    pub fn new(rules: AuthorizationRules, databases: Arc<GeoDatabaseFiles>) -> Self {
        let locations = rules.locations().map(LocationMatch::fields);
        let needed = locations.fold(GeoFields::default(), |all, own| all | own);
        Self {
            rules: Arc::new(rules),
            databases,
            needed,
        }
    }

    /// The policy for `rules`. It uses databases only if a rule compares locations.
    pub(crate) fn built(rules: &AuthorizationRules, live: &Live) -> BuiltPolicy {
        if rules.locations().next().is_none() {
            return BuiltPolicy::head(rules.clone());
        }
        let databases = GeoDatabaseFiles::shared(&rules.databases, live);
        let policy = Self::new(rules.clone(), databases);
        if !policy.databases.load().fields().contains(policy.needed) {
            let paths = rules.databases.iter().map(|path| path.to_string_lossy());
            let paths = paths.collect::<Vec<_>>().join(", ");
            tracing::error!(
                databases = paths,
                "no GeoIP database has a field that authorization compares; requests receive 500"
            );
        }
        BuiltPolicy::head(policy)
    }
}

impl HeadPolicy for LocationAuthorization {
    fn fault(&self) -> Option<String> {
        let found = self.databases.load().fields();
        let missing = self.needed.without(found);
        let reason = || format!("no GeoIP database has {missing}, which a rule compares");
        (!missing.is_empty()).then(reason)
    }

    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        let databases = self.databases.load();
        if !databases.fields().contains(self.needed) {
            let details = "geoip_database_unavailable";
            let status = http::StatusCode::INTERNAL_SERVER_ERROR;
            return Err(LocalReply::new(status, details));
        }
        self.rules.check_with(request, Some(&databases))
    }
}
