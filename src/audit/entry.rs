//! One entry of the audit trail.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::difference::Differences;
use crate::model::id::ClientId;
use crate::model::time::Timestamp;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The change is on disk.
    Done,
    /// An authenticated caller was refused.
    Refused,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// Who did what to what, when and from where. Ids alone: whatever a secret could hide in has no place here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When. Of refusals that were counted together: when the first happened.
    pub at: Timestamp,
    /// The client that did it; [`ClientId::edi`] for what edi does by itself.
    pub actor: ClientId,
    /// `thing.verb`, such as `client.create`.
    pub action: Cow<'static, str>,
    /// The id of what it was done to.
    pub target: String,
    /// The request it came with; absent for what no request asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Where that request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Why, in the operator's words; of a refusal: why edi refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Of a refusal: the code the caller was answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    /// How many refusals of the same kind this entry stands for.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
    /// What is different now.
    #[serde(default, skip_serializing_if = "Differences::is_empty")]
    pub changes: Differences,
}

const fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_one(count: &u64) -> bool {
    *count == 1
}
