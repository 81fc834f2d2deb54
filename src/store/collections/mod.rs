//! Typed collections, written once above the contract: their methods name intentions, and everything that must happen
//! together happens in one commit.
//!
//! | collection | keys | holds |
//! |---|---|---|
//! | [`audit`] | `audit/<time>-<random>`, `audit-seal/<number>`, `audit-head`, `audit-anchor` | what was changed, by whom; the chain over it |
//! | [`clients`] | `client/<id>`, `admins`, `chosen/<id>/<secret>` | registered clients, who holds `edi:admin`, chosen secrets |
//! | [`deployments`] | `deployment/<id>` | deployed models |
//! | [`keyrings`] | `keyring/<alg>` | signing keys, one record per algorithm |
//! | [`revocations`] | `revocation/<kind>/<id>` | what is revoked |
//! | [`secrets`] | `secret/<secret>`, `secret-end/<instant>/<secret>` | whose a secret is or was, and which end when |
//! | [`assertions`] | `assertion/<id>/<digest of jti>` | client assertions that were used |
//! | [`installation`] | `installation`, `sealed/<name>` | that the store is in use, and what the master key seals |

pub mod assertions;
pub mod audit;
pub mod clients;
pub mod deployments;
pub mod installation;
pub mod keyrings;
pub mod revocations;
pub mod sealed;
pub mod secrets;

use std::net::IpAddr;
use std::time::Duration;

use crate::model::client::Client;
use crate::model::deployment::Deployment;
use crate::model::id::ClientId;
use crate::model::keyring::Ring;
use crate::model::revocation::Revocation;
use crate::model::time::Timestamp;
use crate::store::record::{self, decode};
use crate::store::{Key, StoreError};

/// The request that a change came with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its id; absent for what no request asked for.
    pub request_id: Option<String>,
    /// The caller's address.
    pub address: Option<IpAddr>,
}

/// Who changes what, when, from where, and how long the tokens live that the change may have to revoke. Every change
/// takes one, as it is what the audit trail tells.
#[derive(Debug, Clone)]
pub struct By {
    /// The acting client; [`ClientId::edi`] for what edi does by itself.
    pub actor: ClientId,
    /// The instant of the change.
    pub now: Timestamp,
    /// The longest lifetime any live token can have.
    pub longest_lifetime: Duration,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// `thing.verb`, such as `client.create`.
    pub action: &'static str,
    /// The id of what is changed. Empty where only the change itself finds that out.
    pub target: String,
    /// The request.
    pub origin: Origin,
}

impl By {
    /// What edi does by itself.
    #[must_use]
    pub fn edi(now: Timestamp, action: &'static str, target: impl Into<String>) -> Self {
        Self {
            actor: ClientId::edi(),
            now,
            longest_lifetime: Duration::ZERO,
            reason: None,
            action,
            target: target.into(),
            origin: Origin::default(),
        }
    }

    /// The same with a reason.
    #[must_use]
    pub fn because(self, reason: Option<String>) -> Self {
        Self { reason, ..self }
    }
}

/// Whether a record can be read: as what its collection holds, or at least as a record where that is another's.
///
/// # Errors
/// When it is damaged, or written by a newer edi.
pub fn check(key: &Key, value: &[u8]) -> Result<(), StoreError> {
    match key.collection() {
        "client" => decode::<Client>(key, value).map(drop),
        "deployment" => decode::<Deployment>(key, value).map(drop),
        "keyring" => decode::<Ring>(key, value).map(drop),
        "revocation" => decode::<Revocation>(key, value).map(drop),
        "installation" => decode::<installation::Installation>(key, value).map(drop),
        "sealed" => decode::<installation::Sealed>(key, value).map(drop),
        _ => record::version(key, value).map(drop),
    }
}
