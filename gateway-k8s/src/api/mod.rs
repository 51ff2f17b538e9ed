//! The objects as written: serde types with the fields of Gateway API v1.7.
//!
//! The types are lenient: each field may be absent or `null`, and enumerations are text. The decoder
//! validates an object against the schema of its kind and reports violations with their place. Unsupported
//! fields are included, so that `resolve` can reject them.

use serde::{Deserialize, Deserializer};

/// Declares types of the API: each field may be absent or `null`, and only fields that are set are
/// serialized.
macro_rules! objects {
    ($($(#[$attribute:meta])* pub struct $name:ident $(<$of:ident>)? {
        $($(#[$of_field:meta])* pub $field:ident: $type:ty,)*
    })*) => {$(
        #[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        $(#[$attribute])*
        pub struct $name $(<$of>)? {$(
            $(#[$of_field])*
            #[serde(
                deserialize_with = "crate::api::null_is_unset",
                skip_serializing_if = "crate::api::is_unset"
            )]
            pub $field: $type,
        )*}
    )*};
}

pub mod core;
pub mod gateway;
pub mod grpc_route;
pub mod http_route;
pub mod listener_set;
pub mod meta;
pub mod policy;
pub mod reference;
pub mod reference_grant;
pub mod route;
pub mod stream_route;

/// API group of Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// API group of Envoy Gateway.
pub const ENVOY_GROUP: &str = "gateway.envoyproxy.io";

/// Deserializes `null` as absent, as Kubernetes does.
fn null_is_unset<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
