//! Who can call a deployment now, and until when: the clients that hold its role, what stands in their way, and what
//! of theirs was revoked.

use serde::Serialize;

use super::access::Operator;
use super::client_view::SecretView;
use super::deployments;
use super::error::AdminError;
use super::page::{Page, PageRequest};
use super::revocations::RevocationView;
use crate::model::client::Client;
use crate::model::deployment::Deployment;
use crate::model::id::{ClientId, DeploymentId};
use crate::model::revocation::Subject;
use crate::model::scope::{AdminScope, Role};
use crate::model::time::{self, Timestamp};
use crate::oauth::grant;
use crate::oauth::service::Service;
use crate::store::Key;
use crate::store::collections::{clients, revocations};

/// How many clients one page looks at before it ends, with or without callers among them.
const LOOKED_AT: usize = 10_000;
/// How many of them are read at once.
const READ_AT_ONCE: usize = 500;

/// One page of callers, under what they are compared with.
#[derive(Debug, Serialize)]
pub struct Reach {
    deployment: DeploymentId,
    role: Role,
    /// The audience that a token must carry there.
    audience: String,
    /// The revocation of every token with the role, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    role_revocation: Option<RevocationView>,
    #[serde(flatten)]
    callers: Page<Caller>,
}

/// A client that holds the deployment's role.
#[derive(Debug, Serialize)]
pub struct Caller {
    client_id: ClientId,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    state: &'static str,
    /// Whether it gets tokens that the deployment's door lets through.
    may_call: bool,
    /// When the last token it can get has expired; absent: there is no end.
    #[serde(with = "time::rfc3339::option", skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// Whether it may have tokens for the deployment's audience.
    audience_allowed: bool,
    secrets: Vec<SecretView>,
    /// Whether it proves itself with a registered key.
    registered_key: bool,
    /// Live bulk revocations of its tokens.
    revocations: Vec<RevocationView>,
    remarks: Vec<&'static str>,
}

/// One page of a deployment's callers, by client id. A page may be short, even empty, with more to come.
///
/// # Errors
/// [`AdminError`].
pub async fn list(service: &Service, operator: &Operator, id: &str, page: &PageRequest) -> Result<Reach, AdminError> {
    operator.demand(AdminScope::Read)?;
    let deployment = deployments::find(service, id).await?;
    let audience = deployment.audience.clone().unwrap_or_else(|| service.settings.audience.clone());
    let of_role = Subject::Role(deployment.role.clone());
    let role_revocation = revocation(service, of_role).await?;
    let (holders, next) = holders(service, &deployment.role, page).await?;
    let mut items = Vec::with_capacity(holders.len());
    for client in holders {
        items.push(caller(service, &deployment, &audience, client).await?);
    }
    let callers = Page::new(items, page.cursor(next.as_ref()));
    Ok(Reach { deployment: deployment.id, role: deployment.role, audience, role_revocation, callers })
}

/// The clients that hold a role, and where the next page starts.
async fn holders(service: &Service, role: &Role, page: &PageRequest) -> Result<(Vec<Client>, Option<Key>), AdminError> {
    let mut holders = Vec::new();
    let mut after = page.after.clone();
    let mut looked_at = 0;
    loop {
        let (found, next) = clients::list(&*service.store, after.as_ref(), READ_AT_ONCE).await?;
        for (client, _) in found {
            looked_at += 1;
            let key = clients::key(&client.client_id);
            if client.roles.contains(role) {
                holders.push(client);
            }
            if holders.len() == page.limit || looked_at == LOOKED_AT {
                return Ok((holders, Some(key)));
            }
        }
        if next.is_none() {
            return Ok((holders, None));
        }
        after = next;
    }
}

async fn caller(
    service: &Service,
    deployment: &Deployment,
    audience: &str,
    client: Client,
) -> Result<Caller, AdminError> {
    let now = service.now();
    let mut of_it = Vec::new();
    for subject in
        [Subject::Client(client.client_id.clone()), Subject::Grant(client.client_id.clone(), deployment.role.clone())]
    {
        of_it.extend(revocation(service, subject).await?);
    }
    let proof = Proof::of(&client, now);
    let audience_allowed = reaches(service, &client, &deployment.role, audience);
    let mut remarks = Vec::new();
    if !client.enabled {
        remarks.push("disabled");
    }
    if !audience_allowed {
        remarks.push("its audiences leave this deployment's out");
    }
    if matches!(proof, Proof::None) {
        remarks.push("it has no live secret and no key");
    }
    let until = match proof {
        Proof::Until(end) => Some(end.plus(std::time::Duration::from_secs(service.settings.lifetime(&client).into()))),
        Proof::None | Proof::Endless => None,
    };
    let may_call = remarks.is_empty();
    Ok(Caller {
        state: if client.enabled { "enabled" } else { "disabled" },
        may_call,
        until: until.filter(|_| may_call),
        audience_allowed,
        secrets: client.secrets.iter().map(SecretView::from).collect(),
        registered_key: client.jwks.is_some(),
        revocations: of_it,
        remarks,
        client_id: client.client_id,
        client_name: client.client_name,
    })
}

/// How long a client can prove itself.
enum Proof {
    None,
    Until(Timestamp),
    Endless,
}

impl Proof {
    fn of(client: &Client, now: Timestamp) -> Self {
        if client.jwks.is_some() {
            return Self::Endless;
        }
        let ends = client.live_secrets(now).map(|secret| secret.expires_at);
        ends.fold(Self::None, |longest, end| match (longest, end) {
            (Self::Endless, _) | (_, None) => Self::Endless,
            (Self::None, Some(end)) => Self::Until(end),
            (Self::Until(longest), Some(end)) => Self::Until(longest.max(end)),
        })
    }
}

/// Whether the token endpoint gives this client the role at this audience, asked for it or unasked.
fn reaches(service: &Service, client: &Client, role: &Role, audience: &str) -> bool {
    let settings = &service.settings;
    [Some(audience), None].into_iter().any(|resource| {
        grant::decide(client, Some(role.as_str()), resource, &settings.issuer, &settings.audience, service)
            .is_ok_and(|granted| granted.audience == audience)
    })
}

/// What is known of a revocation; the index says first whether there is one.
async fn revocation(service: &Service, subject: Subject) -> Result<Option<RevocationView>, AdminError> {
    if !service.revocations.read().holds(&subject) {
        return Ok(None);
    }
    let found = revocations::get(&*service.store, &subject).await?;
    Ok(found.map(|revocation| (subject, revocation).into()))
}
