//! The one test binary: edi from outside, over HTTP and as a program. Nothing has to run beforehand.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers end the test as its own lines do"
)]

mod admin_access;
mod admin_matrix;
mod admin_records;
mod admin_replace;
mod admin_rights;
mod architecture;
mod audit;
mod backup;
mod cli_admin;
mod cli_apply;
mod cli_client_keys;
mod cli_deployments;
mod cli_doctor;
mod cli_login;
mod cli_program;
mod cli_real;
mod cli_token;
mod client_assertions;
mod client_secrets;
mod decision;
mod decision_fragments;
mod deployments_access;
mod deployments_explain;
mod deployments_places;
mod discovery;
mod emergencies;
mod failures;
mod first_start;
mod introspection;
mod key_import;
mod key_life;
mod late_changes;
mod legion;
mod log_lines;
mod master_key;
mod metrics;
#[path = "../support/ports.rs"]
mod ports;
mod pressure;
mod refusals;
mod reload;
mod revocation;
mod revocation_list;
mod secret_rotation;
mod secret_uses;
mod staleness;
mod support;
mod tls;
mod token_answers;
mod token_refusals;
mod whose;
