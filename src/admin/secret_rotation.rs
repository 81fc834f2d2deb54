//! A new secret in place of another: as planned, with an overlap in which both work, or at once, because one leaked.
//!
//! Either way it is one commit. After a leak, that commit also revokes the client's tokens: whoever held the secret may
//! hold some of them.

use std::time::Duration;

use serde::Serialize;

use super::access::Operator;
use super::client_view::{Created, SecretView};
use super::clients::{change_revoking, known, make_secret, may_change, not_found, take_chosen_secret, take_end};
use super::error::AdminError;
use super::fields::{Fields, text};
use super::revocations::{MAX_REASON, RevocationView};
use super::secret_uses;
use super::version::IfMatch;
use crate::model::client::{Client, MAX_NAME, MAX_SECRETS, StoredSecret};
use crate::model::id::ClientId;
use crate::model::revocation::{Revocation, Subject};
use crate::model::scope::AdminScope;
use crate::model::time::{self, Timestamp};
use crate::oauth::service::Service;
use crate::store::collections::{clients, revocations};

/// How long both secrets work when nothing else is said.
const OVERLAP: Duration = Duration::from_hours(24);
/// The longest overlap: past it, a rotation never ends.
const MAX_OVERLAP: Duration = Duration::from_hours(90 * 24);

/// What a rotation does, or would do.
#[derive(Debug, Serialize)]
pub struct Rotation {
    client_id: ClientId,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    /// The new secret; absent in a dry run.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    made: Option<Created<SecretView>>,
    /// Secrets that no longer work.
    removed: Vec<SecretView>,
    /// Secrets that work until their `expires_at`.
    overlapping: Vec<SecretView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<RevocationView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offline_verifiers: Option<OfflineVerifiers>,
}

/// How long whoever verifies tokens by keys alone takes those that are revoked now.
#[derive(Debug, Serialize)]
pub struct OfflineVerifiers {
    /// Until when at the latest: the longest lifetime there ever was.
    #[serde(with = "time::rfc3339")]
    accept_until: Timestamp,
    /// Until when most of them: the lifetime that the client's tokens have today.
    #[serde(with = "time::rfc3339")]
    mostly_until: Timestamp,
}

impl OfflineVerifiers {
    /// For tokens of a client that are revoked now.
    pub(super) fn of_client(service: &Service, client: &Client, now: Timestamp) -> Self {
        let seconds = |secs: u32| Duration::from_secs(u64::from(secs));
        Self {
            accept_until: now.plus(service.longest_lifetime()),
            mostly_until: now.plus(seconds(service.settings.lifetime(client))),
        }
    }
}

/// Why the secret is replaced.
enum Cause {
    Planned {
        overlap: Duration,
        /// Whether the older of two live secrets may be taken away for it.
        remove_older: bool,
    },
    /// Of this secret, by id or name; of all when it names none.
    Compromised(Option<String>),
}

/// What becomes of the secrets there are.
struct Plan {
    kept: Vec<StoredSecret>,
    removed: Vec<StoredSecret>,
    overlapping: Vec<StoredSecret>,
}

/// Replaces a secret; the new one is shown once. With `dry_run` it says what would happen and changes nothing.
///
/// # Errors
/// [`AdminError`]; a conflict when a third secret would be live.
pub async fn rotate(
    service: &Service,
    operator: &Operator,
    id: &str,
    version: &IfMatch,
    body: &[u8],
) -> Result<Rotation, AdminError> {
    operator.demand(AdminScope::Clients)?;
    let id = known(id)?;
    let now = service.now();
    let mut fields = Fields::parse(if body.is_empty() { b"{}" } else { body })?;
    let cause = take_cause(&mut fields);
    let dry_run = take_flag(&mut fields, "dry_run");
    let name = fields.read("name", |value| text(value, MAX_NAME)).flatten();
    let reason = fields.read("reason", |value| text(value, MAX_REASON)).flatten();
    let expires = take_end(&mut fields, now);
    let chosen = take_chosen_secret(&mut fields);
    fields.finish()?;

    // Before any hash is paid for; the commit judges again.
    let (before, revision) = clients::get(&*service.store, &id).await?.ok_or_else(not_found)?;
    may_change(operator, Some(&before), Some(&before))?;
    version.demand(revision)?;
    let plan = Plan::of(&before, &cause, now)?;
    let compromised = matches!(cause, Cause::Compromised(_));
    let also = if compromised { vec![Subject::Client(id.clone())] } else { Vec::new() };
    let by = operator.by(service, id.as_str()).because(reason);
    if dry_run {
        let would =
            |subject| (subject, Revocation::bulk(now, by.longest_lifetime, by.actor, by.reason).following()).into();
        let revocation = also.into_iter().next().map(would);
        return Ok(Rotation {
            dry_run: true,
            removed: secret_uses::views(service, &plan.removed).await?,
            overlapping: secret_uses::views(service, &plan.overlapping).await?,
            ..Rotation::of(service, &before, now, &plan, None, revocation)
        });
    }
    let (secret, shown) = make_secret(service, &id, name, expires, chosen).await?;
    let mut done = None;
    let (client, _) = change_revoking(service, operator, &id, (by, &also), |before, there| {
        version.demand(there)?;
        let plan = Plan::of(before, &cause, now)?;
        let mut after = before.clone();
        after.secrets = plan.kept.iter().chain(&plan.overlapping).cloned().collect();
        after.secrets.push(secret.clone());
        after.updated_at = now;
        done = Some(plan);
        Ok(Some(after))
    })
    .await?;
    let mut revocation = None;
    for subject in also {
        let found = revocations::get(&*service.store, &subject).await?;
        revocation = found.map(|found| (subject, found).into());
    }
    let made = Created { view: SecretView::from(&secret), client_secret: shown };
    Ok(Rotation::of(service, &client, now, done.as_ref().unwrap_or(&plan), Some(made), revocation))
}

impl Rotation {
    fn of(
        service: &Service,
        client: &Client,
        now: Timestamp,
        plan: &Plan,
        made: Option<Created<SecretView>>,
        revocation: Option<RevocationView>,
    ) -> Self {
        let views = |secrets: &[StoredSecret]| secrets.iter().map(SecretView::from).collect();
        Self {
            client_id: client.client_id.clone(),
            dry_run: false,
            made,
            removed: views(&plan.removed),
            overlapping: views(&plan.overlapping),
            offline_verifiers: revocation.as_ref().map(|_| OfflineVerifiers::of_client(service, client, now)),
            revocation,
        }
    }

    /// Whether there is a new secret now.
    #[must_use]
    pub const fn made_something(&self) -> bool {
        self.made.is_some()
    }
}

fn take_flag(fields: &mut Fields, name: &str) -> bool {
    fields.read(name, |value| value.as_bool().ok_or_else(|| "expected true or false".to_owned())).flatten()
        == Some(true)
}

fn take_cause(fields: &mut Fields) -> Cause {
    let overlap = fields.read("overlap_seconds", |value| {
        let span = value.as_u64().map(Duration::from_secs).filter(|span| *span <= MAX_OVERLAP);
        span.ok_or_else(|| format!("expected whole seconds from 0 to {} (90 days)", MAX_OVERLAP.as_secs()))
    });
    let overlap = overlap.flatten();
    let compromised = take_flag(fields, "compromised");
    let which = fields.read("secret", |value| text(value, MAX_NAME)).flatten();
    let remove_older = take_flag(fields, "remove_older");
    if compromised {
        if overlap.is_some() {
            fields.problem("overlap_seconds", "a compromised secret stops at once");
        }
        if remove_older {
            fields.problem("remove_older", "name the secret that is compromised instead, or none for all");
        }
        return Cause::Compromised(which);
    }
    if which.is_some() {
        fields.problem("secret", "names the secret that is compromised: pass compromised as well");
    }
    Cause::Planned { overlap: overlap.unwrap_or(OVERLAP), remove_older }
}

impl Plan {
    fn of(client: &Client, cause: &Cause, now: Timestamp) -> Result<Self, AdminError> {
        if !client.auth_method.uses_secrets() {
            return Err(AdminError::Conflict("a client of private_key_jwt has no secrets".into()));
        }
        let mut live: Vec<StoredSecret> = client.live_secrets(now).cloned().collect();
        match cause {
            Cause::Planned { overlap, remove_older } => {
                let mut removed = Vec::new();
                if live.len() >= MAX_SECRETS {
                    if !remove_older {
                        return Err(AdminError::Conflict(
                            "the client has two live secrets, as in the middle of a rotation: remove one first, or \
                             pass remove_older to take the older away"
                                .into(),
                        ));
                    }
                    live.sort_by_key(|secret| secret.created_at);
                    removed.extend(live.drain(..=live.len() - MAX_SECRETS));
                }
                if overlap.is_zero() {
                    removed.append(&mut live);
                }
                for secret in &mut live {
                    let end = now.plus(*overlap);
                    secret.expires_at = Some(secret.expires_at.map_or(end, |earlier| earlier.min(end)));
                }
                Ok(Self { kept: Vec::new(), removed, overlapping: live })
            }
            Cause::Compromised(None) => Ok(Self { kept: Vec::new(), removed: live, overlapping: Vec::new() }),
            Cause::Compromised(Some(which)) => {
                let is_named = |secret: &&StoredSecret| secret.name.as_deref() == Some(which.as_str());
                let by_id = client.secrets.iter().find(|secret| secret.id.as_str() == which);
                let named: Vec<&StoredSecret> = match by_id {
                    Some(secret) => vec![secret],
                    None => client.secrets.iter().filter(is_named).collect(),
                };
                let [leaked] = *named else {
                    return Err(if named.is_empty() {
                        AdminError::NotFound("the client has no secret with this name or id".into())
                    } else {
                        AdminError::Conflict("two secrets of the client have this name: pass the id of one".into())
                    });
                };
                live.retain(|secret| secret.id != leaked.id);
                Ok(Self { kept: live, removed: vec![leaked.clone()], overlapping: Vec::new() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client::{AuthMethod, SecretCheck};
    use crate::model::id::SecretId;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn client(secrets: &[(&str, &str, i64, Option<i64>)]) -> Client {
        let mut client = Client::new(ClientId::parse("svc").unwrap(), at(0));
        client.secrets = secrets
            .iter()
            .map(|(id, name, created, end)| StoredSecret {
                id: SecretId::parse(id).unwrap(),
                name: Some((*name).to_owned()),
                check: SecretCheck::Generated("x".into()),
                created_at: at(*created),
                expires_at: end.map(at),
            })
            .collect();
        client
    }

    fn planned(overlap: u64, remove_older: bool) -> Cause {
        Cause::Planned { overlap: Duration::from_secs(overlap), remove_older }
    }

    /// Ids and ends.
    type Facts = Vec<(String, Option<i64>)>;

    /// What is kept, removed and left for the overlap.
    fn plan(client: &Client, cause: &Cause) -> Result<[Facts; 3], AdminError> {
        let Plan { kept, removed, overlapping } = Plan::of(client, cause, at(100))?;
        let facts = |secrets: Vec<StoredSecret>| {
            secrets.into_iter().map(|it| (it.id.to_string(), it.expires_at.map(Timestamp::secs))).collect()
        };
        Ok([facts(kept), facts(removed), facts(overlapping)])
    }

    fn one(id: &str, end: Option<i64>) -> Facts {
        vec![(id.to_owned(), end)]
    }

    #[test]
    fn a_planned_rotation_lets_the_old_one_end_after_the_overlap_and_never_later_than_it_would() {
        let none = Vec::new;
        assert_eq!(
            plan(&client(&[("a", "n", 1, None)]), &planned(60, false)),
            Ok([none(), none(), one("a", Some(160))])
        );
        let ends = client(&[("a", "n", 1, Some(130))]);
        assert_eq!(plan(&ends, &planned(60, false)), Ok([none(), none(), one("a", Some(130))]));
        assert_eq!(plan(&ends, &planned(0, false)), Ok([none(), one("a", Some(130)), none()]));
        assert_eq!(plan(&client(&[]), &planned(60, false)), Ok([none(), none(), none()]));
        let ended = client(&[("a", "n", 1, Some(100)), ("b", "n", 2, None)]);
        assert_eq!(plan(&ended, &planned(60, false)), Ok([none(), none(), one("b", Some(160))]), "a is not live");
    }

    #[test]
    fn of_two_live_ones_the_older_goes_only_when_told() {
        let two = client(&[("b", "n", 2, None), ("a", "m", 1, None)]);
        assert!(matches!(plan(&two, &planned(60, false)), Err(AdminError::Conflict(_))));
        assert_eq!(plan(&two, &planned(60, true)), Ok([vec![], one("a", None), one("b", Some(160))]));
    }

    #[test]
    fn the_compromised_one_goes_by_id_or_name_and_all_without_either() {
        let two = client(&[("a", "b", 1, None), ("b", "n", 2, None)]);
        let compromised = |which: Option<&str>| Cause::Compromised(which.map(ToOwned::to_owned));
        assert_eq!(plan(&two, &compromised(Some("n"))), Ok([one("a", None), one("b", None), vec![]]));
        assert_eq!(plan(&two, &compromised(Some("b"))), Ok([one("a", None), one("b", None), vec![]]), "the id first");
        assert_eq!(plan(&two, &compromised(None)), Ok([vec![], [one("a", None), one("b", None)].concat(), vec![]]));
        assert!(matches!(plan(&two, &compromised(Some("x"))), Err(AdminError::NotFound(_))));
        let alike = client(&[("a", "n", 1, None), ("b", "n", 2, None)]);
        assert!(matches!(plan(&alike, &compromised(Some("n"))), Err(AdminError::Conflict(_))));
        let ended = client(&[("a", "n", 1, Some(50)), ("b", "m", 2, None)]);
        assert_eq!(
            plan(&ended, &compromised(Some("n"))),
            Ok([one("b", None), one("a", Some(50)), vec![]]),
            "late is not never"
        );
    }

    #[test]
    fn who_signs_has_no_secret_to_rotate() {
        let mut keyed = client(&[]);
        keyed.auth_method = AuthMethod::PrivateKeyJwt;
        assert!(matches!(plan(&keyed, &planned(60, false)), Err(AdminError::Conflict(_))));
    }
}
