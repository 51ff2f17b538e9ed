//! Futures that are made where they stay.

use std::pin::Pin;

/// A future in a box. `Box::pin` copies one that was made elsewhere, with all the room that it will ever
/// need, which is kilobytes for the larger ones. Here the box is there first.
#[inline(always)]
pub(crate) fn in_box<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}
