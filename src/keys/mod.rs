//! Key material: the master key, signing keys, edi-made client secrets, and what is done with them.
//!
//! | module | what it does |
//! |---|---|
//! | [`private_file`] | files that nobody else may read (design §6) |
//! | [`master`] | the master key, and what is sealed under it |
//! | [`masters`] | the master keys at hand, and the change from one to the next |
//! | [`generate`], [`import`] | new key pairs, and those that were made elsewhere |
//! | [`signer`], [`verifier`] | compact JWS out, signatures in; every key is parsed once |
//! | [`client_keys`] | the public keys of clients that sign assertions |
//! | [`client_signer`] | the private key of such a client, on its own side |
//! | [`spki`] | public keys as PEM, for verifiers that read no JWK |
//! | [`jws`], [`strict_json`] | reading a token that a stranger sent |
//! | [`live`] | the rings as the hot path uses them, and the JWKS |
//! | [`secrets`] | client secrets that edi makes (design §5) |
//! | [`provider`] | jsonwebtoken on ring, for what others signed |
//!
//! Which key signs when is decided in [`crate::model::keyring`]. Knows nothing of HTTP, OAuth and the store.
//!
//! Buffers with private bytes are wiped when dropped. The parsed form of a key lives inside ring, which does not wipe;
//! it never leaves the process.

pub mod certificate;
pub mod client_keys;
pub mod client_signer;
mod der;
pub mod generate;
pub mod import;
mod jwk;
pub mod jws;
pub mod live;
pub mod master;
pub mod masters;
mod pair;
pub mod private_file;
pub mod provider;
mod rsa;
pub mod secrets;
pub mod signer;
pub mod spki;
pub mod strict_json;
#[cfg(test)]
mod vectors;
pub mod verifier;

use crate::model::algorithm::Algorithm;
use crate::model::id::Kid;

/// Why a signing key cannot be used. Never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The private key does not parse, or is not of that algorithm.
    #[error("not a usable {0} private key: expected PKCS#8, for RSA of 2048 to 4096 bits")]
    Rejected(Algorithm),
    /// The private key does not belong to the public key it is recorded with.
    #[error("the private key recorded for {0} does not belong to its public key")]
    Mismatch(Kid),
    /// The sealed private key does not open.
    #[error("signing key {kid}: {why}")]
    Sealed {
        /// Which.
        kid: Kid,
        /// Why.
        why: master::OpenError,
    },
    /// The sealed keys behind client secrets do not open.
    #[error("the keys behind client secrets: {0}")]
    Secrets(master::OpenError),
    /// The master key that the store names is not at hand.
    #[error(
        "the store is sealed under master key {0}, which this process does not have: put it into place and restart"
    )]
    NoMasterKey(String),
    /// The recorded public key is not usable.
    #[error("signing key {kid}: {why}")]
    Public {
        /// Which.
        kid: Kid,
        /// Why.
        why: verifier::JwkError,
    },
    /// No usable RSA key came out of the generator.
    #[error("no key pair could be generated")]
    Generation,
    /// The key refused to sign.
    #[error("the key refused to sign")]
    Signing,
}

/// ring's generator for what takes no other: ECDSA key generation and the nonces of ECDSA and PSS signatures.
#[expect(clippy::disallowed_methods, reason = "ring's own key generation and ECDSA signing take no other source")]
fn ring_random() -> ring::rand::SystemRandom {
    ring::rand::SystemRandom::new()
}
