//! Attributes of requests and connections that several kinds of conditions share. The names are Envoy's.
//!
//! Source: Envoy documentation, "Attributes".

use std::net::SocketAddr;

use http::Version;

use super::{AttributeSet, CelType, Value};

/// Declares the attributes of a type in one table: the name, type and value of each. An
/// [`Environment`](super::Environment) contains `ATTRIBUTES`, and `value` reads them.
macro_rules! attribute_table {
    ($set:ty, |$this:ident| { $($name:literal: $kind:expr => $value:expr,)+ }) => {
        impl $set {
            /// Names and types of the attributes.
            pub(crate) const ATTRIBUTES: &'static [(&'static str, CelType)] =
                &[$(($name, $kind)),+];

            /// The value of an attribute. `None`: the attribute is absent, or has no single value, such as a
            /// header field with several lines.
            fn value(&self, name: &str) -> Option<Value<'_>> {
                let $this = self;
                match name {
                    $($name => $value,)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use attribute_table;

/// The attributes of `source` or `destination`, the two ends of a connection. `None`: the address is unknown.
#[derive(Debug)]
pub(crate) struct EndpointAttributes(pub(crate) Option<SocketAddr>);

attribute_table!(EndpointAttributes, |this| {
    "address": CelType::Text => Some(Value::from(this.0?.to_string())),
    "port": CelType::Number => Some(Value::Int(this.0?.port().into())),
});

impl AttributeSet for EndpointAttributes {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
    }
}

/// The value of `request.protocol`.
pub(crate) fn protocol(version: Version) -> Value<'static> {
    Value::from(match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    })
}
