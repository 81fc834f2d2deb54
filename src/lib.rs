//! edi: an OAuth2 token issuer for model prediction APIs.
//!
//! | module | what it does | what it must not know |
//! |---|---|---|
//! | [`model`] | plain types and their rules | any I/O |
//! | [`ambient`], [`secret`] | time, randomness, text that is never printed | everything else |
//! | [`store`] | keeps: the contract, its backends, typed records | HTTP, OAuth |
//! | [`http`] | listeners, manners, forms, refusals; the only one that knows actix-web | how anything is decided |
//! | [`telemetry`] | log lines | who writes them |

pub mod ambient;
pub mod http;
pub mod model;
pub mod oauth;
pub mod secret;
pub mod store;
pub mod telemetry;
