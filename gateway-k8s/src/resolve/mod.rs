//! Resolution of objects into a plan, endpoints, statuses and diagnostics.
//!
//! [`resolve`] reads no clock, file or environment. The order of the input does not change the output, and
//! an invalid object does not affect others.
//!
//! | step | module |
//! |---|---|
//! | Gateways of this controller, validity of their listeners | `gateway` |
//! | assignment of sockets to listeners | `port` |
//! | attachment of routes, resolution of their rules | `route` |
//! | attachment and merging of policies | `policy` |
//! | suspicious configuration | `lint` |
//! | the plan | `plan` |

mod ca_bundle;
mod creation_time;
mod gateway;
mod grant;
mod indexed;
mod lint;
mod object_index;
mod options;
mod plan;
mod policy;
mod port;
mod report;
mod route;
mod selector;

pub use creation_time::CreationTime;
pub use gateway::{every_address, gateway_parameters, process_parameters};
pub use options::{BackendUse, Parity, Resolution, ResolveOptions};

use std::cell::RefCell;

use crate::objects::Objects;
use crate::status::{StatusKey, Statuses};

/// Resolves `objects`.
pub fn resolve(objects: &Objects, options: &ResolveOptions) -> Resolution {
    let index = object_index::ObjectIndex::new(objects, options);
    let mut report = report::Report::default();
    let mut statuses = Statuses::default();

    gateway::class_statuses(&index, &mut statuses, &mut report);
    let mut gateways = gateway::Gateways::resolve(&index, &mut report);
    port::claim(&index, &mut gateways, &mut report);
    let mut backends = route::Backends::new(&index);
    let mut routes = route::resolve(&index, &mut gateways, &mut backends, &mut report);
    let backends = RefCell::new(backends);
    let policies = policy::resolve(
        &index,
        &backends,
        &gateways,
        &routes,
        &mut report,
        &mut statuses,
    );
    let connect = policies.rules_for_connect(&gateways, &routes);
    route::overlap::check(&gateways, &mut routes, &connect);
    policy::streams::check(&gateways, &mut routes, &policies, &mut report);
    lint::check(
        &index,
        &gateways,
        &routes,
        &policies,
        &backends.borrow().endpoints,
        &mut report,
    );
    let objects = policy::context::PolicyObjects {
        index: &index,
        backends: &backends,
    };
    let plan = plan::build(objects, &gateways, &routes, &policies);
    let mut backends = backends.into_inner();
    backends.report(&index, &mut report, &mut statuses);

    match options.statuses {
        true => add_statuses(&index, &gateways, &routes, backends.tls, &mut statuses),
        false => statuses.0.clear(),
    }
    Resolution {
        plan,
        endpoints: backends.endpoints,
        statuses,
        diagnostics: report.finish(),
    }
}

/// Adds the statuses of Gateways, ListenerSets, routes and BackendTLSPolicies.
fn add_statuses(
    index: &object_index::ObjectIndex<'_>,
    gateways: &gateway::Gateways<'_>,
    routes: &route::Routes<'_>,
    backend_tls: policy::backend_tls::BackendTls<'_>,
    statuses: &mut Statuses,
) {
    for gateway in &gateways.list {
        let status = gateway.status().to_value(gateway.object.meta.generation);
        statuses
            .0
            .insert(StatusKey::new("Gateway", gateway.object.key()), status);
    }
    for gateway in &gateways.list {
        for (at, set) in gateway.sets.indexed() {
            let status = set.status(&gateway.listeners_of(Some(at)));
            let status = status.to_value(set.object.meta.generation);
            statuses
                .0
                .insert(StatusKey::new("ListenerSet", set.object.key()), status);
        }
    }
    for state in routes {
        let (route, controller) = (state.route, &index.options.controller_name);
        let status = state.status().to_value(route.meta().generation, controller);
        statuses
            .0
            .insert(StatusKey::new(route.kind(), route.key()), status);
    }
    for (key, mut status) in backend_tls.statuses() {
        status.truncate();
        let generation = index.objects.backend_tls_policies[&key].meta.generation;
        let status = status.to_value(generation, &index.options.controller_name);
        statuses
            .0
            .insert(StatusKey::new("BackendTLSPolicy", key), status);
    }
}
