//! Tokens whose signature and claims were checked before, by the SHA-256 of the whole token. Holds nothing that can
//! change: expiry, keys and revocations are judged by whoever asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{SHA256, digest};

use super::access_token::Claims;
use crate::model::algorithm::Algorithm;

/// How many are remembered in each of two generations.
const GENERATION: usize = 16 * 1024;
/// Independent parts, so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// The digest of a token.
pub type TokenDigest = [u8; 32];

/// What was learned of a token.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its claims.
    pub claims: Arc<Claims>,
    /// What it is signed with.
    pub algorithm: Algorithm,
}

#[derive(Default)]
struct Shard {
    young: HashMap<TokenDigest, Known>,
    old: HashMap<TokenDigest, Known>,
}

/// The memory. Two generations: what is not asked for while the young one fills is forgotten.
#[derive(Default)]
pub struct RememberedTokens {
    shards: [Mutex<Shard>; SHARDS],
}

/// The digest under which a token is remembered.
#[must_use]
pub fn digest_of(token: &str) -> TokenDigest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

impl RememberedTokens {
    /// What is known of a token.
    #[must_use]
    pub fn recall(&self, token: &TokenDigest) -> Option<Known> {
        let mut shard = self.shard(token)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.young.get(token) {
            return Some(known.clone());
        }
        let known = shard.old.remove(token)?;
        shard.keep(*token, known.clone());
        Some(known)
    }

    /// Remembers a token whose signature holds.
    pub fn remember(&self, token: TokenDigest, known: Known) {
        if let Some(shard) = self.shard(&token) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).keep(token, known);
        }
    }

    fn shard(&self, token: &TokenDigest) -> Option<&Mutex<Shard>> {
        self.shards.get(usize::from(token.first()? % 16))
    }
}

impl Shard {
    fn keep(&mut self, token: TokenDigest, known: Known) {
        if self.young.len() >= GENERATION / SHARDS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{ClientId, Kid, TokenId};

    fn known(jti: u128) -> Known {
        Known {
            claims: Arc::new(Claims {
                issuer: "i".into(),
                client_id: ClientId::parse("c").unwrap(),
                audience: "a".into(),
                exp: 1,
                iat: 0,
                jti: TokenId(jti),
                roles: vec![],
                admin_scopes: vec![],
                kid: Kid::parse("k").unwrap(),
                lineage: crate::oauth::access_token::Lineage::default(),
            }),
            algorithm: Algorithm::Es256,
        }
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_asked_for() {
        let memory = RememberedTokens::default();
        let hot = digest_of("hot");
        memory.remember(hot, known(7));
        for n in 0..100_000 {
            memory.remember(digest_of(&n.to_string()), known(n));
            assert!(memory.recall(&hot).is_some_and(|known| known.claims.jti == TokenId(7)), "{n}");
        }
        let kept: usize =
            memory.shards.iter().map(|shard| shard.lock().unwrap()).map(|s| s.young.len() + s.old.len()).sum();
        assert!(kept <= 2 * GENERATION, "{kept}");
        assert!(memory.recall(&digest_of("0")).is_none());
    }
}
