//! Clients and their secrets with when each was last used, which stands beside the client's own record.

use super::client_view::{ClientView, SecretView};
use super::error::AdminError;
use crate::model::client::{Client, StoredSecret};
use crate::oauth::last_used::later;
use crate::oauth::service::Service;
use crate::store::collections::secrets;

/// Secrets with their last use.
pub(super) async fn views(service: &Service, of: &[StoredSecret]) -> Result<Vec<SecretView>, AdminError> {
    let mut views = Vec::with_capacity(of.len());
    for secret in of {
        let written = secrets::get(&*service.store, &secret.id).await?.and_then(|record| record.last_used_at);
        let last = later(service.last_used.of(&secret.id), written);
        views.push(SecretView::from(secret).last_used(last));
    }
    Ok(views)
}

/// A client whose secrets have their last use.
pub(super) async fn client_view(service: &Service, client: Client) -> Result<ClientView, AdminError> {
    let secrets = views(service, &client.secrets).await?;
    Ok(ClientView::from(client).with_secrets(secrets))
}
