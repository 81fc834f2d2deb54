//! Clients. A change commits, together with the record, whatever follows from it: the list of administrators, the
//! markers of chosen secrets, whose each secret is, and the revocations that disabling, deleting or taking a right away
//! demands.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{By, audit, revocations, secrets};
use crate::ambient::Ambient;
use crate::audit::Differences;
use crate::model::client::{Client, SecretCheck, StoredSecret};
use crate::model::id::{ClientId, SecretId};
use crate::model::revocation::{Revocation, Subject};
use crate::model::scope::{AdminScope, Role};
use crate::model::time::Timestamp;
use crate::store::mirror::Fold;
use crate::store::record::{Record, decode};
use crate::store::tx::{Retry, Tx, TxError};
use crate::store::{Key, Page, Revision, Store, StoreError};

/// The prefix of all clients.
pub const PREFIX: &str = "client/";
/// The prefix of the markers of chosen secrets.
pub const CHOSEN_PREFIX: &str = "chosen/";

/// More roles than this taken away at once revoke the client as a whole: a commit has at most 100 writes.
const MAX_GRANT_REVOCATIONS: usize = 64;

impl Record for Client {
    const VERSION: u32 = 1;
}

/// The clients that can administer edi: enabled, with `edi:admin` and with a proof that does not expire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Admins {
    ids: BTreeSet<ClientId>,
}

impl Record for Admins {
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize)]
struct ChosenMarker {}

impl Record for ChosenMarker {
    const VERSION: u32 = 1;
}

/// Why a change did not happen; `R` is the caller's own reason.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<R> {
    /// There is one with this id already.
    #[error("it exists already")]
    Exists,
    /// There is none with this id.
    #[error("it does not exist")]
    NotFound,
    /// It would leave edi without an administrator.
    #[error("the last client with edi:admin cannot be disabled, deleted or stripped")]
    LastAdmin,
    /// The caller's rule said no.
    #[error("refused")]
    Refused(R),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] TxError),
}

/// Where a client lies.
#[must_use]
pub fn key(id: &ClientId) -> Key {
    Key::new(format!("{PREFIX}{id}"))
}

fn admins_key() -> Key {
    Key::new("admins")
}

/// Registers a client.
///
/// # Errors
/// [`ChangeError::Exists`], or the store's.
pub async fn create(
    store: &dyn Store,
    ambient: &Ambient,
    client: &Client,
    by: &By,
) -> Result<Revision, ChangeError<std::convert::Infallible>> {
    let mut retry = Retry::new(ambient);
    loop {
        let mut tx = Tx::new(store);
        if tx.get::<Client>(&key(&client.client_id)).await?.is_some() {
            return Err(ChangeError::Exists);
        }
        write(&mut tx, None, Some(client), by).await?;
        let audited = audit::record(&mut tx, ambient, by, differences(None, Some(client)))?;
        match tx.commit(audited).await {
            Ok(revision) => return Ok(revision),
            Err(error) => retry.after(error).await?,
        }
    }
}

/// Changes a client by a rule that says what it becomes (`None`: deleted). The rule may run several times. Gives the
/// client as it is now, or as it was when deleted.
///
/// # Errors
/// [`ChangeError`].
pub async fn change<R>(
    store: &dyn Store,
    ambient: &Ambient,
    id: &ClientId,
    by: &By,
    rule: impl FnMut(&Client, Revision) -> Result<Option<Client>, R>,
) -> Result<(Client, Revision), ChangeError<R>> {
    change_revoking(store, ambient, id, by, &[], rule).await
}

/// The same, with `also` revoked in the same commit, whatever the change is.
///
/// # Errors
/// [`ChangeError`].
pub async fn change_revoking<R>(
    store: &dyn Store,
    ambient: &Ambient,
    id: &ClientId,
    by: &By,
    also: &[Subject],
    mut rule: impl FnMut(&Client, Revision) -> Result<Option<Client>, R>,
) -> Result<(Client, Revision), ChangeError<R>> {
    let mut retry = Retry::new(ambient);
    loop {
        let mut tx = Tx::new(store);
        let Some((before, revision)) = tx.get::<Client>(&key(id)).await? else { return Err(ChangeError::NotFound) };
        let after = rule(&before, revision).map_err(ChangeError::Refused)?;
        write(&mut tx, Some(&before), after.as_ref(), by).await?;
        for subject in also {
            revoke(&mut tx, subject, by).await?;
        }
        let audited = audit::record(&mut tx, ambient, by, differences_with(Some(&before), after.as_ref(), also))?;
        match tx.commit(audited).await {
            Ok(revision) => return Ok((after.unwrap_or(before), revision)),
            Err(error) => retry.after(error).await?,
        }
    }
}

/// The client with this id, straight from the store, and the revision it was written at.
///
/// # Errors
/// Those of the store.
pub async fn get(store: &dyn Store, id: &ClientId) -> Result<Option<(Client, Revision)>, StoreError> {
    let key = key(id);
    match store.get(&key).await?.value {
        Some(versioned) => Ok(Some((decode(&key, &versioned.value)?, versioned.revision))),
        None => Ok(None),
    }
}

/// One page of clients in the order of their ids, after `after`.
///
/// # Errors
/// Those of the store.
pub async fn list(
    store: &dyn Store,
    after: Option<&Key>,
    limit: usize,
) -> Result<(Vec<(Client, Revision)>, Option<Key>), StoreError> {
    let Page { items, next, .. } = store.scan(PREFIX, after, limit).await?;
    let clients = items.iter().map(|(key, versioned)| Ok((decode(key, &versioned.value)?, versioned.revision)));
    Ok((clients.collect::<Result<_, StoreError>>()?, next))
}

/// What the audit trail tells of a change: fields by name, ids that came and went, what was revoked with it.
#[must_use]
pub fn differences(before: Option<&Client>, after: Option<&Client>) -> Differences {
    differences_with(before, after, &[])
}

fn differences_with(before: Option<&Client>, after: Option<&Client>, also: &[Subject]) -> Differences {
    let told = ["client_name", "auth_method", "roles", "admin_scopes", "audiences", "access_token_lifetime", "enabled"];
    let mut out = Differences::of_records(before, after, &told, &["client_id", "secrets", "created_at", "updated_at"]);
    // Secrets by their public ids alone.
    let secrets = |client: Option<&Client>| client.map(|client| client.secrets.clone()).unwrap_or_default();
    let (old, new) = (secrets(before), secrets(after));
    let ids = |of: &[StoredSecret], other: &[StoredSecret]| -> Vec<SecretId> {
        let fresh = of.iter().filter(|secret| !other.iter().any(|there| there.id == secret.id));
        fresh.map(|secret| secret.id.clone()).collect()
    };
    out.ids_if_any("secrets", &ids(&new, &old), &ids(&old, &new));
    let altered = new.iter().filter(|secret| old.iter().any(|there| there.id == secret.id && there != *secret));
    out.ids_if_any("secrets.altered", &altered.map(|secret| secret.id.clone()).collect::<Vec<_>>(), &[]);
    let mut revoked = before.map(|before| taken_away(before, after)).unwrap_or_default();
    revoked.extend(also.iter().filter(|subject| !revoked.contains(subject)).cloned().collect::<Vec<_>>());
    out.ids_if_any("revoked", &revoked, &[]);
    out
}

/// Adds to a transaction everything that turns `before` into `after`. Whoever builds the transaction adds its audit
/// entry, see [`differences`].
///
/// # Errors
/// [`ChangeError::LastAdmin`], or the store's.
pub async fn write<R>(
    tx: &mut Tx<'_>,
    before: Option<&Client>,
    after: Option<&Client>,
    by: &By,
) -> Result<(), ChangeError<R>> {
    let Some(client) = after.or(before) else { return Ok(()) };
    match after {
        Some(after) => tx.put(&key(&after.client_id), after, None)?,
        None => tx.delete(&key(&client.client_id)),
    }
    let kept = |id: &SecretId| after.is_some_and(|after| after.secrets.iter().any(|secret| secret.id == *id));
    if before.is_some_and(|before| before.secrets.iter().any(|secret| !kept(&secret.id))) {
        tx.takes_rights_away();
    }
    write_admins(tx, before, after).await?;
    write_chosen_markers(tx, before, after)?;
    secrets::follow(tx, before, after, by.now).await?;
    if let Some(before) = before {
        for subject in taken_away(before, after) {
            revoke(tx, &subject, by).await?;
        }
    }
    Ok(())
}

async fn revoke(tx: &mut Tx<'_>, subject: &Subject, by: &By) -> Result<(), TxError> {
    let revocation = Revocation::bulk(by.now, by.longest_lifetime, by.actor.clone(), by.reason.clone());
    revocations::put(tx, subject, revocation.following()).await.map(drop)
}

fn is_admin(client: &Client) -> bool {
    client.enabled
        && client.admin_scopes.contains(&AdminScope::Admin)
        && (client.jwks.is_some() || client.secrets.iter().any(|secret| secret.expires_at.is_none()))
}

async fn write_admins<R>(
    tx: &mut Tx<'_>,
    before: Option<&Client>,
    after: Option<&Client>,
) -> Result<(), ChangeError<R>> {
    let (was, will) = (before.is_some_and(is_admin), after.is_some_and(is_admin));
    let Some(client) = after.or(before).filter(|_| was != will) else { return Ok(()) };
    let mut admins = tx.get::<Admins>(&admins_key()).await?.map(|(admins, _)| admins).unwrap_or_default();
    if will {
        admins.ids.insert(client.client_id.clone());
    } else {
        admins.ids.remove(&client.client_id);
        if admins.ids.is_empty() {
            return Err(ChangeError::LastAdmin);
        }
    }
    tx.put(&admins_key(), &admins, None)?;
    Ok(())
}

fn write_chosen_markers(tx: &mut Tx<'_>, before: Option<&Client>, after: Option<&Client>) -> Result<(), TxError> {
    let chosen = |client: Option<&Client>| -> Vec<(Key, Option<Timestamp>)> {
        client
            .into_iter()
            .flat_map(|client| client.secrets.iter().map(move |secret| (client, secret)))
            .filter(|(_, secret)| matches!(secret.check, SecretCheck::Chosen(_)))
            .map(|(client, secret)| {
                (Key::new(format!("{CHOSEN_PREFIX}{}/{}", client.client_id, secret.id)), secret.expires_at)
            })
            .collect()
    };
    let (old, new) = (chosen(before), chosen(after));
    for (key, _) in old.iter().filter(|(key, _)| !new.iter().any(|(kept, _)| kept == key)) {
        tx.delete(key);
    }
    for (key, expires_at) in new.iter().filter(|entry| !old.contains(entry)) {
        tx.put(key, &ChosenMarker {}, *expires_at)?;
    }
    Ok(())
}

/// What must be revoked when `before` becomes `after`: the client when it is disabled, deleted or loses an admin scope,
/// else each role that is taken away.
#[must_use]
pub fn taken_away(before: &Client, after: Option<&Client>) -> Vec<Subject> {
    let whole = vec![Subject::Client(before.client_id.clone())];
    let Some(after) = after else { return whole };
    let lost: Vec<&Role> = before.roles.difference(&after.roles).collect();
    let lost_scope = before.admin_scopes.iter().any(|scope| !after.holds(*scope));
    if (before.enabled && !after.enabled) || lost_scope || lost.len() > MAX_GRANT_REVOCATIONS {
        return whole;
    }
    lost.into_iter().map(|role| Subject::Grant(before.client_id.clone(), role.clone())).collect()
}

/// How many chosen secrets are live: while there is one, a guess without a tag costs a slot of the hashing queue.
#[derive(Debug, Default)]
pub struct ChosenSecrets {
    live: std::collections::HashMap<Key, Option<Timestamp>>,
}

impl ChosenSecrets {
    /// Whether any is live at `now`.
    #[must_use]
    pub fn any(&self, now: Timestamp) -> bool {
        self.live.values().any(|end| end.is_none_or(|end| now < end))
    }
}

impl Fold for ChosenSecrets {
    fn put(&mut self, key: &Key, _value: &[u8], expires_at: Option<Timestamp>) -> Result<(), StoreError> {
        self.live.insert(key.clone(), expires_at);
        Ok(())
    }

    fn delete(&mut self, key: &Key) {
        self.live.remove(key);
    }
}
