//! Futures that are constructed on the heap.

use std::pin::Pin;

/// Boxes the future that `make` returns. `Box::pin` first builds the future on the stack and copies it, which is
/// kilobytes for large ones; here it is built in the box.
#[inline(always)]
pub(crate) fn pin_boxed_with<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}
