//! `edi doctor`: an issuer as a proxy and a client see it, from where this runs. Any issuer, not edi alone.
//!
//! [`fetch`] gets, [`metadata`] and [`jwks`] judge documents, [`tls`] the way to them, [`finding`] is what they find. Knows nothing of edi's own
//! API.

mod fetch;
mod finding;
mod jwks;
mod metadata;
mod tls;

use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use self::fetch::Fetched;
use self::finding::{Findings, Outcome};
use super::api::{Api, ApiFlags};
use super::input::secret_from_stdin;
use super::verify::{self, Expected};
use super::{Exit, Failure, Output, issuer, parse, view};
use crate::ambient::{Clock as _, SystemClock};
use crate::config::{Issuer, span};
use crate::model::id::ClientId;
use crate::model::time::Timestamp;
use crate::secret::Secret;

/// Clocks further apart than this want mending, and further than that break things: tokens look issued in the future.
const CLOCK_WARNS: Duration = Duration::from_secs(5);
const CLOCK_FAILS: Duration = Duration::from_mins(1);
/// Slower than this, a verifier that fetches keys holds its callers up.
const SLOW: Duration = Duration::from_secs(1);

/// Check an issuer as a proxy and a client see it, from where this runs.
///
/// Discovery by both standards, the key set as it is fetched, caching, clocks, redirects, CORS, and, given a client, a
/// token from end to end. Says what is wrong and what mends it. Works against any issuer, not edi alone.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi doctor                                          # the issuer of `edi login` or keys/operator.json
  edi doctor --issuer https://edi.example.com
  EDI_CLIENT_SECRET=… edi doctor --issuer https://edi.example.com --client-id svc --audience model-prediction-api
  kubectl exec deploy/my-proxy -- edi doctor --issuer https://edi.example.com    # from where it matters
  edi doctor --issuer https://keycloak.example.com/realms/models --json | jq '.findings[] | select(.outcome != \"ok\")'

Exit codes: 0 nothing fails (there may be warnings), 1 something does")]
pub(super) struct Args {
    /// The issuer: the text that `iss` carries and verifiers are configured with [default: the operator's own]
    #[arg(long, value_name = "URL", env = "EDI_ISSUER", hide_env_values = true)]
    issuer: Option<Issuer>,
    /// Get a token as this client and verify it; its secret is in EDI_CLIENT_SECRET or on standard input
    #[arg(long, value_name = "ID", env = "EDI_CLIENT_ID", hide_env_values = true)]
    client_id: Option<ClientId>,
    /// Read the client secret from standard input
    #[arg(long, requires = "client_id")]
    client_secret_stdin: bool,
    /// What to ask for
    #[arg(long, value_name = "SCOPE", requires = "client_id")]
    scope: Option<String>,
    /// The audience that the verifiers stand for
    #[arg(long, value_name = "AUDIENCE", value_parser = parse::audience)]
    audience: Option<String>,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let issuer = match &args.issuer {
        Some(issuer) => issuer.clone(),
        None => own_issuer()?,
    };
    let secret = secret(&args)?;
    let mut all = Findings::default();
    let oauth = fetch::get(&issuer.metadata_url(), &[("origin", "https://doctor.example")]).await;
    let oidc = fetch::get(&issuer.endpoint("/.well-known/openid-configuration"), &[]).await;
    let first = metadata::judge(metadata::OAUTH, &issuer, &oauth, &mut all);
    let second = metadata::judge(metadata::OIDC, &issuer, &oidc, &mut all);
    let documents: Vec<&Value> = [&first, &second].into_iter().flatten().collect();
    metadata::judge_content(&issuer, &documents, &mut all);
    if let Some(known) = documents.first() {
        let keys = keys(known, &mut all).await;
        token_endpoint(known, &mut all).await;
        token(&args, &issuer, known, secret.as_ref(), keys.as_deref(), &mut all).await;
    } else if all.count(Outcome::Failure) == 0 {
        let fix = "the issuer publishes its metadata at one of the two places above; check its URL, path included";
        all.fail("metadata", "there is none", fix);
    }
    let now = SystemClock.now();
    let reached: Vec<&Fetched> = [&oauth, &oidc].into_iter().filter_map(|it| it.as_ref().ok()).collect();
    clock(&reached, now, &mut all);
    manner(&reached, &mut all);
    tls::judge(&issuer, !reached.is_empty(), now, &mut all).await;
    report(&issuer, &all, output)
}

/// The issuer of the credentials or the login that other commands go by.
fn own_issuer() -> Result<Issuer, Failure> {
    let named = std::env::var_os("EDI_CREDENTIALS").filter(|path| !path.is_empty());
    let flags = named.map_or_else(ApiFlags::default, |path| ApiFlags::of(path.into()));
    let own = Api::new(&flags, &[]).map(|api| api.issuer().clone());
    own.map_err(|failure| {
        Failure::new(Exit::Usage, format!("no issuer is named, and there is none to go by: {}", failure.message))
            .hint("name it: edi doctor --issuer https://edi.example.com, or EDI_ISSUER")
    })
}

fn secret(args: &Args) -> Result<Option<Secret>, Failure> {
    if args.client_secret_stdin {
        return secret_from_stdin("client secret").map(Some);
    }
    Ok(std::env::var("EDI_CLIENT_SECRET").ok().filter(|text| !text.is_empty()).map(Secret::new))
}

async fn keys(known: &Value, all: &mut Findings) -> Option<Vec<Value>> {
    let url = view::text(known, "jwks_uri");
    if url.is_empty() {
        return None;
    }
    let came = fetch::get(&url, &[]).await;
    let keys = jwks::judge(&came, all)?;
    jwks::judge_keys(&keys, known, all);
    if let Ok(came) = &came {
        let tag = came.header("etag").to_owned();
        let second = if tag.is_empty() { None } else { fetch::get(&url, &[("if-none-match", &tag)]).await.ok() };
        jwks::judge_caching(came, second.as_ref(), all);
    }
    Some(keys)
}

/// Whether whoever answers there is a token endpoint (RFC 6749 §5.2).
async fn token_endpoint(known: &Value, all: &mut Findings) {
    const CHECK: &str = "token endpoint";
    let url = view::text(known, "token_endpoint");
    if url.is_empty() {
        return;
    }
    match fetch::post(&url, "").await {
        Err(why) => {
            all.fail(CHECK, format!("{url}: {why}"), "make token_endpoint reachable from where the clients are");
        }
        Ok(came) if (300..400).contains(&came.status) => {
            let fix = "publish the final URL: a redirected POST loses its body, or the credentials";
            all.fail(CHECK, format!("{url} redirects to {}", came.header("location")), fix);
        }
        Ok(came) if (400..500).contains(&came.status) && came.object().is_some_and(|it| it.get("error").is_some()) => {
            all.ok(CHECK, format!("{url} answers as one ({})", came.status));
        }
        Ok(came) => {
            let fix = "the proxy in front must pass POST there, body and Authorization included";
            all.fail(CHECK, format!("{url} answers an empty POST with {} and no OAuth error", came.status), fix);
        }
    }
}

/// A token from end to end.
async fn token(
    args: &Args,
    issuer: &Issuer,
    known: &Value,
    secret: Option<&Secret>,
    keys: Option<&[Value]>,
    all: &mut Findings,
) {
    const CHECK: &str = "token";
    let (Some(client), Some(secret)) = (&args.client_id, secret) else {
        all.skip(CHECK, "no client is given: --client-id, and its secret in EDI_CLIENT_SECRET");
        return;
    };
    let parameters: Vec<(&str, &str)> = args.scope.iter().map(|scope| ("scope", scope.as_str())).collect();
    let endpoint = view::text(known, "token_endpoint");
    let answer =
        match issuer::token(issuer, &endpoint, client.as_str(), &issuer::Proof::Secret(secret), &parameters).await {
            Ok(answer) => answer,
            Err(refusal) => {
                all.fail(CHECK, refusal.failure.message, refusal.failure.hint.unwrap_or_default());
                return;
            }
        };
    let text = Secret::new(view::text(&answer, "access_token"));
    let Ok(decoded) = verify::decode(text.expose()) else {
        all.warn(CHECK, "the access token is no JWT", "verifiers must introspect; none can verify it by the key set");
        return;
    };
    let expected = Expected { issuer: Some(issuer.as_str()), audience: args.audience.as_deref(), keys };
    // This machine's clock is judged apart: a second of difference is no fault of the token's.
    let now = SystemClock.now().plus(Duration::from_secs(2));
    for reason in decoded.refusals(&expected, now) {
        // Issuers older than RFC 9068 say JWT, and leave members out: verifiers that insist are few.
        if reason.starts_with("typ is") || reason.contains("RFC 9068 requires") {
            all.warn(
                CHECK,
                reason,
                "strict verifiers (RFC 9068) refuse it; configure them not to insist, or the issuer to comply",
            );
        } else {
            all.fail(CHECK, reason, "compare what verifiers expect with the claims: `edi token inspect -`");
        }
    }
    if all.is_clean(CHECK) {
        let claim = |name: &str| view::text(&decoded.claims, name);
        let life = match (decoded.instant("exp"), decoded.instant("iat")) {
            (Ok(Some(end)), Ok(Some(start))) => span(end.since(start)),
            _ => "?".to_owned(),
        };
        let alg = view::text(&decoded.header, "alg");
        all.ok(CHECK, format!("verified with the key set: {alg}, aud {}, good for {life}", claim("aud")));
    }
}

/// The issuer's clock against this machine's.
fn clock(reached: &[&Fetched], now: Timestamp, all: &mut Findings) {
    const CHECK: &str = "clock";
    let told = reached.iter().find_map(|came| Some((http_date(came.header("date"))?, came.took)));
    let Some((there, took)) = told else {
        all.skip(CHECK, "no Date in the answers");
        return;
    };
    // A whole second, and the way there and back, are not known.
    let apart = there.since(now).max(now.since(there)).saturating_sub(took + Duration::from_secs(1));
    let which = if there > now { "ahead of" } else { "behind" };
    let found = format!("the issuer's clock is {} {which} this machine's", span(apart));
    let fix = "keep both by NTP (`timedatectl`); tokens look issued in the future, or expired, where clocks differ";
    if apart > CLOCK_FAILS {
        all.fail(CHECK, found, fix);
    } else if apart > CLOCK_WARNS {
        all.warn(CHECK, found, fix);
    } else {
        all.ok(CHECK, "within some seconds of this machine's");
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? + 1;
    Timestamp::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))
}

/// What is no fault, and good to know.
fn manner(reached: &[&Fetched], all: &mut Findings) {
    let Some(slowest) = reached.iter().map(|came| came.took).max() else { return };
    let millis = slowest.as_millis();
    if slowest > SLOW {
        let fix = "look at the way there: a verifier that fetches keys holds its callers up that long";
        all.warn("latency", format!("{millis} ms to an answer"), fix);
    } else {
        all.ok("latency", format!("{millis} ms to an answer"));
    }
    let origin = reached.first().map_or("", |came| came.header("access-control-allow-origin"));
    if origin.is_empty() {
        all.skip("CORS", "not open: programs in browsers cannot read the metadata, all others can");
    } else {
        all.ok("CORS", format!("open to {origin}"));
    }
}

fn report(issuer: &Issuer, all: &Findings, output: Output) -> Result<(), Failure> {
    let (failures, warnings) = (all.count(Outcome::Failure), all.count(Outcome::Warning));
    if output.json {
        output.json(&json!({
            "issuer": issuer.as_str(), "ok": failures == 0, "failures": failures, "warnings": warnings,
            "findings": all.0,
        }))?;
    } else {
        output.line(all.text(output))?;
        let verdict = match (failures, warnings) {
            (0, 0) => output.good("nothing is wrong, as seen from here"),
            (0, warnings) => output.changed(&format!("it works from here; {warnings} things will surprise somebody")),
            (failures, _) => output.bad(&format!("{failures} things are wrong, as seen from here")),
        };
        output.line(format!("\n{verdict}"))?;
    }
    if failures == 0 { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_answers_are_read() {
        let at = http_date("Sun, 22 Nov 2026 01:02:03 GMT").unwrap();
        assert_eq!(at.rfc3339(), "2026-11-22T01:02:03Z");
        for odd in ["", "now", "Sun, 22 Foo 2026 01:02:03 GMT", "Sun, 22 Nov"] {
            assert!(http_date(odd).is_none(), "{odd}");
        }
    }
}
