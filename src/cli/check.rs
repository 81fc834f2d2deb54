//! `edi check`: judges the configuration and does nothing else.

use clap::Args as ClapArgs;
use serde_json::json;

use super::{ConfigFlags, Failure, Output, table};
use crate::config;

/// Judge the configuration: every problem at once, without serving.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    flags: ConfigFlags,
}

/// Prints what would be served, or every problem.
///
/// # Errors
/// Exit code 64 when the configuration has problems.
pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let sources = args.flags.sources();
    let file = sources.file().map(|path| path.display().to_string());
    let config = match config::load(&sources) {
        Ok(config) => config,
        Err(problems) if output.json => {
            let problems: Vec<_> = problems
                .iter()
                .map(|it| json!({ "key": it.key, "value": it.value, "reason": it.reason, "problem": it.to_string() }))
                .collect();
            output.json(&json!({ "ok": false, "file": file, "problems": problems }))?;
            return Err(Failure::silent(super::Exit::Config));
        }
        Err(problems) => return Err(Failure::of_config(&problems)),
    };
    let remarks = config.remarks();
    if output.json {
        return output.json(&json!({
            "ok": true, "file": file, "issuer": config.issuer.as_str(), "remarks": remarks,
            "listen": { "public": config.listen.public, "admin": config.listen.admin },
        }));
    }
    output.line(format!("{} the configuration works", output.good("ok")))?;
    output.line(table::facts(&[
        ("file", file.unwrap_or_else(|| "none; built-in defaults".into())),
        ("issuer", config.issuer.to_string()),
        ("public", config.listen.public.to_string()),
        ("admin", config.listen.admin.to_string()),
        ("store", format!("{:?} in {}", config.store.engine, config.store.path.display()).to_lowercase()),
        ("keys", config.keys.algorithms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        ("rotation", format!("every {}", config::span(config.keys.rotate_every))),
        ("tokens", format!("{}, at most {}", config::span(config.tokens.ttl), config::span(config.tokens.max_ttl))),
    ]))?;
    for remark in remarks {
        output.note(format!("note: {remark}"));
    }
    Ok(())
}
