//! Why a token is or is not let through at a deployment, check by check.

use serde::Serialize;
use serde_json::Value;

use super::access::Operator;
use super::deployments;
use super::error::AdminError;
use super::fields::{Fields, text};
use crate::model::id::DeploymentId;
use crate::model::scope::AdminScope;
use crate::oauth::explain::{Check, Outcome, explain};
use crate::oauth::service::Service;
use crate::secret::Secret;

/// The longest deployment id that is looked for.
const MAX_ID: usize = 128;

/// The answer. Never holds the token.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Whether every check holds; without a deployment, audience and role count for nothing.
    allowed: bool,
    /// Whether key and signature hold. Else what the other checks say is what the token claims.
    proven: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<DeploymentId>,
    checks: Vec<CheckView>,
}

#[derive(Debug, Serialize)]
struct CheckView {
    check: &'static str,
    /// Absent when skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skipped: bool,
    detail: String,
}

impl From<Check> for CheckView {
    fn from(Check { check, outcome, detail }: Check) -> Self {
        let ok = match outcome {
            Outcome::Holds => Some(true),
            Outcome::Fails => Some(false),
            Outcome::Skipped => None,
        };
        Self { check, ok, skipped: ok.is_none(), detail }
    }
}

/// Judges the `token` of the body, at its `deployment` if it names one.
///
/// # Errors
/// [`AdminError`].
pub async fn judge(service: &Service, operator: &Operator, body: &[u8]) -> Result<Explanation, AdminError> {
    operator.demand(AdminScope::Read)?;
    let mut fields = Fields::parse(body)?;
    let token = fields
        .read("token", |value| match value {
            Value::String(token) if !token.trim().is_empty() => Ok(Secret::new(token.trim().to_owned())),
            _ => Err("expected the token, as a text".to_owned()),
        })
        .flatten();
    let id = fields.read("deployment", |value| text(value, MAX_ID)).flatten();
    fields.finish()?;
    let Some(token) = token else { return Err(AdminError::field("token", "pass the token to be explained")) };
    let deployment = match id {
        None => None,
        Some(id) => Some(deployments::find(service, &id).await.map_err(|error| match error {
            AdminError::NotFound(detail) => AdminError::field("deployment", detail),
            other => other,
        })?),
    };
    let checks = explain(service, token.expose(), deployment.as_ref());
    let holds = |check: &Check| check.outcome == Outcome::Holds;
    let unasked = |check: &Check| deployment.is_none() && matches!(check.check, "audience" | "role");
    Ok(Explanation {
        allowed: checks.iter().all(|check| holds(check) || unasked(check)),
        proven: checks.iter().filter(|check| matches!(check.check, "key" | "signature")).all(holds),
        deployment: deployment.map(|deployment| deployment.id),
        checks: checks.into_iter().map(Into::into).collect(),
    })
}
