//! The access token's claims (RFC 9068 §2.2), written and read. Signing is the keys' business.

use std::fmt::Write as _;

use serde::Deserialize;

use super::grant::Granted;
use crate::model::ascii;
use crate::model::id::{ClientId, Kid, TokenId};
use crate::model::scope::{AdminScope, Role};
use crate::model::time::Timestamp;

/// Which claims beside RFC 9068's a token carries its roles in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleClaims {
    /// `groups`: what oauth2-proxy reads.
    pub groups: bool,
    /// `realm_access.roles`: what policies written for Keycloak read.
    pub keycloak_roles: bool,
}

/// A token that another one was made from: its id and the key that signed it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawAncestor")]
pub struct Ancestor {
    /// Its `jti`.
    pub jti: TokenId,
    /// The key that signed it.
    pub kid: Kid,
}

#[derive(Deserialize)]
struct RawAncestor {
    jti: String,
    kid: Kid,
}

impl TryFrom<RawAncestor> for Ancestor {
    type Error = &'static str;
    fn try_from(raw: RawAncestor) -> Result<Self, Self::Error> {
        Ok(Self { jti: TokenId::parse(&raw.jti).ok_or("not a token id")?, kid: raw.kid })
    }
}

/// The tokens that this one was made from, the first one first; it falls with any of them. Empty for a token that a
/// client got by its own proof.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Lineage(pub Vec<Ancestor>);

/// How often a token may be passed on.
const MAX_LINEAGE: usize = 4;

/// From when and for how long a token lives, and what it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Life<'a> {
    /// When it is issued.
    pub issued: Timestamp,
    /// Its lifetime in seconds.
    pub lifetime: u32,
    /// What it was made from.
    pub lineage: &'a Lineage,
}

/// Writes the claims. Every text in it follows a grammar that needs no JSON escape, except the issuer, which the caller
/// has escaped once (`issuer_json` is a JSON string with its quotes).
#[must_use]
pub fn write_claims(
    issuer_json: &str,
    client: &ClientId,
    granted: &Granted,
    jti: TokenId,
    life: Life<'_>,
    extra: RoleClaims,
) -> String {
    let client = client.as_str();
    let iat = life.issued.secs();
    let exp = iat.saturating_add(i64::from(life.lifetime));
    let names: usize = granted.roles.iter().map(|role| role.as_str().len() + 3).sum();
    let mut out = String::with_capacity(
        256 + issuer_json.len()
            + 2 * client.len()
            + granted.audience.len()
            + 4 * names
            + 24 * granted.admin_scopes.len(),
    );
    let mut push = |parts: &[&str]| parts.iter().for_each(|part| out.push_str(part));
    push(&["{\"iss\":", issuer_json, ",\"sub\":\"", client, "\",\"aud\":"]);
    write_text(&mut out, &granted.audience);
    out.push_str(",\"exp\":");
    ascii::push_number(&mut out, exp);
    out.push_str(",\"iat\":");
    ascii::push_number(&mut out, iat);
    out.push_str(",\"jti\":\"");
    jti.write_to(&mut out);
    let mut push = |parts: &[&str]| parts.iter().for_each(|part| out.push_str(part));
    push(&["\",\"client_id\":\"", client, "\",\"scope\":\""]);
    granted.write_scope(&mut out);
    out.push_str("\",\"roles\":");
    write_roles(&mut out, &granted.roles);
    if extra.groups {
        out.push_str(",\"groups\":");
        write_roles(&mut out, &granted.roles);
    }
    if extra.keycloak_roles {
        out.push_str(",\"realm_access\":{\"roles\":");
        write_roles(&mut out, &granted.roles);
        out.push('}');
    }
    if !life.lineage.0.is_empty() {
        out.push_str(",\"edi_made_from\":");
        let mut before = '[';
        for Ancestor { jti, kid } in &life.lineage.0 {
            // Writing to a String cannot fail.
            let _ = write!(out, "{before}{{\"jti\":\"{jti}\",\"kid\":\"{kid}\"}}");
            before = ',';
        }
        out.push(']');
    }
    out.push('}');
    out
}

fn write_roles(out: &mut String, roles: &[Role]) {
    let mut before = '[';
    for role in roles {
        out.push(before);
        out.push('"');
        out.push_str(role.as_str());
        out.push('"');
        before = ',';
    }
    if roles.is_empty() {
        out.push('[');
    }
    out.push(']');
}

/// Appends a text as a JSON string. Most need no escape.
fn write_text(out: &mut String, text: &str) {
    if ascii::all(text.as_bytes(), |b| matches!(b, b' '..0x7f) && !matches!(b, b'"' | b'\\')) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&json_text(text));
    }
}

/// A text as a JSON string, quotes included.
#[must_use]
pub fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The claims as edi wrote them.
#[derive(Debug, Clone, Deserialize)]
struct RawClaims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    iat: i64,
    jti: String,
    client_id: String,
    scope: String,
    #[serde(default)]
    edi_made_from: Lineage,
}

/// The proven content of a token of this issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The issuer.
    pub issuer: String,
    /// Whose token it is; `sub` is the same.
    pub client_id: ClientId,
    /// Its one audience.
    pub audience: String,
    /// The first second at which it no longer counts.
    pub exp: i64,
    /// When it was issued, in seconds.
    pub iat: i64,
    /// Its id.
    pub jti: TokenId,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its admin scopes.
    pub admin_scopes: Vec<AdminScope>,
    /// The key that signed it.
    pub kid: Kid,
    /// What it was made from.
    pub lineage: Lineage,
}

impl Claims {
    /// The lineage of a token made from this one; `None` when it was passed on too often.
    #[must_use]
    pub fn descend(&self) -> Option<Lineage> {
        let mut line = self.lineage.0.clone();
        line.push(Ancestor { jti: self.jti, kid: self.kid.clone() });
        (line.len() <= MAX_LINEAGE).then_some(Lineage(line))
    }

    /// Reads a payload that was signed by `kid`; `None` when edi would not have written it.
    #[must_use]
    pub fn read(payload: &[u8], kid: Kid) -> Option<Self> {
        let raw: RawClaims = serde_json::from_slice(payload).ok()?;
        if raw.sub != raw.client_id {
            return None;
        }
        let mut roles = Vec::new();
        let mut admin_scopes = Vec::new();
        for name in raw.scope.split(' ') {
            match name.parse::<AdminScope>() {
                Ok(scope) => admin_scopes.push(scope),
                Err(_) => roles.push(Role::parse(name).ok()?),
            }
        }
        Some(Self {
            issuer: raw.iss,
            client_id: ClientId::parse(&raw.client_id).ok()?,
            audience: raw.aud,
            exp: raw.exp,
            iat: raw.iat,
            jti: TokenId::parse(&raw.jti)?,
            roles,
            admin_scopes,
            kid,
            lineage: raw.edi_made_from,
        })
    }

    /// The `scope` value.
    #[must_use]
    pub fn scope(&self) -> String {
        let names: Vec<&str> =
            self.roles.iter().map(Role::as_str).chain(self.admin_scopes.iter().map(|scope| scope.name())).collect();
        names.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(roles: &[&str], admin_scopes: &[AdminScope]) -> Granted {
        Granted {
            roles: roles.iter().map(|role| Role::parse(role).unwrap()).collect(),
            admin_scopes: admin_scopes.to_vec(),
            audience: "https://models.example/?a=b".into(),
        }
    }

    fn written(granted: &Granted, extra: RoleClaims) -> String {
        let client = ClientId::parse("svc").unwrap();
        let life = Life { issued: Timestamp::from_millis(7_900), lifetime: 60, lineage: &Lineage::default() };
        write_claims("\"https://edi.example\"", &client, granted, TokenId(1), life, extra)
    }

    const BOTH: RoleClaims = RoleClaims { groups: true, keycloak_roles: true };
    const NONE: RoleClaims = RoleClaims { groups: false, keycloak_roles: false };

    #[test]
    fn claims_are_rfc_9068s_and_the_role_claims_asked_for() {
        let json: serde_json::Value = serde_json::from_str(&written(&granted(&["a", "b"], &[]), BOTH)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "iss": "https://edi.example", "sub": "svc", "aud": "https://models.example/?a=b", "exp": 67, "iat": 7,
                "jti": "AAAAAAAAAAAAAAAAAAAAAQ", "client_id": "svc", "scope": "a b", "roles": ["a", "b"],
                "groups": ["a", "b"], "realm_access": {"roles": ["a", "b"]},
            })
        );
        let json: serde_json::Value = serde_json::from_str(&written(&granted(&["a"], &[]), NONE)).unwrap();
        assert!(json.get("groups").is_none() && json.get("realm_access").is_none());
    }

    #[test]
    fn what_is_written_is_read() {
        let kid = Kid::parse("k").unwrap();
        for granted in [granted(&["a", "b"], &[]), granted(&[], &[AdminScope::Read, AdminScope::Keys])] {
            let claims = Claims::read(written(&granted, BOTH).as_bytes(), kid.clone()).unwrap();
            assert_eq!((&claims.roles, &claims.admin_scopes), (&granted.roles, &granted.admin_scopes));
            assert_eq!((claims.exp, claims.iat, claims.scope()), (67, 7, granted.scope()));
        }
    }

    #[test]
    fn what_edi_would_not_write_is_not_read() {
        let good = written(&granted(&["a"], &[]), NONE);
        for (from, to) in [
            ("\"sub\":\"svc\"", "\"sub\":\"other\""),
            ("\"exp\":67", "\"exp\":\"67\""),
            ("\"exp\":67", "\"exp\":67.5"),
            ("\"exp\":67,", ""),
            ("AAAAAAAAAAAAAAAAAAAAAQ", "1"),
            ("\"scope\":\"a\"", "\"scope\":\"a!\""),
            ("\"scope\":\"a\"", "\"scope\":\"\""),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(Claims::read(bad.as_bytes(), Kid::parse("k").unwrap()), None, "{bad}");
        }
    }
}
