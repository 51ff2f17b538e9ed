//! Provisions the Kubernetes objects of each Gateway.
//!
//! ```text
//! Objects, Statuses ──gateways──> GatewayToRun ──render──> Manifests ──Provisioner──> API server
//!                                                                          │
//!                        addresses and availability of each Gateway <──Observed
//! ```
//!
//! Two modes. *Provisioned*: each Gateway has a Deployment of data planes and a Service in front of them. *Shared*: the
//! user runs the data plane, the Gateway has an address of a pool, and a Service without a selector gives this address a
//! name.
//!
//! Invariants: every object is in the namespace of its Gateway, is owned by it (so that the cluster deletes it with the
//! Gateway), and has the label of this program. Objects of other owners are never changed. The objects of a Gateway that
//! cannot be run at the moment are kept: an error in a manifest must not cost a public address.

mod apply;
mod cache;
mod credentials;
mod deployment;
mod desired;
mod diff;
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

pub(crate) use apply::Provisioner;
pub(crate) use deployment::OWN_PORTS;
pub(crate) use desired::{Fate, GatewayToRun, gateways};
pub(crate) use observe::Observed;
pub(crate) use options::{Mode, PlaneOptions};
pub(crate) use service::bound_ports;
