//! `edi status`: one look at a running edi.

use clap::Args as ClapArgs;
use serde_json::Value;

use super::api::{Api, ApiFlags};
use super::output::printable;
use super::table::facts;
use super::{Failure, Output, key, view};
use crate::model::scope::AdminScope;

/// One look at a running edi: store, keys, counts, and what needs attention.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let status = Api::new(&args.api, &[AdminScope::Read, AdminScope::Admin])?.get(&["status"]).await?;
    if output.json {
        return output.json(&status);
    }
    let mut rows = Vec::new();
    flatten("", &status, &mut rows);
    let rows: Vec<(&str, String)> = rows.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    output.line(facts(&rows))?;
    if let Some(keys) = status.get("keys").and_then(Value::as_array) {
        output.line(format!("\n{}", key::table(keys).render(output)))?;
    }
    let attention = view::list(&status, "attention");
    if attention.is_empty() {
        return output.line(format!("\n{}", output.good("nothing needs attention")));
    }
    for text in attention {
        output.line(format!("\n{} {}", output.bad("attention:"), printable(&text)))?;
    }
    Ok(())
}

/// Everything but the keys and the warnings as `name value` rows, the familiar ones first, newer ones after them.
fn flatten(prefix: &str, status: &Value, rows: &mut Vec<(String, String)>) {
    const FAMILIAR: [&str; 9] =
        ["issuer", "version", "started_at", "now", "listeners", "store", "clients", "deployments", "revocations"];
    let Some(members) = status.as_object() else { return };
    let place = |name: &str| FAMILIAR.iter().position(|known| *known == name).unwrap_or(FAMILIAR.len());
    let mut names: Vec<&String> = members.keys().collect();
    names.sort_by_key(|name| (place(name), name.as_str()));
    for name in names {
        let Some(value) = members.get(name) else { continue };
        let label = format!("{prefix}{}", printable(&name.replace('_', " ")));
        match value {
            _ if prefix.is_empty() && matches!(name.as_str(), "keys" | "attention") => {}
            Value::Object(_) => flatten(&format!("{label} "), value, rows),
            value => rows.push((label, view::words(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn familiar_facts_come_first_and_new_ones_are_not_lost() {
        let status = json!({
            "version": "0.1.0", "issuer": "http://x", "store": { "engine": "sled", "health": "writable" },
            "keys": [], "attention": ["a"], "clients": 3, "a_new_fact": { "deep": [1, true] },
        });
        let mut rows = Vec::new();
        flatten("", &status, &mut rows);
        let rows: Vec<String> = rows.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            rows,
            [
                "issuer=http://x",
                "version=0.1.0",
                "store engine=sled",
                "store health=writable",
                "clients=3",
                "a new fact deep=1, yes"
            ]
        );
    }
}
