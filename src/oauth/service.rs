//! What every endpoint works with: settings, the store and its mirrors, keys, the hashing threads.
//!
//! The hot path reads memory alone: keys, revocations, deployments and clients in use are mirrored, and a change is
//! answered only once the mirrors have it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::access_token::{RoleClaims, json_text};
use super::chosen_secret::Hasher;
use super::clock_watch::ClockWatch;
use super::ends::Ends;
use super::error::OAuthError;
use super::failures::{Failures, Rate};
use super::grant::RoleAudiences;
use super::last_issued::LastIssued;
use super::last_used::LastUsed;
use super::pulse::Pulse;
use super::refusals::Refusals;
use super::registered_keys::RegisteredKeys;
use super::remembered::RememberedTokens;
use super::verified::VerifiedSecrets;
use crate::ambient::{Ambient, Batches};
use crate::keys::live::KeySet;
use crate::keys::masters::MasterKeys;
use crate::keys::secrets::SecretKeys;
use crate::model::algorithm::Algorithm;
use crate::model::client::Client;
use crate::model::default_role::DefaultRole;
use crate::model::id::ClientId;
use crate::model::keyring::{Ring, Schedule};
use crate::model::time::Timestamp;
use crate::store::cache::Cache;
use crate::store::collections::clients::{self, ChosenSecrets};
use crate::store::collections::deployments::{self, DeploymentIndex};
use crate::store::collections::revocations::{self, RevocationIndex};
use crate::store::collections::{installation, keyrings};
use crate::store::mirror::{Fold, Mirror};
use crate::store::record::decode;
use crate::store::tx::TxError;
use crate::store::{Key, Revision, Store, StoreError};

/// Past this long without word from the store, what must see revocations is refused.
const DECISIONS_STALE: Duration = Duration::from_secs(5);
/// Past this long without word from the store, nothing is issued.
const ISSUING_STALE: Duration = Duration::from_mins(15);

/// What the configuration settles for the protocol.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The issuer identifier, exactly as tokens carry it.
    pub issuer: String,
    /// How long tokens live.
    pub lifetimes: Arc<Lifetimes>,
    /// The audience of roles that have none of their own.
    pub audience: String,
    /// The role of clients and deployments created without one.
    pub default_role: Option<DefaultRole>,
    /// The algorithms whose rings are kept, the default first; never empty.
    pub algorithms: Vec<Algorithm>,
    /// When signing keys rotate.
    pub schedule: Schedule,
    /// Where tokens carry their roles.
    pub claims: RoleClaims,
    /// Threads for chosen secrets.
    pub hashing_threads: usize,
    /// Places in the queue before them.
    pub hashing_queue: usize,
    /// How many clients in use are kept in memory.
    pub client_cache: usize,
    /// How many failed authentications a client id and an address have.
    pub failures: Rate,
}

/// The lifetimes of tokens, in seconds. They may change while edi serves: see [`Service::set_lifetimes`].
#[derive(Debug)]
pub struct Lifetimes {
    ttl: AtomicU32,
    max: AtomicU32,
}

impl Lifetimes {
    /// That of clients which name none, and the longest.
    #[must_use]
    pub fn new(ttl: u32, max: u32) -> Arc<Self> {
        Arc::new(Self { ttl: ttl.into(), max: max.into() })
    }

    /// That of tokens whose client names none.
    #[must_use]
    pub fn ttl(&self) -> u32 {
        self.ttl.load(Ordering::Relaxed)
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }
}

impl Settings {
    /// The algorithm used where a client asks for none.
    #[must_use]
    pub fn default_algorithm(&self) -> Algorithm {
        self.algorithms.first().copied().unwrap_or_default()
    }

    /// The algorithm that signs a client's tokens: the one it asked for, as long as it is configured.
    #[must_use]
    pub fn algorithm(&self, client: &Client) -> Algorithm {
        let wanted = client.access_token_signing_alg.filter(|wanted| self.algorithms.contains(wanted));
        wanted.unwrap_or_else(|| self.default_algorithm())
    }

    /// The lifetime of a client's tokens in seconds.
    #[must_use]
    pub fn lifetime(&self, client: &Client) -> u32 {
        client.access_token_lifetime.unwrap_or_else(|| self.lifetimes.ttl()).min(self.lifetimes.max())
    }
}

/// The signing keys, parsed anew whenever a ring changes.
pub struct KeyFold {
    masters: Arc<MasterKeys>,
    rings: BTreeMap<Key, Ring>,
    set: Arc<KeySet>,
}

impl KeyFold {
    /// The keys as they are now.
    #[must_use]
    pub fn set(&self) -> &Arc<KeySet> {
        &self.set
    }

    /// The rings as they are now.
    pub fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.rings.values()
    }

    fn rebuild(&mut self) -> Result<(), StoreError> {
        let rings: Vec<Ring> = self.rings.values().cloned().collect();
        let built = self
            .set
            .rebuild(&rings, &*self.masters)
            .map_err(|error| StoreError::Corrupt { key: keyrings::PREFIX.to_owned(), what: error.to_string() })?;
        self.set = Arc::new(built);
        Ok(())
    }
}

impl Fold for KeyFold {
    fn put(&mut self, key: &Key, value: &[u8], _expires_at: Option<Timestamp>) -> Result<(), StoreError> {
        let before = self.rings.insert(key.clone(), decode(key, value)?);
        self.rebuild().inspect_err(|_| match before {
            Some(before) => drop(self.rings.insert(key.clone(), before)),
            None => drop(self.rings.remove(key)),
        })
    }

    fn delete(&mut self, key: &Key) {
        self.rings.remove(key);
        // What is left was parsed before, so this cannot fail.
        let _ = self.rebuild();
    }
}

/// Where a service runs, in words for operators. Nothing is decided by it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The address of the public listener.
    pub public: String,
    /// The address of the admin listener.
    pub admin: String,
    /// Who encrypts.
    pub tls: &'static str,
    /// The store's engine.
    pub engine: &'static str,
    /// The store's folder, if it has one.
    pub folder: Option<String>,
}

/// Tells each listener's name and when its certificate ends.
pub type CertificateEnds = Box<dyn Fn() -> Vec<(&'static str, Timestamp)> + Send + Sync>;

/// Why the service cannot start on a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A write at start failed.
    #[error(transparent)]
    Write(#[from] crate::store::tx::TxError),
    /// The sealed secrets do not open.
    #[error("{0}")]
    Keys(String),
    /// A thread could not be started.
    #[error("cannot start the hashing threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// The commit happened, but memory did not hear of it in time: its effect here is yet to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("written, but a mirror did not hear of it in time")]
pub struct Unsettled;

impl From<Unsettled> for OAuthError {
    fn from(unsettled: Unsettled) -> Self {
        Self::unavailable(1, unsettled.to_string())
    }
}

/// Everything an endpoint needs.
pub struct Service {
    /// What the configuration settles.
    pub settings: Settings,
    /// The issuer as a JSON string, quotes included.
    pub issuer_json: String,
    /// Time and randomness.
    pub ambient: Ambient,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Clients in use.
    pub clients: Arc<Cache<Client>>,
    /// Deployments.
    pub deployments: Arc<Mirror<DeploymentIndex>>,
    /// Live revocations.
    pub revocations: Arc<Mirror<RevocationIndex>>,
    /// Signing keys.
    pub keys: Arc<Mirror<KeyFold>>,
    /// Live chosen secrets.
    pub chosen: Arc<Mirror<ChosenSecrets>>,
    /// What seals private keys.
    pub masters: Arc<MasterKeys>,
    /// Held while the master key changes.
    pub resealing: tokio::sync::Mutex<()>,
    /// The keys behind edi-made client secrets.
    pub secret_keys: SecretKeys,
    /// The hashing threads.
    pub hasher: Hasher,
    /// Budgets for failed authentications.
    pub failures: Failures,
    /// Chosen secrets that were verified before.
    pub verified: VerifiedSecrets,
    /// The keys of clients that sign assertions.
    pub registered_keys: RegisteredKeys,
    /// Tokens whose signature was checked before.
    pub remembered: RememberedTokens,
    /// Held while a deployment's hosts and paths are compared with all others' and written.
    pub placing: tokio::sync::Mutex<()>,
    /// Randomness for the ids of tokens.
    pub token_ids: Batches,
    /// When each role was last put into a token.
    pub last_issued: LastIssued,
    /// When each secret was last used.
    pub last_used: LastUsed,
    /// When client secrets end.
    pub ends: Ends,
    /// What this process issued and refused, and how much of it lately.
    pub pulse: Pulse,
    /// What was refused lately, and why.
    pub refusals: Arc<Refusals>,
    /// Where it runs; told once, by whoever started it.
    pub surroundings: OnceLock<Surroundings>,
    /// When the certificates of listeners that edi encrypts itself end; told how to know, once, by whoever serves.
    pub certificate_ends: OnceLock<CertificateEnds>,
    /// Jumps of the machine's clock.
    pub clock: ClockWatch,
    /// When this process started.
    pub started_at: Timestamp,
    opened: Instant,
    /// When the store was last heard of as far as somebody asked, in microseconds since `opened`.
    heard: AtomicU64,
}

impl Service {
    /// Loads everything from a store that is in use.
    ///
    /// # Errors
    /// When the store does not answer or is damaged, or the master key is not the one that sealed it.
    pub async fn open(
        settings: Settings,
        ambient: Ambient,
        store: Arc<dyn Store>,
        masters: Arc<MasterKeys>,
    ) -> Result<Arc<Self>, OpenError> {
        let opened = Instant::now();
        // Before a longer token can be issued, the rings know of it: keys stay published that much longer.
        keyrings::raise_lifetime(&*store, &ambient, settings.lifetimes.max()).await?;
        let sealed = installation::secret_keys(&*store).await?;
        let secret_keys =
            SecretKeys::open(&*masters, &sealed.sealed).map_err(|error| OpenError::Keys(error.to_string()))?;
        let no_keys = KeySet::build(&[], &*masters).map_err(|error| OpenError::Keys(error.to_string()))?;
        let no_keys = Arc::new(no_keys);
        let sealing = Arc::clone(&masters);
        let keys = Mirror::load(Arc::clone(&store), keyrings::PREFIX, move || KeyFold {
            masters: Arc::clone(&sealing),
            rings: BTreeMap::new(),
            set: Arc::clone(&no_keys),
        })
        .await?;
        Ok(Arc::new(Self {
            issuer_json: json_text(&settings.issuer),
            clients: Cache::open(
                Arc::clone(&store),
                clients::PREFIX,
                settings.client_cache,
                Arc::clone(&ambient.clock),
                decode::<Client>,
            )
            .await?,
            deployments: Mirror::load(Arc::clone(&store), deployments::PREFIX, DeploymentIndex::default).await?,
            revocations: Mirror::load(Arc::clone(&store), revocations::PREFIX, RevocationIndex::default).await?,
            chosen: Mirror::load(Arc::clone(&store), clients::CHOSEN_PREFIX, ChosenSecrets::default).await?,
            keys,
            masters,
            resealing: tokio::sync::Mutex::new(()),
            secret_keys,
            hasher: Hasher::start(settings.hashing_threads, settings.hashing_queue)?,
            failures: Failures::new(settings.failures, &ambient),
            verified: VerifiedSecrets::new(&ambient),
            registered_keys: RegisteredKeys::default(),
            remembered: RememberedTokens::default(),
            placing: tokio::sync::Mutex::new(()),
            token_ids: Batches::of(Arc::clone(&ambient.entropy)),
            last_issued: LastIssued::default(),
            last_used: LastUsed::default(),
            ends: Ends::default(),
            pulse: Pulse::starting(Instant::now()),
            refusals: Arc::new(Refusals::new(&ambient)),
            surroundings: OnceLock::new(),
            certificate_ends: OnceLock::new(),
            clock: ClockWatch::default(),
            started_at: ambient.now(),
            opened,
            heard: AtomicU64::new(0),
            settings,
            ambient,
            store,
        }))
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.ambient.now()
    }

    /// The keys as they are now.
    #[must_use]
    pub fn key_set(&self) -> Arc<KeySet> {
        Arc::clone(self.keys.read().set())
    }

    /// The client with this id.
    ///
    /// # Errors
    /// When it is not in memory and the store does not answer.
    pub async fn client(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        self.clients.get(&clients::key(id)).await
    }

    /// The client of this name, which need not be one that a client can have.
    ///
    /// # Errors
    /// When it is not in memory and the store does not answer.
    pub async fn client_named(&self, name: &str) -> Result<Option<Arc<Client>>, StoreError> {
        if ClientId::fits(name) { self.clients.get(&clients::key_named(name)).await } else { Ok(None) }
    }

    /// The longest lifetime that any live token can have.
    #[must_use]
    pub fn longest_lifetime(&self) -> Duration {
        let ever = self.keys.read().rings().map(|ring| ring.longest_lifetime).max().unwrap_or(0);
        Duration::from_secs(u64::from(ever.max(self.settings.lifetimes.max())))
    }

    /// Changes the lifetimes of tokens issued from now on. The rings know of longer ones before any is issued.
    ///
    /// # Errors
    /// When the store takes no writes; nothing has changed then.
    pub async fn set_lifetimes(&self, ttl: u32, max: u32) -> Result<(), TxError> {
        if max > self.settings.lifetimes.max() {
            keyrings::raise_lifetime(&*self.store, &self.ambient, max).await?;
        }
        self.settings.lifetimes.max.store(max, Ordering::Relaxed);
        self.settings.lifetimes.ttl.store(ttl, Ordering::Relaxed);
        Ok(())
    }

    /// When the certificates of the listeners end; nothing where edi does not encrypt.
    #[must_use]
    pub fn certificates_end(&self) -> Vec<(&'static str, Timestamp)> {
        self.certificate_ends.get().map(|tell| tell()).unwrap_or_default()
    }

    /// Waits until everything in memory has passed a commit, so that its 200 means that it had its effect.
    ///
    /// # Errors
    /// When the store stopped telling. The commit stands all the same: say so, or that the outcome is unknown.
    pub async fn settled(&self, revision: Revision) -> Result<(), Unsettled> {
        let lagging = |_| Unsettled;
        self.clients.passed(revision).await.map_err(lagging)?;
        self.deployments.passed(revision).await.map_err(lagging)?;
        self.revocations.passed(revision).await.map_err(lagging)?;
        self.keys.passed(revision).await.map_err(lagging)?;
        self.chosen.passed(revision).await.map_err(lagging)
    }

    /// The same for a commit of revocations alone. The mirrors it does not concern hear that they passed it with the next
    /// beat of their watch, for which nobody needs to wait.
    ///
    /// # Errors
    /// When the store stopped telling.
    pub async fn settled_revocations(&self, revision: Revision) -> Result<(), Unsettled> {
        self.revocations.passed(revision).await.map_err(|_| Unsettled)
    }

    /// How long ago the store was last heard of, by the mirror that heard least.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.heard().elapsed()
    }

    fn heard(&self) -> Instant {
        let others = [self.deployments.last_heard(), self.revocations.last_heard(), self.keys.last_heard()];
        others.into_iter().fold(self.clients.last_heard(), Instant::min)
    }

    /// Whether the store has been silent for longer than this. Asks the mirrors only when what they last said does not
    /// rule it out: once heard of, the store stays so.
    fn silent_for(&self, long: Duration) -> bool {
        let now = Instant::now();
        let known = self.opened + Duration::from_micros(self.heard.load(Ordering::Relaxed));
        if now.duration_since(known) <= long {
            return false;
        }
        let heard = self.heard();
        let since_opened = u64::try_from(heard.duration_since(self.opened).as_micros()).unwrap_or(0);
        self.heard.store(since_opened, Ordering::Relaxed);
        now.duration_since(heard) > long
    }

    /// Refuses when revocations may have been missed: for answers that must see them.
    ///
    /// # Errors
    /// 503 after 5 s of silence from the store.
    pub fn fresh_enough_to_decide(&self) -> Result<(), OAuthError> {
        if self.silent_for(DECISIONS_STALE) {
            return Err(OAuthError::unavailable(1, "no word from the store for more than 5 s"));
        }
        Ok(())
    }

    /// Refuses when clients and keys are too old to issue from.
    ///
    /// # Errors
    /// 503 after 15 min of silence from the store.
    pub fn fresh_enough_to_issue(&self) -> Result<(), OAuthError> {
        if self.silent_for(ISSUING_STALE) {
            return Err(OAuthError::unavailable(5, "no word from the store for more than 15 min"));
        }
        Ok(())
    }

    /// Whether the mirrors are behind the store.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.silent_for(DECISIONS_STALE)
    }
}

impl RoleAudiences for Service {
    fn of(&self, role: &str) -> Option<BTreeSet<String>> {
        self.deployments.read().audiences(role, &self.settings.audience)
    }
}
