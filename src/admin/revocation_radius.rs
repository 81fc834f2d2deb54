//! Who is concerned by a revocation, and for how long verifiers that do not ask edi take what it revokes.

use serde::Serialize;

use super::error::AdminError;
use super::page::MAX_LIMIT;
use super::revocations::RevocationView;
use crate::model::client::Client;
use crate::model::id::ClientId;
use crate::model::revocation::{Revocation, Subject};
use crate::model::time::{self, Timestamp};
use crate::oauth::service::Service;
use crate::store::collections::clients;

/// How many clients are named; all are counted.
const NAMED: usize = 100;

/// What a revocation would reach.
#[derive(Debug, Serialize)]
pub struct Radius {
    dry_run: bool,
    #[serde(flatten)]
    revocation: RevocationView,
    /// Clients that may hold such tokens, the first hundred by id. Absent for a key: any client may.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<Vec<ClientId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_count: Option<usize>,
    /// The longest lifetime, in seconds, that those clients' tokens have today.
    #[serde(skip_serializing_if = "Option::is_none")]
    longest_lifetime: Option<u32>,
    /// Until when verifiers that do not ask edi take such a token at the latest.
    #[serde(with = "time::rfc3339")]
    accept_until: Timestamp,
}

/// The reach of a revocation that is not made yet.
pub(super) async fn of(service: &Service, subject: Subject, revocation: Revocation) -> Result<Radius, AdminError> {
    let single = matches!(subject, Subject::Token(_));
    let accept_until = if single { revocation.ends_at } else { revocation.at.plus(service.longest_lifetime()) };
    let mut concerned = match &subject {
        Subject::Token(_) | Subject::Key(_) => None,
        Subject::Client(_) | Subject::Role(_) | Subject::Grant(..) => Some(Concerned::default()),
    };
    if let Some(concerned) = &mut concerned {
        match &subject {
            Subject::Client(id) | Subject::Grant(id, _) => {
                let found = clients::get(&*service.store, id).await?;
                if let Some((client, _)) = found {
                    concerned.add(service, &client);
                }
            }
            Subject::Role(role) => {
                let mut after = None;
                loop {
                    let (page, next) = clients::list(&*service.store, after.as_ref(), MAX_LIMIT).await?;
                    let holders = page.iter().map(|(client, _)| client).filter(|client| client.roles.contains(role));
                    holders.for_each(|client| concerned.add(service, client));
                    if next.is_none() {
                        break;
                    }
                    after = next;
                }
            }
            Subject::Token(_) | Subject::Key(_) => {}
        }
    }
    Ok(Radius {
        dry_run: true,
        revocation: (subject, revocation).into(),
        client_count: concerned.as_ref().map(|concerned| concerned.count),
        longest_lifetime: concerned.as_ref().and_then(|concerned| concerned.longest),
        clients: concerned.map(|concerned| concerned.named),
        accept_until,
    })
}

#[derive(Default)]
struct Concerned {
    named: Vec<ClientId>,
    count: usize,
    longest: Option<u32>,
}

impl Concerned {
    fn add(&mut self, service: &Service, client: &Client) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(client.client_id.clone());
        }
        self.longest = self.longest.max(Some(service.settings.lifetime(client)));
    }
}
