//! Revocations, and the index of them that every decision consults.

use std::collections::{HashMap, HashSet};

use super::clients::ChangeError;
use super::{By, audit};
use crate::ambient::Ambient;
use crate::audit::Differences;
use crate::model::id::{ClientId, Kid, TokenId};
use crate::model::revocation::{Revocation, Subject};
use crate::model::scope::Role;
use crate::model::time::Timestamp;
use crate::store::mirror::Fold;
use crate::store::record::{Record, decode, version};
use crate::store::tx::{Retry, Tx, TxError};
use crate::store::{CommitError, Condition, Key, Page, Revision, Store, StoreError};

/// The prefix of all revocations.
pub const PREFIX: &str = "revocation/";

impl Record for Revocation {
    const VERSION: u32 = 1;
}

/// Where a revocation lies.
#[must_use]
pub fn key(subject: &Subject) -> Key {
    Key::new(format!("{PREFIX}{subject}"))
}

/// What a key of this collection revokes; `None` for a foreign key.
#[must_use]
pub fn subject(key: &Key) -> Option<Subject> {
    let (kind, id) = key.as_str().strip_prefix(PREFIX)?.split_once('/')?;
    Subject::parse(kind, id)
}

/// Adds a revocation to a transaction. One that is there already is never shortened: the later instant and end win.
///
/// # Errors
/// Those of the store.
pub async fn put(tx: &mut Tx<'_>, subject: &Subject, mut revocation: Revocation) -> Result<Revocation, TxError> {
    let key = key(subject);
    if let Some((before, _)) = tx.get::<Revocation>(&key).await? {
        revocation = revocation.on_top_of(before);
    }
    tx.put(&key, &revocation, Some(revocation.ends_at))?;
    tx.takes_rights_away();
    Ok(revocation)
}

/// Writes one revocation, durably. It is what `by` tells of, whatever its target.
///
/// # Errors
/// Those of the store.
pub async fn add(
    store: &dyn Store,
    ambient: &Ambient,
    subject: &Subject,
    revocation: &Revocation,
    by: &By,
) -> Result<(Revocation, Revision), TxError> {
    let mut retry = Retry::new(ambient);
    let by = By { target: subject.to_string(), ..by.clone() };
    // A token is seldom revoked twice: that it was not is left to the commit, which looks anyway.
    let mut looks = !matches!(subject, Subject::Token(_));
    loop {
        let mut tx = Tx::new(store);
        let written = if looks {
            put(&mut tx, subject, revocation.clone()).await?
        } else {
            let key = key(subject);
            tx.require(&key, Condition::Absent);
            tx.put(&key, revocation, Some(revocation.ends_at))?;
            tx.takes_rights_away();
            revocation.clone()
        };
        let audited = audit::record(&mut tx, ambient, &by, Differences::default())?;
        match tx.commit(audited).await {
            Ok(revision) => return Ok((written, revision)),
            Err(TxError::Commit(CommitError::Conflict)) if !looks => looks = true,
            Err(error) => retry.after(error).await?,
        }
    }
}

/// The revocation of this subject, if there is one.
///
/// # Errors
/// Those of the store.
pub async fn get(store: &dyn Store, subject: &Subject) -> Result<Option<Revocation>, StoreError> {
    let key = key(subject);
    match store.get(&key).await?.value {
        Some(versioned) => decode(&key, &versioned.value).map(Some),
        None => Ok(None),
    }
}

/// Takes the last revocation of a subject back, if `rule` lets it: what was there before it stands again. Says what that
/// is.
///
/// # Errors
/// [`ChangeError`].
pub async fn undo<R>(
    store: &dyn Store,
    ambient: &Ambient,
    subject: &Subject,
    by: &By,
    rule: impl Fn(&Revocation) -> Result<(), R>,
) -> Result<(Option<Revocation>, Revision), ChangeError<R>> {
    let mut retry = Retry::new(ambient);
    let key = key(subject);
    loop {
        let mut tx = Tx::new(store);
        let Some((there, _)) = tx.get::<Revocation>(&key).await? else { return Err(ChangeError::NotFound) };
        rule(&there).map_err(ChangeError::Refused)?;
        let left = there.without_last(by.now);
        match &left {
            Some(left) => tx.put(&key, left, Some(left.ends_at))?,
            None => tx.delete(&key),
        }
        let mut told = Differences::default();
        told.ids_if_any("revoked", &[], &[subject]);
        let audited = audit::record(&mut tx, ambient, by, told)?;
        match tx.commit(audited).await {
            Ok(revision) => return Ok((left, revision)),
            Err(error) => retry.after(error).await?,
        }
    }
}

/// One page of what lies under a prefix, in key order, after `after`.
///
/// # Errors
/// Those of the store.
pub async fn list(
    store: &dyn Store,
    prefix: &str,
    after: Option<&Key>,
    limit: usize,
) -> Result<(Vec<(Subject, Revocation)>, Option<Key>), StoreError> {
    let Page { items, next, .. } = store.scan(prefix, after, limit).await?;
    let mut out = Vec::with_capacity(items.len());
    for (key, versioned) in items {
        if let Some(subject) = subject(&key) {
            out.push((subject, decode(&key, &versioned.value)?));
        }
    }
    Ok((out, next))
}

/// Every live revocation, shaped for lookups: a set of token ids, and for the bulk ones the `iat` up to which they
/// reach.
#[derive(Debug, Default)]
pub struct RevocationIndex {
    tokens: HashSet<u128>,
    clients: HashMap<ClientId, i64>,
    roles: HashMap<Role, i64>,
    keys: HashMap<Kid, i64>,
    grants: HashMap<ClientId, HashMap<Role, i64>>,
}

/// What a lookup needs to know of a token, issued or about to be.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Whose it is.
    pub client: &'a ClientId,
    /// Its roles.
    pub roles: &'a [Role],
    /// The key that signs it.
    pub kid: &'a str,
    /// When it is issued, in seconds.
    pub iat: i64,
}

impl RevocationIndex {
    /// Whether a token is revoked.
    #[must_use]
    pub fn revokes(&self, jti: TokenId, facts: Facts<'_>) -> bool {
        self.tokens.contains(&jti.0) || self.covered_until(facts).is_some()
    }

    /// The last `iat` (seconds) that a bulk revocation covers and `facts.iat` falls under.
    #[must_use]
    pub fn covered_until(&self, facts: Facts<'_>) -> Option<i64> {
        let grants = self.grants.get(facts.client);
        let per_role = facts.roles.iter().flat_map(|role| {
            [self.roles.get(role).copied(), grants.and_then(|grants| grants.get(role)).copied()].into_iter().flatten()
        });
        [self.clients.get(facts.client).copied(), self.keys.get(facts.kid).copied()]
            .into_iter()
            .flatten()
            .chain(per_role)
            .filter(|covers| facts.iat <= *covers)
            .max()
    }

    /// What revokes a token: everything that names it, its client, its roles, its key or its grants in time.
    #[must_use]
    pub fn causes(&self, jti: TokenId, facts: Facts<'_>) -> Vec<Subject> {
        let Facts { client, roles, kid, iat } = facts;
        let covers = |until: Option<&i64>| until.is_some_and(|until| iat <= *until);
        let mut causes = Vec::new();
        if self.tokens.contains(&jti.0) {
            causes.push(Subject::Token(jti));
        }
        if covers(self.clients.get(client)) {
            causes.push(Subject::Client(client.clone()));
        }
        if let Some((kid, _)) = self.keys.get_key_value(kid).filter(|(_, until)| covers(Some(until))) {
            causes.push(Subject::Key(kid.clone()));
        }
        let grants = self.grants.get(client);
        for role in roles {
            if covers(self.roles.get(role)) {
                causes.push(Subject::Role(role.clone()));
            }
            if covers(grants.and_then(|grants| grants.get(role))) {
                causes.push(Subject::Grant(client.clone(), role.clone()));
            }
        }
        causes
    }

    /// Whether exactly this is revoked.
    #[must_use]
    pub fn holds(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Token(id) => self.tokens.contains(&id.0),
            Subject::Client(id) => self.clients.contains_key(id),
            Subject::Role(role) => self.roles.contains_key(role),
            Subject::Key(kid) => self.keys.contains_key(kid),
            Subject::Grant(client, role) => self.grants.get(client).is_some_and(|grants| grants.contains_key(role)),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
            + self.clients.len()
            + self.roles.len()
            + self.keys.len()
            + self.grants.values().map(HashMap::len).sum::<usize>()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Fold for RevocationIndex {
    fn put(&mut self, key: &Key, value: &[u8], _expires_at: Option<Timestamp>) -> Result<(), StoreError> {
        let Some(subject) = subject(key) else {
            return Err(StoreError::Corrupt { key: key.to_string(), what: "no such kind of revocation".into() });
        };
        if let Subject::Token(id) = subject {
            // That it is there is all there is to know, and there may be a million.
            let found = version(key, value)?;
            if found > Revocation::VERSION {
                return Err(StoreError::Newer { key: key.to_string(), found });
            }
            self.tokens.insert(id.0);
            return Ok(());
        }
        let covers = decode::<Revocation>(key, value)?.covers_iat.unwrap_or(i64::MIN);
        match subject {
            Subject::Token(_) => {}
            Subject::Client(id) => drop(self.clients.insert(id, covers)),
            Subject::Role(role) => drop(self.roles.insert(role, covers)),
            Subject::Key(kid) => drop(self.keys.insert(kid, covers)),
            Subject::Grant(client, role) => drop(self.grants.entry(client).or_default().insert(role, covers)),
        }
        Ok(())
    }

    fn delete(&mut self, key: &Key) {
        match subject(key) {
            Some(Subject::Token(id)) => drop(self.tokens.remove(&id.0)),
            Some(Subject::Client(id)) => drop(self.clients.remove(&id)),
            Some(Subject::Role(role)) => drop(self.roles.remove(&role)),
            Some(Subject::Key(kid)) => drop(self.keys.remove(&kid)),
            Some(Subject::Grant(client, role)) => {
                if let Some(grants) = self.grants.get_mut(&client) {
                    grants.remove(&role);
                    if grants.is_empty() {
                        self.grants.remove(&client);
                    }
                }
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::encode;

    fn client(id: &str) -> ClientId {
        ClientId::parse(id).unwrap()
    }

    fn bulk(index: &mut RevocationIndex, subject: &Subject, now: i64) {
        let revocation =
            Revocation::bulk(Timestamp::from_secs(now), std::time::Duration::from_mins(1), client("op"), None);
        let key = key(subject);
        index.put(&key, &encode(&key, &revocation).unwrap(), None).unwrap();
    }

    #[test]
    fn each_kind_revokes_what_it_names_up_to_its_instant_and_nothing_else() {
        let (a, b) = (client("a"), client("b"));
        let (r, s) = ([Role::parse("r").unwrap()], [Role::parse("s").unwrap()]);
        let facts = |client, roles, kid, iat| Facts { client, roles, kid, iat };
        let hit = [facts(&a, &r, "k", 12)];
        for (subject, misses) in [
            (Subject::Client(a.clone()), vec![facts(&b, &r, "k", 12), facts(&a, &r, "k", 13)]),
            (Subject::Role(r[0].clone()), vec![facts(&a, &s, "k", 12), facts(&a, &r, "k", 13)]),
            (Subject::Key(Kid::parse("k").unwrap()), vec![facts(&a, &r, "l", 12), facts(&a, &r, "k", 13)]),
            (
                Subject::Grant(a.clone(), r[0].clone()),
                vec![facts(&b, &r, "k", 12), facts(&a, &s, "k", 12), facts(&a, &r, "k", 13)],
            ),
        ] {
            let mut index = RevocationIndex::default();
            bulk(&mut index, &subject, 10);
            assert_eq!(index.len(), 1);
            for facts in &hit {
                assert!(index.revokes(TokenId(1), *facts), "{subject}");
                assert_eq!(index.covered_until(*facts), Some(12), "{subject}");
                assert_eq!(index.causes(TokenId(1), *facts), std::slice::from_ref(&subject), "{subject}");
            }
            assert!(index.holds(&subject) && !index.holds(&Subject::Client(client("c"))), "{subject}");
            for facts in &misses {
                assert_eq!(index.causes(TokenId(1), *facts), [], "{subject} {facts:?}");
                assert!(!index.revokes(TokenId(1), *facts), "{subject} {facts:?}");
            }
            index.delete(&key(&subject));
            assert!(index.is_empty() && !index.revokes(TokenId(1), hit[0]), "{subject}");
        }
    }

    #[test]
    fn a_token_is_revoked_by_its_id_alone() {
        let a = client("a");
        let facts = Facts { client: &a, roles: &[], kid: "k", iat: 5 };
        let mut index = RevocationIndex::default();
        let one = Revocation::of_token(Timestamp::from_secs(1), Timestamp::from_secs(9), client("op"), None);
        let key = key(&Subject::Token(TokenId(1)));
        index.put(&key, &encode(&key, &one).unwrap(), None).unwrap();
        assert!(index.revokes(TokenId(1), facts));
        assert!(!index.revokes(TokenId(2), facts));
        assert_eq!(index.causes(TokenId(1), facts), [Subject::Token(TokenId(1))]);
        assert!(index.holds(&Subject::Token(TokenId(1))) && !index.holds(&Subject::Token(TokenId(2))));
        assert_eq!(index.covered_until(facts), None);
    }
}
