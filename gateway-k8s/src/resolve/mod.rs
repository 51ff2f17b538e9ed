//! The decision: objects in, plan, endpoints, statuses and diagnostics out. Reads no clock, file or
//! environment; shuffled input gives the same output; one broken object spoils nothing else.
//!
//! | step | module |
//! |---|---|
//! | which Gateways are ours, which listeners (also of ListenerSets) can serve | `gateway` |
//! | which listener has which socket | `port` |
//! | where routes attach, what their rules mean | `route` |
//! | which policies are in force where | `policy` |
//! | what is suspicious | `lint` |
//! | the plan | `plan` |

mod authority;
mod gateway;
mod grant;
mod lint;
mod plan;
mod policy;
mod port;
mod report;
mod route;
mod scope;
mod selector;
mod world;

pub use scope::{Parity, Resolution, Scope};

use crate::objects::Objects;
use crate::status::{StatusKey, Statuses};

/// Decides what `objects` mean.
pub fn resolve(objects: &Objects, scope: &Scope) -> Resolution {
    let world = world::World::new(objects, scope);
    let mut report = report::Report::default();
    let mut statuses = Statuses::default();

    gateway::class_statuses(&world, &mut statuses, &mut report);
    let mut gateways = gateway::Gateways::resolve(&world, &mut report);
    port::claim(&world, &mut gateways, &mut report);
    let mut backends = route::Backends::new(&world);
    let routes = route::resolve(&world, &mut gateways, &mut backends, &mut report);
    let policies = policy::resolve(&world, &gateways, &routes, &mut report, &mut statuses);
    lint::check(&world, &gateways, &routes, &policies, &mut report);
    let plan = plan::build(&world, &gateways, &routes, &policies);

    for gateway in &gateways.list {
        let status = gateway.status().to_value(gateway.object.meta.generation);
        statuses
            .0
            .insert(StatusKey::new("Gateway", gateway.object.key()), status);
    }
    for gateway in &gateways.list {
        for (at, set) in gateway.sets.iter().enumerate() {
            let status = set.status(&gateway.listeners_of(Some(at)));
            let status = status.to_value(set.object.meta.generation);
            statuses
                .0
                .insert(StatusKey::new("ListenerSet", set.object.key()), status);
        }
    }
    for state in &routes {
        let (route, controller) = (state.route, &scope.controller_name);
        let status = state.status().to_value(route.meta().generation, controller);
        statuses
            .0
            .insert(StatusKey::new(route.kind(), route.key()), status);
    }
    for (key, mut status) in backends.tls.statuses() {
        status.truncate();
        let generation = objects.backend_tls_policies[&key].meta.generation;
        let status = status.to_value(generation, &scope.controller_name);
        statuses
            .0
            .insert(StatusKey::new("BackendTLSPolicy", key), status);
    }
    Resolution {
        plan,
        endpoints: backends.endpoints,
        statuses,
        diagnostics: report.finish(),
    }
}
