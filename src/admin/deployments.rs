//! Registering and changing deployments.

use serde::Serialize;

use super::access::Operator;
use super::error::AdminError;
use super::fields::{Fields, parsed};
use super::page::{Page, PageRequest};
use super::version::{At, IfMatch};
use crate::model::deployment::{Deployment, MAX_HOSTS, MAX_PATHS, is_audience, parse_host, parse_path};
use crate::model::id::DeploymentId;
use crate::model::scope::{AdminScope, Role};
use crate::model::time::{self, Timestamp};
use crate::oauth::service::Service;
use crate::store::Revision;
use crate::store::collections::clients::ChangeError;
use crate::store::collections::deployments;

/// A deployment as operators see it.
#[derive(Debug, Serialize)]
pub struct DeploymentView {
    id: DeploymentId,
    role: Role,
    hosts: Vec<String>,
    paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    #[serde(with = "time::rfc3339")]
    created_at: Timestamp,
    #[serde(with = "time::rfc3339")]
    updated_at: Timestamp,
}

impl From<Deployment> for DeploymentView {
    fn from(deployment: Deployment) -> Self {
        let Deployment { id, role, hosts, paths, audience, created_at, updated_at } = deployment;
        Self { id, role, hosts, paths, audience, created_at, updated_at }
    }
}

/// Registers a deployment.
///
/// # Errors
/// [`AdminError`].
pub async fn create(service: &Service, operator: &Operator, body: &[u8]) -> Result<DeploymentView, AdminError> {
    operator.demand(AdminScope::Deployments)?;
    let mut fields = Fields::parse(body)?;
    let id = fields.require("id", "a deployment needs an id", |value| parsed(value, DeploymentId::parse));
    let draft = Draft::read(service, &mut fields);
    fields.finish()?;
    let Some(id) = id else { return Err(AdminError::field("id", "a deployment needs an id")) };
    let role = match (&draft.role, &service.settings.default_role) {
        (Some(role), _) => role.clone(),
        (None, Some(default)) => default.for_deployment(&id).map_err(|error| {
            AdminError::field("role", format!("name one: this id makes none of tokens.default_role; {error}"))
        })?,
        (None, None) => return Err(AdminError::field("role", "a role is needed: tokens.default_role gives none")),
    };
    let now = service.now();
    let mut deployment =
        Deployment { id, role, hosts: Vec::new(), paths: Vec::new(), audience: None, created_at: now, updated_at: now };
    draft.apply(&mut deployment);
    let id = deployment.id.clone();
    let _placing = service.placing.lock().await;
    not_taken(service, &deployment)?;
    let by = operator.by(service, id.as_str());
    let change = deployments::change(&*service.store, &service.ambient, &id, &by, |before| match before {
        Some(_) => Err(ChangeError::<AdminError>::Exists),
        None => Ok(Some(deployment.clone())),
    });
    let (_, revision) = change.await?;
    service.settled(revision).await?;
    Ok(deployment.into())
}

/// One page of deployments.
///
/// # Errors
/// [`AdminError`].
pub async fn list(
    service: &Service,
    operator: &Operator,
    page: &PageRequest,
) -> Result<Page<DeploymentView>, AdminError> {
    operator.demand_read(AdminScope::Deployments)?;
    let (found, next) = deployments::list(&*service.store, page.after.as_ref(), page.limit).await?;
    Ok(Page::new(found.into_iter().map(|(deployment, _)| deployment.into()).collect(), next.as_ref()))
}

/// One deployment.
///
/// # Errors
/// [`AdminError`].
pub async fn show(service: &Service, operator: &Operator, id: &str) -> Result<At<DeploymentView>, AdminError> {
    operator.demand_read(AdminScope::Deployments)?;
    let (deployment, revision) = look(service, id).await?;
    Ok(At { view: deployment.into(), revision })
}

/// The deployment with this id.
pub(super) async fn find(service: &Service, id: &str) -> Result<Deployment, AdminError> {
    look(service, id).await.map(|(deployment, _)| deployment)
}

async fn look(service: &Service, id: &str) -> Result<(Deployment, Revision), AdminError> {
    deployments::get(&*service.store, &known(id)?).await?.ok_or_else(not_found)
}

/// Changes a deployment by a JSON merge patch (RFC 7396).
///
/// # Errors
/// [`AdminError`].
pub async fn update(
    service: &Service,
    operator: &Operator,
    id: &str,
    version: &IfMatch,
    body: &[u8],
) -> Result<At<DeploymentView>, AdminError> {
    operator.demand(AdminScope::Deployments)?;
    let id = known(id)?;
    let mut fields = Fields::parse(body)?;
    if let Some(other) = fields.take("id")
        && other != id.as_str()
    {
        fields.problem("id", "an id cannot be changed");
    }
    let draft = Draft::read(service, &mut fields);
    fields.finish()?;
    let now = service.now();
    let _placing = service.placing.lock().await;
    let by = operator.by(service, id.as_str());
    let change = deployments::change(&*service.store, &service.ambient, &id, &by, |before| {
        let (before, there) = before.ok_or(ChangeError::<AdminError>::NotFound)?;
        version.demand(there).map_err(ChangeError::Refused)?;
        let mut after = before.clone();
        draft.apply(&mut after);
        if draft.moves() {
            not_taken(service, &after).map_err(ChangeError::Refused)?;
        }
        after.updated_at = now;
        Ok(Some(after))
    });
    let (deployment, revision) = change.await?;
    service.settled(revision).await?;
    let deployment = deployment.ok_or_else(not_found)?;
    Ok(At { view: deployment.into(), revision })
}

/// Deletes a deployment. Tokens with its role stay what they are.
///
/// # Errors
/// [`AdminError`].
pub async fn delete(service: &Service, operator: &Operator, id: &str, version: &IfMatch) -> Result<(), AdminError> {
    operator.demand(AdminScope::Deployments)?;
    let id = known(id)?;
    let by = operator.by(service, id.as_str());
    let change = deployments::change(&*service.store, &service.ambient, &id, &by, |before| match before {
        Some((_, there)) => version.demand(there).map(|()| None).map_err(ChangeError::Refused),
        None => Err(ChangeError::<AdminError>::NotFound),
    });
    let (_, revision) = change.await?;
    service.settled(revision).await?;
    Ok(())
}

/// Refuses a host and path that another deployment answers at: at decision time they would be nobody's. Replicas that
/// register at the same moment can still meet there; then nobody is let through until one of them yields.
fn not_taken(service: &Service, deployment: &Deployment) -> Result<(), AdminError> {
    match service.deployments.read().taken(deployment) {
        Some(taken) => Err(AdminError::Conflict(taken.to_string().into())),
        None => Ok(()),
    }
}

fn known(id: &str) -> Result<DeploymentId, AdminError> {
    DeploymentId::parse(id).map_err(|_| not_found())
}

fn not_found() -> AdminError {
    AdminError::NotFound("there is no deployment with this id".into())
}

/// What a body says about a deployment; outer `None`: nothing.
#[expect(clippy::option_option, reason = "a merge patch tells absent from null (RFC 7396)")]
struct Draft {
    role: Option<Role>,
    hosts: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    audience: Option<Option<String>>,
}

impl Draft {
    fn read(service: &Service, fields: &mut Fields) -> Self {
        let sorted = |set: std::collections::BTreeSet<String>| set.into_iter().collect();
        Self {
            role: fields.read("role", |value| parsed(value, Role::parse)).flatten(),
            hosts: fields.read_set("hosts", MAX_HOSTS, |text| parse_host(text).map_err(str::to_owned)).map(sorted),
            paths: fields.read_set("paths", MAX_PATHS, |text| parse_path(text).map_err(str::to_owned)).map(sorted),
            audience: fields.read("audience", |value| {
                let audience = value.as_str().filter(|text| is_audience(text)).ok_or(
                    "an audience has 1 to 512 printable ASCII characters without space, quote, backslash and #",
                )?;
                if audience == service.settings.issuer {
                    return Err("the issuer is the admin API's audience; no deployment may have it".into());
                }
                Ok(audience.to_owned())
            }),
        }
    }

    /// Whether it says anything about where the deployment answers.
    fn moves(&self) -> bool {
        self.hosts.is_some() || self.paths.is_some()
    }

    fn apply(&self, deployment: &mut Deployment) {
        if let Some(role) = &self.role {
            deployment.role = role.clone();
        }
        if let Some(hosts) = &self.hosts {
            deployment.hosts.clone_from(hosts);
        }
        if let Some(paths) = &self.paths {
            deployment.paths.clone_from(paths);
        }
        if let Some(audience) = &self.audience {
            deployment.audience.clone_from(audience);
        }
    }
}
