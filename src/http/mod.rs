//! HTTP: the only folder that knows actix-web.
//!
//! | module | what it does |
//! |---|---|
//! | [`server`], `connection` | two listeners with their limits, shutdown, stalled and malformed connections |
//! | [`manners`], [`host`], [`exchange`], `access_log` | what every answer has: a request id, headers, a log line |
//! | [`body`], [`form`], [`credentials`] | reading what callers send |
//! | [`error`], [`bearer`], [`problem`] | refusals in the dialect of their endpoint |
//! | [`document`], [`cors`] | metadata and JWKS: entity tags and open CORS |
//!
//! Knows nothing of grants, keys or the store: the endpoints do.

mod access_log;
pub mod bearer;
pub mod body;
mod connection;
pub mod cors;
pub mod credentials;
pub mod document;
pub mod error;
pub mod exchange;
pub mod form;
pub mod host;
#[cfg(test)]
mod hostile;
pub mod manners;
pub mod peer;
pub mod problem;
pub mod server;
