//! The protocol: who the caller is, what it may have, what the answer says. Knows no HTTP framework and no engine.
//!
//! *Where is the token endpoint?* `http::token` parses and answers, [`client_auth`] finds out who calls, [`grant`]
//! decides what it gets, [`token_endpoint`] has it signed. The same hops for every endpoint.

pub mod access_token;
pub mod assertion;
pub mod chosen_secret;
pub mod client_auth;
pub mod clock_watch;
pub mod decision;
pub mod ends;
pub mod error;
pub mod expiring;
pub mod explain;
pub mod failures;
pub mod figures;
pub mod grant;
pub mod hashing_queue;
pub mod introspection;
pub mod last_issued;
pub mod last_used;
pub mod legion;
pub mod metadata;
pub mod pulse;
pub mod refusal_trail;
pub mod refusals;
pub mod registered_keys;
pub mod remembered;
pub mod reseal;
pub mod revocation;
pub mod rotation;
pub mod service;
pub mod token_endpoint;
pub mod verified;
pub mod verify;
