//! What runs Gateways: the Kubernetes objects made for each of them.
//!
//! ```text
//! Objects, Statuses ──gateways──> GatewayToRun ──render──> Manifests ──Provisioner──> API server
//!                                                                          │
//!                        addresses and availability of each Gateway <──Observed
//! ```
//!
//! Two modes. *Provisioned*: each Gateway has data planes of its own, which are a Deployment, and a
//! Service that leads to them. *Shared*: the data plane runs elsewhere, the Gateway has an address of
//! a pool, and what is made is a Service without a selector that gives this address a name.
//!
//! What always holds: every object lies in the namespace of its Gateway, is owned by it (so that the
//! cluster deletes it with the Gateway), and carries our label. Objects that others made are never
//! touched, whatever their name. What there is of a Gateway that cannot be run right now stays as it is:
//! a mistake must not cost a public address.

mod apply;
mod cache;
mod credentials;
mod deployment;
mod differ;
mod kind;
mod metadata;
mod name;
mod observe;
mod options;
mod quantity;
mod render;
mod service;
mod shared;
#[cfg(test)]
mod tests;
mod wanted;

pub(crate) use apply::Provisioner;
pub(crate) use deployment::OWN_PORTS;
pub(crate) use observe::Observed;
pub(crate) use options::{Mode, PlaneOptions};
pub(crate) use service::bound_ports;
pub(crate) use wanted::{Fate, GatewayToRun, gateways};
