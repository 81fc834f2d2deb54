//! The audit trail: what was changed, by whom, from where. This module says what an entry is and writes its log line
//! (target `edi::audit`); the store keeps entries with the changes they tell of. Holds ids, never a secret.

pub mod difference;
pub mod entry;
pub mod seal;

pub use difference::{Difference, Differences};
pub use entry::{Entry, Outcome};

/// The chain has a new head: note it outside of the store, and nothing before it can be rewritten unseen.
pub fn sealed(seal: &seal::Seal) {
    let (seq, hash, entries) = (seal.seq, seal.hash, seal.entries.len());
    tracing::info!(target: "edi::audit", seq, %hash, entries, "sealed");
}

/// What is older than `audit.keep` is gone; the chain begins after this seal now.
pub fn retired(anchor: seal::Link) {
    tracing::info!(target: "edi::audit", seq = anchor.seq, hash = %anchor.hash, "retired");
}

/// A change that is on disk.
pub fn changed(entry: &Entry) {
    let Entry { actor, action, target, request_id, address, reason, .. } = entry;
    tracing::info!(
        target: "edi::audit",
        actor = actor.as_str(),
        action = action.as_ref(),
        subject = target.as_str(),
        request_id = request_id.as_deref(),
        address = address.map(tracing::field::display),
        reason = reason.as_deref(),
        "changed"
    );
}

/// Refusals of an authenticated caller that are on disk.
pub fn refused(entry: &Entry) {
    let Entry { actor, action, target, request_id, address, reason, code, count, .. } = entry;
    tracing::info!(
        target: "edi::audit",
        actor = actor.as_str(),
        action = action.as_ref(),
        subject = target.as_str(),
        request_id = request_id.as_deref(),
        address = address.map(tracing::field::display),
        reason = reason.as_deref(),
        code = code.as_deref(),
        count,
        "refused"
    );
}
