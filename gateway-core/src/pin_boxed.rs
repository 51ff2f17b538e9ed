//! Futures that are constructed on the heap.

use std::pin::Pin;

/// Boxes the future that `make` returns. `Box::pin` builds the future on the stack and copies it to the heap,
/// kilobytes for a large future. This function builds it on the heap.
#[inline(always)]
pub(crate) fn pin_boxed_with<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}
