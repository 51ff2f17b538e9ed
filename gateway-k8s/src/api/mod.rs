//! The objects as users write them: own serde types, field by field as in Gateway API v1.6.1.
//!
//! Types are lenient where admission would be strict: what a schema would refuse is refused by `resolve`
//! or the decoder, with a place, not by a panic later. So a value of an enumeration is text here, every
//! field may be missing or `null`, and the fields of channels that are not served yet are there, too.

use serde::{Deserialize, Deserializer};

/// Declares objects of the API: every field may be missing or `null`, and only fields that are set are
/// written.
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

/// The group of Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// The group of Envoy Gateway's own kinds.
pub const ENVOY_GROUP: &str = "gateway.envoyproxy.io";

/// Kubernetes takes `null` for a field that is not there.
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
