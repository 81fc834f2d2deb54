//! `edi recover`: the one way back in when all operator credentials are lost. Offline, with the store and the master key.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::json;
use zeroize::Zeroizing;

use super::{ConfigFlags, Exit, Failure, Output};
use crate::ambient::Ambient;
use crate::config::Engine;
use crate::install;
use crate::keys::private_file;
use crate::keys::secrets::SecretKeys;
use crate::model::client::{Client, SecretCheck, StoredSecret};
use crate::model::id::ClientId;
use crate::model::scope::AdminScope;
use crate::store::collections::{By, clients, installation};
use crate::store::sled::SledStore;
use crate::store::{Store, StoreError};

/// How long the recovered operator's secret works.
const VALID: Duration = Duration::from_hours(2);

/// Make a two-hour operator, offline, when all credentials are lost.
///
/// Stop edi first: the store is opened directly. The credentials go to a file that only you can read.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where the credentials go [default: recovery.json beside keys.operator_file]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    flags: ConfigFlags,
}

/// Registers the operator and writes its credentials.
///
/// # Errors
/// When the store is in use or new, the master key is not its own, or the file is there already.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let config = args.flags.load()?;
    let _logs = super::serve::start_logs(&config)?;
    if config.store.engine == Engine::Memory {
        return Err(Failure::new(Exit::Usage, "a store in memory keeps nothing to recover"));
    }
    let file = args.output.unwrap_or_else(|| config.keys.operator_file.with_file_name("recovery.json"));
    if file.exists() {
        return Err(Failure::new(Exit::Failed, format!("{} exists already", file.display()))
            .hint("move it away, or name another file with --output"));
    }
    let ambient = Ambient::system();
    let (path, clock) = (config.store.path.clone(), Arc::clone(&ambient.clock));
    let opened = tokio::task::spawn_blocking(move || SledStore::open(&path, clock)).await;
    let store = opened.map_err(anyhow::Error::from)?.map_err(|error| {
        Failure::new(Exit::Failed, error.to_string()).hint("stop edi before you recover: the store is opened directly")
    })?;
    let made = make(&store, &ambient, &config, &file).await;
    store.close().await;
    let id = made?;
    if output.json {
        return output.json(&json!({ "client_id": id.as_str(), "credentials": file.display().to_string() }));
    }
    output.line(format!("operator {id}, for two hours from now: its credentials are in {}", file.display()))?;
    output.note(format!(
        "next: start edi, then `EDI_CREDENTIALS={} edi client create NAME --scope edi:admin`",
        file.display()
    ));
    Ok(())
}

async fn make(
    store: &dyn Store,
    ambient: &Ambient,
    config: &crate::config::Config,
    file: &std::path::Path,
) -> Result<ClientId, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error.to_string());
    let of_store = |error: StoreError| failed(&error);
    let Some(found) = installation::find(store).await.map_err(of_store)? else {
        return Err(failed(&"the store is new: there is nothing to recover; `edi serve` makes the first operator"));
    };
    let master = install::master_key(&found, &config.keys.master_key_file).map_err(|error| failed(&error))?;
    let sealed = installation::secret_keys(store).await.map_err(of_store)?;
    let keys = SecretKeys::open(&master, &sealed.sealed).map_err(|error| failed(&error))?;
    let now = ambient.now();
    let id = ClientId::parse(&format!("recovery-{}", now.secs())).map_err(|error| failed(&error))?;
    let (secret_id, secret, at_rest) = keys.make(&id, &*ambient.entropy);
    let credentials = json!({
        "issuer": config.issuer.as_str(),
        "admin": config.listen.admin_url_at(config.listen.admin),
        "client_id": id.as_str(),
        "client_secret": secret.expose(),
    });
    let text = Zeroizing::new(serde_json::to_vec_pretty(&credentials).unwrap_or_default());
    private_file::write_new(file, &text).map_err(|error| failed(&error))?;
    let client = Client {
        client_name: Some("recovered operator".into()),
        secrets: vec![StoredSecret {
            id: secret_id,
            name: Some("edi recover".into()),
            check: SecretCheck::Generated(at_rest),
            created_at: now,
            expires_at: Some(now.plus(VALID)),
        }],
        admin_scopes: BTreeSet::from([AdminScope::Admin]),
        ..Client::new(id.clone(), now)
    };
    let by = By::edi(now, "operator.recover", id.as_str()).because(Some("offline, with the master key".into()));
    if let Err(error) = clients::create(store, ambient, &client, &by).await {
        // Credentials of a client that does not exist help nobody.
        let _ = std::fs::remove_file(file);
        return Err(failed(&error));
    }
    Ok(id)
}
