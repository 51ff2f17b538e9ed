//! How the types of the specs are written down: each field once, with its name in YAML, its type and
//! its limits.
//!
//! ```text
//! api_struct! {
//!     /// A limit of connections.
//!     pub struct ConnectionLimit, rules {          `rules`: has a method `rules` for what concerns
//!         /// Connections at the same time.                   several fields at once
//!         value: i64 = "value" [Range(1, i64::MAX)],
//!     }
//! }
//! ```
//!
//! What always holds: every field is optional (what is required is a [`Limit`](crate::check::FieldLimit)),
//! unknown fields are left to the caller (`serde_ignored` names them), and what was not given is not
//! written.

/// Structs of optional fields, each with its name and limits, their [`Check`](crate::check::Check) and
/// their [`Schema`](crate::schema::Schema).
macro_rules! api_struct {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident $(, $rules:ident)? {
            $(
                $(#[doc = $doc:literal])*
                $field:ident: $type:ty = $key:literal
                    $([ $( $limit:ident $( ( $($arg:expr),* ) )? ),+ ])?
            ),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                #[serde(rename = $key, default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl $crate::check::Check for $name {
            fn check(&self, report: &mut $crate::check::Report) {
                $(
                    report.field($key, self.$field.as_ref(), &[
                        $($( $crate::check::FieldLimit::$limit $( ( $($arg),* ) )? ),+)?
                    ]);
                )*
                $( self.$rules(report); )?
                let _ = report;
            }
        }

        impl $crate::schema::Schema for $name {
            fn schema() -> serde_json::Value {
                $crate::schema::Fields::default()
                    $(
                        .field($key, &[ $($doc),* ], <$type as $crate::schema::Schema>::schema(), &[
                            $($( $crate::check::FieldLimit::$limit $( ( $($arg),* ) )? ),+)?
                        ])
                    )*
                    .finish()
            }
        }
    )*};
}

/// Enumerations that keep what they do not know, so that a typing error in a policy invalidates the
/// policy and does not hide it.
macro_rules! string_enum {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident { $( $variant:ident = $text:literal ),+ $(,)? }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $(
                #[doc = concat!("`", $text, "`.")]
                $variant,
            )+
            /// Anything else; invalid.
            Other(String),
        }

        impl $name {
            /// The word.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $text, )+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $( $text => Self::$variant, )+
                    _ => Self::Other(text),
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl $crate::check::Check for $name {
            fn check(&self, report: &mut $crate::check::Report) {
                if let Self::Other(text) = self {
                    report.unsupported(text, &[ $( $text ),+ ]);
                }
            }
        }

        impl $crate::schema::Schema for $name {
            fn schema() -> serde_json::Value {
                serde_json::json!({ "type": "string", "enum": [ $( $text ),+ ] })
            }
        }
    )*};
}

pub(crate) use api_struct;
pub(crate) use string_enum;
