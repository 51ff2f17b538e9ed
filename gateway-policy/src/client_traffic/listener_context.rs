//! Input for the conversion of a spec, in addition to the spec itself.

/// Information about the listener to which a policy is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenerContext<'a> {
    /// Host name for requests without one: that of the listener, or else of its routes. `None` if there
    /// is no single name without a wildcard.
    pub hostname: Option<&'a str>,
}
