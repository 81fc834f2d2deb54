//! `edi token inspect`: a token taken apart, and the verdict of a verifier.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::input::token_from_stdin;
use super::verify::{self, Decoded, Expected};
use super::{Exit, Failure, Output, issuer, parse, view};
use crate::ambient::{Clock as _, SystemClock};
use crate::cli::output::printable;
use crate::config::{Issuer, span};
use crate::model::time::Timestamp;

/// Show a token and say why a verifier would refuse it.
///
/// Exit code 0: a verifier accepts it. 1: it is refused, or nothing was given to verify it against. 65: it is no token.
/// The keys come from --issuer or --jwks-file, never from the issuer that the token itself names.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi token get | edi token inspect - --issuer https://edi.example.com --audience model-prediction-api
  edi token inspect - --jwks-file jwks.json < token.txt")]
pub(super) struct Args {
    /// The token, on standard input: write -
    #[arg(value_name = "-", value_parser = parse::stdin_only, allow_hyphen_values = true)]
    token: Option<()>,
    /// The issuer a verifier trusts; its published keys are fetched
    #[arg(long, value_name = "URL", env = "EDI_ISSUER", hide_env_values = true)]
    issuer: Option<Issuer>,
    /// The audience a verifier stands for
    #[arg(long, value_name = "AUDIENCE", value_parser = parse::audience)]
    audience: Option<String>,
    /// Take the keys from this file instead
    #[arg(long, value_name = "FILE")]
    jwks_file: Option<PathBuf>,
}

/// Does it.
pub(super) async fn run(it: Args, output: Output) -> Result<(), Failure> {
    let token = token_from_stdin()?;
    let text = token.expose().trim();
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    let decoded = verify::decode(text).map_err(|reason| {
        Failure::new(Exit::Data, format!("that is no token: {reason}")).hint("pipe in the bare access token")
    })?;
    let keys = match (&it.jwks_file, &it.issuer) {
        (Some(path), _) => Some(read_keys(path)?),
        (None, Some(issuer)) => Some(issuer::keys(issuer).await?),
        (None, None) => None,
    };
    let now = SystemClock.now();
    let expected = Expected {
        issuer: it.issuer.as_ref().map(Issuer::as_str),
        audience: it.audience.as_deref(),
        keys: keys.as_deref(),
    };
    let reasons = decoded.refusals(&expected, now);
    let verdict = match (&reasons[..], &keys) {
        ([], Some(_)) => "accepted",
        ([], None) => "unverified",
        _ => "refused",
    };
    if output.json {
        output.json(&json!({
            "verdict": verdict, "signature_verified": keys.is_some() && signature_holds(&decoded, &expected, now),
            "reasons": reasons, "header": decoded.header, "claims": decoded.claims,
        }))?;
    } else {
        show(&decoded, &expected, now, output)?;
        let (word, colour): (&str, fn(Output, &str) -> String) = match verdict {
            "accepted" => ("accepted: a verifier lets it pass", Output::good),
            "unverified" => ("unverified: nothing was given to check the signature with", Output::bad),
            _ => ("refused:", Output::bad),
        };
        output.line(format!("\n{}", colour(output, word)))?;
        for reason in &reasons {
            output.line(format!("  - {reason}"))?;
        }
        note_what_was_not_judged(&expected, &decoded, output);
    }
    if verdict == "accepted" { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

fn read_keys(path: &PathBuf) -> Result<Vec<Value>, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Data, format!("the key set at {shown} cannot be read: {error}")))?;
    issuer::key_set(serde_json::from_str(&text).ok()).ok_or_else(|| {
        Failure::new(Exit::Data, format!("{shown} holds no key set")).hint("expected JSON as in {\"keys\": [ … ]}")
    })
}

/// Whether the signature alone holds, whatever else is wrong.
fn signature_holds(decoded: &Decoded<'_>, expected: &Expected<'_>, now: Timestamp) -> bool {
    let keyless = Expected { keys: None, ..*expected };
    let with = decoded.refusals(expected, now).len();
    let algorithm = view::text(&decoded.header, "alg").parse::<crate::model::algorithm::Algorithm>().is_ok();
    algorithm && with == decoded.refusals(&keyless, now).len()
}

fn show(decoded: &Decoded<'_>, expected: &Expected<'_>, now: Timestamp, output: Output) -> Result<(), Failure> {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    output.line(format!("{}\n{}", output.strong("header"), pretty(&decoded.header)))?;
    output.line(format!("{}\n{}", output.strong("claims"), pretty(&decoded.claims)))?;
    let ago = |at: Timestamp| {
        if at <= now {
            format!("{at}, {} ago", span(now.since(at)))
        } else {
            format!("{at}, in {}", span(at.since(now)))
        }
    };
    for (claim, word) in [("iat", "issued "), ("exp", "expires")] {
        if let Ok(Some(at)) = decoded.instant(claim) {
            output.line(format!("{word}  {}", ago(at)))?;
        }
    }
    match expected.issuer {
        Some(issuer) => output.line(format!("judged as a verifier that trusts {issuer}")),
        None => Ok(()),
    }
}

fn note_what_was_not_judged(expected: &Expected<'_>, decoded: &Decoded<'_>, output: Output) {
    if expected.keys.is_none() {
        let claimed = view::text(&decoded.claims, "iss");
        output.note(format!(
            "note: nothing above is proven. Name the issuer you trust with --issuer or EDI_ISSUER; the token says it is {}",
            printable(&claimed)
        ));
    } else if expected.issuer.is_none() {
        output.note("note: the issuer was not judged; name it with --issuer");
    }
    if expected.audience.is_none() {
        output.note("note: the audience was not judged; name it with --audience");
    }
}
