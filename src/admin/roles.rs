//! Looking at roles. A role is only a name: it exists where a deployment wants it or a client holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::Serialize;

use super::access::Operator;
use super::error::AdminError;
use super::page::{MAX_LIMIT, Page, PageRequest};
use crate::model::client::Client;
use crate::model::id::{ClientId, DeploymentId};
use crate::model::scope::{AdminScope, Role};
use crate::model::time::{self, Timestamp};
use crate::oauth::service::Service;
use crate::store::Key;
use crate::store::collections::clients;

/// How many clients, and how many deployments, of a role are named; all are counted.
const NAMED: usize = 100;

/// A role as it is used.
#[derive(Debug, Serialize)]
pub struct RoleView {
    role: Role,
    /// Deployments that want it, the first hundred by id.
    deployments: Vec<DeploymentId>,
    /// Clients that hold it, the first hundred by id.
    clients: Vec<ClientId>,
    deployment_count: usize,
    client_count: usize,
    /// When a token with it was last issued by the process that answers.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    last_issued_at: Option<Timestamp>,
    /// Since when that process has been watching.
    #[serde(with = "time::rfc3339")]
    watched_since: Timestamp,
    remarks: Vec<&'static str>,
}

/// What is being gathered about a role.
#[derive(Debug, Default)]
struct Use {
    deployments: Vec<DeploymentId>,
    clients: Vec<ClientId>,
    deployment_count: usize,
    client_count: usize,
    /// Whether one of the clients can get a token now.
    callable: bool,
}

/// One page of roles, by name: all of them, or those of one client. Every page reads all clients once.
///
/// # Errors
/// [`AdminError`].
pub async fn list(
    service: &Service,
    operator: &Operator,
    client: Option<&str>,
    page: &PageRequest,
) -> Result<Page<RoleView>, AdminError> {
    operator.demand(AdminScope::Read)?;
    let only = match client {
        None => None,
        Some(id) => {
            let id = ClientId::parse(id).map_err(|why| AdminError::field("client", why.to_string()))?;
            let held = clients::get(&*service.store, &id).await?.map(|(client, _)| client.roles);
            Some(held.unwrap_or_default())
        }
    };
    let after = page.after.as_ref().and_then(|key| Role::parse(key.as_str()).ok());
    // One more than asked for tells whether there is another page.
    let mut uses = Uses { after, only, most: page.limit + 1, found: BTreeMap::new() };
    uses.gather(service).await?;
    let more = uses.found.len() > page.limit;
    let items: Vec<RoleView> =
        uses.found.into_iter().take(page.limit).map(|(role, it)| view(service, role, it)).collect();
    let next = items.last().filter(|_| more).map(|last| Key::new(last.role.as_str()));
    Ok(Page::new(items, page.cursor(next.as_ref())))
}

/// One role.
///
/// # Errors
/// [`AdminError`].
pub async fn show(service: &Service, operator: &Operator, role: &str) -> Result<RoleView, AdminError> {
    operator.demand(AdminScope::Read)?;
    let not_found = || AdminError::NotFound("no deployment wants this role and no client holds it".into());
    let role = Role::parse(role).map_err(|_| not_found())?;
    let mut uses = Uses { after: None, only: Some(BTreeSet::from([role])), most: 1, found: BTreeMap::new() };
    uses.gather(service).await?;
    uses.found.pop_first().map(|(role, it)| view(service, role, it)).ok_or_else(not_found)
}

fn view(service: &Service, role: Role, found: Use) -> RoleView {
    let Use { mut deployments, clients, deployment_count, client_count, callable } = found;
    deployments.sort();
    deployments.truncate(NAMED);
    let mut remarks = Vec::new();
    if deployment_count == 0 {
        remarks.push("no deployment uses it");
    }
    if !callable {
        remarks.push("nobody may call it");
    }
    RoleView {
        last_issued_at: service.last_issued.of(&role),
        watched_since: service.started_at,
        role,
        deployments,
        clients,
        deployment_count,
        client_count,
        remarks,
    }
}

/// The first roles by name, as far as they are wanted; memory stays bounded however many there are.
struct Uses {
    after: Option<Role>,
    only: Option<BTreeSet<Role>>,
    most: usize,
    found: BTreeMap<Role, Use>,
}

impl Uses {
    async fn gather(&mut self, service: &Service) -> Result<(), AdminError> {
        for deployment in service.deployments.read().iter() {
            if let Some(found) = self.entry(&deployment.role) {
                found.deployment_count += 1;
                found.deployments.push(deployment.id.clone());
            }
        }
        let now = service.now();
        let mut after = None;
        loop {
            let (page, next) = clients::list(&*service.store, after.as_ref(), MAX_LIMIT).await?;
            for (client, _) in page {
                self.add(&client, now);
            }
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    fn add(&mut self, client: &Client, now: Timestamp) {
        let callable = client.enabled && (client.jwks.is_some() || client.live_secrets(now).next().is_some());
        let roles: Vec<&Role> = match (&self.only, &self.after) {
            (Some(only), _) => client.roles.iter().filter(|role| only.contains(*role)).collect(),
            (None, Some(after)) => client.roles.range((Bound::Excluded(after.clone()), Bound::Unbounded)).collect(),
            (None, None) => client.roles.iter().collect(),
        };
        for role in roles {
            let Some(found) = self.entry(role) else { return };
            found.client_count += 1;
            found.callable |= callable;
            if found.clients.len() < NAMED {
                found.clients.push(client.client_id.clone());
            }
        }
    }

    /// The place of a role, unless it is outside of what is wanted. A role that is pushed out never comes back: the
    /// last one wanted only ever moves forward.
    fn entry(&mut self, role: &Role) -> Option<&mut Use> {
        let outside = self.only.as_ref().is_some_and(|only| !only.contains(role))
            || self.after.as_ref().is_some_and(|after| role <= after)
            || (self.found.len() >= self.most
                && !self.found.contains_key(role)
                && self.found.last_key_value().is_some_and(|(last, _)| role > last));
        if outside {
            return None;
        }
        self.found.entry(role.clone()).or_default();
        if self.found.len() > self.most {
            self.found.pop_last();
        }
        self.found.get_mut(role)
    }
}
