//! The audit trail's entries. Each is written in the same commit as the change it tells of, under a key of its own, so
//! that changes that do not touch the same records never wait for each other.
//!
//! What the [`crate::store::sealer`] makes of them lies beside them: seals, the chain's head, and the anchor that it
//! begins after since its oldest part was retired.
//!
//! [`record`] gives the [`Audited`] that [`Tx::commit`] asks for: a change that forgets its entry does not compile.

use super::By;
use crate::ambient::Ambient;
use serde::{Deserialize, Serialize};

use crate::audit::seal::{Link, Seal};
use crate::audit::{Differences, Entry, Outcome};
use crate::model::time::Timestamp;
use crate::store::record::{Record, decode};
use crate::store::tx::{Audited, Tx, TxError};
use crate::store::{Key, Page, Revision, Store, StoreError};

/// The prefix of all entries.
pub const PREFIX: &str = "audit/";

/// The prefix of all seals.
pub const SEALS: &str = "audit-seal/";

impl Record for Entry {
    const VERSION: u32 = 1;
}

impl Record for Seal {
    const VERSION: u32 = 1;
}

/// A place in the chain as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which.
    #[serde(flatten)]
    pub link: Link,
    /// When that seal was made.
    pub at: Timestamp,
}

impl Record for Mark {
    const VERSION: u32 = 1;
}

/// Where the seal with this number lies.
#[must_use]
pub fn seal_key(seq: u64) -> Key {
    Key::new(format!("{SEALS}{seq:016}"))
}

/// Where the chain's newest link is written down; the condition of every seal, so that replicas do not fork the chain.
#[must_use]
pub fn head_key() -> Key {
    Key::new("audit-head")
}

/// Where the last retired seal is written down; the chain begins after it.
#[must_use]
pub fn anchor_key() -> Key {
    Key::new("audit-anchor")
}

/// The id of the entry at this key: what seals and operators call it.
#[must_use]
pub fn id(key: &Key) -> &str {
    key.as_str().strip_prefix(PREFIX).unwrap_or_default()
}

/// Where the entry with this id lies.
#[must_use]
pub fn key(id: &str) -> Key {
    Key::new(format!("{PREFIX}{id}"))
}

/// The key before all entries of this instant and later ones.
#[must_use]
pub fn before(at: Timestamp) -> Key {
    Key::new(format!("{PREFIX}{:013}", clamped(at)))
}

/// The chain's head or anchor, with the revision of its record.
///
/// # Errors
/// Those of the store.
pub async fn mark(store: &dyn Store, key: &Key) -> Result<Option<(Mark, Revision)>, StoreError> {
    match store.get(key).await?.value {
        Some(versioned) => Ok(Some((decode(key, &versioned.value)?, versioned.revision))),
        None => Ok(None),
    }
}

/// The seal with this number.
///
/// # Errors
/// Those of the store.
pub async fn seal(store: &dyn Store, seq: u64) -> Result<Option<Seal>, StoreError> {
    let key = seal_key(seq);
    match store.get(&key).await?.value {
        Some(versioned) => decode(&key, &versioned.value).map(Some),
        None => Ok(None),
    }
}

/// One page of entries in key order, after `after`.
///
/// # Errors
/// Those of the store.
pub async fn list(
    store: &dyn Store,
    after: Option<&Key>,
    limit: usize,
) -> Result<(Vec<(Key, Entry)>, Option<Key>), StoreError> {
    let Page { items, next, .. } = store.scan(PREFIX, after, limit).await?;
    let entries = items.into_iter().map(|(key, versioned)| {
        let entry = decode(&key, &versioned.value)?;
        Ok((key, entry))
    });
    Ok((entries.collect::<Result<_, StoreError>>()?, next))
}

/// A key for an entry of this instant: in the order of time, and random from there on.
#[must_use]
pub fn new_key(ambient: &Ambient, at: Timestamp) -> Key {
    let random = u64::from_be_bytes(ambient.random::<8>());
    Key::new(format!("{PREFIX}{:013}-{random:016x}", clamped(at)))
}

/// The instant as keys hold it: thirteen digits, until the year 2286.
pub(crate) fn clamped(at: Timestamp) -> i64 {
    at.millis().clamp(0, 9_999_999_999_999)
}

/// Adds the entry of a change to its transaction. Once per transaction, after everything else was written.
///
/// # Errors
/// [`TxError::Store`] when the entry has no JSON form.
pub fn record(tx: &mut Tx<'_>, ambient: &Ambient, by: &By, changes: Differences) -> Result<Audited, TxError> {
    let entry = Entry {
        at: by.now,
        actor: by.actor.clone(),
        action: by.action.into(),
        target: by.target.clone(),
        request_id: by.origin.request_id.clone(),
        address: by.origin.address,
        reason: by.reason.clone(),
        outcome: Outcome::Done,
        code: None,
        count: 1,
        changes,
    };
    tx.put(&new_key(ambient, by.now), &entry, None)?;
    Ok(Audited::told_by(entry))
}

/// Writes entries of refusals, all in one commit. Their keys tell when they were written, so that whoever follows the
/// trail meets them; the entries tell when the refusals happened.
///
/// # Errors
/// Those of the store.
pub async fn record_refusals(store: &dyn Store, ambient: &Ambient, entries: &[&Entry]) -> Result<(), TxError> {
    let mut tx = Tx::new(store);
    for entry in entries {
        tx.put(&new_key(ambient, ambient.now()), *entry, None)?;
    }
    tx.commit(Audited::not_a_change("a refusal changes nothing; its entry is all that is written")).await?;
    for entry in entries {
        crate::audit::refused(entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;
    use std::sync::Arc;

    use super::super::clients::ChangeError;
    use super::super::{Origin, clients, deployments, keyrings, revocations};
    use super::*;
    use crate::ambient::{ManualClock, SeededEntropy};
    use crate::model::algorithm::Algorithm;
    use crate::model::client::{Client, SecretCheck, StoredSecret};
    use crate::model::deployment::Deployment;
    use crate::model::id::{ClientId, DeploymentId, Kid, SecretId, TokenId};
    use crate::model::keyring::{FreshKey, Ring};
    use crate::model::revocation::{Revocation, Subject};
    use crate::model::scope::Role;
    use crate::store::memory::MemoryStore;
    use crate::store::record::decode;
    use crate::store::{Revision, Store, Versioned};

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

    fn by(action: &'static str, target: &str) -> By {
        let origin = Origin { request_id: Some("r-1".into()), address: Some([192, 0, 2, 9].into()) };
        By { actor: ClientId::parse("op").unwrap(), origin, ..By::edi(NOW, action, target) }
    }

    fn secret(id: &str) -> StoredSecret {
        let check = SecretCheck::Generated("hunter2".into());
        StoredSecret { id: SecretId::parse(id).unwrap(), name: None, check, created_at: NOW, expires_at: None }
    }

    fn fresh(kid: &str) -> FreshKey {
        FreshKey { kid: Kid::parse(kid).unwrap(), public: serde_json::json!({}), sealed: "hunter2".into() }
    }

    /// The one entry that was written at this revision.
    async fn entry_at(store: &dyn Store, revision: Revision) -> Entry {
        let found: Vec<(Key, Versioned)> = store.scan(PREFIX, None, 100).await.unwrap().items;
        let here: Vec<_> = found.iter().filter(|(_, entry)| entry.revision == revision).collect();
        assert_eq!(here.len(), 1, "one entry per change");
        let (key, versioned) = here[0];
        assert!(!String::from_utf8_lossy(&versioned.value).contains("hunter2"));
        assert!(key.as_str().starts_with("audit/1795000000000-") && key.as_str().len() == 36, "{key}");
        decode(key, &versioned.value).unwrap()
    }

    #[tokio::test]
    async fn each_change_is_told_in_its_own_commit() {
        let ambient = Ambient { clock: ManualClock::at(NOW), entropy: SeededEntropy::new(1) };
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&ambient.clock)));
        let store = &*store;
        let told = |entry: &Entry| serde_json::to_string(&entry.changes).unwrap();

        let id = ClientId::parse("svc").unwrap();
        let role = Role::parse("fraud").unwrap();
        let client = Client {
            secrets: vec![secret("one")],
            roles: BTreeSet::from([role.clone()]),
            ..Client::new(id.clone(), NOW)
        };
        let at = clients::create(store, &ambient, &client, &by("client.create", "svc")).await.unwrap();
        let entry = entry_at(store, at).await;
        assert_eq!((entry.actor.as_str(), &*entry.action, entry.target.as_str()), ("op", "client.create", "svc"));
        assert_eq!((entry.request_id.as_deref(), entry.address), (Some("r-1"), Some([192, 0, 2, 9].into())));
        assert_eq!((entry.outcome, entry.count), (Outcome::Done, 1));
        assert_eq!(
            told(&entry),
            r#"[{"field":"auth_method","added":["client_secret"]},{"field":"enabled","added":["true"]},{"field":"roles","added":["fraud"]},{"field":"secrets","added":["one"]}]"#
        );

        let author = by("client.update", "svc");
        let changed = clients::change::<Infallible>(store, &ambient, &id, &author, |before, _| {
            let mut after = Client { roles: BTreeSet::new(), updated_at: NOW, ..before.clone() };
            after.secrets = vec![secret("two")];
            Ok(Some(after))
        });
        let (_, at) = changed.await.unwrap();
        assert_eq!(
            told(&entry_at(store, at).await),
            r#"[{"field":"roles","removed":["fraud"]},{"field":"secrets","added":["two"],"removed":["one"]},{"field":"revoked","added":["grant/svc/fraud"]}]"#
        );
        let author = by("client.delete", "svc");
        let gone = clients::change::<Infallible>(store, &ambient, &id, &author, |_, _| Ok(None));
        assert!(told(&entry_at(store, gone.await.unwrap().1).await).contains(r#""added":["client/svc"]"#));

        let place = DeploymentId::parse("fraud").unwrap();
        let author = by("deployment.create", "fraud");
        let made = deployments::change(store, &ambient, &place, &author, |_| {
            Ok::<_, ChangeError<Infallible>>(Some(Deployment {
                id: DeploymentId::parse("fraud").unwrap(),
                role: Role::parse("fraud").unwrap(),
                hosts: vec!["models.example".into()],
                paths: Vec::new(),
                audience: None,
                created_at: NOW,
                updated_at: NOW,
            }))
        });
        let (_, at) = made.await.unwrap();
        assert!(told(&entry_at(store, at).await).contains("models.example"));

        let subject = Subject::Token(TokenId(7));
        let revocation = Revocation::of_token(NOW, NOW.plus(std::time::Duration::from_mins(1)), id, None);
        let added = revocations::add(store, &ambient, &subject, &revocation, &by("token.revoke", "")).await;
        assert_eq!(entry_at(store, added.unwrap().1).await.target, subject.to_string());

        let ring = Ring::start(Algorithm::default(), 60, fresh("a"), fresh("b"), NOW);
        keyrings::add(store, &ambient, &ring, "").await.unwrap();
        let author = by("key.rotate", "");
        let rotated = keyrings::change(store, &ambient, Algorithm::default(), &author, |ring| {
            let mut ring = ring.unwrap().clone();
            ring.rotate(NOW, std::time::Duration::ZERO, fresh("c")).map(|_| Some(ring))
        });
        let (_, at) = rotated.await.unwrap().unwrap();
        let entry = entry_at(store, at).await;
        assert_eq!(entry.target, "b", "the key that signs next");
        assert_eq!(told(&entry), r#"[{"field":"keys","added":["c"]},{"field":"signs_from","added":["b"]}]"#);
        let page = store.scan(PREFIX, None, 100).await.unwrap();
        assert_eq!(page.items.len(), 7, "nothing else was told");
    }

    #[tokio::test]
    async fn a_change_that_did_not_happen_is_not_told() {
        let ambient = Ambient { clock: ManualClock::at(NOW), entropy: SeededEntropy::new(1) };
        let store = MemoryStore::new(Arc::clone(&ambient.clock));
        let client = Client::new(ClientId::parse("svc").unwrap(), NOW);
        store.fail_writes(true);
        assert!(clients::create(&store, &ambient, &client, &by("client.create", "svc")).await.is_err());
        store.fail_writes(false);
        assert!(store.scan(PREFIX, None, 1).await.unwrap().items.is_empty());
    }
}
