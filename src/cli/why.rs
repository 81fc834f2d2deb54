//! `edi why`: the operator-side reason of a recent refusal.

use clap::Args as ClapArgs;

use super::api::{Api, ApiFlags, Needs};
use super::table::facts;
use super::{Exit, Failure, Output, view};
use crate::model::scope::AdminScope;

const READ: Needs = &[AdminScope::Read, AdminScope::Admin];

/// Say why a request was refused, from its id: more than its caller was told.
///
/// The id is in every answer's X-Request-Id and in edi's own error messages. The server remembers the last few thousand
/// refusals since it started; its log has the others.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Example:
  edi why 898aa590fb980de5c9b3e719")]
pub(super) struct Args {
    /// The id of the request
    #[arg(value_name = "REQUEST-ID", value_parser = request_id, allow_hyphen_values = true)]
    request_id: String,
    #[command(flatten)]
    api: ApiFlags,
}

/// An id of a request, also as problem details show it.
fn request_id(text: &str) -> Result<String, &'static str> {
    let id = text.strip_prefix("urn:edi:request:").unwrap_or(text);
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let whole = (1..=64).contains(&id.len()) && id.bytes().all(fits) && !matches!(id, "." | "..");
    if whole { Ok(id.to_owned()) } else { Err("expected the X-Request-Id of an answer: 1 to 64 of A-Z a-z 0-9 . _ -") }
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&args.api, READ)?;
    let refusal = match api.get(&["refusals", &args.request_id]).await {
        Err(_) if api.last_status() == 404 => {
            let none = format!("no refusal of {} is remembered, or not any more", args.request_id);
            return Err(
                Failure::new(Exit::Failed, none).hint("the server's log has a line under this id, if it was asked")
            );
        }
        answered => answered?,
    };
    if output.json {
        return output.json(&refusal);
    }
    let text = |key| view::text(&refusal, key);
    let client = Some(text("client_id")).filter(|id| !id.is_empty());
    output.line(facts(&[
        ("reason", text("reason")),
        ("answer", format!("{} {}", text("status"), text("code"))),
        ("asked", format!("{} {}", text("method"), text("path"))),
        ("client", client.unwrap_or_else(|| "nobody that proved itself".into())),
        ("address", text("address")),
        ("at", text("at")),
        ("request id", text("request_id")),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_as_answers_and_problems_show_it() {
        assert_eq!(request_id("urn:edi:request:r-1").as_deref(), Ok("r-1"));
        assert_eq!(request_id("898aa590fb980de5c9b3e719").as_deref(), Ok("898aa590fb980de5c9b3e719"));
        for bad in ["", "..", "a/b", "a b", &"x".repeat(65)] {
            assert!(request_id(bad).is_err(), "{bad}");
        }
    }
}
