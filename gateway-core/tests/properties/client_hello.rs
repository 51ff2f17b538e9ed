//! The first bytes of a client result in an error or a normalised server name. The result does not depend on
//! how the bytes are split.

use tokio::io::{AsyncReadExt, join, sink};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Duration, Instant};
use towergate_core::conn::TlsFingerprints;
use towergate_core::plan::FingerprintSettings;
use towergate_tls::acceptor::Hello;

thread_local! {
    static RUNTIME: Runtime = {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime")
    };
}

/// Input: the offset of the split, two bytes, then the first bytes of a connection.
pub fn check(bytes: &[u8]) {
    let Some(([high, low], bytes)) = bytes.split_first_chunk().map(|(n, b)| (*n, b)) else {
        return;
    };
    let split = u16::from_be_bytes([high, low]);
    let settings = FingerprintSettings {
        ja3: true,
        ja4: true,
    };
    if let Some(found) = TlsFingerprints::of(bytes, settings) {
        assert_eq!(found.ja3.map(|ja3| ja3.len()), Some(32));
        assert_eq!(found.ja4.map(|ja4| ja4.len()), Some(36));
    }
    let (head, tail) = bytes.split_at(usize::from(split).min(bytes.len()));
    RUNTIME.with(|runtime| runtime.block_on(check_split(bytes, head, tail)));
}

async fn check_split(bytes: &[u8], head: &[u8], tail: &[u8]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let whole = Hello::read(join(bytes, sink()), deadline).await.ok();
    let split = Hello::read(join(head.chain(tail), sink()), deadline)
        .await
        .ok();

    let whole = whole.map(|hello| hello.server_name().map(str::to_owned));
    let split = split.map(|hello| hello.server_name().map(str::to_owned));
    assert_eq!(whole, split);
    if let Some(Some(name)) = split {
        assert!(!name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
}
