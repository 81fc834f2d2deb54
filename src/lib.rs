//! edi: an OAuth2 token issuer for model prediction APIs.
//!
//! | module | what it does | what it must not know |
//! |---|---|---|
//! | [`model`] | plain types and their rules | any I/O |
//! | [`ambient`], [`secret`] | time, randomness, text that is never printed | everything else |
//! | [`config`] | the settings, proven before anything starts | who uses them |
//! | [`cli`] | the command line; composes the rest | nothing: it sits on top |
//! | [`store`] | keeps: the contract, its backends, typed records | HTTP, OAuth |

pub mod ambient;
pub mod cli;
pub mod config;
pub mod model;
pub mod oauth;
pub mod secret;
pub mod store;
