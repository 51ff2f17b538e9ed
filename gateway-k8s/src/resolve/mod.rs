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

    match scope.statuses {
        true => tell(&world, &gateways, &routes, backends.tls, &mut statuses),
        false => statuses.0.clear(),
    }
    Resolution {
        plan,
        endpoints: backends.endpoints,
        statuses,
        diagnostics: report.finish(),
    }
}

/// What to say of Gateways, ListenerSets, routes and how backends are spoken to.
fn tell(
    world: &world::World<'_>,
    gateways: &gateway::Gateways<'_>,
    routes: &[route::RouteState<'_>],
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
        for (at, set) in gateway.sets.iter().enumerate() {
            let status = set.status(&gateway.listeners_of(Some(at)));
            let status = status.to_value(set.object.meta.generation);
            statuses
                .0
                .insert(StatusKey::new("ListenerSet", set.object.key()), status);
        }
    }
    for state in routes {
        let (route, controller) = (state.route, &world.scope.controller_name);
        let status = state.status().to_value(route.meta().generation, controller);
        statuses
            .0
            .insert(StatusKey::new(route.kind(), route.key()), status);
    }
    for (key, mut status) in backend_tls.statuses() {
        status.truncate();
        let generation = world.objects.backend_tls_policies[&key].meta.generation;
        let status = status.to_value(generation, &world.scope.controller_name);
        statuses
            .0
            .insert(StatusKey::new("BackendTLSPolicy", key), status);
    }
}
