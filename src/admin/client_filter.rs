//! Which clients a list is to hold.

use super::error::{AdminError, FieldError};
use crate::model::client::{AuthMethod, Client};
use crate::model::scope::{AdminScope, Role};

/// What is wanted of a client; all of it must hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    role: Option<Role>,
    admin_scope: Option<AdminScope>,
    enabled: Option<bool>,
    auth_method: Option<AuthMethod>,
    /// How its id or its name begins; of the name upper and lower case are the same.
    begins: Option<String>,
}

impl ClientFilter {
    /// The query parameters it is read from.
    pub const PARAMETERS: [&str; 5] = ["role", "admin_scope", "state", "auth_method", "q"];

    /// Reads a query.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] naming every parameter that is wrong.
    pub fn parse<'a>(given: impl Fn(&str) -> Option<&'a str>) -> Result<Self, AdminError> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, detail: String| problems.push(FieldError { field: field.into(), detail });
        let mut filter = Self { begins: given("q").map(ToOwned::to_owned), ..Self::default() };
        match given("role").map(Role::parse).transpose() {
            Ok(role) => filter.role = role,
            Err(why) => problem("role", why.to_string()),
        }
        match given("admin_scope").map(str::parse).transpose() {
            Ok(scope) => filter.admin_scope = scope,
            Err(why) => problem("admin_scope", String::from(why)),
        }
        match given("state") {
            None => {}
            Some("enabled") => filter.enabled = Some(true),
            Some("disabled") => filter.enabled = Some(false),
            Some(_) => problem("state", "expected enabled or disabled".into()),
        }
        match given("auth_method").map(auth_method) {
            None => {}
            Some(Some(method)) => filter.auth_method = Some(method),
            Some(None) => problem("auth_method", format!("expected one of {}", AUTH_METHODS.join(", "))),
        }
        if problems.is_empty() { Ok(filter) } else { Err(AdminError::Invalid(problems)) }
    }

    /// Whether a client is wanted.
    #[must_use]
    pub fn takes(&self, client: &Client) -> bool {
        let begins = |wanted: &String| {
            let id = client.client_id.as_str().starts_with(wanted.as_str());
            let name = client.client_name.as_ref().map(|name| name.to_lowercase());
            id || name.is_some_and(|name| name.starts_with(&wanted.to_lowercase()))
        };
        self.role.as_ref().is_none_or(|role| client.roles.contains(role))
            && self.admin_scope.is_none_or(|scope| client.admin_scopes.contains(&scope))
            && self.enabled.is_none_or(|enabled| client.enabled == enabled)
            && self.auth_method.is_none_or(|method| client.auth_method == method)
            && self.begins.as_ref().is_none_or(begins)
    }
}

/// The authentication methods by their names; `client_secret` is either way of sending it.
pub const AUTH_METHODS: [&str; 4] = ["client_secret", "client_secret_basic", "client_secret_post", "private_key_jwt"];

fn auth_method(name: &str) -> Option<AuthMethod> {
    Some(match name {
        "client_secret" => AuthMethod::AnySecret,
        "client_secret_basic" => AuthMethod::SecretBasic,
        "client_secret_post" => AuthMethod::SecretPost,
        "private_key_jwt" => AuthMethod::PrivateKeyJwt,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::ClientId;
    use crate::model::time::Timestamp;

    #[test]
    fn a_client_is_wanted_when_all_of_it_holds() {
        let mut client = Client::new(ClientId::parse("fraud-caller").unwrap(), Timestamp::default());
        client.client_name = Some("Nightly Batch".into());
        client.roles.insert(Role::parse("fraud").unwrap());
        for (query, wanted) in [
            (vec![], true),
            (vec![("role", "fraud")], true),
            (vec![("role", "spam")], false),
            (vec![("q", "fraud-")], true),
            (vec![("q", "nightly b")], true),
            (vec![("q", "caller")], false),
            (vec![("state", "enabled"), ("auth_method", "client_secret")], true),
            (vec![("state", "disabled"), ("role", "fraud")], false),
            (vec![("auth_method", "private_key_jwt")], false),
            (vec![("admin_scope", "edi:read")], false),
        ] {
            let given = |name: &str| query.iter().find(|(held, _)| *held == name).map(|(_, value)| *value);
            assert_eq!(ClientFilter::parse(given).unwrap().takes(&client), wanted, "{query:?}");
        }
        for (name, bad) in [("role", "a b"), ("admin_scope", "fraud"), ("state", "on"), ("auth_method", "none")] {
            let given = |asked: &str| (asked == name).then_some(bad);
            let Err(AdminError::Invalid(problems)) = ClientFilter::parse(given) else { panic!("{name}") };
            assert_eq!(problems[0].field, name);
        }
    }
}
