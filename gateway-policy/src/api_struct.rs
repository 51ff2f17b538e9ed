//! Macros that declare the types of the specs.
//!
//! A field is declared once: type, name in YAML, schema limits and support class. Deserialization,
//! validation, the CRD schema, and the lists of unsupported and deprecated fields derive from the
//! declaration.
//!
//! ```text
//! api_struct! {
//!     /// Limits of client connections.
//!     pub struct ConnectionLimit, rules {
//!         /// Maximum number of concurrent connections. Default: unlimited.
//!         value: i64 = "value" [Range(1, i64::MAX)],
//!         /// Deprecated: use `value`.
//!         limit: i64 = "limit" Deprecated("value"),
//!         /// Limit per client address.
//!         per_client: i64 = "perClient" [Range(1, i64::MAX)] Unsupported,
//!     }
//! }
//! ```
//!
//! | part | meaning |
//! |---|---|
//! | `, rules` | the type has a method `rules` with the rules between its fields |
//! | `= "…"` | name in YAML; the doc comment is the description in the CRD |
//! | `[…]` | limits of the value: [`FieldLimit`](crate::check::FieldLimit) |
//! | `Unsupported`, `Ignored`, `Deprecated("…")` | support classes: [`FieldClass`](crate::check::FieldClass); none: the field is applied |
//!
//! Invariants: every field is an `Option` ([`Required`](crate::check::FieldLimit::Required) is a limit like
//! any other), undeclared fields are skipped (the caller can list them with `serde_ignored`), and an absent
//! field is not serialized.

/// Declares structs of optional fields with their [`Check`](crate::check::Check) and
/// [`Schema`](crate::schema::Schema).
macro_rules! api_struct {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident $(, $rules:ident)? {
            $(
                $(#[doc = $doc:literal])*
                $field:ident: $type:ty = $key:literal
                    $([ $( $limit:ident $( ( $($arg:expr),* ) )? ),+ ])?
                    $( $class:ident $( ( $other:literal ) )? )*
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

        impl $name {
            /// Checks each field separately, without the rules between fields.
            pub(crate) fn check_fields(&self, report: &mut $crate::check::Report) {
                $(
                    report.field(
                        $key,
                        self.$field.as_ref(),
                        &[ $($( $crate::check::FieldLimit::$limit $( ( $($arg),* ) )? ),+)? ],
                        &[ $( $crate::check::FieldClass::$class $( ( $other ) )? ),* ],
                    );
                )*
                let _ = report;
            }
        }

        impl $crate::check::Check for $name {
            fn check(&self, report: &mut $crate::check::Report) {
                self.check_fields(report);
                $( self.$rules(report); )?
            }
        }

        impl $crate::schema::Schema for $name {
            fn schema() -> serde_json::Value {
                $crate::schema::Fields::default()
                    $(
                        .field(
                            $key,
                            &[ $($doc),* ],
                            <$type as $crate::schema::Schema>::schema(),
                            &[ $($( $crate::check::FieldLimit::$limit $( ( $($arg),* ) )? ),+)? ],
                            &[ $( $crate::check::FieldClass::$class $( ( $other ) )? ),* ],
                        )
                    )*
                    .finish()
            }
        }
    )*};
}

/// Declares enumerations of strings. An unknown string is kept in `Other` and invalidates the policy. If
/// deserialization failed instead, the object could not have a status.
///
/// A variant may have a [`FieldClass`](crate::check::FieldClass) without an argument, such as `Unsupported`.
macro_rules! string_enum {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident { $( $variant:ident = $text:literal $($class:ident)? ),+ $(,)? }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $(
                #[doc = concat!("`", $text, "`.")]
                $variant,
            )+
            /// Any other string. Invalid.
            Other(String),
        }

        impl $name {
            /// The value as it is written in YAML.
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
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }

        impl $crate::check::Check for $name {
            fn check(&self, report: &mut $crate::check::Report) {
                match self {
                    $(
                        Self::$variant => {
                            report.value($text, &[ $( $crate::check::FieldClass::$class )? ]);
                        }
                    )+
                    Self::Other(text) => report.unknown_value(text, &[ $( $text ),+ ]),
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
