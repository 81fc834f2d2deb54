//! edi: an OAuth2 token issuer for model prediction APIs.
//!
//! | module | what it does | what it must not know |
//! |---|---|---|
//! | [`model`] | plain types and their rules | any I/O |
//! | [`ambient`], [`secret`] | time, randomness, text that is never printed | everything else |
//! | [`keys`] | signs, verifies, seals | HTTP, OAuth, the store |
//! | [`store`] | keeps: the contract, its backends, typed collections | HTTP, OAuth |
//! | [`oauth`] | decides: who calls, what a token holds, whether one counts | HTTP frameworks, engines |
//! | [`admin`] | decides for operators: who may change what | HTTP frameworks, engines |
//! | [`install`] | the first start | HTTP |
//! | [`http`] | listeners, manners, forms, refusals; the only one that knows actix-web | how anything is decided |
//! | [`config`] | the settings, proven before anything starts | who uses them |
//! | [`telemetry`] | log lines | who writes them |
//! | [`cli`] | the command line; composes the rest | nothing: it sits on top |
//! | [`audit`] | says who changed what | everything else |
//! | [`metrics`] | counts and measures, and shows it to Prometheus | what is counted |

pub mod admin;
pub mod ambient;
pub mod audit;
pub mod cli;
pub mod config;
pub mod http;
pub mod install;
pub mod keys;
pub mod metrics;
pub mod model;
pub mod oauth;
pub mod secret;
pub mod store;
pub mod telemetry;
