//! The first start: master key, signing keys and one operator, made together or not at all.
//!
//! Files are written and synced under temporary names, then one commit happens on condition that the store is new, then
//! the files get their names. A crash in between leaves temporary files that the next start finishes (the commit
//! happened) or discards (it did not).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ambient::Ambient;
use crate::keys::KeyError;
use crate::keys::master::{MasterKey, MasterKeyError};
use crate::keys::masters;
use crate::keys::private_file::{self, PrivateFileError, Staged};
use crate::keys::secrets::{self, SecretKeys};
use crate::model::algorithm::Algorithm;
use crate::model::client::{Client, SecretCheck, StoredSecret};
use crate::model::id::ClientId;
use crate::model::keyring::Ring;
use crate::model::scope::AdminScope;
use crate::oauth::rotation::new_ring;
use crate::store::collections::clients::{self, ChangeError};
use crate::store::collections::installation::{self, Installation, Sealed};
use crate::store::collections::{By, audit, keyrings};
use crate::store::tx::{Tx, TxError};
use crate::store::{Store, StoreError};

/// What a first start needs to know.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the master key is, or will be.
    pub master_key_file: PathBuf,
    /// Where the operator's credentials go.
    pub operator_file: PathBuf,
    /// The issuer, for the credentials file.
    pub issuer: String,
    /// The admin URL, for the credentials file.
    pub admin_url: String,
    /// The algorithms to make keys for.
    pub algorithms: Vec<Algorithm>,
    /// The longest lifetime of a token, in seconds.
    pub max_ttl: u32,
}

/// Whether the store was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It was: key files were written.
    First,
    /// It was not.
    Later,
}

/// Why edi cannot start on this store with these files. Every text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A write failed.
    #[error(transparent)]
    Write(#[from] TxError),
    /// The master key file cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A key file cannot be read or written.
    #[error(transparent)]
    PrivateFile(#[from] PrivateFileError),
    /// The store is in use, but its master key is not there.
    #[error(
        "the store is set up, but its master key is missing at {}; put it back (from your Secret or backup) and start \
         again", .0.display()
    )]
    MasterKeyMissing(PathBuf),
    /// The master key is another one.
    #[error(
        "{} is not the master key that sealed this store (it has the id {found}, the store needs {wanted}{}); put the \
         right one there, or point store.path to the store that belongs to it. Nothing was changed", file.display(),
        earlier.as_ref().map_or_else(String::new, |file| format!(", which is in {}", file.display()))
    )]
    WrongMasterKey {
        /// The file.
        file: PathBuf,
        /// Its key's id.
        found: String,
        /// The id wanted.
        wanted: String,
        /// Where that one was kept by an earlier change of the master key.
        earlier: Option<PathBuf>,
    },
    /// A key could not be made.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A file could not be written.
    #[error("cannot write {}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Two first starts raced.
    #[error("another edi set up this store at the same moment; start again")]
    Raced,
}

/// The operator's credentials file.
#[derive(Serialize, Deserialize)]
struct OperatorFile {
    issuer: String,
    admin: String,
    client_id: String,
    client_secret: String,
}

/// Makes a new store edi's, or finds that it is.
///
/// # Errors
/// [`InstallError`].
pub async fn prepare(
    store: &dyn Store,
    ambient: &Ambient,
    plan: &Plan,
) -> Result<(Arc<MasterKey>, Start), InstallError> {
    match installation::find(store).await? {
        Some(found) => Ok((Arc::new(resume(&found, plan)?), Start::Later)),
        None => Ok((Arc::new(first_start(store, ambient, plan).await?), Start::First)),
    }
}

/// The master key that the store names: in its place, or where a change of it was cut short, which is finished.
///
/// # Errors
/// When it is not there, or another one is; nothing is changed then.
pub fn master_key(found: &Installation, file: &Path) -> Result<MasterKey, InstallError> {
    let wanted = found.master_key_id.clone();
    let here = if file.exists() { Some(MasterKey::load(file)?.id().to_string()) } else { None };
    let Some((path, master)) = masters::find(file, &wanted) else {
        let earlier = masters::earlier(file, &wanted);
        return Err(match here {
            None => InstallError::MasterKeyMissing(file.into()),
            Some(found) => InstallError::WrongMasterKey { file: file.into(), found, wanted, earlier },
        });
    };
    if path != file {
        match masters::take_place(file, &path) {
            Ok(_) => {
                tracing::info!(target: "edi::keys", file = %file.display(), "a change of the master key is finished");
            }
            // Files from a Kubernetes Secret cannot be renamed; the key is good where it is.
            Err(error) => tracing::warn!(
                target: "edi::keys", %error, used = %path.display(),
                "the store needs this master key: give it the place of the old one"
            ),
        }
    } else if let Some(leftover) = Staged::leftover(file) {
        // A key that the store does not name is worth nothing; one that cannot be removed does no harm either.
        if let Err(error) = leftover.discard() {
            tracing::warn!(target: "edi::keys", %error, "a master key that was never used stays");
        }
    }
    Ok(master)
}

fn resume(found: &Installation, plan: &Plan) -> Result<MasterKey, InstallError> {
    let master = master_key(found, &plan.master_key_file)?;
    if let Some(staged) = Staged::leftover(&plan.operator_file) {
        let belongs = private_file::read(staged.waiting_at())
            .ok()
            .and_then(|bytes| serde_json::from_slice::<OperatorFile>(&bytes).ok())
            .and_then(|file| secrets::parse(&file.client_secret)?.secret_id())
            .is_some_and(|id| id == found.operator_secret);
        if belongs {
            set_aside(&plan.operator_file)?;
            staged.publish()?;
        } else {
            staged.discard()?;
        }
    }
    Ok(master)
}

async fn first_start(store: &dyn Store, ambient: &Ambient, plan: &Plan) -> Result<MasterKey, InstallError> {
    for file in [&plan.master_key_file, &plan.operator_file] {
        make_folder(file)?;
        Staged::leftover(file).map_or(Ok(()), Staged::discard)?;
    }
    // A master key that is there already was put there on purpose, from a Secret for instance.
    let (master, staged_key) = if plan.master_key_file.exists() {
        (MasterKey::load(&plan.master_key_file)?, None)
    } else {
        let master = MasterKey::generate(&*ambient.entropy);
        let staged = master.stage(&plan.master_key_file)?;
        (master, Some(staged))
    };
    let now = ambient.now();
    let mut rings = Vec::new();
    for algorithm in &plan.algorithms {
        rings.push(new_ring(ambient, &master, *algorithm, plan.max_ttl, now).await?);
    }
    let secret_keys = SecretKeys::generate(&*ambient.entropy);
    let operator = operator_id()?;
    let (secret_id, secret, at_rest) = secret_keys.make(&operator, &*ambient.entropy);
    let file = OperatorFile {
        issuer: plan.issuer.clone(),
        admin: plan.admin_url.clone(),
        client_id: operator.to_string(),
        client_secret: secret.expose().to_owned(),
    };
    let text = zeroize::Zeroizing::new(serde_json::to_vec_pretty(&file).unwrap_or_default());
    set_aside(&plan.operator_file)?;
    let staged_operator = Staged::write(&plan.operator_file, &text)?;
    let client = Client {
        client_name: Some("first operator".into()),
        secrets: vec![StoredSecret {
            id: secret_id.clone(),
            name: Some("first start".into()),
            check: SecretCheck::Generated(at_rest),
            created_at: now,
            expires_at: None,
        }],
        admin_scopes: BTreeSet::from([AdminScope::Admin]),
        ..Client::new(operator.clone(), now)
    };
    let record = Installation {
        id: hex(&ambient.random::<8>()),
        created_at: now,
        master_key_id: master.id().to_string(),
        operator: operator.clone(),
        operator_secret: secret_id,
    };
    let sealed = Sealed { sealed: secret_keys.seal(&master, &*ambient.entropy) };
    commit(store, ambient, &record, &sealed, &rings, &client).await?;
    staged_key.map_or(Ok(()), Staged::publish)?;
    staged_operator.publish()?;
    Ok(master)
}

async fn commit(
    store: &dyn Store,
    ambient: &Ambient,
    record: &Installation,
    sealed: &Sealed,
    rings: &[Ring],
    operator: &Client,
) -> Result<(), InstallError> {
    let mut tx = Tx::new(store);
    if !installation::write(&mut tx, record, sealed).await? {
        return Err(InstallError::Raced);
    }
    for ring in rings {
        tx.put(&keyrings::key(ring.algorithm), ring, None)?;
    }
    let by = By::edi(record.created_at, "installation.create", record.id.as_str());
    match clients::write::<std::convert::Infallible>(&mut tx, None, Some(operator), &by).await {
        Ok(()) => {}
        Err(ChangeError::Store(error)) => return Err(error.into()),
        Err(_) => return Err(InstallError::Raced),
    }
    let mut made = clients::differences(None, Some(operator));
    made.ids("operator", [&operator.client_id], std::iter::empty::<&str>());
    made.ids("keys", rings.iter().flat_map(|ring| &ring.keys).map(|key| &key.kid), std::iter::empty::<&str>());
    let audited = audit::record(&mut tx, ambient, &by, made)?;
    match tx.commit(audited).await {
        Ok(_) => Ok(()),
        Err(TxError::Commit(crate::store::CommitError::Conflict)) => Err(InstallError::Raced),
        Err(error) => Err(error.into()),
    }
}

/// Makes rings for configured algorithms that have none yet.
///
/// # Errors
/// [`InstallError`].
pub async fn add_missing_rings(
    store: &dyn Store,
    ambient: &Ambient,
    master: &MasterKey,
    plan: &Plan,
) -> Result<(), InstallError> {
    let there: BTreeSet<Algorithm> = keyrings::all(store).await?.iter().map(|ring| ring.algorithm).collect();
    for algorithm in plan.algorithms.iter().filter(|algorithm| !there.contains(algorithm)) {
        let ring = new_ring(ambient, master, *algorithm, plan.max_ttl, ambient.now()).await?;
        keyrings::add(store, ambient, &ring, &master.id().to_string()).await?;
    }
    Ok(())
}

fn operator_id() -> Result<ClientId, InstallError> {
    ClientId::parse("operator").map_err(|_| InstallError::Raced)
}

fn make_folder(file: &Path) -> Result<(), InstallError> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| InstallError::File { file: folder.into(), error })
}

/// Credentials of an earlier store are set aside, not destroyed: that store may still exist elsewhere.
fn set_aside(file: &Path) -> Result<(), InstallError> {
    if !file.exists() {
        return Ok(());
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let old = file.with_file_name(format!("{name}.old"));
    std::fs::rename(file, &old).map_err(|error| InstallError::File { file: old, error })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
