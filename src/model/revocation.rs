//! A revocation: a fact with an end. It concerns one token, or everything of a client, role, key or grant that was
//! issued up to an instant.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{ClientId, Kid, TokenId};
use super::scope::Role;
use super::time::Timestamp;

/// How far apart two replicas' clocks may be when a bulk revocation decides what was issued before it.
pub const BULK_SKEW: Duration = Duration::from_secs(2);

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One token.
    Token(TokenId),
    /// Every token of a client.
    Client(ClientId),
    /// Every token that holds a role.
    Role(Role),
    /// Every token signed by a key.
    Key(Kid),
    /// Every token of a client that holds a role: what taking the role away leaves behind.
    Grant(ClientId, Role),
}

impl Subject {
    /// The name of its kind on the wire and in the store.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "jti",
            Self::Client(_) => "client",
            Self::Role(_) => "role",
            Self::Key(_) => "key",
            Self::Grant(..) => "grant",
        }
    }

    /// What is revoked, as text: `kind/id`. Neither part of a grant can hold a slash.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Token(id) => id.to_string(),
            Self::Client(id) => id.to_string(),
            Self::Role(role) => role.to_string(),
            Self::Key(kid) => kid.to_string(),
            Self::Grant(client, role) => format!("{client}/{role}"),
        }
    }

    /// Reads what [`Self::kind`] and [`Self::id`] wrote; `None` for anything else.
    #[must_use]
    pub fn parse(kind: &str, id: &str) -> Option<Self> {
        Some(match kind {
            "jti" => Self::Token(TokenId::parse(id)?),
            "client" => Self::Client(ClientId::parse(id).ok()?),
            "role" => Self::Role(Role::parse(id).ok()?),
            "key" => Self::Key(Kid::parse(id).ok()?),
            "grant" => {
                let (client, role) = id.split_once('/')?;
                Self::Grant(ClientId::parse(client).ok()?, Role::parse(role).ok()?)
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.id())
    }
}

/// A revocation as stored; its subject is its key there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When it was made.
    pub at: Timestamp,
    /// Bulk only: tokens whose `iat` (seconds) is at most this are revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers_iat: Option<i64>,
    /// When the last token it can concern has expired: it is swept then.
    pub ends_at: Timestamp,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The client that made it.
    pub actor: ClientId,
    /// Whether it followed from a change, such as disabling a client: it stands whatever is thought of it later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows: bool,
    /// Bulk only: those it came on top of, the oldest first, none with earlier ones of its own. Undoing it goes back to
    /// the last of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Revocation>,
}

/// How many earlier ones are kept apart; older ones become one.
const MAX_EARLIER: usize = 8;

impl Revocation {
    /// A revocation of one token that expires at `expires`.
    #[must_use]
    pub fn of_token(now: Timestamp, expires: Timestamp, actor: ClientId, reason: Option<String>) -> Self {
        Self { at: now, covers_iat: None, ends_at: expires, reason, actor, follows: false, earlier: Vec::new() }
    }

    /// A revocation of everything issued up to `now`, rounded up to a second plus [`BULK_SKEW`]; it ends when the
    /// longest-lived of those tokens has.
    #[must_use]
    pub fn bulk(now: Timestamp, longest_lifetime: Duration, actor: ClientId, reason: Option<String>) -> Self {
        let covers = Timestamp::from_secs(now.secs_rounded_up()).plus(BULK_SKEW);
        Self {
            at: now,
            covers_iat: Some(covers.secs()),
            ends_at: covers.plus(longest_lifetime).plus(Duration::from_secs(1)),
            reason,
            actor,
            follows: false,
            earlier: Vec::new(),
        }
    }

    /// The same as what follows from a change.
    #[must_use]
    pub fn following(self) -> Self {
        Self { follows: true, ..self }
    }

    /// This one on top of one that is there already, which is never shortened by it.
    #[must_use]
    pub fn on_top_of(mut self, before: Self) -> Self {
        self.covers_iat = self.covers_iat.max(before.covers_iat);
        self.ends_at = self.ends_at.max(before.ends_at);
        if self.covers_iat.is_some() {
            let Self { earlier, .. } = &before;
            self.earlier.clone_from(earlier);
            self.earlier.push(Self { earlier: Vec::new(), ..before });
            self.earlier.retain(|layer| layer.ends_at > self.at);
            while self.earlier.len() > MAX_EARLIER {
                let oldest = self.earlier.remove(0);
                if let Some(next) = self.earlier.first_mut() {
                    next.covers_iat = next.covers_iat.max(oldest.covers_iat);
                    next.ends_at = next.ends_at.max(oldest.ends_at);
                    next.follows |= oldest.follows;
                }
            }
        }
        self
    }

    /// What is left when the last one is taken back; `None`: nothing is revoked any more.
    #[must_use]
    pub fn without_last(mut self, now: Timestamp) -> Option<Self> {
        self.earlier.retain(|layer| layer.ends_at > now);
        let last = self.earlier.pop()?;
        Some(Self { earlier: self.earlier, ..last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_revocation_covers_up_to_its_instant_rounded_up_plus_two_seconds() {
        let actor = ClientId::parse("op").unwrap();
        let at = |millis| Revocation::bulk(Timestamp::from_millis(millis), Duration::from_mins(1), actor.clone(), None);
        assert_eq!(at(10_000).covers_iat, Some(12));
        assert_eq!(at(10_001).covers_iat, Some(13));
        assert!(at(10_001).ends_at >= Timestamp::from_secs(13 + 60));
    }

    #[test]
    fn undoing_goes_back_to_what_was_there_and_never_behind_what_followed_from_a_change() {
        let at = Timestamp::from_secs;
        let minute = Duration::from_mins(1);
        let of = |secs: i64| Revocation::bulk(at(secs), minute, ClientId::parse("op").unwrap(), Some(secs.to_string()));
        let (first, change, last) = (of(10), of(20).following(), of(30));
        let there = last.clone().on_top_of(change.clone().on_top_of(first.clone()));
        assert_eq!((there.covers_iat, there.earlier.len()), (Some(32), 2));
        let back = there.without_last(at(31)).unwrap();
        assert_eq!((back.covers_iat, back.follows, back.reason.as_deref()), (Some(22), true, Some("20")));
        assert_eq!(back.without_last(at(31)), Some(first.clone()));
        assert_eq!(first.clone().without_last(at(31)), None);
        // What has ended is not gone back to.
        let there = last.clone().on_top_of(change.on_top_of(first.clone()));
        assert_eq!(there.without_last(at(200)), None);
        // A clock that runs behind shortens nothing.
        let behind = first.clone().on_top_of(last.clone());
        assert_eq!((behind.covers_iat, behind.ends_at), (last.covers_iat, last.ends_at));
        // However many there were: the oldest become one, which keeps what any of them followed from.
        let many = (1..40).fold(of(0).following(), |before, secs| of(secs).on_top_of(before));
        assert_eq!((many.earlier.len(), many.earlier[0].follows, many.earlier[1].follows), (MAX_EARLIER, true, false));
    }

    #[test]
    fn subjects_go_there_and_back() {
        let all = [
            Subject::Token(TokenId(7)),
            Subject::Client(ClientId::parse("c.1").unwrap()),
            Subject::Role(Role::parse("r").unwrap()),
            Subject::Key(Kid::parse("k").unwrap()),
            Subject::Grant(ClientId::parse("c").unwrap(), Role::parse("r").unwrap()),
        ];
        for subject in all {
            assert_eq!(Subject::parse(subject.kind(), &subject.id()), Some(subject));
        }
        assert_eq!(Subject::parse("jti", "x"), None);
        assert_eq!(Subject::parse("planet", "x"), None);
    }
}
