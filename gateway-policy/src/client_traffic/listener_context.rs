//! The input of a conversion in addition to the spec.

/// Information about the listener to which a policy is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenerContext<'a> {
    /// Host name for requests without one: that of the listener, or else of its routes. `None` if there
    /// is no single name without a wildcard.
    pub hostname: Option<&'a str>,
}
