//! The operators' side: register, change, revoke, look. Decides who may do what; knows no HTTP framework.
//!
//! Every operation takes the [`access::Operator`] that the bearer token proved, and answers with a view or an
//! [`error::AdminError`].

pub mod access;
pub mod audit;
pub mod backup;
mod client_draft;
pub mod client_filter;
pub mod client_put;
pub mod client_view;
pub mod clients;
pub mod deployments;
pub mod error;
pub mod explain;
pub mod fields;
pub mod key_impact;
pub mod key_import;
pub mod key_plan;
pub mod keys;
pub mod master_key;
pub mod page;
pub mod place;
pub mod reach;
pub mod refusals;
pub mod reload;
pub mod revocation_list;
mod revocation_radius;
pub mod revocations;
pub mod roles;
pub mod secret_rotation;
mod secret_uses;
pub mod status;
pub mod version;
pub mod whose;
