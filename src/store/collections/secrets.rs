//! Whose a secret is, or was, by its public id; and which secrets end, by when.
//!
//! Both are written in the commit that changes the client. The record of a secret outlives the secret by [`KEPT`], so
//! that one that leaks late still leads to its owner; beside that it carries the last use, which is noted there now and
//! then and so leaves the client's own version alone. The calendar names the secrets of enabled clients that end, in
//! the order of their ends: what ends soon is found without looking at every client.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ambient::Ambient;
use crate::model::client::{Client, SecretCheck, StoredSecret};
use crate::model::id::{ClientId, SecretId};
use crate::model::time::Timestamp;
use crate::store::record::{Record, decode};
use crate::store::tx::{Audited, Retry, Tx, TxError};
use crate::store::{Key, Store, StoreError};

/// The prefix of the records.
pub const PREFIX: &str = "secret/";
/// The prefix of the calendar.
pub const CALENDAR_PREFIX: &str = "secret-end/";
/// How long it is known whose a secret was, counted from when it stopped working.
pub const KEPT: Duration = Duration::from_hours(400 * 24);

/// A secret's owner and dates; nothing that it is checked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Whose it is.
    pub client_id: ClientId,
    /// What the operator called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether a person chose it or another system made it; edi made all others.
    #[serde(default)]
    pub chosen: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working by itself, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
    /// When it was last used, as far as it was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

impl SecretRecord {
    fn of(client: &ClientId, secret: &StoredSecret) -> Self {
        Self {
            client_id: client.clone(),
            name: secret.name.clone(),
            chosen: matches!(secret.check, SecretCheck::Chosen(_)),
            created_at: secret.created_at,
            expires_at: secret.expires_at,
            removed_at: None,
            last_used_at: None,
        }
    }

    /// When it stops being known whose the secret was.
    fn forgotten_at(&self) -> Option<Timestamp> {
        self.removed_at.or(self.expires_at).map(|end| end.plus(KEPT))
    }
}

impl Record for SecretRecord {
    const VERSION: u32 = 1;
}

/// A secret that ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Whose it is.
    pub client_id: ClientId,
    /// What the operator called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether nothing else lets the client in after its end.
    pub last: bool,
}

impl Record for Ending {
    const VERSION: u32 = 1;
}

/// Where a secret's record lies.
#[must_use]
pub fn key(id: &SecretId) -> Key {
    Key::new(format!("{PREFIX}{id}"))
}

/// Milliseconds in as many digits as the last instant there is needs, so that the order of keys is that of time.
fn calendar_key(end: Timestamp, id: &SecretId) -> Key {
    Key::new(format!("{CALENDAR_PREFIX}{:019}/{id}", end.millis().max(0)))
}

fn calendar_entry(key: &Key) -> Option<(Timestamp, SecretId)> {
    let (end, id) = key.as_str().strip_prefix(CALENDAR_PREFIX)?.split_once('/')?;
    Some((Timestamp::from_millis(end.parse().ok()?), SecretId::parse(id).ok()?))
}

/// Adds to a transaction what follows for records and calendar when `before` becomes `after`.
///
/// # Errors
/// Those of the store.
pub(super) async fn follow(
    tx: &mut Tx<'_>,
    before: Option<&Client>,
    after: Option<&Client>,
    now: Timestamp,
) -> Result<(), TxError> {
    let secrets = |client: Option<&Client>| client.map(|client| client.secrets.clone()).unwrap_or_default();
    let (old, new) = (secrets(before), secrets(after));
    let Some(owner) = after.or(before).map(|client| client.client_id.clone()) else { return Ok(()) };
    for secret in &new {
        let mut record = SecretRecord::of(&owner, secret);
        write(tx, &secret.id, &mut record).await?;
    }
    for secret in old.iter().filter(|secret| new.iter().all(|kept| kept.id != secret.id)) {
        let mut record = SecretRecord::of(&owner, secret);
        // One that had ended by itself is swept out with the next change; that is no removal.
        record.removed_at = secret.is_live(now).then_some(now);
        write(tx, &secret.id, &mut record).await?;
    }
    let (was, will) = (calendar(before, now), calendar(after, now));
    for (key, ..) in was.iter().filter(|(key, ..)| will.iter().all(|(kept, ..)| kept != key)) {
        tx.delete(key);
    }
    for (key, end, ending) in &will {
        tx.put(key, ending, Some(*end))?;
    }
    Ok(())
}

/// Writes a record unless it stands there already; the last use stays.
async fn write(tx: &mut Tx<'_>, id: &SecretId, record: &mut SecretRecord) -> Result<(), TxError> {
    let key = key(id);
    let known = tx.get::<SecretRecord>(&key).await?.map(|(known, _)| known);
    record.last_used_at = known.as_ref().and_then(|known| known.last_used_at);
    if known.as_ref() != Some(record) {
        tx.put(&key, record, record.forgotten_at())?;
    }
    Ok(())
}

fn calendar(client: Option<&Client>, now: Timestamp) -> Vec<(Key, Timestamp, Ending)> {
    let Some(client) = client.filter(|client| client.enabled) else { return Vec::new() };
    let ending = client.live_secrets(now).filter_map(|secret| Some((secret, secret.expires_at?)));
    let entry = |(secret, end): (&StoredSecret, Timestamp)| {
        let outlived = client.secrets.iter().any(|other| other.expires_at.is_none_or(|other| other > end));
        let last = !outlived && client.jwks.is_none();
        let ending = Ending { client_id: client.client_id.clone(), name: secret.name.clone(), last };
        (calendar_key(end, &secret.id), end, ending)
    };
    ending.map(entry).collect()
}

/// What is known of the secret with this id.
///
/// # Errors
/// Those of the store.
pub async fn get(store: &dyn Store, id: &SecretId) -> Result<Option<SecretRecord>, StoreError> {
    let key = key(id);
    match store.get(&key).await?.value {
        Some(versioned) => decode(&key, &versioned.value).map(Some),
        None => Ok(None),
    }
}

/// A secret that ends, when, and which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub id: SecretId,
    /// Whose.
    pub of: Ending,
}

/// The secrets that end up to `until`, the first ones first, at most `most`.
///
/// # Errors
/// Those of the store.
pub async fn ending(store: &dyn Store, until: Timestamp, most: usize) -> Result<Vec<End>, StoreError> {
    const PAGE: usize = 500;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.scan(CALENDAR_PREFIX, after.as_ref(), PAGE.min(most)).await?;
        for (key, versioned) in page.items {
            let Some((at, id)) = calendar_entry(&key) else { continue };
            if at > until || found.len() >= most {
                return Ok(found);
            }
            found.push(End { at, id, of: decode(&key, &versioned.value)? });
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

/// Writes down when secrets were last used, in one commit. A secret of nobody is passed over; an earlier instant
/// changes nothing.
///
/// # Errors
/// Those of the store.
pub async fn note_uses(
    store: &dyn Store,
    ambient: &Ambient,
    uses: &[(SecretId, ClientId, Timestamp)],
) -> Result<(), TxError> {
    let mut retry = Retry::new(ambient);
    loop {
        let mut tx = Tx::new(store);
        for (id, client, at) in uses {
            let key = key(id);
            let known = match tx.get::<SecretRecord>(&key).await? {
                Some((known, _)) => Some(known),
                // From before there were such records.
                None => owned(store, client, id).await?,
            };
            let Some(mut record) = known.filter(|known| known.last_used_at < Some(*at)) else { continue };
            record.last_used_at = Some(*at);
            tx.put(&key, &record, record.forgotten_at())?;
        }
        match tx.commit(Audited::not_a_change("a note of use, made by nobody")).await {
            Ok(_) => return Ok(()),
            Err(error) => retry.after(error).await?,
        }
    }
}

async fn owned(store: &dyn Store, client: &ClientId, id: &SecretId) -> Result<Option<SecretRecord>, StoreError> {
    let found = super::clients::get(store, client).await?;
    let secret = found.as_ref().and_then(|(client, _)| client.secrets.iter().find(|secret| secret.id == *id));
    Ok(secret.map(|secret| SecretRecord::of(client, secret)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::{ManualClock, SeededEntropy};
    use crate::store::collections::{By, clients};
    use crate::store::memory::MemoryStore;
    use std::sync::Arc;

    const DAY: Duration = Duration::from_hours(24);

    fn at(day: u32) -> Timestamp {
        Timestamp::from_secs(1_800_000_000).plus(DAY * day)
    }

    fn id(text: &str) -> SecretId {
        SecretId::parse(text).unwrap()
    }

    fn secret(name: &str, expires_at: Option<Timestamp>) -> StoredSecret {
        StoredSecret {
            id: id(name),
            name: Some(format!("the {name}")),
            check: SecretCheck::Generated("x".into()),
            created_at: at(0),
            expires_at,
        }
    }

    struct World {
        store: Arc<MemoryStore>,
        clock: Arc<ManualClock>,
        ambient: Ambient,
    }

    impl World {
        fn new() -> Self {
            let clock = ManualClock::at(at(0));
            let store = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
            let ambient = Ambient { clock: Arc::clone(&clock) as _, entropy: SeededEntropy::new(1) };
            Self { store, clock, ambient }
        }

        fn by(&self) -> By {
            By { longest_lifetime: DAY, ..By::edi(self.ambient.now(), "client.update", "") }
        }

        async fn create(&self, name: &str, secrets: Vec<StoredSecret>) {
            let mut client = Client::new(ClientId::parse(name).unwrap(), at(0));
            client.secrets = secrets;
            clients::create(&*self.store, &self.ambient, &client, &self.by()).await.unwrap();
        }

        async fn change(&self, name: &str, rule: impl Fn(&mut Client)) {
            let rule = |before: &Client, _| {
                let mut after = before.clone();
                rule(&mut after);
                Ok::<_, std::convert::Infallible>(Some(after))
            };
            let name = ClientId::parse(name).unwrap();
            clients::change(&*self.store, &self.ambient, &name, &self.by(), rule).await.unwrap();
        }

        async fn known(&self, name: &str) -> Option<SecretRecord> {
            get(&*self.store, &id(name)).await.unwrap()
        }

        async fn ending(&self, until: u32) -> Vec<(String, bool)> {
            let found = ending(&*self.store, at(until), 100).await.unwrap();
            found.into_iter().map(|end| (end.id.to_string(), end.of.last)).collect()
        }
    }

    #[tokio::test]
    async fn a_secret_leads_to_its_owner_for_four_hundred_days_after_its_end() {
        let world = World::new();
        world.create("svc", vec![secret("a", None), secret("b", Some(at(10)))]).await;
        let a = world.known("a").await.unwrap();
        assert_eq!((a.client_id.as_str(), a.name.as_deref(), a.removed_at), ("svc", Some("the a"), None));
        world.clock.set(at(5));
        world.change("svc", |client| client.secrets.retain(|secret| secret.id.as_str() != "a")).await;
        assert_eq!(world.known("a").await.unwrap().removed_at, Some(at(5)));
        // One that ended by itself was not removed, though its client forgets it.
        world.clock.set(at(11));
        world.change("svc", |client| client.secrets.clear()).await;
        assert_eq!(world.known("b").await.unwrap().removed_at, None);
        world.clock.set(at(404));
        assert!(world.known("a").await.is_some());
        world.clock.set(at(405));
        assert!(world.known("a").await.is_none() && world.known("b").await.is_some());
        world.clock.set(at(410));
        assert!(world.known("b").await.is_none());
    }

    #[tokio::test]
    async fn deleting_a_client_removes_its_secrets() {
        let world = World::new();
        world.create("svc", vec![secret("a", Some(at(9)))]).await;
        world.clock.set(at(1));
        let name = ClientId::parse("svc").unwrap();
        let gone = |_: &Client, _| Ok::<_, std::convert::Infallible>(None);
        clients::change(&*world.store, &world.ambient, &name, &world.by(), gone).await.unwrap();
        assert_eq!(world.known("a").await.unwrap().removed_at, Some(at(1)));
        assert_eq!(world.ending(100).await, []);
    }

    #[tokio::test]
    async fn the_calendar_is_in_the_order_of_time_and_knows_what_a_client_is_left_with() {
        let world = World::new();
        world.create("two", vec![secret("c", Some(at(9))), secret("d", None)]).await;
        world.create("one", vec![secret("b", Some(at(100)))]).await;
        world.create("pair", vec![secret("e", Some(at(3))), secret("f", Some(at(4)))]).await;
        let [b, c, e, f] = [("b", true), ("c", false), ("e", false), ("f", true)].map(|(id, last)| (id.into(), last));
        assert_eq!(world.ending(200).await, [e.clone(), f.clone(), c.clone(), b]);
        assert_eq!(world.ending(9).await, [e, f, c]);
        assert_eq!(ending(&*world.store, at(200), 2).await.unwrap().len(), 2);
        world.change("two", |client| client.secrets.retain(|secret| secret.id.as_str() != "d")).await;
        assert_eq!(world.ending(9).await.last(), Some(&("c".into(), true)));
        world.change("two", |client| client.enabled = false).await;
        assert_eq!(world.ending(9).await.len(), 2, "who is disabled is not waited for");
        world.change("two", |client| client.enabled = true).await;
        world.change("pair", |client| client.secrets.iter_mut().for_each(|it| it.expires_at = Some(at(2)))).await;
        assert_eq!(world.ending(9).await, [("e".into(), true), ("f".into(), true), ("c".into(), true)]);
        world.clock.set(at(2));
        assert_eq!(world.ending(9).await, [("c".into(), true)], "what has ended ends no more");
    }

    #[tokio::test]
    async fn a_last_use_is_kept_through_changes_and_removal_and_never_set_back() {
        let world = World::new();
        world.create("svc", vec![secret("a", None)]).await;
        let owner = ClientId::parse("svc").unwrap();
        let used = async |name: &str, when| {
            note_uses(&*world.store, &world.ambient, &[(id(name), owner.clone(), when)]).await.unwrap();
            world.known(name).await.and_then(|known| known.last_used_at)
        };
        assert_eq!(used("a", at(2)).await, Some(at(2)));
        assert_eq!(used("a", at(1)).await, Some(at(2)));
        assert_eq!(used("nobodys", at(1)).await, None);
        world.change("svc", |client| client.client_name = Some("x".into())).await;
        world.change("svc", |client| client.secrets.clear()).await;
        let known = world.known("a").await.unwrap();
        assert_eq!((known.last_used_at, known.removed_at), (Some(at(2)), Some(at(0))));
        assert_eq!(used("a", at(3)).await, Some(at(3)));
        assert_eq!(world.known("a").await.unwrap().removed_at, Some(at(0)), "used does not bring it back");
    }

    #[tokio::test]
    async fn a_secret_from_before_there_were_records_gets_one_when_it_is_used() {
        let world = World::new();
        world.create("svc", vec![secret("a", None)]).await;
        let mut tx = Tx::new(&*world.store);
        tx.delete(&key(&id("a")));
        tx.commit(Audited::not_a_change("as if from before")).await.unwrap();
        let owner = ClientId::parse("svc").unwrap();
        note_uses(&*world.store, &world.ambient, &[(id("a"), owner.clone(), at(1))]).await.unwrap();
        let known = world.known("a").await.unwrap();
        assert_eq!((known.client_id, known.last_used_at), (owner, Some(at(1))));
    }
}
