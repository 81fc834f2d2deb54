//! A client as a whole: made by `POST`, or by `PUT` whether or not it is there already.
//!
//! What a body does not name is at its default afterwards, `state` included. Secrets are no part of it: those of a client
//! that is there stay, and are never shown again; a new one gets its first, shown this once.

use super::access::Operator;
use super::client_draft::Draft;
use super::client_view::{ClientView, Created};
use super::clients::{change, make_secret, may_change, take_chosen_secret};
use super::error::AdminError;
use super::fields::Fields;
use super::version::{At, Condition};
use crate::model::client::{Client, StoredSecret};
use crate::model::id::ClientId;
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;
use crate::oauth::service::Service;
use crate::secret::Secret;
use crate::store::collections::clients::ChangeError;
use crate::store::collections::{By, clients};

/// What a `PUT` did.
#[derive(Debug)]
pub enum Put<C, R> {
    /// It made the thing.
    Created(At<C>),
    /// It replaced the thing.
    Replaced(At<R>),
}

/// Everything that a body says about a client.
pub(super) struct Whole {
    draft: Draft,
    chosen: Option<Secret>,
    roles_given: bool,
}

impl Whole {
    /// Takes every field but the id; what is wrong is noted.
    pub(super) fn read(service: &Service, fields: &mut Fields) -> Self {
        let chosen = take_chosen_secret(fields);
        let roles_given = fields.has("roles");
        let mut draft = Draft::default();
        draft.read(service, fields);
        if chosen.is_some() && draft.is_for_keys() {
            fields.problem("client_secret", "a client of private_key_jwt has no secret");
        }
        Self { draft, chosen, roles_given }
    }

    /// Whether it is to be disabled.
    pub(super) fn disables(&self) -> bool {
        self.draft.state == Some(false)
    }

    /// The client that the body describes and nothing else, with these secrets.
    fn client(
        &self,
        service: &Service,
        id: ClientId,
        secrets: Vec<StoredSecret>,
        now: Timestamp,
    ) -> Result<Client, AdminError> {
        let mut client = Client { secrets, ..Client::new(id, now) };
        self.draft.apply(&mut client);
        self.draft.judge_family(&client, now)?;
        // The default role stands in for a role left out, unless the client is there for edi's own API. A template has
        // none for clients.
        if !self.roles_given && client.admin_scopes.is_empty() {
            client.roles.extend(service.settings.default_role.as_ref().and_then(|role| role.for_client()).cloned());
        }
        Ok(client)
    }

    /// Registers it. `None` when there is one with this id.
    pub(super) async fn register(
        &mut self,
        service: &Service,
        operator: &Operator,
        id: ClientId,
    ) -> Result<Option<At<Created<ClientView>>>, AdminError> {
        let mut client = self.client(service, id, Vec::new(), service.now())?;
        may_change(operator, None, Some(&client))?;
        let mut shown = None;
        if client.auth_method.uses_secrets() {
            let (secret, once) = make_secret(service, &client.client_id, None, None, self.chosen.take()).await?;
            client.secrets.push(secret);
            shown = once;
        }
        let by = By { action: "client.create", ..operator.by(service, client.client_id.as_str()) };
        let revision = match clients::create(&*service.store, &service.ambient, &client, &by).await {
            Ok(revision) => revision,
            Err(ChangeError::Exists) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        service.settled(revision).await?;
        Ok(Some(At { view: Created { view: client.into(), client_secret: shown }, revision }))
    }
}

/// Makes a client what the body says, whether or not it is there.
///
/// # Errors
/// [`AdminError`].
pub async fn put(
    service: &Service,
    operator: &Operator,
    id: &str,
    condition: &Condition,
    body: &[u8],
) -> Result<Put<Created<ClientView>, ClientView>, AdminError> {
    operator.demand(AdminScope::Clients)?;
    let id = ClientId::parse(id).map_err(|why| AdminError::field("client_id", why.to_string()))?;
    let mut fields = Fields::parse(body)?;
    if let Some(other) = fields.take("client_id")
        && other != id.as_str()
    {
        fields.problem("client_id", "it is not the one in the path");
    }
    if id == ClientId::edi() {
        fields.problem("client_id", "edi itself stands under this name in the audit trail; choose another");
    }
    let mut whole = Whole::read(service, &mut fields);
    fields.finish()?;
    if clients::get(&*service.store, &id).await?.is_none() {
        condition.demand(None)?;
        if whole.disables() {
            return Err(AdminError::field("state", "a new client is enabled"));
        }
        let given = whole.chosen.is_some();
        if let Some(made) = whole.register(service, operator, id.clone()).await? {
            return Ok(Put::Created(made));
        }
        // Another made it meanwhile, and its secret is not the one that was sent.
        if given {
            return Err(AdminError::Conflict("one with this id exists already".into()));
        }
    }
    let now = service.now();
    let (client, revision) = change(service, operator, &id, |before, there| {
        condition.demand(Some(there))?;
        if whole.chosen.is_some() {
            let detail = "a client that is there keeps its secrets: add or rotate them at …/secrets";
            return Err(AdminError::field("client_secret", detail));
        }
        let after = whole.client(service, id.clone(), before.secrets.clone(), now)?;
        Ok(Some(Client { created_at: before.created_at, updated_at: now, ..after }))
    })
    .await?;
    Ok(Put::Replaced(At { view: client.into(), revision }))
}
