//! What a token may hold: the scope and audience rules of the token endpoint (RFC 6749 §3.3, RFC 8707 §2, RFC 9068 §3).
//! Pure: a client, what it asked for, and what each role's deployments say.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::error::{Code, OAuthError};
use crate::model::client::Client;
use crate::model::scope::{AdminScope, OIDC_SCOPES, Role, split_scope};

/// Which audiences the deployments of a role name.
pub trait RoleAudiences {
    /// The audiences of the role's deployments, the configured default standing in for those that name none; `None`
    /// for a role whose deployments name none, or that has none.
    fn of(&self, role: &str) -> Option<BTreeSet<String>>;
}

/// No deployment says anything.
impl RoleAudiences for () {
    fn of(&self, _role: &str) -> Option<BTreeSet<String>> {
        None
    }
}

/// What a token will hold: roles or admin scopes, never both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Roles, in the order asked for.
    pub roles: Vec<Role>,
    /// Admin scopes, in the order asked for.
    pub admin_scopes: Vec<AdminScope>,
    /// The one audience.
    pub audience: String,
}

impl Granted {
    /// The `scope` value.
    #[must_use]
    pub fn scope(&self) -> String {
        let mut out = String::new();
        self.write_scope(&mut out);
        out
    }

    /// Appends the `scope` value.
    pub fn write_scope(&self, out: &mut String) {
        let names = self.roles.iter().map(Role::as_str).chain(self.admin_scopes.iter().map(|scope| scope.name()));
        for (index, name) in names.enumerate() {
            if index > 0 {
                out.push(' ');
            }
            out.push_str(name);
        }
    }
}

/// Decides what a token for `client` holds.
///
/// - Every named scope must be granted; OpenID Connect's names are ignored, and alone count as no scope at all.
/// - Without names: all granted roles valid at the audience, never an admin scope.
/// - The audience is `resource` if the client and every named role allow it, else the one the named roles share.
///
/// # Errors
/// `invalid_scope` and `invalid_target`, with what the client could ask for instead.
pub fn decide(
    client: &Client,
    scope: Option<&str>,
    resource: Option<&str>,
    issuer: &str,
    default_audience: &str,
    deployments: &impl RoleAudiences,
) -> Result<Granted, OAuthError> {
    let names = match scope {
        None => Vec::new(),
        Some(text) => split_scope(text).map_err(|error| OAuthError::new(Code::InvalidScope, error.to_string()))?,
    };
    let mut roles: Vec<Role> = Vec::new();
    let mut admin_scopes: Vec<AdminScope> = Vec::new();
    for name in names {
        if OIDC_SCOPES.contains(&name) {
            continue;
        }
        if let Some(role) = client.roles.get(name) {
            if !roles.contains(role) {
                roles.push(role.clone());
            }
        } else if let Some(wanted) = name.parse().ok().filter(|wanted| client.holds(*wanted)) {
            if !admin_scopes.contains(&wanted) {
                admin_scopes.push(wanted);
            }
        } else {
            return Err(not_granted(client));
        }
    }
    match (roles.is_empty(), admin_scopes.is_empty()) {
        (false, false) => Err(OAuthError::new(
            Code::InvalidScope,
            "a token holds roles or edi: scopes, never both; ask for two tokens",
        )),
        (true, false) => match resource {
            Some(other) if other != issuer => {
                Err(invalid_target("a token with edi: scopes has the issuer as its audience"))
            }
            _ => Ok(Granted { roles, admin_scopes, audience: issuer.to_owned() }),
        },
        (named_none, true) => {
            let audiences = Audiences { client, issuer, default_audience, deployments };
            let (roles, audience) =
                if named_none { audiences.for_all_roles(resource)? } else { audiences.for_named(roles, resource)? };
            Ok(Granted { roles, admin_scopes, audience })
        }
    }
}

struct Audiences<'a, D> {
    client: &'a Client,
    issuer: &'a str,
    default_audience: &'a str,
    deployments: &'a D,
}

impl<D: RoleAudiences> Audiences<'_, D> {
    /// The audiences a token with this role may have, the one to use unasked first among equals: those of its
    /// deployments, or for a role without any the default one and those the client was registered with.
    fn of(&self, role: &Role) -> BTreeSet<String> {
        self.deployments.of(role.as_str()).unwrap_or_else(|| {
            let mut own = self.client.audiences.clone();
            own.insert(self.default_audience.to_owned());
            own
        })
    }

    /// The audience that `role` has when none is asked for.
    fn unasked(&self, role: &Role) -> BTreeSet<String> {
        self.deployments.of(role.as_str()).unwrap_or_else(|| BTreeSet::from([self.default_audience.to_owned()]))
    }

    /// A client that was registered with audiences may name those and the default; any other client whatever its roles
    /// allow. The issuer is the admin API's audience, which no role reaches.
    fn client_allows(&self, audience: &str) -> bool {
        audience != self.issuer
            && (self.client.audiences.is_empty()
                || self.client.audiences.contains(audience)
                || audience == self.default_audience)
    }

    /// Whether the default audience is the only one in play, as for most roles it is.
    fn none_names_an_audience<'r>(&self, roles: impl IntoIterator<Item = &'r Role>) -> bool {
        roles.into_iter().all(|role| self.deployments.of(role.as_str()).is_none())
    }

    fn for_named(&self, roles: Vec<Role>, resource: Option<&str>) -> Result<(Vec<Role>, String), OAuthError> {
        if let Some(wanted) = resource {
            return if self.client_allows(wanted) && roles.iter().all(|role| self.of(role).contains(wanted)) {
                Ok((roles, wanted.to_owned()))
            } else {
                Err(invalid_target("this resource is not allowed for this client and every role named"))
            };
        }
        if self.none_names_an_audience(&roles) {
            return Ok((roles, self.default_audience.to_owned()));
        }
        let mut sets = roles.iter().map(|role| self.unasked(role));
        let first = sets.next().unwrap_or_default();
        let shared = sets.fold(first, |shared, next| &shared & &next);
        match self.pick(shared) {
            Pick::One(audience) => Ok((roles, audience)),
            // RFC 9068 §3: a scope that spans resources with no common audience is invalid_scope.
            Pick::None => Err(OAuthError::new(
                Code::InvalidScope,
                "the roles named belong to different audiences; ask for one token for each",
            )),
            Pick::Many => Err(invalid_target("the roles named have several audiences in common; name one as resource")),
        }
    }

    fn for_all_roles(&self, resource: Option<&str>) -> Result<(Vec<Role>, String), OAuthError> {
        if self.client.roles.is_empty() {
            return Err(not_granted(self.client));
        }
        if resource.is_none() && self.none_names_an_audience(&self.client.roles) {
            return Ok((self.client.roles.iter().cloned().collect(), self.default_audience.to_owned()));
        }
        let audience = match resource {
            Some(wanted) if self.client_allows(wanted) => wanted.to_owned(),
            Some(_) => return Err(invalid_target("this resource is not allowed for this client")),
            None => {
                let sets: Vec<_> = self.client.roles.iter().map(|role| self.unasked(role)).collect();
                let all = sets.iter().flatten().cloned().collect::<BTreeSet<_>>();
                let shared = sets.into_iter().reduce(|shared, next| &shared & &next).unwrap_or_default();
                match (self.pick(shared), self.pick(all)) {
                    (Pick::One(audience), _) | (_, Pick::One(audience)) => audience,
                    _ => {
                        return Err(OAuthError::new(
                            Code::InvalidScope,
                            "this client's roles belong to different audiences; name a scope or a resource",
                        ));
                    }
                }
            }
        };
        let roles: Vec<Role> =
            self.client.roles.iter().filter(|role| self.of(role).contains(&audience)).cloned().collect();
        if roles.is_empty() {
            Err(invalid_target("no role of this client is valid at this resource"))
        } else {
            Ok((roles, audience))
        }
    }

    /// The default where it is among them, else the only one.
    fn pick(&self, mut among: BTreeSet<String>) -> Pick {
        if among.contains(self.default_audience) {
            return Pick::One(self.default_audience.to_owned());
        }
        match (among.pop_first(), among.is_empty()) {
            (None, _) => Pick::None,
            (Some(only), true) => Pick::One(only),
            (Some(_), false) => Pick::Many,
        }
    }
}

enum Pick {
    None,
    One(String),
    Many,
}

fn invalid_target(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidTarget, description)
}

/// How many names a description lists before it stops.
const NAMES_SHOWN: usize = 16;

fn not_granted(client: &Client) -> OAuthError {
    let held = client.roles.iter().map(Role::as_str).chain(client.admin_scopes.iter().map(|scope| scope.name()));
    let mut text = String::from("this client holds: ");
    let mut count = 0;
    for name in held {
        if count < NAMES_SHOWN {
            let _ = write!(text, "{}{name}", if count == 0 { "" } else { " " });
        }
        count += 1;
    }
    match count {
        0 => text = "this client was granted no role; ask an operator for one".into(),
        n if n > NAMES_SHOWN => {
            let _ = write!(text, " and {} more", n - NAMES_SHOWN);
        }
        _ => {}
    }
    OAuthError::new(Code::InvalidScope, text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::model::id::ClientId;
    use crate::model::time::Timestamp;

    const ISSUER: &str = "https://edi.example";
    const DEFAULT: &str = "model-prediction-api";

    struct Deployed(HashMap<&'static str, Vec<&'static str>>);

    impl RoleAudiences for Deployed {
        fn of(&self, role: &str) -> Option<BTreeSet<String>> {
            self.0.get(role).map(|audiences| audiences.iter().map(ToString::to_string).collect())
        }
    }

    fn deployed() -> Deployed {
        Deployed(HashMap::from([
            ("fraud", vec!["https://fraud.example"]),
            ("credit", vec!["https://credit.example"]),
            ("both", vec!["https://credit.example", "https://fraud.example"]),
            ("plain", vec![DEFAULT]),
        ]))
    }

    fn client(roles: &[&str], admin: &[AdminScope], audiences: &[&str]) -> Client {
        Client {
            roles: roles.iter().map(|role| Role::parse(role).unwrap()).collect(),
            admin_scopes: admin.iter().copied().collect(),
            audiences: audiences.iter().map(ToString::to_string).collect(),
            ..Client::new(ClientId::parse("svc").unwrap(), Timestamp::default())
        }
    }

    fn ask(client: &Client, scope: Option<&str>, resource: Option<&str>) -> Result<(String, String), &'static str> {
        decide(client, scope, resource, ISSUER, DEFAULT, &deployed())
            .map(|granted| (granted.scope(), granted.audience))
            .map_err(|error| error.code.wire().0)
    }

    fn ok(scope: &str, audience: &str) -> (String, String) {
        (scope.into(), audience.into())
    }

    #[test]
    fn scope_rules() {
        let svc = client(&["a", "b"], &[AdminScope::Read], &[]);
        for (scope, answer, rule) in [
            (None, Ok(ok("a b", DEFAULT)), "left out: all granted roles, never an admin scope"),
            (Some("b"), Ok(ok("b", DEFAULT)), "a granted role"),
            (Some("b a b"), Ok(ok("b a", DEFAULT)), "order kept, repeats folded"),
            (Some("openid profile"), Ok(ok("a b", DEFAULT)), "OIDC's names alone count as left out"),
            (Some("openid a"), Ok(ok("a", DEFAULT)), "OIDC's names beside others are ignored"),
            (Some("edi:read"), Ok(ok("edi:read", ISSUER)), "an admin scope has the issuer as audience"),
            (Some("c"), Err("invalid_scope"), "RFC 6749 §5.2: not granted"),
            (Some("A"), Err("invalid_scope"), "RFC 6749 §3.3: case-sensitive"),
            (Some("a c"), Err("invalid_scope"), "one not granted spoils all"),
            (Some("a  b"), Err("invalid_scope"), "RFC 6749 §3.3: malformed"),
            (Some("edi:clients"), Err("invalid_scope"), "an admin scope not granted"),
            (Some("edi:planet"), Err("invalid_scope"), "no such admin scope"),
            (Some("a edi:read"), Err("invalid_scope"), "roles or admin scopes, never both"),
        ] {
            assert_eq!(ask(&svc, scope, None), answer, "{rule}");
        }
    }

    #[test]
    fn edi_admin_may_ask_for_any_admin_scope() {
        let operator = client(&[], &[AdminScope::Admin], &[]);
        for scope in AdminScope::ALL {
            assert_eq!(ask(&operator, Some(scope.name()), None), Ok(ok(scope.name(), ISSUER)));
        }
        assert_eq!(ask(&operator, None, None), Err("invalid_scope"), "never an admin scope unasked");
    }

    #[test]
    fn audience_rules() {
        let fraud = "https://fraud.example";
        let credit = "https://credit.example";
        let all = client(&["fraud", "credit", "both", "plain", "free"], &[], &[]);
        let bound = client(&["fraud", "free"], &[], &["https://own.example"]);
        for (who, scope, resource, answer, rule) in [
            (&all, Some("fraud"), None, Ok(ok("fraud", fraud)), "the audience of the role's deployment"),
            (&all, Some("free"), None, Ok(ok("free", DEFAULT)), "a role without one: the default"),
            (&all, Some("fraud both"), None, Ok(ok("fraud both", fraud)), "the one the named roles share"),
            (&all, Some("fraud credit"), None, Err("invalid_scope"), "RFC 9068 §3: named roles that differ"),
            (&all, Some("both"), None, Err("invalid_target"), "several in common: name one"),
            (&all, Some("both"), Some(credit), Ok(ok("both", credit)), "RFC 8707 §2: resource"),
            (&all, Some("fraud"), Some(credit), Err("invalid_target"), "not allowed for the role"),
            (&all, Some("fraud credit"), Some(credit), Err("invalid_target"), "not allowed for every role"),
            (&all, Some("free"), Some("https://x.example"), Err("invalid_target"), "unknown"),
            (&all, Some("free"), Some("nonsense"), Err("invalid_target"), "RFC 8707 §2: malformed"),
            (&all, Some("free"), Some(ISSUER), Err("invalid_target"), "no role reaches the admin API"),
            (&all, None, Some(fraud), Ok(ok("both fraud", fraud)), "left out: the roles valid there"),
            (&all, None, None, Ok(ok("free plain", DEFAULT)), "left out and differing: the default one's roles"),
            (&bound, Some("free"), Some("https://own.example"), Ok(ok("free", "https://own.example")), "registered"),
            (&bound, Some("free"), None, Ok(ok("free", DEFAULT)), "unasked: still the default"),
            (&bound, Some("fraud"), Some(fraud), Err("invalid_target"), "not among the client's audiences"),
            (&bound, None, Some("https://own.example"), Ok(ok("free", "https://own.example")), "left out, registered"),
        ] {
            assert_eq!(ask(who, scope, resource), answer, "{rule}");
        }
        let operator = client(&[], &[AdminScope::Admin], &[]);
        assert_eq!(ask(&operator, Some("edi:read"), Some(ISSUER)), Ok(ok("edi:read", ISSUER)));
        assert_eq!(ask(&operator, Some("edi:read"), Some(fraud)), Err("invalid_target"));
    }

    #[test]
    fn a_refusal_names_what_the_client_holds_and_not_what_it_sent() {
        let error = decide(&client(&["a"], &[], &[]), Some("secret-model"), None, ISSUER, DEFAULT, &()).unwrap_err();
        assert_eq!(error.description, "this client holds: a");
    }
}
