//! `edi backup`: everything a running edi knows, in one file; and whether such a file is sound.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};

use super::api::{Api, ApiFlags};
use super::exchange::Lost;
use super::output::printable;
use super::progress::Bar;
use super::table::facts;
use super::{Exit, Failure, Output};
use crate::model::scope::AdminScope;
use crate::store::backup::{self, BackupError, Summary};

/// Write everything a running edi knows into one file, or judge such a file.
///
/// The file is one consistent state with a checksum, readable by its owner alone. What the master key seals stays
/// sealed in it: keep the master key too, and elsewhere. A file that is there is replaced once the new one is sound.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where the backup goes
    #[arg(required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge a backup: that it is whole, that every record can be read, and what is in it
    ///
    /// Asks nobody and needs no key. Exit code 65 when the file is no backup or damaged.
    Verify {
        /// The backup
        file: PathBuf,
    },
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match (args.command, args.file) {
        (Some(Command::Verify { file }), _) => {
            let summary = judge_aside(file.clone(), output).await?;
            tell(&summary, &file, output)
        }
        (None, Some(file)) => {
            let summary = write(&args.api, &file, output).await?;
            tell(&summary, &file, output)
        }
        (None, None) => Err(Failure::new(Exit::Usage, "say where the backup goes")),
    }
}

async fn write(api: &ApiFlags, file: &Path, output: Output) -> Result<Summary, Failure> {
    let cannot = |error: io::Error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", file.display()));
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if file.is_dir() {
        return Err(Failure::new(Exit::Usage, format!("{} is a folder", file.display())).hint("name a file in it"));
    }
    let mut api = Api::new(api, &[AdminScope::Admin])?;
    // For its owner alone from the first byte, and gone again unless it gets its name.
    let mut new = tempfile::Builder::new().prefix(".edi-backup-").tempfile_in(folder).map_err(cannot)?;
    let mut bar = Bar::new("backup", None, output.json);
    let got = api
        .download(&["backup"], &mut |piece: &[u8]| {
            bar.add(piece.len());
            new.write_all(piece)
        })
        .await;
    drop(bar);
    match got {
        Ok(()) => {}
        Err(Lost::Sink(error)) => return Err(cannot(error)),
        Err(Lost::Source(failure)) => return Err(failure),
    }
    new.as_file().sync_all().map_err(cannot)?;
    // What is on the disk is judged, not what was sent.
    let summary = judge_aside(new.path().to_owned(), output).await.map_err(|failure| {
        Failure::new(Exit::Failed, "the backup broke off").hint(format!(
            "try again; the server's log says why. A file that was at {} is as it was ({})",
            file.display(),
            failure.message
        ))
    })?;
    new.persist(file).map_err(|error| cannot(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot)?;
    Ok(summary)
}

async fn judge_aside(file: PathBuf, output: Output) -> Result<Summary, Failure> {
    tokio::task::spawn_blocking(move || judge(&file, output.json)).await.map_err(anyhow::Error::from)?
}

/// Reads a backup whole.
pub(super) fn judge(file: &Path, json: bool) -> Result<Summary, Failure> {
    let bytes = file.metadata().map(|metadata| metadata.len()).map_err(|error| unusable(file, &error.into()))?;
    let bar = std::cell::RefCell::new(Bar::new("verify", Some(bytes * 2), json));
    backup::inspect(|| Ok(BufReader::with_capacity(256 * 1024, Counted { from: File::open(file)?, bar: &bar })))
        .map_err(|error| unusable(file, &error))
}

pub(super) fn unusable(file: &Path, error: &BackupError) -> Failure {
    Failure::new(Exit::Data, format!("{}: {error}", file.display()))
}

/// A file whose reading moves a bar.
pub(super) struct Counted<'a> {
    pub(super) from: File,
    pub(super) bar: &'a std::cell::RefCell<Bar>,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.bar.borrow_mut().add(read);
        Ok(read)
    }
}

/// A backup's content as JSON.
pub(super) fn view(summary: &Summary, file: &Path) -> Value {
    let Summary { header, footer, sha256, collections, .. } = summary;
    let hex = sha256.iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    json!({
        "file": file.display().to_string(),
        "format": backup::FORMAT,
        "edi": header.edi,
        "created_at": serde_json::to_value(header).ok().and_then(|header| header.get("created_at").cloned()),
        "issuer": header.issuer,
        "installation": header.installation,
        "master_key_id": master_key_id(summary),
        "revision": footer.revision,
        "records": collections.values().sum::<u64>(),
        "collections": collections,
        "changes_meanwhile": footer.changes,
        "sha256": hex,
    })
}

/// The master key that its state needs.
pub(super) fn master_key_id(summary: &Summary) -> &str {
    summary.installation.as_ref().map_or(&summary.header.master_key_id, |found| &found.master_key_id)
}

fn tell(summary: &Summary, file: &Path, output: Output) -> Result<(), Failure> {
    let view = view(summary, file);
    if output.json {
        return output.json(&view);
    }
    let text = |name: &str| {
        let value = view.get(name);
        value.and_then(Value::as_str).map_or_else(|| value.map(Value::to_string).unwrap_or_default(), printable)
    };
    let collections: Vec<String> =
        summary.collections.iter().map(|(name, count)| format!("{} {count}", printable(name))).collect();
    let rows =
        ["file", "created_at", "edi", "issuer", "installation", "master_key_id", "revision", "records", "sha256"];
    let mut rows: Vec<(&str, String)> = rows.iter().map(|name| (*name, text(name))).collect();
    rows.insert(rows.len() - 1, ("collections", collections.join(", ")));
    output.line(facts(&rows))?;
    output.line(format!("\n{}", output.good("sound: whole, and every record can be read")))
}
