//! Typed collections, written once above the contract: their methods name intentions, and everything that must happen
//! together happens in one commit.
//!
//! | collection | keys | holds |
//! |---|---|---|
//! | [`clients`] | `client/<id>`, `admins`, `chosen/<id>/<secret>` | registered clients, who holds `edi:admin`, chosen secrets |
//! | [`deployments`] | `deployment/<id>` | deployed models |
//! | [`keyrings`] | `keyring/<alg>` | signing keys, one record per algorithm |
//! | [`revocations`] | `revocation/<kind>/<id>` | what is revoked |
//! | [`installation`] | `installation`, `sealed/<name>` | that the store is in use, and what the master key seals |

pub mod clients;
pub mod deployments;
pub mod installation;
pub mod keyrings;
pub mod revocations;

use std::time::Duration;

use crate::model::id::ClientId;
use crate::model::time::Timestamp;

/// Who changes something, when, and how long the tokens live that the change may have to revoke.
#[derive(Debug, Clone)]
pub struct By {
    /// The acting client.
    pub actor: ClientId,
    /// The instant of the change.
    pub now: Timestamp,
    /// The longest lifetime any live token can have.
    pub longest_lifetime: Duration,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}
