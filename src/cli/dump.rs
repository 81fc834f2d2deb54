//! `edi dump`: what is registered, as the files that `edi apply` takes.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::Value;

use super::api::{Api, ApiFlags};
use super::files::document::{self, Kind};
use super::files::{self, render};
use super::input::confirm;
use super::output::Progress;
use super::{Exit, Failure, Output, view};

/// Write what is registered as YAML files, without secrets.
///
/// Applying them again changes nothing. With -o, a file for each thing: clients/ID.yaml and deployments/ID.yaml. That a
/// client is enabled is left out: applying the file does not let in whom an emergency kept out meanwhile.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi dump                              # one document after the other
  edi dump -o edi.d && git -C edi.d diff
  edi dump | edi diff -f -              # no difference")]
pub(super) struct Args {
    /// A folder for the files, or - for standard output
    #[arg(long, short, value_name = "DIR|-", default_value = "-", allow_hyphen_values = true)]
    output: PathBuf,
    /// Do not ask before files are replaced
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let wanted = ["edi:read", "edi:clients edi:deployments", "edi:admin"];
    let mut api = Api::new(&args.api, &[])?.wanting(&wanted);
    let mut documents = Vec::new();
    for kind in Kind::ALL {
        for view in api.list(&[kind.collection()], &[]).await? {
            documents.push((kind, view::text(&view, kind.id()), document::of_view(kind, &view)));
        }
    }
    if output.json {
        let all: Vec<Value> = documents
            .into_iter()
            .map(|(_, _, members)| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            .collect();
        return output.json(&all);
    }
    if args.output.as_os_str() == "-" {
        let text: String = documents.iter().map(|(_, _, document)| render(document)).collect();
        return output.line(text.trim_end());
    }
    let files = documents
        .iter()
        .map(|(kind, id, document)| (args.output.join(kind.collection()).join(format!("{id}.yaml")), render(document)));
    write(&args.output, files.collect(), args.yes, output)
}

fn write(folder: &Path, files: Vec<(PathBuf, String)>, yes: bool, output: Output) -> Result<(), Failure> {
    let same = |(path, text): &(PathBuf, String)| std::fs::read_to_string(path).is_ok_and(|there| there == *text);
    let there = if folder.is_dir() { files::files_below(folder)? } else { Vec::new() };
    let stale: Vec<PathBuf> = there.into_iter().filter(|path| !files.iter().any(|(new, _)| new == path)).collect();
    let (unchanged, write): (Vec<_>, Vec<_>) = files.into_iter().partition(same);
    let replaced: Vec<&PathBuf> = write.iter().map(|(path, _)| path).filter(|path| path.exists()).collect();
    if !replaced.is_empty() {
        let names: Vec<String> = replaced.iter().take(5).map(|path| path.display().to_string()).collect();
        confirm(&format!("Replace {} files ({}, …)? Comments in them go.", replaced.len(), names.join(", ")), yes)?;
    }
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::new(Exit::Failed, format!("{} cannot be written: {error}", path.display()))
    };
    let mut progress = Progress::start(write.len(), "files");
    for (n, (path, text)) in write.iter().enumerate() {
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
        std::fs::write(path, text).map_err(|error| failed(path, &error))?;
        progress.at(n + 1);
    }
    progress.clear();
    output.line(format!(
        "{} {} files are written to {}, {} were the same",
        output.good("ok"),
        write.len(),
        folder.display(),
        unchanged.len()
    ))?;
    for path in stale {
        output.note(format!("note: {} is of nothing that is registered", path.display()));
    }
    Ok(())
}
