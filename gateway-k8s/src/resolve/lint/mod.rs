//! What is suspicious although it resolves, and how to mend what does not.
//!
//! | code | the mistake | module |
//! |---|---|---|
//! | `namespace-not-allowed` | the route's namespace lacks the labels that the listener wants | `attach` |
//! | `parent-namespace-missing` | `namespace` is missing in a parentRef | `attach` |
//! | `hostname-invalid` | a host name of a route is none | `attach` |
//! | `hostname-without-certificate` | no certificate of the listener is for the host name | `certificate` |
//! | `certificate-expired`, `certificate-not-yet-valid` | as they say | `certificate` |
//! | `client-address-unknown` | nothing says how clients' addresses are found | `client` |
//! | `policy-namespace` | a policy is not in the namespace of its Gateway | `target` |
//! | `proxy-protocol-optional` | anybody may come without a PROXY header | `client` |
//! | `proxy-protocol-required` | who comes without a PROXY header is cut off | `client` |
//! | `forwarded-for-trusted` | `X-Forwarded-For` counts, so a proxy must be in front | `client` |
//! | `timeout-without-effect` | a time for connections of TLS and TCP, where there are none | `client` |
//! | `trusted-hops` | more hops than one are trusted | `client` |
//! | `policy-target-missing` | a policy names what is not there | `target` |
//! | `redirect-loop` | a redirect leads to where it came from | `redirect` |
//! | `rule-without-backends` | a rule has nothing to send requests to | `redirect` |
//! | `setting-without-effect` | a setting for requests, of a route that carries none | `stream` |

mod attach;
mod certificate;
mod client;
mod redirect;
mod stream;
mod target;

pub(super) use attach::unattached;

use super::gateway::Gateways;
use super::policy::Policies;
use super::report::Report;
use super::route::RouteState;
use super::world::World;

/// Looks for what is suspicious.
pub(super) fn check(
    world: &World<'_>,
    gateways: &Gateways<'_>,
    routes: &[RouteState<'_>],
    policies: &Policies<'_>,
    report: &mut Report,
) {
    attach::parents(world, gateways, report);
    attach::hostnames(routes, report);
    attach::defaults(world, report);
    certificate::check(world, gateways, routes, report);
    client::check(world, gateways, policies, report);
    redirect::check(gateways, routes, report);
    stream::check(world, report);
    target::check(world, report);
}
