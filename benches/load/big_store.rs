//! A store with very many clients and live revocations, written straight into it: how long opening it takes, how much
//! memory it wants, and what each kind of work costs beside a small store.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use serde_json::json;
use tokio::task::JoinSet;

use super::aims;
use super::args::{Args, Over, Work};
use super::drive::{Load, Requests, Until};
use super::edi::{Site, basic};
use super::machine::{self, Cores};
use super::report::{Fact, Report, Spread};
use super::rounds::{Side, compare, site};
use super::work::{Task, token_request};

/// How many of the clients ask for tokens.
const IN_USE: usize = 10_000;
/// Commits under way at once: they share syncs.
const AT_ONCE: usize = 64;

/// Fills a store, opens it, issues from it.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let site = site(args, Work::with_rounds())?;
    let mut first = site.start()?;
    first.ready().await?;
    let idle = machine::resident_kib(first.pid())?;
    first.stop()?;

    let started = Instant::now();
    let in_use = fill(site.path(), args.records()).await?;
    let filling = started.elapsed();

    let mut edi = site.start()?;
    let ready = edi.ready().await?;
    let opened = machine::resident_kib(edi.pid())?;
    let requests: Vec<Vec<u8>> =
        in_use.iter().map(|authorization| token_request("/oauth2/token", authorization)).collect();
    let count = requests.len();
    let before = machine::cpu(edi.pid())?;
    let load = Load::connect(edi.public, args.connections).await?;
    load.run(&Requests::Each(requests.clone().into()), Until::Sent(count), 200, false).await?;
    let first_use = machine::cpu(edi.pid())?.saturating_sub(before).div_f64(count as f64);
    let used = machine::resident_kib(edi.pid())?;
    let before = machine::cpu(edi.pid())?;
    let load = Load::connect(edi.public, args.connections).await?;
    load.run(&Requests::Each(requests.into()), Until::Sent(count), 200, false).await?;
    let again = machine::cpu(edi.pid())?.saturating_sub(before).div_f64(count as f64);
    edi.stop()?;
    beside_a_small_one(args, &site, report).await?;

    let each = bytes_per_revocation(args.records())?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!("big store: {0} clients and {0} revocations, written in {1:.0?}", args.records(), filling);
    let mut fact = |name: String, value: f64, unit, digits, most| {
        report.facts.push(Fact { name, value: Spread::of([value].into_iter()), unit, digits, most });
    };
    // The aims are for a million of each; what holds for fewer records is no answer to them.
    let whole = args.records() == 1_000_000;
    let of = format!("{0} clients and {0} revocations", args.records());
    fact(format!("start to ready, {of}"), ready.as_secs_f64(), "s", 2, whole.then_some(5.0));
    fact(format!("resident memory once open, {of}"), mib(opened), "MiB", 1, whole.then_some(200.0));
    fact(format!("the same with {count} clients in use"), mib(used), "MiB", 1, whole.then_some(200.0));
    fact("the same, an empty store".to_owned(), mib(idle), "MiB", 1, None);
    println!("big store: {each:.0} bytes of memory for each live revocation in the index (aim 100)");
    println!("big store: {first_use:.1?} of CPU for a client's first token, {again:.1?} for its second");
    report.others.insert(
        "big_store".into(),
        json!({
            "records": args.records(), "ready_s": ready.as_secs_f64(), "open_kib": opened, "in_use": count, "in_use_kib": used, "idle_kib": idle,
            "bytes_per_revocation": each, "first_token_cpu_us": first_use.as_secs_f64() * 1e6, "second_token_cpu_us": again.as_secs_f64() * 1e6,
        }),
    );
    Ok(())
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

/// Writes the records by the store's own commits; gives the `Authorization` of those clients that will be used.
pub(crate) async fn fill(folder: &Path, records: usize) -> Result<Vec<String>> {
    let ambient = Ambient::system();
    let store = Arc::new(SledStore::open(&folder.join("data"), Arc::clone(&ambient.clock))?);
    let master = MasterKey::load(&folder.join("keys/master.key"))?;
    let sealed = installation::secret_keys(&*store).await?;
    let secrets = SecretKeys::open(&master, &sealed.sealed)?;
    let mut in_use = Vec::new();
    let mut filler = Filler { store: Arc::clone(&store), commits: JoinSet::new(), writes: Vec::new() };
    for index in 0..records {
        let (client, authorization) = client(index, &secrets, &ambient)?;
        if index % records.div_ceil(IN_USE).max(1) == 0 {
            in_use.push(authorization);
        }
        let key = clients::key(&client.client_id);
        filler.put(Write::Put { value: encode(&key, &client)?, expires_at: None }, key).await?;

        let subject = Subject::Token(TokenId::from_bytes(ambient.random()));
        let end = ambient.now().plus(Duration::from_hours(24));
        let revocation = Revocation::of_token(ambient.now(), end, client.client_id, None);
        let key = revocations::key(&subject);
        filler.put(Write::Put { value: encode(&key, &revocation)?, expires_at: Some(end) }, key).await?;
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
    let client_id = ClientId::parse(&format!("service-{index:07}")).context("a client id")?;
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
