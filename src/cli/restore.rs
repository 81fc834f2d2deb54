//! `edi restore`: makes the store of a backup, offline, where there is none.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::Value;

use super::backup::{Counted, judge, master_key_id, unusable, view};
use super::progress::Bar;
use super::{ConfigFlags, Exit, Failure, Output};
use crate::config::{Config, Engine};
use crate::keys::master::MasterKey;
use crate::store::Revision;
use crate::store::backup::{Reader, Summary};
use crate::store::sled::{RestoreError, SledStore};

/// Make the store of a backup, offline, where there is none yet.
///
/// The folder store.path names must be missing or empty. The backup is judged first; a restore that is cut short leaves
/// nothing. edi then needs the master key that sealed it.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    flags: ConfigFlags,
}

/// Does it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let config = args.flags.load()?;
    if config.store.engine == Engine::Memory {
        return Err(Failure::new(Exit::Usage, "a store in memory keeps nothing that is restored into it"));
    }
    let work = move || restore(&config, &args.file, output);
    tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from)?
}

fn restore(config: &Config, file: &Path, output: Output) -> Result<(), Failure> {
    let summary = judge(file, output.json)?;
    let key = fitting_key(config, &summary)?;
    let opened = File::open(file).map_err(|error| unusable(file, &error.into()))?;
    let bytes = opened.metadata().map(|metadata| metadata.len()).ok();
    let bar = RefCell::new(Bar::new("restore", bytes, output.json));
    let from = BufReader::with_capacity(256 * 1024, Counted { from: opened, bar: &bar });
    let mut reader = Reader::new(from).map_err(|error| unusable(file, &error))?;
    let entries = std::iter::from_fn(|| reader.entry().transpose());
    let folder = &config.store.path;
    SledStore::restore(folder, entries, Revision(summary.footer.revision)).map_err(|error| match error {
        RestoreError::Backup(error) => unusable(file, &error),
        error => Failure::new(Exit::Failed, error.to_string()),
    })?;
    drop(bar);
    let mut told = view(&summary, file);
    if let Value::Object(members) = &mut told {
        members.insert("store".into(), folder.display().to_string().into());
    }
    if output.json {
        output.json(&told)?;
    } else {
        let records: u64 = summary.collections.values().sum();
        output.line(format!(
            "restored into {}: {records} records, as of revision {}",
            folder.display(),
            summary.footer.revision
        ))?;
    }
    match key {
        KeyFile::Fits => output.note("next: `edi serve`; operators' credentials are those of the backup"),
        KeyFile::Missing => output.note(format!(
            "next: put the master key with the id {} at {}, then `edi serve`; operators' credentials are those of the \
             backup",
            master_key_id(&summary),
            config.keys.master_key_file.display()
        )),
    }
    Ok(())
}

enum KeyFile {
    Fits,
    /// It may come later.
    Missing,
}

/// A master key that is there must be the right one: the wrong one would only show when edi starts.
fn fitting_key(config: &Config, summary: &Summary) -> Result<KeyFile, Failure> {
    let file = &config.keys.master_key_file;
    if !file.exists() {
        return Ok(KeyFile::Missing);
    }
    let master = MasterKey::load(file).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let (found, wanted) = (master.id().to_string(), master_key_id(summary));
    if found == wanted {
        return Ok(KeyFile::Fits);
    }
    let message = format!(
        "{} is not the master key that sealed this backup (it has the id {found}, the backup needs {wanted}); nothing \
         was changed",
        file.display()
    );
    Err(Failure::new(Exit::Failed, message).hint("put the right one there, or name it with --master-key-file"))
}
