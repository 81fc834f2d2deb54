//! Clients. A change commits, together with the record, whatever follows from it: the list of administrators, the
//! markers of chosen secrets, whose each secret is, and the revocations that disabling, deleting or taking a right away
//! demands.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{By, audit, revocations, secrets};
use crate::ambient::Ambient;
use crate::audit::Differences;
use crate::model::client::{Client, SecretCheck, StoredSecret};
use crate::model::hash_cost::{HashCost, HashPlan};
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

/// Says that a chosen secret is there, and what checking it costs; one from before costs were told is taken for one of
/// edi's own making.
#[derive(Serialize, Deserialize)]
struct ChosenMarker {
    #[serde(default)]
    cost: HashCost,
}

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
    key_named(id.as_str())
}

/// Where a client of this name lies, if it is one.
#[must_use]
pub fn key_named(id: &str) -> Key {
    Key::new([PREFIX, id].concat())
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
    let (old, new) = (chosen(before), chosen(after));
    for (key, ..) in old.iter().filter(|(key, ..)| !new.iter().any(|(kept, ..)| kept == key)) {
        tx.delete(key);
    }
    for (key, cost, expires_at) in new.iter().filter(|entry| !old.contains(entry)) {
        tx.put(key, &ChosenMarker { cost: *cost }, *expires_at)?;
    }
    Ok(())
}

/// Where the markers of a client's chosen secrets lie, what those cost and when they end.
fn chosen(client: Option<&Client>) -> Vec<(Key, HashCost, Option<Timestamp>)> {
    let Some(client) = client else { return Vec::new() };
    let marker = |secret: &StoredSecret| match &secret.check {
        SecretCheck::Chosen(phc) => {
            let key = Key::new(format!("{CHOSEN_PREFIX}{}/{}", client.client_id, secret.id));
            Some((key, HashCost::of_phc(phc), secret.expires_at))
        }
        SecretCheck::Generated(_) => None,
    };
    client.secrets.iter().filter_map(marker).collect()
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

/// The chosen secrets that are live: while there is one, a guess without a tag costs a slot of the hashing queue, and in
/// it what a guess at the most expensive client costs.
#[derive(Debug, Default)]
pub struct ChosenSecrets {
    of_clients: HashMap<Key, Vec<Chosen>>,
    /// How many clients have a plan. Those are few, however many clients there are.
    plans: BTreeMap<HashPlan, usize>,
}

#[derive(Debug)]
struct Chosen {
    key: Key,
    cost: HashCost,
    expires_at: Option<Timestamp>,
}

impl ChosenSecrets {
    /// What a guess takes at `now`; nothing while no chosen secret is live. One that has ended counts in it until it is
    /// swept, at everybody.
    #[must_use]
    pub fn plan(&self, now: Timestamp) -> Option<HashPlan> {
        let mut all = self.of_clients.values().flatten();
        let any = all.any(|chosen| chosen.expires_at.is_none_or(|end| now < end));
        let (most, _) = self.plans.last_key_value().filter(|_| any)?;
        Some(most.clone())
    }

    /// Changes what a client has, and keeps count of the plans.
    fn alter(&mut self, client: Key, rule: impl FnOnce(&mut Vec<Chosen>)) {
        let plan = |all: &[Chosen]| HashPlan::of(all.iter().map(|chosen| chosen.cost));
        let mut all = self.of_clients.remove(&client).unwrap_or_default();
        if !all.is_empty()
            && let Entry::Occupied(mut count) = self.plans.entry(plan(&all))
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        rule(&mut all);
        if !all.is_empty() {
            *self.plans.entry(plan(&all)).or_default() += 1;
            self.of_clients.insert(client, all);
        }
    }
}

/// Whose a marker is: all of its key but the secret's id.
fn marked(marker: &Key) -> Key {
    let text = marker.as_str();
    Key::new(text.rsplit_once('/').map_or(text, |(client, _)| client))
}

impl Fold for ChosenSecrets {
    fn put(&mut self, key: &Key, value: &[u8], expires_at: Option<Timestamp>) -> Result<(), StoreError> {
        let ChosenMarker { cost } = decode(key, value)?;
        self.alter(marked(key), |all| {
            all.retain(|chosen| chosen.key != *key);
            all.push(Chosen { key: key.clone(), cost, expires_at });
        });
        Ok(())
    }

    fn delete(&mut self, key: &Key) {
        self.alter(marked(key), |all| all.retain(|chosen| chosen.key != *key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::encode;

    const MADE: HashCost = HashCost { m: 19_456, t: 2, p: 1 };
    const COSTLY: HashCost = HashCost { m: 65_536, t: 3, p: 1 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn put(chosen: &mut ChosenSecrets, name: &str, cost: HashCost, end: Option<i64>) {
        let key = Key::new(format!("{CHOSEN_PREFIX}{name}"));
        chosen.put(&key, &encode(&key, &ChosenMarker { cost }).unwrap(), end.map(at)).unwrap();
    }

    fn delete(chosen: &mut ChosenSecrets, name: &str) {
        chosen.delete(&Key::new(format!("{CHOSEN_PREFIX}{name}")));
    }

    #[test]
    fn the_plan_is_that_of_the_most_expensive_client() {
        let mut chosen = ChosenSecrets::default();
        assert_eq!(chosen.plan(at(0)), None);
        put(&mut chosen, "one/a", MADE, None);
        put(&mut chosen, "two/a", MADE, None);
        assert_eq!(chosen.plan(at(0)), Some(HashPlan::of([MADE])), "clients do not add up");
        put(&mut chosen, "two/b", MADE, None);
        put(&mut chosen, "two/b", MADE, None);
        assert_eq!(chosen.plan(at(0)), Some(HashPlan::of([MADE, MADE])), "secrets do, each once");
        put(&mut chosen, "one/b", COSTLY, None);
        assert_eq!(chosen.plan(at(0)), Some(HashPlan::of([COSTLY, MADE])));
        delete(&mut chosen, "one/b");
        assert_eq!(chosen.plan(at(0)), Some(HashPlan::of([MADE, MADE])));
        for name in ["one/b", "two/a", "two/b", "one/a"] {
            delete(&mut chosen, name);
        }
        assert_eq!(chosen.plan(at(0)), None);
        assert!(chosen.of_clients.is_empty() && chosen.plans.is_empty(), "nothing is left behind");
    }

    #[test]
    fn once_all_have_ended_a_guess_costs_nothing() {
        let mut chosen = ChosenSecrets::default();
        put(&mut chosen, "one/a", COSTLY, Some(5));
        put(&mut chosen, "two/a", MADE, Some(9));
        assert_eq!(chosen.plan(at(8)), Some(HashPlan::of([COSTLY])), "one that ended counts until it is swept");
        assert_eq!(chosen.plan(at(9)), None);
    }

    #[test]
    fn a_marker_from_before_costs_were_told_is_of_edis_own_making() {
        #[derive(Serialize, Deserialize)]
        struct Before {}
        impl Record for Before {
            const VERSION: u32 = ChosenMarker::VERSION;
        }
        let key = Key::new("chosen/one/a");
        let mut chosen = ChosenSecrets::default();
        chosen.put(&key, &encode(&key, &Before {}).unwrap(), None).unwrap();
        assert_eq!(chosen.plan(at(0)), Some(HashPlan::of([HashCost::default()])));
    }
}
