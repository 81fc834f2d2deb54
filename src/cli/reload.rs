//! `edi reload`: a running edi takes in what its configuration says now.

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::api::{Api, ApiFlags};
use super::output::printable;
use super::{Failure, Output};
use crate::model::scope::AdminScope;

/// Make a running edi take in its configuration and certificates; says what needs a start.
///
/// The same happens at SIGHUP. It reads the file it was started with; its environment and flags stay as they were.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let report = Api::new(&args.api, &[AdminScope::Admin])?.post(&["reload"], &json!({})).await?;
    if output.json {
        return output.json(&report);
    }
    let settings = |name: &str| report.get(name).and_then(Value::as_array).into_iter().flatten();
    let text = |setting: &Value, name: &str| match setting.get(name) {
        Some(Value::String(text)) => printable(text),
        Some(value) => printable(&value.to_string()),
        None => String::new(),
    };
    let mut said = false;
    for (list, word) in [("applied", output.good("in force")), ("needs_restart", output.bad("needs a restart"))] {
        for setting in settings(list) {
            let (key, from, to) = (text(setting, "key"), text(setting, "from"), text(setting, "to"));
            output.line(format!("{word}  {key}: {from} → {to}"))?;
            said = true;
        }
    }
    if report.get("certificates_taken_in").and_then(Value::as_bool) == Some(true) {
        output.line(format!("{}  the certificates on disk", output.good("in force")))?;
        said = true;
    }
    if said { Ok(()) } else { output.line("nothing has changed") }
}
