//! Registering and changing deployments.

use serde::Serialize;

use super::access::Operator;
use super::client_put::Put;
use super::error::AdminError;
use super::fields::{Fields, parsed};
use super::page::{Page, PageRequest, sift};
use super::version::{At, Condition, IfMatch};
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
    pub(super) id: DeploymentId,
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
pub async fn create(service: &Service, operator: &Operator, body: &[u8]) -> Result<At<DeploymentView>, AdminError> {
    operator.demand(AdminScope::Deployments)?;
    let mut fields = Fields::parse(body)?;
    let id = fields.require("id", "a deployment needs an id", |value| parsed(value, DeploymentId::parse));
    let draft = Draft::read(service, &mut fields);
    fields.finish()?;
    let Some(id) = id else { return Err(AdminError::field("id", "a deployment needs an id")) };
    let deployment = draft.whole(service, id)?;
    let _placing = service.placing.lock().await;
    not_taken(service, &deployment)?;
    let by = operator.by(service, deployment.id.as_str());
    let change = deployments::change(&*service.store, &service.ambient, &deployment.id, &by, |before| match before {
        Some(_) => Err(ChangeError::<AdminError>::Exists),
        None => Ok(Some(deployment.clone())),
    });
    let (_, revision) = change.await?;
    service.settled(revision).await?;
    Ok(At { view: deployment.into(), revision })
}

/// Makes a deployment what the body says, whether or not it is there. What the body does not name is at its default
/// afterwards.
///
/// # Errors
/// [`AdminError`].
pub async fn put(
    service: &Service,
    operator: &Operator,
    id: &str,
    condition: &Condition,
    body: &[u8],
) -> Result<Put<DeploymentView, DeploymentView>, AdminError> {
    operator.demand(AdminScope::Deployments)?;
    let id = DeploymentId::parse(id).map_err(|why| AdminError::field("id", why.to_string()))?;
    let mut fields = Fields::parse(body)?;
    if let Some(other) = fields.take("id")
        && other != id.as_str()
    {
        fields.problem("id", "it is not the one in the path");
    }
    let draft = Draft::read(service, &mut fields);
    fields.finish()?;
    let whole = draft.whole(service, id)?;
    let _placing = service.placing.lock().await;
    let mut created = false;
    let by = operator.by(service, whole.id.as_str());
    let change = deployments::change(&*service.store, &service.ambient, &whole.id, &by, |before| {
        condition.demand(before.map(|(_, there)| there)).map_err(ChangeError::Refused)?;
        not_taken(service, &whole).map_err(ChangeError::Refused)?;
        created = before.is_none();
        let created_at = before.map_or(whole.created_at, |(before, _)| before.created_at);
        Ok::<_, ChangeError<AdminError>>(Some(Deployment { created_at, ..whole.clone() }))
    });
    let (deployment, revision) = change.await?;
    service.settled(revision).await?;
    let view = deployment.ok_or_else(not_found)?.into();
    Ok(if created { Put::Created(At { view, revision }) } else { Put::Replaced(At { view, revision }) })
}

/// Which deployments are wanted; all of it must hold.
#[derive(Debug, Default)]
pub struct DeploymentFilter {
    role: Option<Role>,
    /// Those that answer on this host by naming it, or by a wildcard.
    host: Option<String>,
}

impl DeploymentFilter {
    /// Reads `role` and `host` as they stand in a query.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] naming the parameter.
    pub fn parse(role: Option<&str>, host: Option<&str>) -> Result<Self, AdminError> {
        let role = role.map(|text| Role::parse(text).map_err(|why| AdminError::field("role", why.to_string())));
        let host = host.map(|text| parse_host(text).map_err(|why| AdminError::field("host", why)));
        Ok(Self { role: role.transpose()?, host: host.transpose()? })
    }

    fn takes(&self, deployment: &Deployment) -> bool {
        let answers = |host: &String| {
            let parent = host.split_once('.').map(|(_, parent)| parent);
            let wildcard = |named: &String| named.strip_prefix("*.").is_some_and(|rest| Some(rest) == parent);
            deployment.hosts.iter().any(|named| named == host || wildcard(named))
        };
        self.role.as_ref().is_none_or(|role| deployment.role == *role) && self.host.as_ref().is_none_or(answers)
    }
}

/// One page of deployments.
///
/// # Errors
/// [`AdminError`].
pub async fn list(
    service: &Service,
    operator: &Operator,
    filter: &DeploymentFilter,
    page: &PageRequest,
) -> Result<Page<DeploymentView>, AdminError> {
    operator.demand_read(AdminScope::Deployments)?;
    let takes = |deployment: &Deployment| filter.takes(deployment);
    let key = |deployment: &Deployment| deployments::key(&deployment.id);
    let (found, next) = sift(page, takes, key, async |after, limit| {
        let (found, next) = deployments::list(&*service.store, after.as_ref(), limit).await?;
        Ok((found.into_iter().map(|(deployment, _)| deployment).collect(), next))
    })
    .await?;
    Ok(Page::new(found.into_iter().map(Into::into).collect(), page.cursor(next.as_ref())))
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
    let mut draft = Draft::read(service, &mut fields);
    fields.finish()?;
    if draft.role == Some(None) {
        draft = draft.with_role(service, &id)?;
    }
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
    role: Option<Option<Role>>,
    hosts: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    audience: Option<Option<String>>,
}

impl Draft {
    fn read(service: &Service, fields: &mut Fields) -> Self {
        let sorted = |set: std::collections::BTreeSet<String>| set.into_iter().collect();
        Self {
            role: fields.read("role", |value| parsed(value, Role::parse)),
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

    /// With no role given, the default role takes its place.
    fn with_role(mut self, service: &Service, id: &DeploymentId) -> Result<Self, AdminError> {
        if !matches!(self.role, Some(Some(_))) {
            let Some(default) = &service.settings.default_role else {
                return Err(AdminError::field("role", "a role is needed: tokens.default_role gives none"));
            };
            let role = default.for_deployment(id).map_err(|error| {
                AdminError::field("role", format!("name one: this id makes none of tokens.default_role; {error}"))
            })?;
            self.role = Some(Some(role));
        }
        Ok(self)
    }

    /// The deployment that the body describes and nothing else.
    fn whole(self, service: &Service, id: DeploymentId) -> Result<Deployment, AdminError> {
        let draft = self.with_role(service, &id)?;
        let Some(role) = draft.role.clone().flatten() else {
            return Err(AdminError::field("role", "a role is needed"));
        };
        let now = service.now();
        let (hosts, paths) = (Vec::new(), Vec::new());
        let mut whole = Deployment { id, role, hosts, paths, audience: None, created_at: now, updated_at: now };
        draft.apply(&mut whole);
        Ok(whole)
    }

    /// Whether it says anything about where the deployment answers.
    fn moves(&self) -> bool {
        self.hosts.is_some() || self.paths.is_some()
    }

    fn apply(&self, deployment: &mut Deployment) {
        if let Some(Some(role)) = &self.role {
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
