//! Whatever bytes a client sends, the backend gets strict requests, no more than are answered, and others
//! are served.

use std::cell::RefCell;

use tokio::runtime::{Builder, Runtime};

use crate::lab::Lab;

thread_local! {
    /// A gateway that lives on, so that one input could harm the next.
    static GATEWAY: RefCell<(Runtime, Lab, u32)> = {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let lab = runtime.block_on(Lab::new());
        RefCell::new((runtime, lab, 0))
    };
}

/// Input: what the client sends.
pub fn check(bytes: &[u8]) {
    // HTTP/2 is told apart by its first bytes, and a long answer would only take time.
    if bytes.starts_with(b"PRI ") || bytes.windows(4).any(|part| part == b"/big") {
        return;
    }
    GATEWAY.with_borrow_mut(|(runtime, lab, count)| {
        runtime.block_on(async {
            lab.talk(bytes).await.check(bytes);
            *count += 1;
            if *count % 16 == 0 {
                assert!(lab.serves().await);
            }
        });
    });
}
