//! Findings about valid but suspicious configuration, and advice for errors.
//!
//! | module | subject |
//! |---|---|
//! | `access` | SecurityPolicies that do not protect as intended |
//! | `attach` | parentRefs, hostnames, namespaces |
//! | `certificate` | validity and names of certificates |
//! | `client` | client addresses, PROXY protocol |
//! | `header_edits` | header edits without effect |
//! | `hostname` | hostnames of routes that another listener serves |
//! | `ignored` | unsupported fields of policies that are ignored |
//! | `policy_service` | services that SecurityPolicies and filters call |
//! | `redirect` | redirect loops, rules without backends |
//! | `stream` | settings for requests on routes of connections |
//! | `target` | missing targets of policies |

mod access;
mod attach;
mod certificate;
mod client;
mod header_edits;
mod hostname;
mod ignored;
mod policy_service;
mod redirect;
mod stream;
mod target;

use towergate_core::plan::Endpoints;

use super::gateway::Gateways;
use super::object_index::ObjectIndex;
use super::policy::Policies;
use super::report::Report;
use super::route::Routes;
use crate::host_names;

/// Reports all findings.
pub(super) fn check(
    index: &ObjectIndex<'_>,
    gateways: &Gateways<'_>,
    routes: &Routes<'_>,
    policies: &Policies<'_>,
    endpoints: &Endpoints,
    report: &mut Report,
) {
    access::check(index, gateways, routes, policies, report);
    attach::parents(index, gateways, report);
    attach::hostnames(routes, report);
    attach::defaults(index, report);
    certificate::check(index, gateways, routes, report);
    report.extend(host_names::never_resolved(index.objects));
    client::check(index, gateways, policies, report);
    header_edits::check(index, routes, report);
    hostname::check(gateways, routes, report);
    ignored::check(index, report);
    policy_service::check(index, endpoints, report);
    policy_service::check_filters(routes, endpoints, report);
    redirect::check(gateways, routes, report);
    stream::check(index, report);
    target::check(index, report);
}
