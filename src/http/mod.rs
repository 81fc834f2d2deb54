//! HTTP: the only folder that knows actix-web.
//!
//! | module | what it does |
//! |---|---|
//! | [`server`], `connection`, `crowd`, `fragment` | two listeners with their limits, shutdown, stalled and malformed connections, who leaves when it is full |
//! | [`manners`], [`host`], [`exchange`], `access_log` | what every answer has: a request id, headers, a log line |
//! | [`body`], [`form`], [`credentials`] | reading what callers send |
//! | [`error`], [`bearer`], [`problem`] | refusals in the dialect of their endpoint |
//! | [`document`], [`cors`] | metadata and JWKS: entity tags and open CORS |
//! | [`traffic`], [`metrics`] | what is counted of every request, and all figures for Prometheus |
//! | [`routes`], [`openapi`], [`swagger`] | every route of both listeners, their description, and a page to read it |
//! | [`token`], [`introspect`], [`revoke`], [`jwks`], [`metadata`], [`authz`], [`legion`], [`health`], [`admin`] | one file per endpoint |
//! | `backup` | the admin API's one answer that is no JSON |
//!
//! Parses and answers; what the answer says is decided in `oauth` and `admin`.

mod access_log;
pub mod admin;
pub mod authz;
mod backup;
pub mod bearer;
pub mod body;
pub mod caller;
mod connection;
pub mod cors;
pub mod credentials;
mod crowd;
pub mod document;
pub mod error;
pub mod exchange;
pub mod form;
mod fragment;
pub mod health;
pub mod host;
#[cfg(test)]
mod hostile;
pub mod introspect;
pub mod jwks;
pub mod legion;
pub mod manners;
pub mod metadata;
pub mod metrics;
pub mod openapi;
pub mod peer;
pub mod problem;
pub mod revoke;
pub mod routes;
pub mod server;
mod stream;
pub mod swagger;
pub mod tls;
pub mod token;
pub mod traffic;
