//! `edi key revoke`: the emergency. What it will do, whether it shall, and what is left to do afterwards.

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::api::{Api, ApiFlags};
use super::input::confirm;
use super::output::printable;
use super::table::{Table, facts};
use super::{Failure, Output, view};
use crate::model::id::Kid;
use crate::model::scope::AdminScope;

/// The emergency: take a key out of the JWKS and make all its tokens inactive, at once.
///
/// Shows first whom it concerns, and afterwards what verifiers that do not ask edi still believe and how to make them
/// fetch the keys anew.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi key revoke KID --dry-run
  edi key revoke KID --all --yes    the store or the master key leaked: the pending keys may have, too")]
pub(super) struct Args {
    /// Which key
    #[arg(allow_hyphen_values = true)] // one thumbprint in 64 begins with a hyphen
    kid: Kid,
    /// Discard the pending keys as well: whoever stole the one may hold the others
    #[arg(long)]
    all: bool,
    /// Say what would happen and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(it: Args, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&it.api, &[AdminScope::Keys, AdminScope::Admin])?;
    let path = ["keys", it.kid.as_str(), "revoke"];
    let foreseen = api.post(&path, &json!({ "all": it.all, "dry_run": true })).await?;
    if it.dry_run {
        return if output.json { output.json(&foreseen) } else { output.line(radius(&it, &foreseen)) };
    }
    if !output.json || !it.yes {
        output.note(radius(&it, &foreseen));
    }
    confirm(&format!("Revoke key {} now?", it.kid), it.yes)?;
    let done = api.post(&path, &json!({ "all": it.all })).await?;
    if output.json {
        return output.json(&done);
    }
    let revoked = view::list(&done, "revoked").join(", ");
    output.line(format!("{} revoked: {}", output.good("ok"), printable(&revoked)))?;
    if let Some(promoted) = done.get("promoted").and_then(Value::as_str) {
        output.line(format!("{} signs from now on; {}", printable(promoted), known(&done)))?;
    }
    output.line(aftermath(&done, api.issuer().as_str(), output))?;
    let since = done.pointer("/impact/active_since").and_then(Value::as_str).unwrap_or_default().to_owned();
    if since.is_empty() {
        return Ok(());
    }
    // The token at hand may be one that this very key signed.
    api.renew();
    let query = [("since", since.as_str()), ("outcome", "done"), ("order", "asc")];
    output.line(forgeable(api.list(&["audit"], &query).await.ok().as_deref(), &since, output))
}

/// What a thief could have done with the key: write an operator's token, and with that any of these changes.
fn forgeable(changes: Option<&[Value]>, since: &str, output: Output) -> String {
    let command = format!("`edi audit list --since {}`", printable(since));
    let Some(changes) = changes else {
        return format!("\nWhoever had the key could be any operator since {since}. See what was changed: {command}");
    };
    if changes.is_empty() {
        return format!("\nWhoever had the key could be any operator since {since}. Nothing was changed since.");
    }
    let mut table = Table::new(&["AT", "ACTOR", "ACTION", "TARGET", "ADDRESS", "REQUEST"]);
    for change in changes.iter().take(TOLD) {
        let columns = ["at", "actor", "action", "target", "address", "request_id"];
        table.row(columns.map(|column| view::text(change, column)));
    }
    let more = match changes.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!("\n… and {more} more: {command}"),
    };
    format!(
        "\nWhoever had the key could be any operator since {since}. These are all changes since then; undo what nobody of \
         you made:\n\n{}{more}",
        table.render(output)
    )
}

/// Whom it concerns.
fn radius(it: &Args, foreseen: &Value) -> String {
    let impact = foreseen.get("impact").unwrap_or(&Value::Null);
    let text = |key: &str| view::text(impact, key);
    let mut rows = vec![("key", format!("{} ({}, {})", it.kid, text("algorithm"), text("state")))];
    rows.push((
        "tokens",
        match (text("tokens_until"), text("active_since")) {
            (until, _) if until.is_empty() => "none can be out: it signed nothing that still lives".into(),
            (until, since) => {
                format!("all that it signed since {since} become inactive at once; the last would expire at {until}")
            }
        },
    ));
    if !text("tokens_until").is_empty() {
        let more = if text("clients_more").is_empty() { "" } else { "more than " };
        rows.push(("clients", format!("{more}{} get {} tokens and must ask anew", text("clients"), text("algorithm"))));
    }
    let added = view::list(foreseen, "added");
    rows.push((
        "then signs",
        match foreseen.get("promoted").and_then(Value::as_str) {
            None => "the same key as before".into(),
            Some(next) if added.iter().any(|kid| kid == next) => {
                format!("a key that is made now; {}", known(foreseen))
            }
            Some(next) => format!("{next}, {}", known(foreseen)),
        },
    ));
    let others: Vec<String> = view::list(foreseen, "revoked").into_iter().skip(1).collect();
    rows.push((
        "--all",
        match (it.all, others.is_empty()) {
            (true, true) => "nothing more: no key is pending".into(),
            (true, false) => format!("revokes {} too; keys made now take their place", others.join(", ")),
            (false, _) => "would discard the pending keys as well; do so if the store or the master key leaked".into(),
        },
    ));
    let until = view::text(foreseen, "believed_offline_until");
    rows.push(("offline", format!("verifiers that do not ask edi may believe its tokens until {until}")));
    facts(&rows)
}

/// Whether verifiers know the next signer.
fn known(done: &Value) -> String {
    let impact = done.get("impact").unwrap_or(&Value::Null);
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or_default();
    let age = number(done, "published_for");
    let shown = view::seconds(done, "published_for");
    if age >= number(impact, "publish_before") {
        return format!("published for {shown}: verifiers know it");
    }
    let caches = impact.get("caches").and_then(Value::as_array).into_iter().flatten();
    let slow: Vec<String> = caches
        .filter(|cache| number(cache, "keeps") > age)
        .map(|cache| format!("{} up to {}", view::text(cache, "name"), view::seconds(cache, "keeps")))
        .collect();
    if slow.is_empty() {
        return format!("published for {shown}, longer than the known caches keep keys");
    }
    format!("published for {shown} only: until they fetch the keys, verifiers refuse its tokens ({})", slow.join(", "))
}

/// At most this many changes are told.
const TOLD: usize = 200;

/// How verifiers that go by keys are made to fetch them now.
const REFRESH: [(&str, &str); 6] = [
    ("Istio", "kubectl -n istio-system rollout restart deployment/istiod"),
    ("Envoy", "kubectl rollout restart deployment/envoy    # or: systemctl restart envoy; by itself within 5m"),
    ("oauth2-proxy", "kubectl rollout restart deployment/oauth2-proxy    # by itself never while it sees no new key"),
    ("nginx auth_jwt", "rm -rf /var/cache/nginx/edi/* && nginx -s reload    # by itself within 5m"),
    ("HAProxy", "edi key export --pem --issuer ISSUER | ./take-keys /etc/haproxy/edi && systemctl reload haproxy"),
    ("Apache", "systemctl restart apache2    # by itself within 5m"),
];

/// What is left to do.
fn aftermath(done: &Value, issuer: &str, output: Output) -> String {
    let until = printable(&view::text(done, "believed_offline_until"));
    let mut table = Table::new(&["VERIFIER", "FETCHES THE KEYS NOW WITH"]);
    for (name, command) in REFRESH {
        table.row([name.to_owned(), command.replace("ISSUER", issuer)]);
    }
    format!(
        "\nWhat asks edi (/authz, introspection) refuses its tokens already. Verifiers that go by the key set believe them \
         until they fetch it, until {until} at the latest. Make them fetch it now:\n\n{}",
        table.render(output)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(published_for: u64) -> Value {
        json!({
            "revoked": ["a", "b"], "promoted": "c", "published_for": published_for, "added": ["c", "d"],
            "believed_offline_until": "2026-11-23T02:00:00Z",
            "impact": {
                "algorithm": "ES256", "state": "active", "active_since": "2026-11-01T00:00:00Z",
                "tokens_until": "2026-11-23T02:00:00Z", "clients": 3, "publish_before": 3600,
                "caches": [{ "name": "Istio", "keeps": 1200 }, { "name": "Envoy", "keeps": 300 }],
            },
        })
    }

    #[test]
    fn it_is_said_which_verifiers_do_not_know_the_next_signer_yet() {
        assert!(known(&done(3600)).ends_with("verifiers know it"));
        assert!(known(&done(1200)).ends_with("longer than the known caches keep keys"));
        assert!(known(&done(300)).ends_with("(Istio up to 20m)"));
        assert!(known(&done(0)).ends_with("(Istio up to 20m, Envoy up to 5m)"));
    }

    #[test]
    fn the_radius_tells_tokens_clients_the_next_signer_and_what_all_adds() {
        let args =
            |all| Args { kid: Kid::parse("a").unwrap(), all, dry_run: true, yes: false, api: ApiFlags::default() };
        let all = radius(&args(true), &done(0));
        for text in ["since 2026-11-01", "3 get ES256", "a key that is made now", "revokes b too", "until 2026-11-23"] {
            assert!(all.contains(text), "{text} in\n{all}");
        }
        assert!(radius(&args(false), &done(0)).contains("would discard the pending keys"));
    }

    #[test]
    fn every_change_since_the_key_went_active_is_told() {
        let since = "2026-11-01T00:00:00Z";
        let told = |changes: Option<&[Value]>| forgeable(changes, since, Output::new(true));
        assert!(told(None).contains("`edi audit list --since 2026-11-01T00:00:00Z`"));
        assert!(told(Some(&[])).contains("Nothing was changed"));
        let change = json!({ "at": "2026-11-02T00:00:00Z", "actor": "eve", "action": "client.create", "target": "x" });
        let all = told(Some(std::slice::from_ref(&change)));
        assert!(all.contains("eve") && all.contains("client.create") && !all.contains("more:"), "{all}");
        assert!(told(Some(&vec![change; TOLD + 7])).contains("and 7 more"));
    }

    #[test]
    fn afterwards_every_known_verifier_has_its_command() {
        let text = aftermath(&done(0), "https://edi.example", Output::new(true));
        for (name, _) in REFRESH {
            assert!(text.contains(name), "{text}");
        }
        assert!(text.contains("--issuer https://edi.example |"), "{text}");
    }
}
