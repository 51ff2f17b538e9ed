//! Translates an installation of ingress-nginx to Gateway API.
//!
//! ```text
//! Manifests ──translate──> objects to apply
//!              (pure)  └──> a verdict for each annotation, ConfigMap key and flag
//! ```
//!
//! - [`input`] decodes the manifests, `annotations` reads annotations as ingress-nginx does,
//!   [`servers`] merges the Ingresses of a host as ingress-nginx does, and [`translate`] writes objects.
//! - `table` lists all annotations, `config_table` all keys and flags. A name that is in neither table is
//!   unknown.
//! - A setting that guards a path and cannot be translated makes the path return 500.
//!
//! ```
//! use towergate_k8s::ingress::{Manifests, MigrateOptions, translate};
//!
//! let mut manifests = Manifests::default();
//! manifests.add("web.yaml", "\
//! apiVersion: networking.k8s.io/v1
//! kind: Ingress
//! metadata: {name: web, namespace: team-a}
//! spec:
//!   ingressClassName: nginx
//!   rules:
//!   - host: web.example.com
//!     http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
//! ");
//!
//! let migration = translate(&manifests, &MigrateOptions::default());
//!
//! assert!(migration.objects.files()["team-a.yaml"].contains("kind: HTTPRoute"));
//! ```

pub mod access_log;
mod access_log_json;
#[cfg(test)]
mod alias_tests;
mod aliases;
mod annotations;
pub mod comparison;
mod config_table;
mod controller;
#[cfg(test)]
mod controller_input_tests;
#[cfg(test)]
mod default_backend_tests;
pub mod deny_rules;
mod findings;
#[cfg(test)]
mod guard_tests;
mod host_names;
mod host_settings;
#[cfg(test)]
mod host_tests;
mod host_tls;
pub mod input;
mod known_differences;
pub mod model;
mod nginx_conf;
mod output;
mod password_file;
#[cfg(test)]
mod path_tests;
pub mod proof;
pub mod proof_report;
mod proof_requests;
#[cfg(test)]
mod protection_tests;
pub mod replay;
pub mod report;
pub mod servers;
pub mod settings;
#[cfg(test)]
mod snippet_tests;
mod table;
mod translate;
pub mod value;
pub mod verdict;
#[cfg(test)]
mod verdict_tests;

pub use findings::findings;
pub use input::{InputError, InputErrorKind, Manifests};
pub use output::{OutputObject, OutputObjects};
pub use translate::{MigrateOptions, Migration, translate};
pub use verdict::{MigrationOutcome, MigrationVerdict};
