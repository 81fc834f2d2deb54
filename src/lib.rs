//! edi: an OAuth2 token issuer for model prediction APIs.
//!
//! | module | what it does | what it must not know |
//! |---|---|---|
//! | [`model`] | plain types and their rules | any I/O |
//! | [`ambient`], [`secret`] | time, randomness, text that is never printed | everything else |
//! | [`keys`] | the master key, key pairs, signing and verifying, client secrets | HTTP, OAuth, the store |
//! | [`store`] | keeps: the contract, its backends, typed records | HTTP, OAuth |

pub mod ambient;
pub mod keys;
pub mod model;
pub mod oauth;
pub mod secret;
pub mod store;
