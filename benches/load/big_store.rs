//! Stores with very many clients, with very many live revocations and with both, written straight into them: how long
//! opening takes, how much memory each wants, and what each kind of work costs beside a small store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use edi::ambient::Ambient;
use edi::keys::master::MasterKey;
use edi::keys::secrets::SecretKeys;
use edi::model::client::{Client, SecretCheck, StoredSecret};
use edi::model::id::{ClientId, TokenId};
use edi::model::revocation::{Revocation, Subject};
use edi::model::scope::Role;
use edi::store::collections::revocations::RevocationIndex;
use edi::store::collections::{clients, installation, revocations};
use edi::store::mirror::Fold as _;
use edi::store::record::encode;
use edi::store::sled::SledStore;
use edi::store::{Commit, Key, MAX_COMMIT_ENTRIES, Store, Write};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::aims;
use super::args::{Args, Over, Work};
use super::drive::{Load, Requests, Until};
use super::edi::{Edi, Site, basic};
use super::machine::{self, Cores};
use super::report::{Fact, Report, Spread};
use super::rounds::{Side, compare, site};
use super::work::{Task, token_request};

/// How many of the clients ask for tokens.
const IN_USE: usize = 10_000;
/// Commits under way at once: they share syncs.
const AT_ONCE: usize = 64;

/// Fills stores, opens them, issues from them: revocations alone, clients alone, both.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let records = args.records();
    let each = bytes_per_revocation(records)?;
    let (clients, revocations) = (Fill { clients: records, revocations: 0 }, Fill { clients: 0, revocations: records });

    let alone = prepared(args).await?.0;
    fill(alone.path(), revocations).await?;
    let of_revocations = Opened::measure(args, &alone, &[]).await?;
    drop(alone);
    let (site, idle) = prepared(args).await?;
    let in_use = fill(site.path(), clients).await?;
    let of_clients = Opened::measure(args, &site, &in_use).await?;
    fill(site.path(), revocations).await?;
    let of_both = Opened::measure(args, &site, &in_use).await?;
    if args.rounds() > 0 {
        beside_a_small_one(args, &site, report).await?;
    }

    let used = in_use.len();
    // The aims are for a million of each; what holds for fewer records is no answer to them.
    let aim = |most: f64| (records == 1_000_000).then_some(most);
    let mut fact = |name: String, value: f64, unit, digits, most| {
        report.facts.push(Fact { name, value: Spread::of([value].into_iter()), unit, digits, most });
    };
    fact("resident memory, an empty store".to_owned(), mib(idle), "MiB", 1, None);
    let both = format!("{records} clients and {records} revocations");
    for (of, opened, open_aim, used_aim) in [
        (format!("{records} clients"), &of_clients, None, Some(160.0)),
        (format!("{records} revocations"), &of_revocations, Some(200.0), None),
        (both.clone(), &of_both, None, Some(360.0)),
    ] {
        fact(format!("resident memory once open, {of}"), mib(opened.open_kib), "MiB", 1, open_aim.and_then(aim));
        if let Some(opened_used) = &opened.used {
            let name = format!("the same with {used} clients in use");
            fact(name, mib(opened_used.resident_kib), "MiB", 1, used_aim.and_then(aim));
        }
    }
    fact(format!("start to ready, {both}"), of_both.ready.as_secs_f64(), "s", 2, aim(5.0));
    fact("memory of the index for each live revocation".to_owned(), each, "bytes", 0, aim(100.0));
    if let Some(used) = &of_both.used {
        let (first, second) = (used.first_token, used.second_token);
        println!("big store: {first:.1?} of CPU for a client's first token, {second:.1?} for its second");
    }
    report.others.insert(
        "big_store".into(),
        json!({
            "records": records, "in_use": used, "idle_kib": idle, "bytes_per_revocation": each,
            "clients": of_clients.json(), "revocations": of_revocations.json(), "both": of_both.json(),
        }),
    );
    Ok(())
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A folder in which an edi has started once, and what memory that edi had.
async fn prepared(args: &Args) -> Result<(Site, u64)> {
    let site = site(args, Work::with_rounds())?;
    let mut first = site.start()?;
    first.ready().await?;
    let idle = machine::resident_kib(first.pid())?;
    first.stop()?;
    Ok((site, idle))
}

/// What opening a store took.
struct Opened {
    ready: Duration,
    open_kib: u64,
    used: Option<Used>,
}

/// What came of some of its clients' asking for tokens.
struct Used {
    resident_kib: u64,
    /// Processor time for a client's first token and for its second.
    first_token: Duration,
    second_token: Duration,
}

impl Opened {
    /// Opens a store; two tokens each for clients with these credentials.
    async fn measure(args: &Args, site: &Site, in_use: &[String]) -> Result<Self> {
        let mut edi = site.start()?;
        let ready = edi.ready().await?;
        let open_kib = machine::resident_kib(edi.pid())?;
        let used = if in_use.is_empty() {
            None
        } else {
            let requests: Vec<_> = in_use.iter().map(|proof| token_request("/oauth2/token", proof)).collect();
            let first_token = cpu_each(args, &edi, requests.clone()).await?;
            let resident_kib = machine::resident_kib(edi.pid())?;
            let second_token = cpu_each(args, &edi, requests).await?;
            Some(Used { resident_kib, first_token, second_token })
        };
        edi.stop()?;
        Ok(Self { ready, open_kib, used })
    }

    fn json(&self) -> Value {
        let used = self.used.as_ref().map(|used| {
            json!({
                "resident_kib": used.resident_kib, "first_token_cpu_us": used.first_token.as_secs_f64() * 1e6,
                "second_token_cpu_us": used.second_token.as_secs_f64() * 1e6,
            })
        });
        json!({ "ready_s": self.ready.as_secs_f64(), "open_kib": self.open_kib, "used": used })
    }
}

/// Processor time of edi for each of these.
async fn cpu_each(args: &Args, edi: &Edi<'_>, requests: Vec<Vec<u8>>) -> Result<Duration> {
    let count = requests.len();
    let before = machine::cpu(edi.pid())?;
    let load = Load::connect(edi.public, args.connections).await?;
    load.run(&Requests::Each(requests.into()), Until::Sent(count), 200, false).await?;
    Ok(machine::cpu(edi.pid())?.saturating_sub(before).div_f64(count as f64))
}

/// Each kind of work of this store beside the same of a small one, in turn.
async fn beside_a_small_one(args: &Args, big: &Site, report: &mut Report) -> Result<()> {
    let cores = Cores::find(args.unpinned);
    let small = site(args, Work::with_rounds())?;
    let mut big = Cores::for_server(cores.as_ref(), || big.start())?;
    let mut small = Cores::for_server(cores.as_ref(), || small.start())?;
    big.ready().await?;
    small.ready().await?;
    for work in Work::with_rounds() {
        let (task, other) = (Task::prepare(work, &big).await?, Task::prepare(work, &small).await?);
        let subject = Side::edi("big store", &big, &task, Over::KeepAlive)?;
        let reference = Side::edi("small store", &small, &other, Over::KeepAlive)?;
        let row = compare(args, &work.name(), aims::of_big_store(work), &subject, &reference).await;
        report.rows.push(row.with_context(|| format!("{work:?}"))?);
    }
    big.stop()?;
    small.stop()
}

/// What the index of live revocations takes for each, measured in this process.
fn bytes_per_revocation(count: usize) -> Result<f64> {
    let ambient = Ambient::system();
    let own = std::process::id();
    let before = machine::resident_kib(own)?;
    let mut index = RevocationIndex::default();
    for _ in 0..count {
        let key = revocations::key(&Subject::Token(TokenId::from_bytes(ambient.random())));
        let now = ambient.now();
        let revocation = Revocation::of_token(now, now, ClientId::parse("a").context("a client id")?, None);
        index.put(&key, &encode(&key, &revocation)?, None)?;
    }
    let after = machine::resident_kib(own)?;
    anyhow::ensure!(index.len() == count, "ids drawn at random differ");
    Ok(after.saturating_sub(before) as f64 * 1024.0 / count as f64)
}

/// What is written into a store.
#[derive(Clone, Copy)]
pub(crate) struct Fill {
    pub(crate) clients: usize,
    pub(crate) revocations: usize,
}

/// Writes the records by the store's own commits; gives the `Authorization` of those clients that will be used.
pub(crate) async fn fill(folder: &Path, what: Fill) -> Result<Vec<String>> {
    let ambient = Ambient::system();
    let store = Arc::new(SledStore::open(&folder.join("data"), Arc::clone(&ambient.clock))?);
    let master = MasterKey::load(&folder.join("keys/master.key"))?;
    let sealed = installation::secret_keys(&*store).await?;
    let secrets = SecretKeys::open(&master, &sealed.sealed)?;
    let mut in_use = Vec::new();
    let mut filler = Filler { store: Arc::clone(&store), commits: JoinSet::new(), writes: Vec::new() };
    for index in 0..what.clients.max(what.revocations) {
        if index < what.clients {
            let (client, authorization) = client(index, &secrets, &ambient)?;
            if index % what.clients.div_ceil(IN_USE).max(1) == 0 {
                in_use.push(authorization);
            }
            let key = clients::key(&client.client_id);
            filler.put(Write::Put { value: encode(&key, &client)?, expires_at: None }, key).await?;
        }
        if index < what.revocations {
            let subject = Subject::Token(TokenId::from_bytes(ambient.random()));
            let end = ambient.now().plus(Duration::from_hours(24));
            let revocation = Revocation::of_token(ambient.now(), end, client_id(index)?, None);
            let key = revocations::key(&subject);
            filler.put(Write::Put { value: encode(&key, &revocation)?, expires_at: Some(end) }, key).await?;
        }
    }
    filler.finish().await?;
    store.close().await;
    Ok(in_use)
}

/// Writes revocations that have expired.
pub(crate) async fn fill_expired(folder: &Path, records: usize) -> Result<()> {
    let ambient = Ambient::system();
    let store = Arc::new(SledStore::open(folder, Arc::clone(&ambient.clock))?);
    let mut filler = Filler { store: Arc::clone(&store), commits: JoinSet::new(), writes: Vec::new() };
    for _ in 0..records {
        let subject = Subject::Token(TokenId::from_bytes(ambient.random()));
        let now = ambient.now();
        let revocation = Revocation::of_token(now, now, ClientId::parse("a").context("a client id")?, None);
        let key = revocations::key(&subject);
        filler.put(Write::Put { value: encode(&key, &revocation)?, expires_at: Some(now) }, key).await?;
    }
    filler.finish().await?;
    store.close().await;
    Ok(())
}

fn client(index: usize, secrets: &SecretKeys, ambient: &Ambient) -> Result<(Client, String)> {
    let client_id = client_id(index)?;
    let (id, secret, at_rest) = secrets.make(&client_id, &*ambient.entropy);
    let now = ambient.now();
    let authorization = basic(client_id.as_str(), secret.expose());
    let check = SecretCheck::Generated(at_rest);
    let client = Client {
        secrets: vec![StoredSecret { id, name: None, check, created_at: now, expires_at: None }],
        roles: [Role::parse("fraud").context("a role")?].into(),
        ..Client::new(client_id, now)
    };
    Ok((client, authorization))
}

fn client_id(index: usize) -> Result<ClientId> {
    ClientId::parse(&format!("service-{index:07}")).context("a client id")
}

struct Filler {
    store: Arc<SledStore>,
    commits: JoinSet<Result<()>>,
    writes: Vec<(Key, Write)>,
}

impl Filler {
    async fn put(&mut self, write: Write, key: Key) -> Result<()> {
        self.writes.push((key, write));
        if self.writes.len() == MAX_COMMIT_ENTRIES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        let commit = Commit { conditions: Vec::new(), writes: std::mem::take(&mut self.writes) };
        let store = Arc::clone(&self.store);
        self.commits.spawn(async move { store.commit(commit).await.map(drop).map_err(Into::into) });
        while self.commits.len() >= AT_ONCE {
            self.commits.join_next().await.context("no commit")???;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<()> {
        if !self.writes.is_empty() {
            self.flush().await?;
        }
        while let Some(done) = self.commits.join_next().await {
            done??;
        }
        Ok(())
    }
}
