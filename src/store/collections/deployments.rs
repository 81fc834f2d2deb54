//! Deployments, and the index from a role to the audiences it is valid at.

use std::collections::{BTreeSet, HashMap};

use super::clients::ChangeError;
use super::{By, audit};
use crate::ambient::Ambient;
use crate::audit::Differences;
use crate::model::deployment::Deployment;
use crate::model::id::DeploymentId;
use crate::model::route::{NoRoute, Routes, Taken};
use crate::model::scope::Role;
use crate::model::time::Timestamp;
use crate::store::mirror::Fold;
use crate::store::record::{Record, decode};
use crate::store::tx::{Retry, Tx};
use crate::store::{Key, Page, Revision, Store, StoreError};

/// The prefix of all deployments.
pub const PREFIX: &str = "deployment/";

impl Record for Deployment {
    const VERSION: u32 = 1;
}

/// Where a deployment lies.
#[must_use]
pub fn key(id: &DeploymentId) -> Key {
    Key::new(format!("{PREFIX}{id}"))
}

/// Changes a deployment by a rule that says, from what is there, what it becomes (`None`: deleted). The rule may run
/// several times. Gives the deployment as it is now, or as it was when deleted.
///
/// # Errors
/// [`ChangeError`]: the rule's refusal, or the store's.
pub async fn change<R>(
    store: &dyn Store,
    ambient: &Ambient,
    id: &DeploymentId,
    by: &By,
    mut rule: impl FnMut(Option<(&Deployment, Revision)>) -> Result<Option<Deployment>, ChangeError<R>>,
) -> Result<(Option<Deployment>, Revision), ChangeError<R>> {
    let mut retry = Retry::new(ambient);
    let key = key(id);
    loop {
        let mut tx = Tx::new(store);
        let before = tx.get::<Deployment>(&key).await?;
        let after = rule(before.as_ref().map(|(deployment, revision)| (deployment, *revision)))?;
        if let Some(after) = &after {
            tx.put(&key, after, None)?;
        } else {
            tx.delete(&key);
            tx.takes_rights_away();
        }
        let audited =
            audit::record(&mut tx, ambient, by, differences(before.as_ref().map(|(it, _)| it), after.as_ref()))?;
        match tx.commit(audited).await {
            Ok(revision) => return Ok((after.or(before.map(|(before, _)| before)), revision)),
            Err(error) => retry.after(error).await?,
        }
    }
}

/// What the audit trail tells of a change. Nothing about a deployment is secret.
fn differences(before: Option<&Deployment>, after: Option<&Deployment>) -> Differences {
    let told = ["role", "hosts", "paths", "audience"];
    Differences::of_records(before, after, &told, &["id", "created_at", "updated_at"])
}

/// The deployment with this id, and the revision it was written at.
///
/// # Errors
/// Those of the store.
pub async fn get(store: &dyn Store, id: &DeploymentId) -> Result<Option<(Deployment, Revision)>, StoreError> {
    let key = key(id);
    match store.get(&key).await?.value {
        Some(versioned) => Ok(Some((decode(&key, &versioned.value)?, versioned.revision))),
        None => Ok(None),
    }
}

/// One page of deployments in the order of their ids, after `after`.
///
/// # Errors
/// Those of the store.
pub async fn list(
    store: &dyn Store,
    after: Option<&Key>,
    limit: usize,
) -> Result<(Vec<(Deployment, Revision)>, Option<Key>), StoreError> {
    let Page { items, next, .. } = store.scan(PREFIX, after, limit).await?;
    let found = items.iter().map(|(key, versioned)| Ok((decode(key, &versioned.value)?, versioned.revision)));
    Ok((found.collect::<Result<_, StoreError>>()?, next))
}

/// Every deployment, shaped for lookups.
#[derive(Debug, Default)]
pub struct DeploymentIndex {
    by_id: HashMap<Key, Deployment>,
    /// Role → audience (`None`: the configured default) → how many deployments say so.
    audiences: HashMap<Role, HashMap<Option<String>, usize>>,
    routes: Routes,
}

impl DeploymentIndex {
    /// The audiences of a role's deployments, `default` standing in for those that name none; `None` for a role that
    /// has none of its own.
    #[must_use]
    pub fn audiences(&self, role: &str, default: &str) -> Option<BTreeSet<String>> {
        let found = self.audiences.get(role)?;
        found.keys().any(Option::is_some).then_some(())?;
        Some(found.keys().map(|audience| audience.as_deref().unwrap_or(default).to_owned()).collect())
    }

    /// The deployment at this key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Deployment> {
        self.by_id.get(key)
    }

    /// The deployment that answers at a host and path.
    ///
    /// # Errors
    /// [`NoRoute`].
    pub fn at(&self, host: &str, path: &str) -> Result<&Deployment, NoRoute> {
        let id = self.routes.find(host, path)?;
        self.get(&self::key(id)).ok_or(NoRoute::Unknown)
    }

    /// The first host and path of `deployment` that another one answers at.
    #[must_use]
    pub fn taken(&self, deployment: &Deployment) -> Option<Taken> {
        self.routes.taken(deployment)
    }

    /// Every deployment, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Deployment> {
        self.by_id.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn remove(&mut self, key: &Key) {
        let Some(gone) = self.by_id.remove(key) else { return };
        self.routes.remove(&gone.id);
        let Some(counts) = self.audiences.get_mut(&gone.role) else { return };
        if let Some(count) = counts.get_mut(&gone.audience) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&gone.audience);
            }
        }
        if counts.is_empty() {
            self.audiences.remove(&gone.role);
        }
    }
}

impl Fold for DeploymentIndex {
    fn put(&mut self, key: &Key, value: &[u8], _expires_at: Option<Timestamp>) -> Result<(), StoreError> {
        let deployment: Deployment = decode(key, value)?;
        self.remove(key);
        *self.audiences.entry(deployment.role.clone()).or_default().entry(deployment.audience.clone()).or_default() +=
            1;
        self.routes.add(&deployment);
        self.by_id.insert(key.clone(), deployment);
        Ok(())
    }

    fn delete(&mut self, key: &Key) {
        self.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::encode;

    fn deployment(id: &str, role: &str, audience: Option<&str>) -> (Key, Vec<u8>) {
        let deployment = Deployment {
            id: DeploymentId::parse(id).unwrap(),
            role: Role::parse(role).unwrap(),
            hosts: vec![],
            paths: vec![],
            audience: audience.map(Into::into),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        };
        let key = key(&deployment.id);
        let value = encode(&key, &deployment).unwrap();
        (key, value)
    }

    #[test]
    fn a_roles_audiences_follow_its_deployments() {
        let mut index = DeploymentIndex::default();
        let audiences = |index: &DeploymentIndex| index.audiences("r", "std").map(|set| Vec::from_iter(set).join(" "));
        assert_eq!(audiences(&index), None);
        for (id, audience) in [("one", Some("a")), ("two", Some("a")), ("three", None)] {
            let (key, value) = deployment(id, "r", audience);
            index.put(&key, &value, None).unwrap();
        }
        assert_eq!(audiences(&index).as_deref(), Some("a std"));
        index.delete(&Key::new("deployment/one"));
        assert_eq!(audiences(&index).as_deref(), Some("a std"), "another still says a");
        let (key, value) = deployment("two", "other", Some("a"));
        index.put(&key, &value, None).unwrap();
        assert_eq!(audiences(&index), None, "what is left names none");
        index.delete(&Key::new("deployment/three"));
        assert_eq!(audiences(&index), None);
        assert_eq!(index.len(), 1);
    }
}
