//! The rings as the hot path uses them: every key unsealed and parsed once, the JWKS rendered once per transition.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::Value;

use super::generate::seal_context;
use super::masters::Opens;
use super::pair::KeyPair;
use super::signer::Signer;
use super::verifier::Verifier;
use super::{KeyError, jwk};
use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;
use crate::model::keyring::{KeyState, MAX_JWKS_AGE, Ring, RingKey};
use crate::model::time::Timestamp;

/// The published keys at an instant (RFC 7517 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks {
    /// The JSON text.
    pub body: Arc<[u8]>,
    /// A strong entity tag, quotes included (RFC 9110 §8.8.3).
    pub etag: Arc<str>,
    /// For how many seconds it may be cached: at most 300, never past the next transition.
    pub max_age: u32,
}

/// All rings, ready for use. Made anew whenever a ring changes; the clock alone needs nothing.
pub struct KeySet {
    rings: Vec<LiveRing>,
    rendered: ArcSwapOption<Rendered>,
}

/// A ring and its parsed keys, in the same order.
struct LiveRing {
    ring: Ring,
    keys: Vec<Arc<LiveKey>>,
}

struct LiveKey {
    algorithm: Algorithm,
    kid: Kid,
    public: Value,
    verifier: Verifier,
    /// Absent for a revoked key, whose private half is forgotten.
    signer: Option<Signer>,
}

/// A JWKS and when it holds.
struct Rendered {
    from: Timestamp,
    until: Option<Timestamp>,
    body: Arc<[u8]>,
    etag: Arc<str>,
}

impl KeySet {
    /// Unseals and parses every key. RSA keys take about a millisecond each.
    ///
    /// # Errors
    /// The first key that cannot be used, and why: a wrong master key, damage, a private key recorded with another
    /// public one.
    pub fn build(rings: &[Ring], master: &dyn Opens) -> Result<Self, KeyError> {
        Self::assemble(rings, master, &[])
    }

    /// The same after a change of the rings; keys that stayed are not parsed again.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn rebuild(&self, rings: &[Ring], master: &dyn Opens) -> Result<Self, KeyError> {
        Self::assemble(rings, master, &self.rings)
    }

    fn assemble(rings: &[Ring], master: &dyn Opens, known: &[LiveRing]) -> Result<Self, KeyError> {
        let load = |ring: &Ring, key: &RingKey| {
            let mut known = known.iter().flat_map(|ring| &ring.keys);
            match known.find(|known| known.is_still(ring.algorithm, key)) {
                Some(same) => Ok(Arc::clone(same)),
                None => LiveKey::load(ring.algorithm, key, master).map(Arc::new),
            }
        };
        let mut live = rings
            .iter()
            .map(|ring| {
                let keys = ring.keys.iter().map(|key| load(ring, key)).collect::<Result<_, KeyError>>()?;
                Ok(LiveRing { ring: ring.clone(), keys })
            })
            .collect::<Result<Vec<LiveRing>, KeyError>>()?;
        live.sort_by_key(|live| live.ring.algorithm);
        Ok(Self { rings: live, rendered: ArcSwapOption::empty() })
    }

    /// The key that signs with `algorithm` at `now`; `None` when there is no such ring.
    #[must_use]
    pub fn signer(&self, algorithm: Algorithm, now: Timestamp) -> Option<&Signer> {
        let live = self.live(algorithm)?;
        let signer = live.ring.signer(now)?;
        live.keys.iter().find(|key| key.kid == signer.kid)?.signer.as_ref()
    }

    /// The key to check a token's signature with: published at `now` (pending, active or retiring) and for
    /// `algorithm`. A pending key verifies too: a replica whose clock is ahead may sign with it already.
    #[must_use]
    pub fn verifier(&self, kid: &str, algorithm: Algorithm, now: Timestamp) -> Option<&Verifier> {
        let live = self.live(algorithm)?;
        let (key, parsed) = live.ring.keys.iter().zip(&live.keys).find(|(key, _)| key.kid.as_str() == kid)?;
        live.ring.state_of(key, now).is_published().then_some(&parsed.verifier)
    }

    /// The state of the key with this id at `now`, in any ring.
    #[must_use]
    pub fn state(&self, kid: &str, now: Timestamp) -> Option<KeyState> {
        let mut keys = self.rings.iter().flat_map(|live| live.ring.keys.iter().map(move |key| (live, key)));
        keys.find(|(_, key)| key.kid.as_str() == kid).map(|(live, key)| live.ring.state_of(key, now))
    }

    /// Whether the key with this id was revoked. Revoked keys are forgotten after a while; an unknown key verifies
    /// nothing either.
    #[must_use]
    pub fn revoked(&self, kid: &str) -> bool {
        self.rings.iter().flat_map(|live| &live.ring.keys).any(|key| key.kid.as_str() == kid && key.is_revoked())
    }

    /// The published keys at `now`, by algorithm and then by age. Rendered once per transition.
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> Jwks {
        let max_age = self.rings.iter().map(|live| live.ring.max_age(now)).min().unwrap_or(MAX_JWKS_AGE);
        let valid = |seen: &Arc<Rendered>| seen.from <= now && seen.until.is_none_or(|until| now < until);
        let rendered = self.rendered.load_full().filter(valid).unwrap_or_else(|| {
            let fresh = Arc::new(self.render(now));
            self.rendered.store(Some(Arc::clone(&fresh)));
            fresh
        });
        Jwks { body: Arc::clone(&rendered.body), etag: Arc::clone(&rendered.etag), max_age }
    }

    fn render(&self, now: Timestamp) -> Rendered {
        let keys: Vec<&Value> = self
            .rings
            .iter()
            .flat_map(|live| live.ring.keys.iter().zip(&live.keys).map(move |(key, parsed)| (&live.ring, key, parsed)))
            .filter(|(ring, key, _)| ring.state_of(key, now).is_published())
            .map(|(_, _, parsed)| &parsed.public)
            .collect();
        let body = serde_json::json!({ "keys": keys }).to_string();
        let hash = digest::digest(&digest::SHA256, body.as_bytes());
        Rendered {
            from: now,
            until: self.next_transition(now),
            etag: format!("\"{}\"", URL_SAFE_NO_PAD.encode(hash)).into(),
            body: body.into_bytes().into(),
        }
    }

    /// The algorithms that have a published key at `now`.
    #[must_use]
    pub fn algorithms(&self, now: Timestamp) -> Vec<Algorithm> {
        let published = self.rings.iter().filter(|live| live.ring.published(now).next().is_some());
        published.map(|live| live.ring.algorithm).collect()
    }

    /// The first instant after `now` at which any key's state changes by itself.
    #[must_use]
    pub fn next_transition(&self, now: Timestamp) -> Option<Timestamp> {
        self.rings.iter().filter_map(|live| live.ring.next_transition(now)).min()
    }

    /// The longest lifetime of a token, in seconds, ever allowed under any ring.
    #[must_use]
    pub fn longest_lifetime(&self) -> u32 {
        self.rings.iter().map(|live| live.ring.longest_lifetime).max().unwrap_or(0)
    }

    /// The longest lifetime of a token, in seconds, that the ring of `algorithm` allows: a longer one must not be
    /// issued before the ring was raised.
    #[must_use]
    pub fn longest_lifetime_of(&self, algorithm: Algorithm) -> Option<u32> {
        self.live(algorithm).map(|live| live.ring.longest_lifetime)
    }

    /// The rings it was built from, in the order of their algorithms.
    pub fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.rings.iter().map(|live| &live.ring)
    }

    fn live(&self, algorithm: Algorithm) -> Option<&LiveRing> {
        self.rings.iter().find(|live| live.ring.algorithm == algorithm)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rings()).finish()
    }
}

impl LiveKey {
    fn load(algorithm: Algorithm, key: &RingKey, master: &dyn Opens) -> Result<Self, KeyError> {
        let kid = key.kid.clone();
        let verifier =
            Verifier::from_jwk_for(&key.public, algorithm).map_err(|why| KeyError::Public { kid: kid.clone(), why })?;
        let members = key.public.as_object().cloned().unwrap_or_default();
        let public = jwk::published(&members, &kid, algorithm);
        let signer = if key.sealed.is_empty() {
            None
        } else {
            let pkcs8 = master
                .open(&seal_context(algorithm, &kid), &key.sealed)
                .map_err(|why| KeyError::Sealed { kid: kid.clone(), why })?;
            let pair = KeyPair::parse(algorithm, &pkcs8)?;
            if jwk::published(&pair.public_members(), &kid, algorithm) != public {
                return Err(KeyError::Mismatch(kid));
            }
            Some(Signer::with(algorithm, kid.clone(), pair))
        };
        Ok(Self { algorithm, kid, public, verifier, signer })
    }

    /// Whether this is the parsed form of `key`: same public key, private half wanted or not. How it is sealed does
    /// not matter.
    fn is_still(&self, algorithm: Algorithm, key: &RingKey) -> bool {
        let members = key.public.as_object();
        self.algorithm == algorithm
            && self.kid == key.kid
            && self.signer.is_none() == key.sealed.is_empty()
            && members.is_some_and(|members| jwk::published(members, &key.kid, algorithm) == self.public)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ambient::{SeededEntropy, SystemEntropy};
    use crate::keys::generate::NewKey;
    use crate::keys::jws::Jws;
    use crate::keys::master::{MasterKey, OpenError};
    use crate::model::keyring::{FreshKey, Reach};

    fn master() -> MasterKey {
        MasterKey::generate(&*SeededEntropy::new(7))
    }

    fn fresh(algorithm: Algorithm) -> FreshKey {
        let entropy = SystemEntropy::new();
        NewKey::generate(algorithm, &entropy).unwrap().seal(&master(), &entropy)
    }

    fn ring(algorithm: Algorithm) -> Ring {
        Ring::start(algorithm, 900, fresh(algorithm), fresh(algorithm), at(0))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn kids(jwks: &Jwks) -> Vec<String> {
        let body: Value = serde_json::from_slice(&jwks.body).unwrap();
        body["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_active_key_signs_and_the_published_ones_verify() {
        let mut rings = [ring(Algorithm::EdDsa), ring(Algorithm::Es256)];
        let promotion = rings[1].rotate(at(10), Duration::from_hours(1), fresh(Algorithm::Es256)).unwrap();
        let keys = KeySet::build(&rings, &master()).unwrap();
        assert_eq!(keys.algorithms(at(10)), [Algorithm::Es256, Algorithm::EdDsa]);
        assert!(keys.signer(Algorithm::Rs256, at(10)).is_none());

        let old = keys.signer(Algorithm::Es256, at(3599)).unwrap();
        assert_eq!(*old.kid(), promotion.old);
        let token = old.sign(b"{}").unwrap();
        let jws = Jws::parse(&token).unwrap();
        let check = |now| keys.verifier(promotion.old.as_str(), Algorithm::Es256, now);
        assert!(check(at(3599)).unwrap().verify(jws.signing_input, &jws.signature));
        assert!(check(at(3600 + 959)).is_some() && check(at(3600 + 960)).is_none());
        assert!(keys.verifier(promotion.old.as_str(), Algorithm::EdDsa, at(3599)).is_none(), "another algorithm");
        assert!(keys.verifier("unknown", Algorithm::Es256, at(0)).is_none());
        assert_eq!(*keys.signer(Algorithm::Es256, at(3600)).unwrap().kid(), promotion.kid);
    }

    #[test]
    fn a_revoked_key_is_out_of_everything_at_once() {
        let mut rings = [ring(Algorithm::Es256)];
        let before = KeySet::build(&rings, &master()).unwrap();
        let signer = rings[0].signer(at(5)).unwrap().kid.clone();
        rings[0].revoke(&signer, Reach::Key, at(5), &[fresh(Algorithm::Es256)]).unwrap();
        let keys = before.rebuild(&rings, &master()).unwrap();
        assert!(keys.revoked(signer.as_str()) && !before.revoked(signer.as_str()));
        for now in [at(-60), at(5), at(6)] {
            assert!(keys.verifier(signer.as_str(), Algorithm::Es256, now).is_none());
            assert_ne!(keys.signer(Algorithm::Es256, now).unwrap().kid(), &signer);
            assert!(!kids(&keys.jwks(now)).contains(&signer.to_string()));
        }
        assert!(keys.rings[0].keys[0].signer.is_none(), "its private half is gone from memory");
        assert!(Arc::ptr_eq(&keys.rings[0].keys[1], &before.rings[0].keys[1]), "the others are not parsed again");
    }

    #[test]
    fn the_jwks_changes_exactly_at_transitions_and_its_tag_with_it() {
        let mut rings = [ring(Algorithm::Es256)];
        rings[0].rotate(at(10), Duration::from_hours(1), fresh(Algorithm::Es256)).unwrap();
        let keys = KeySet::build(&rings, &master()).unwrap();
        let first = keys.jwks(at(10));
        assert_eq!((kids(&first).len(), first.max_age), (3, 300));
        let (etag, body) = (&first.etag, &first.body);
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 20);
        let later = keys.jwks(at(3500));
        assert!(Arc::ptr_eq(body, &later.body), "rendered once");
        assert_eq!(later.max_age, 100);
        assert_eq!(keys.jwks(at(3600)).etag, *etag, "a start changes no published key");
        let end = keys.jwks(at(3600 + 960));
        assert!(end.etag != *etag && kids(&end).len() == 2);
        assert_eq!(keys.jwks(at(10)), first, "a clock that went back sees what held then");
    }

    #[test]
    fn a_published_key_has_its_public_members_and_no_other() {
        let mut ring = ring(Algorithm::Es256);
        ring.keys[0].public["x5c"] = "smuggled".into();
        let keys = KeySet::build(&[ring], &master()).unwrap();
        let body: Value = serde_json::from_slice(&keys.jwks(at(0)).body).unwrap();
        for jwk in body["keys"].as_array().unwrap() {
            let mut names: Vec<&String> = jwk.as_object().unwrap().keys().collect();
            names.sort_unstable();
            assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
            assert_eq!((&jwk["use"], &jwk["alg"]), (&"sig".into(), &"ES256".into()));
        }
    }

    #[test]
    fn keys_that_cannot_be_used_stop_the_build_and_say_why() {
        let good = ring(Algorithm::Es256);
        let refusal = |ring: &Ring, master: &MasterKey| KeySet::build(std::slice::from_ref(ring), master).unwrap_err();

        let other = MasterKey::generate(&*SeededEntropy::new(8));
        let why = OpenError::OtherMasterKey { sealed_under: master().id(), given: other.id() };
        assert_eq!(refusal(&good, &other), KeyError::Sealed { kid: good.keys[0].kid.clone(), why });

        let mut swapped = good.clone();
        swapped.keys[0].sealed = good.keys[1].sealed.clone();
        let why = OpenError::Damaged;
        assert_eq!(refusal(&swapped, &master()), KeyError::Sealed { kid: good.keys[0].kid.clone(), why });

        let mut mixed = good.clone();
        mixed.keys[0].public = good.keys[1].public.clone();
        assert_eq!(refusal(&mixed, &master()), KeyError::Mismatch(good.keys[0].kid.clone()));

        let mut broken = good.clone();
        broken.keys[0].public["crv"] = "P-384".into();
        assert!(matches!(refusal(&broken, &master()), KeyError::Public { .. }));
        assert!(!format!("{:?}", KeySet::build(&[good], &master()).unwrap()).contains("sealed"));
    }
    #[test]
    fn the_sample_jwks_in_the_keys_folder_is_what_edi_publishes() {
        let sample: Value = serde_json::from_str(include_str!("../../keys/sample.jwks.json")).unwrap();
        let keys = sample["keys"].as_array().unwrap();
        assert!(!keys.is_empty());
        for jwk in keys {
            let verifier = Verifier::from_jwk(jwk).unwrap();
            let members = jwk.as_object().unwrap();
            let kid = jwk::thumbprint(members).unwrap();
            assert_eq!(jwk::published(members, &kid, verifier.algorithm()), *jwk);
        }
    }
}
