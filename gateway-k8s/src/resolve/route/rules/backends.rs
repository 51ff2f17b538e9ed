//! The backendRefs and mirrors of a rule.

use towergate_core::filter::{CredentialHeader, HostRewrite, RegexRewrite};
use towergate_core::plan::{Destination, Filter, Mirror, WeightedBackend};

use super::super::backend_error::BackendError;
use super::super::extension::Extensions;
use super::super::filters::Filters;
use super::super::finding::RulePart;
use super::RuleResolver;
use super::parts::BackendParts;
use crate::status::{ConditionType, RouteReason};

/// Field of the mirror in a filter.
const MIRROR: &str = ".requestMirror";

impl RuleResolver<'_, '_, '_> {
    /// The mirrors whose backends are valid. Other mirrors are left out, and the rule is served (Gateway API,
    /// `HTTPRequestMirrorFilter.backendRef`).
    pub(super) fn mirrors(&mut self, filters: &Filters, within: &str) -> Vec<Mirror> {
        let mut mirrors = Vec::new();
        for wanted in &filters.mirrors {
            let field = format!("{within}.filters[{}]{MIRROR}", wanted.at);
            match self
                .backends
                .resolve_fixed(self.index, self.route, &wanted.backend)
            {
                Ok(found) => {
                    if !found.available {
                        let message = format!("{} has no ready endpoints", found.backend.id);
                        self.fault(
                            RulePart::Mirror,
                            ConditionType::BackendsAvailable,
                            RouteReason::EndpointsNotFound,
                            &field,
                            message,
                        );
                    }
                    mirrors.push(Mirror {
                        backend: found.backend,
                        fraction: wanted.fraction,
                    });
                }
                Err(fault) => {
                    self.fault(
                        RulePart::Mirror,
                        ConditionType::ResolvedRefs,
                        fault.reason,
                        &field,
                        fault.message,
                    );
                }
            }
        }
        mirrors
    }

    /// The backendRefs with their weights. An invalid backendRef keeps its share of the requests, and these
    /// requests receive 500.
    pub(super) fn weighted(
        &mut self,
        parts: Vec<BackendParts>,
        redirects: bool,
        extensions: &Extensions,
    ) -> Vec<WeightedBackend> {
        let is_alone = parts.len() == 1;
        let mut weighted = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            let field = format!(".backendRefs[{at}]");
            let weight = part.weight.unwrap_or(1);
            let found = self.destination(part, &field, is_alone, extensions);
            let (destination, filters) = match found {
                Ok(found) => found,
                Err(error) => {
                    self.backend_fault(&field, error);
                    (Destination::Invalid, Vec::new())
                }
            };
            match u32::try_from(weight) {
                Ok(weight) => weighted.push(WeightedBackend {
                    weight,
                    filters,
                    destination,
                }),
                Err(_) => self.backend_fault(
                    &field,
                    BackendError {
                        reason: RouteReason::UnsupportedRefValue,
                        message: format!("weight {weight} is negative"),
                    },
                ),
            }
        }
        if redirects {
            weighted.clear();
        }
        weighted
    }

    /// The backend of a backendRef and its filters. `is_alone`: the rule has no other backendRef.
    fn destination(
        &mut self,
        part: BackendParts,
        field: &str,
        is_alone: bool,
        extensions: &Extensions,
    ) -> Result<(Destination, Vec<Filter>), BackendError> {
        let filters = part
            .filters
            .map_err(|(reason, message)| BackendError { reason, message })?;
        let found = self
            .backends
            .resolve(self.index, self.route, &part.object)?
            .check_dynamic(is_alone, extensions)?;
        if !found.available && part.weight.unwrap_or(1) > 0 {
            let message = format!("{} has no ready endpoints", found.backend.id);
            self.fault(
                RulePart::Requests,
                ConditionType::BackendsAvailable,
                RouteReason::EndpointsNotFound,
                field,
                message,
            );
        }
        let credential = self.credential_of_backend(&filters)?;
        let mirrors = self.mirrors(&filters, field);
        let mut filters = filters.finish(mirrors, Extensions::default());
        filters.extend(credential.map(Filter::Credential));
        if let Some((append_forwarded_host, host)) =
            extensions.host_of_backend.zip(found.host_name())
        {
            let host = host.map_err(|message| BackendError {
                reason: RouteReason::InvalidBackendRef,
                message,
            })?;
            filters.push(Filter::RegexRewrite(RegexRewrite {
                path: None,
                host: Some(HostRewrite::Fixed(host)),
                append_forwarded_host,
            }));
        }
        Ok((Destination::Backend(found.backend), filters))
    }

    /// The credential in the HTTPRouteFilters of a backendRef. These filters may have no other section.
    fn credential_of_backend(
        &self,
        filters: &Filters,
    ) -> Result<Option<CredentialHeader>, BackendError> {
        let mut extensions = Extensions::default();
        for (at, reference) in &filters.extensions {
            let added = extensions.add(self.index, self.route, reference);
            added.map_err(|error| BackendError {
                reason: RouteReason::InvalidBackendFilters,
                message: format!("filters[{at}].extensionRef: {}", error.message),
            })?;
        }
        extensions.into_credential().map_err(|error| BackendError {
            reason: RouteReason::UnsupportedRefValue,
            message: error.message,
        })
    }

    /// Reports an invalid backendRef.
    fn backend_fault(&mut self, field: &str, error: BackendError) {
        self.fault(
            RulePart::Requests,
            ConditionType::ResolvedRefs,
            error.reason,
            field,
            error.message,
        );
    }
}
