//! Files as truth: what YAML files say about clients and deployments, compared with what is registered.
//!
//! [`read`] takes the files, [`plan`] compares, [`show`] tells, [`carry`] makes it so; [`secret_files`] keeps what is
//! made on the way. Nothing is changed before everything has been read and judged.

pub(super) mod carry;
pub(super) mod document;
pub(super) mod plan;
mod read;
pub(super) mod secret_files;
pub(super) mod show;
mod yaml;

pub(super) use read::{files_below, read};

/// A document as YAML, with the line that divides documents.
pub(super) fn render(document: &[(&str, serde_json::Value)]) -> String {
    format!("---\n{}", yaml::write(document.iter().map(|(name, value)| (*name, value))))
}
