//! A cache of the claims of tokens with a verified signature. If a later request has the same token, a lookup
//! replaces the verification.
//!
//! Each thread has its own cache, so workers share no lock. An entry belongs to the JSON of one [`KeySet`].
//! Policies whose key sets have the same JSON share the entry. For another key set, such as a later version,
//! the entry is not found. `exp`, `nbf`, `iss` and `aud` are checked for each request, so an entry does not
//! extend the validity of a token. Only tokens with a valid signature are cached, and a generation contains a
//! limited number of tokens and bytes, so clients cannot exhaust the memory.
//!
//! [`KeySet`]: super::KeySet

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::Claims;

/// Maximum number of tokens in a generation.
const MAX_TOKENS: usize = 256;
/// Maximum total length of the tokens in a generation, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Maximum length of a cached token, in bytes. Longer tokens are verified each time.
const MAX_CACHED_LENGTH: usize = 8 * 1024;

thread_local! {
    static CACHE: RefCell<VerifiedCache> = RefCell::default();
}

/// Identifies a key set by the SHA-256 digest of its JSON: equal key sets verify the same signatures.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(super) struct KeySetId([u8; 32]);

impl KeySetId {
    /// The id of the key set with this JSON.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut id = [0; 32];
        id.copy_from_slice(digest(&SHA256, text).as_ref());
        Self(id)
    }
}

impl fmt::Debug for KeySetId {
    /// Omits the digest, because it would confirm a guess of a shared secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySetId(..)")
    }
}

/// The claims of a token whose signature this thread has verified with the key set `keys`.
pub(super) fn find(keys: KeySetId, token: &str) -> Option<Arc<Claims>> {
    CACHE.with_borrow_mut(|cache| cache.find(keys, token))
}

/// Caches a token whose signature was verified.
pub(super) fn insert(keys: KeySetId, token: &str, claims: &Arc<Claims>) {
    if token.len() <= MAX_CACHED_LENGTH {
        CACHE.with_borrow_mut(|cache| cache.insert(keys, token.into(), claims.clone()));
    }
}

type Generation = HashMap<Box<str>, (KeySetId, Arc<Claims>)>;

/// Two generations of entries. When the young generation is full, it becomes the old one, and the entries of
/// the previous old generation are dropped. An old entry that is found moves to the young generation.
#[derive(Default)]
struct VerifiedCache {
    young: Generation,
    young_bytes: usize,
    old: Generation,
}

impl VerifiedCache {
    fn find(&mut self, keys: KeySetId, token: &str) -> Option<Arc<Claims>> {
        let of_keys =
            |(owner, claims): &(KeySetId, Arc<Claims>)| (*owner == keys).then(|| claims.clone());
        if let Some(entry) = self.young.get(token) {
            return of_keys(entry);
        }
        // An entry of another key set is not removed, because a token is looked up for each provider of a
        // rule.
        of_keys(self.old.get(token)?)?;
        let (token, (_, claims)) = self.old.remove_entry(token)?;
        self.insert(keys, token, claims.clone());
        Some(claims)
    }

    fn insert(&mut self, keys: KeySetId, token: Box<str>, claims: Arc<Claims>) {
        if self.young.len() >= MAX_TOKENS || self.young_bytes + token.len() > MAX_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        let length = token.len();
        if self.young.insert(token, (keys, claims)).is_none() {
            self.young_bytes += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Arc<Claims> {
        Arc::default()
    }

    #[test]
    fn a_token_is_found_for_the_keys_that_verified_it_only() {
        let (keys, other) = (KeySetId::of(b"one"), KeySetId::of(b"other"));
        let mut cache = VerifiedCache::default();
        cache.insert(keys, "a.b.c".into(), claims());

        assert!(cache.find(keys, "a.b.c").is_some());
        assert!(cache.find(other, "a.b.c").is_none());
        assert!(cache.find(keys, "a.b.d").is_none());
    }

    #[test]
    fn a_token_of_other_keys_is_not_found_after_it_has_aged() {
        let (keys, other) = (KeySetId::of(b"one"), KeySetId::of(b"other"));
        let mut cache = VerifiedCache::default();
        cache.insert(keys, "a.b.c".into(), claims());
        for number in 0..MAX_TOKENS {
            cache.insert(keys, format!("{number}").into(), claims());
        }

        assert!(cache.find(other, "a.b.c").is_none());
        assert!(
            cache.find(keys, "a.b.c").is_some(),
            "it is kept for its own keys"
        );
    }

    #[test]
    fn a_token_in_use_outlives_many_others() {
        let keys = KeySetId::of(b"one");
        let mut cache = VerifiedCache::default();
        cache.insert(keys, "used".into(), claims());
        for number in 0..10 * MAX_TOKENS {
            cache.insert(keys, format!("{number}").into(), claims());
            assert!(cache.find(keys, "used").is_some(), "after {number}");
        }
        assert!(cache.find(keys, "0").is_none());
    }

    #[test]
    fn tokens_are_bounded_in_number_and_bytes() {
        let keys = KeySetId::of(b"one");
        let mut cache = VerifiedCache::default();
        for number in 0..10 * MAX_TOKENS {
            cache.insert(keys, format!("{number:08000}").into(), claims());
            let bytes: usize = cache
                .young
                .keys()
                .chain(cache.old.keys())
                .map(|token| token.len())
                .sum();
            assert!(
                bytes <= 2 * MAX_BYTES && cache.young.len() + cache.old.len() <= 2 * MAX_TOKENS
            );
        }
    }
}
