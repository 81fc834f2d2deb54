//! `edi status`: one look at a running edi.

use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::Value;

use super::api::{Api, ApiFlags};
use super::output::printable;
use super::table::facts;
use super::{Failure, Output, key, view};
use crate::config::span;
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;

/// One look at a running edi: listeners, store, keys, traffic, and what needs attention.
///
/// What needs attention comes with the command that mends it. Exit code 0 whatever it says: a script reads
/// `--json` and its `attention`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi status
  edi status --json | jq -e '.attention == []'   # a check for a cron job")]
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
    output.line(facts(&rows(&status)))?;
    if let Some(keys) = status.get("keys").and_then(Value::as_array) {
        output.line(format!("\n{}", key::table(keys).render(output)))?;
    }
    let attention: Vec<&Value> = status.get("attention").and_then(Value::as_array).into_iter().flatten().collect();
    if attention.is_empty() {
        return output.line(format!("\n{}", output.good("nothing needs attention")));
    }
    for item in attention {
        let what = item.get("what").map_or_else(|| view::words(item), view::words);
        output.line(format!("\n{} {}", output.bad("attention:"), printable(&what)))?;
        let next = view::text(item, "next");
        if !next.is_empty() {
            output.line(format!("  next: {}", printable(&next)))?;
        }
    }
    Ok(())
}

/// The page as `name value` rows: what is known, then whatever a newer edi says beside it.
fn rows(status: &Value) -> Vec<(&str, String)> {
    const KNOWN: &[&str] = &[
        "issuer",
        "audience",
        "version",
        "started_at",
        "now",
        "uptime_seconds",
        "listeners",
        "store",
        "clients",
        "deployments",
        "revocations",
        "tokens_issued",
        "token_requests_refused",
        "lately",
        "keys",
        "next_transition",
        "next_rotation_at",
        "limits",
        "attention",
        "secrets_expiring",
    ];
    let mut rows = vec![
        ("issuer", view::text(status, "issuer")),
        ("version", joined([view::text(status, "version"), uptime(status)])),
        ("listeners", listeners(status)),
        ("store", store(status)),
        ("clients", view::text(status, "clients")),
        ("deployments", view::text(status, "deployments")),
        ("revocations", live(status)),
        ("tokens", tokens(status)),
        ("keys", keys(status)),
        ("secrets ending soon", ending(status)),
    ];
    rows.retain(|(_, value)| !value.is_empty());
    for (name, value) in status.as_object().into_iter().flatten().filter(|(name, _)| !KNOWN.contains(&name.as_str())) {
        rows.push((name, told(value)));
    }
    rows
}

fn ending(status: &Value) -> String {
    let all = status.get("secrets_expiring").and_then(Value::as_array).into_iter().flatten();
    let each = all.map(|it| {
        let text = |key| view::text(it, key);
        format!("{} of {} at {}", text("id"), text("client_id"), text("expires_at"))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// A value of any shape on one line.
fn told(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            joined(members.iter().map(|(name, value)| format!("{} {}", name.replace('_', " "), told(value))))
        }
        Value::Array(items) => joined(items.iter().map(told)),
        value => view::words(value),
    }
}

fn joined(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn uptime(status: &Value) -> String {
    match status.get("uptime_seconds").and_then(Value::as_u64) {
        Some(seconds) => format!("up {} since {}", rough(seconds), view::text(status, "started_at")),
        None => String::new(),
    }
}

fn listeners(status: &Value) -> String {
    let text = |key: &str| status.get("listeners").map(|it| view::text(it, key)).unwrap_or_default();
    let named = |name: &str| Some(text(name)).filter(|at| !at.is_empty()).map(|at| format!("{name} {at}"));
    joined(["public", "admin", "tls"].into_iter().filter_map(named))
}

fn store(status: &Value) -> String {
    let Some(store) = status.get("store") else { return String::new() };
    let text = |key: &str| view::text(store, key);
    let place = match (text("engine"), text("path")) {
        (engine, path) if path.is_empty() => engine,
        (engine, path) => format!("{engine} in {path}"),
    };
    let bytes = |key: &str, what: &str| {
        store.get(key).and_then(Value::as_u64).map(|bytes| format!("{} {what}", size(bytes))).unwrap_or_default()
    };
    joined([place, text("health"), bytes("used_bytes", "used"), bytes("free_bytes", "free")])
}

fn live(status: &Value) -> String {
    let count = view::text(status, "revocations");
    if count.is_empty() { count } else { format!("{count} in force") }
}

fn tokens(status: &Value) -> String {
    let Some(issued) = status.get("tokens_issued").and_then(Value::as_u64) else { return String::new() };
    let refused = status.get("token_requests_refused").and_then(Value::as_u64);
    let mut text = format!("{issued} issued");
    if let Some(refused) = refused {
        text = format!("{text}, {refused} refused");
    }
    let Some(lately) = status.get("lately") else { return text };
    let number = |key: &str| lately.get(key).and_then(Value::as_u64).unwrap_or_default();
    let seconds = number("seconds").max(1);
    let rate = |count: u64| {
        let tenths = count.saturating_mul(10) / seconds;
        format!("{}.{}/s", tenths / 10, tenths % 10)
    };
    format!(
        "{text}; in the last {}: {} issued, {} refused",
        span(Duration::from_secs(seconds)),
        rate(number("issued")),
        rate(number("refused"))
    )
}

/// What happens to the keys next.
fn keys(status: &Value) -> String {
    let now = Timestamp::parse_rfc3339(&view::text(status, "now"));
    let when = |at: &str| match (now, Timestamp::parse_rfc3339(at)) {
        (Some(now), Some(then)) if then > now => format!("{at}, in {}", rough(then.since(now).as_secs())),
        _ => at.to_owned(),
    };
    let next = status.get("next_transition").map(|next| {
        let (at, kid, to) = (view::text(next, "at"), view::text(next, "kid"), view::text(next, "to"));
        format!("{kid} is {to} from {}", when(&at))
    });
    let rotation = match view::text(status, "next_rotation_at") {
        at if at.is_empty() => String::new(),
        at => format!("next rotation {}", when(&at)),
    };
    joined([next.unwrap_or_default(), rotation])
}

/// A length of time to two units.
fn rough(seconds: u64) -> String {
    span(Duration::from_secs(seconds)).split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{bytes} {name}") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_tells_what_it_knows_and_loses_nothing_new() {
        let status = json!({
            "version": "0.1.0", "issuer": "http://x", "uptime_seconds": 93_784, "started_at": "2026-11-20T00:00:00Z",
            "now": "2026-11-21T00:00:00Z", "listeners": { "public": "127.0.0.1:8080", "admin": "127.0.0.1:8081", "tls": "off" },
            "store": { "engine": "sled", "path": "data", "health": "ok", "used_bytes": 1_572_864, "free_bytes": 900 },
            "clients": 3, "deployments": 2, "revocations": 1, "tokens_issued": 75, "token_requests_refused": 4,
            "lately": { "seconds": 60, "issued": 75, "refused": 4 }, "keys": [], "attention": ["a"],
            "next_transition": { "at": "2026-11-21T01:00:00Z", "kid": "k2", "to": "active" },
            "next_rotation_at": "2026-12-21T00:00:00Z", "a_new_fact": { "deep": [1, true] },
        });
        let rows: Vec<String> = rows(&status).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            rows,
            [
                "issuer=http://x",
                "version=0.1.0, up 1d 2h since 2026-11-20T00:00:00Z",
                "listeners=public 127.0.0.1:8080, admin 127.0.0.1:8081, tls off",
                "store=sled in data, ok, 1.5 MiB used, 900 B free",
                "clients=3",
                "deployments=2",
                "revocations=1 in force",
                "tokens=75 issued, 4 refused; in the last 1m: 1.2/s issued, 0.0/s refused",
                "keys=k2 is active from 2026-11-21T01:00:00Z, in 1h, next rotation 2026-12-21T00:00:00Z, in 30d",
                "a_new_fact=deep 1, yes",
            ]
        );
    }

    #[test]
    fn an_older_server_is_understood() {
        let status = json!({ "version": "0.1.0", "issuer": "http://x", "store": { "health": "ok" }, "keys": [] });
        let names: Vec<&str> = rows(&status).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["issuer", "version", "store"]);
    }
}
