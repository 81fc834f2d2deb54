//! Plain types and their rules: what a role, a client or a revocation is. No I/O, no clock, no framework.

pub mod algorithm;
pub mod ascii;
pub mod base64;
pub mod client;
pub mod default_role;
pub mod deployment;
pub mod hash_cost;
pub mod id;
pub mod keyring;

pub mod revocation;
pub mod route;
pub mod scope;
pub mod time;
