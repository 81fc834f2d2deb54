//! What was changed, by whom: one log line of target `edi::audit` per change. Holds ids, never a secret.

use crate::model::id::ClientId;

/// A change that is on disk. `action` is `thing.verb`, `target` the id of what was changed.
pub fn changed(actor: &ClientId, action: &'static str, target: &str) {
    tracing::info!(target: "edi::audit", actor = actor.as_str(), action, subject = target, "changed");
}
