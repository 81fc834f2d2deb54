//! `edi serve`: puts all parts together on a concrete store.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use clap::Args as ClapArgs;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::live::Live;
use super::signals::{self, Stop};
use super::{ConfigFlags, Exit, Failure, Output, descriptors};
use crate::admin::reload::Reload;
use crate::ambient::Ambient;
use crate::config;
use crate::config::{Config, Engine, LogFormat};
use crate::http::body::BodyLimit;
use crate::http::metrics::Figures;
use crate::http::peer::Proxies;
use crate::http::tls::{Tls, TlsFiles};
use crate::http::{routes, server};
use crate::install::{self, Plan, Start};
use crate::keys::masters::MasterKeys;
use crate::metrics::process::most_descriptors;
use crate::model::keyring::Schedule;
use crate::oauth::access_token::RoleClaims;
use crate::oauth::failures::Rate;
use crate::oauth::pulse::BEAT;
use crate::oauth::service::{Lifetimes, Service, Settings, Surroundings};
use crate::oauth::{clock_watch, ends, expiring, last_used, refusal_trail, rotation};
use crate::store::collections::revocations::{self, RevocationIndex};
use crate::store::measured::Measured;
use crate::store::memory::MemoryStore;
use crate::store::mirror::Fold;
use crate::store::sealer;
use crate::store::sled::{Options, SledStore};
use crate::store::{CommitError, Store};
use crate::telemetry;

/// How often expired records are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long writing down what is only in memory may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How many are swept in one commit.
const SWEPT_AT_ONCE: usize = 100;
/// The pause between two such commits, which leaves the disk and a core to those who wait for an answer.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);

/// Serve both listeners until told to stop.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    flags: ConfigFlags,
}

/// Serves until SIGINT or SIGTERM; in-flight answers finish.
///
/// # Errors
/// When the configuration, the store, the keys or a listener stand in the way.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let config = args.flags.load()?;
    let logs = start_logs(&config)?;
    #[cfg(feature = "otel")]
    let _traces = start_traces(&config)?;
    for remark in config.remarks() {
        tracing::warn!(target: "edi::config", "{remark}");
    }
    descriptors::raise();
    let mut stop = Stop::catch().map_err(anyhow::Error::from)?;
    let hangup = signals::hangup().map_err(anyhow::Error::from)?;
    let running = tokio::select! {
        started = start(&config, Ambient::system()) => started?,
        () = stop.asked() => {
            tracing::info!(target: "edi::serve", "stopping before anything was served");
            drop(logs);
            // Opening a large store takes seconds, and nothing of it has to be finished.
            std::process::exit(0);
        }
    };
    running.live.follow(args.flags.sources());
    greet(&config, &running, output);
    let reloading = tokio::spawn(reload_at_signal(Arc::clone(&running.live), hangup));
    stop.asked().await;
    reloading.abort();
    tracing::info!(target: "edi::serve", "stopping: answers under way finish first");
    running.stop().await
}

/// Starts logging as configured; keep the guard until the end.
///
/// # Errors
/// When the level makes no sense.
pub fn start_logs(config: &Config) -> Result<telemetry::Guard, Failure> {
    use std::io::IsTerminal as _;
    let format = match config.log.format {
        LogFormat::Pretty => telemetry::Format::Pretty,
        LogFormat::Auto if std::io::stderr().is_terminal() => telemetry::Format::Pretty,
        LogFormat::Json | LogFormat::Auto => telemetry::Format::Json,
    };
    telemetry::init(format, &config.log.level).map_err(|error| Failure::new(Exit::Config, error.to_string()))
}

/// Starts sending traces, if a collector is configured; keep what it gives until the end.
#[cfg(feature = "otel")]
fn start_traces(config: &Config) -> Result<Option<telemetry::otel::Traces>, Failure> {
    let Some(endpoint) = &config.telemetry.otlp_endpoint else { return Ok(None) };
    let started = telemetry::otel::start(endpoint, config.telemetry.sampled_percent);
    started.map(Some).map_err(|why| Failure::new(Exit::Config, format!("telemetry.otlp_endpoint: {why}")))
}

/// A running edi.
pub struct Running {
    /// Where the public listener is.
    pub public: SocketAddr,
    /// Where the admin listener is.
    pub admin: SocketAddr,
    /// Whether this was the first start on its store.
    pub start: Start,
    /// What the endpoints work with.
    pub service: Arc<Service>,
    /// What it can take in while it serves.
    pub live: Arc<Live>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
    background: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops: no new connections, answers under way finish, the store is closed.
    ///
    /// # Errors
    /// When a listener had failed.
    pub async fn stop(self) -> Result<(), Failure> {
        self.stop.send_replace(true);
        let served = self.serving.await;
        self.background.iter().for_each(JoinHandle::abort);
        // No loss that anybody would miss much: not worth a delay, nor a word when the store is the reason to stop.
        let last_words = async {
            let _ = refusal_trail::write_down(&self.service, true).await;
            let _ = last_used::write_down(&self.service).await;
        };
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
        // The mirrors stop following before there is nothing left to follow.
        let store = Arc::clone(&self.service.store);
        drop(self.live);
        drop(self.service);
        store.close().await;
        match served {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(Exit::Failed, format!("a listener failed: {error}"))),
            Err(error) => Err(Failure::new(Exit::Failed, format!("serving failed: {error}"))),
        }
    }
}

/// Opens the store, makes the first start if it is one, and serves both listeners.
///
/// # Errors
/// Whatever stands in the way, and what to do about it.
pub async fn start(config: &Config, ambient: Ambient) -> Result<Running, Failure> {
    // Addresses first: the most common mistake, and nothing is touched yet.
    let listeners = Listeners::bind(config)?;
    let store = open_store(config, &ambient).await?;
    let started = start_with(Arc::clone(&store), listeners, config, ambient).await;
    if started.is_err() {
        // Its files are free again once the failure is told, not some time later.
        store.close().await;
    }
    started
}

/// The same on a store that is open already, whatever `store.engine` says: for tests and harnesses.
///
/// # Errors
/// As [`start`].
pub async fn start_on(store: Arc<dyn Store>, config: &Config, ambient: Ambient) -> Result<Running, Failure> {
    start_with(store, Listeners::bind(config)?, config, ambient).await
}

/// Both listeners' sockets.
struct Listeners {
    public: TcpListener,
    admin: TcpListener,
}

impl Listeners {
    fn bind(config: &Config) -> Result<Self, Failure> {
        let refused = |error: server::BindError| {
            Failure::new(Exit::Unavailable, error.to_string())
                .hint("set listen.public and listen.admin, or their flags")
        };
        let public = server::bind(config.listen.public).map_err(refused)?;
        let admin = server::bind(config.listen.admin).map_err(refused)?;
        Ok(Self { public, admin })
    }
}

async fn start_with(
    store: Arc<dyn Store>,
    listeners: Listeners,
    config: &Config,
    ambient: Ambient,
) -> Result<Running, Failure> {
    let [tls, admin_tls] = load_tls(config)?;
    let Listeners { public, admin } = listeners;
    let store = Measured::new(store);
    let figures = Figures { store: store.figures(), ..Figures::default() };
    let store: Arc<dyn Store> = Arc::new(store);
    let address = |socket: &TcpListener| socket.local_addr().map_err(anyhow::Error::from);
    let (public_at, admin_at) = (address(&public)?, address(&admin)?);

    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error.to_string());
    let settings = settings(config);
    let plan = plan(config, &settings, admin_at);
    let (master, start) = install::prepare(&*store, &ambient, &plan).await.map_err(|error| failed(&error))?;
    install::add_missing_rings(&*store, &ambient, &master, &plan).await.map_err(|error| failed(&error))?;
    let masters = MasterKeys::new(plan.master_key_file.clone(), master);
    let service =
        Service::open(settings, ambient.clone(), Arc::clone(&store), masters).await.map_err(|error| failed(&error))?;

    // Where it fails it is tried again: metrics have it later then.
    let _ = ends::read(&service).await;
    // A service is told once where it runs.
    let _ = service.surroundings.set(surroundings(config, public_at, admin_at));

    let (stop, mut stopped) = watch::channel(false);
    let mut background = vec![
        tokio::spawn(sweep(Arc::clone(&store))),
        tokio::spawn(rotation::keep_rotating(Arc::clone(&service))),
        tokio::spawn(last_used::keep_writing(Arc::clone(&service))),
        tokio::spawn(refusal_trail::keep_writing(Arc::clone(&service))),
        tokio::spawn(sealer::keep_sealing(Arc::clone(&store), ambient.clone())),
        tokio::spawn(sealer::keep_retiring(Arc::clone(&store), ambient.clone(), config.audit.keep)),
        tokio::spawn(ends::keep_current(Arc::clone(&service))),
        tokio::spawn(expiring::keep_saying(Arc::clone(&service))),
        tokio::spawn(beat(Arc::clone(&service))),
        tokio::spawn(clock_watch::watch(Arc::clone(&service))),
        tokio::spawn(descriptors::watch(Arc::clone(&figures.descriptors_exhausted))),
    ];
    let encrypted: Vec<(&'static str, Arc<Tls>)> = [("public", &tls), ("admin", &admin_tls)]
        .into_iter()
        .filter_map(|(of, tls)| Some((of, tls.clone()?)))
        .collect();
    for (listener, tls) in &encrypted {
        background.push(tokio::spawn(Arc::clone(tls).keep_current(listener, Arc::clone(&ambient.clock))));
    }
    let certificates = encrypted.iter().map(|(_, tls)| Arc::clone(tls)).collect();
    let ends = move || encrypted.iter().filter_map(|(listener, tls)| Some((*listener, tls.ends_at()?))).collect();
    let _ = service.certificate_ends.set(Box::new(ends));
    let http = server::Settings {
        figures: Arc::clone(&figures.http),
        refusals: Some(Arc::clone(&service.refusals)),
        tls,
        admin_tls,
        ..http_settings(config)
    };
    let live = Arc::new(Live {
        service: Arc::clone(&service),
        oauth_body: BodyLimit::new(config.limits.oauth_body_bytes),
        admin_body: BodyLimit::new(config.limits.admin_body_bytes),
        request_timeout: http.request_timeout.clone(),
        certificates,
        follows: OnceLock::new(),
    });
    let data = web::Data::from(Arc::clone(&service));
    let limit = live.oauth_body.clone();
    let issuer_path = config.issuer.path().to_owned();
    let public_routes = {
        let data = data.clone();
        move |routes: &mut ServiceConfig| {
            routes.app_data(data.clone()).app_data(web::Data::new(limit.clone()));
            routes::public(routes, &issuer_path);
        }
    };
    let limit = live.admin_body.clone();
    let reload: Arc<dyn Reload> = Arc::clone(&live) as _;
    let reload = web::Data::from(reload);
    let figures = web::Data::new(figures);
    let admin_routes = move |routes: &mut ServiceConfig| {
        routes.app_data(data.clone()).app_data(web::Data::new(limit.clone())).app_data(figures.clone());
        routes.app_data(reload.clone());
        routes::admin(routes);
    };
    let entropy = Arc::clone(&ambient.entropy);
    let serving = tokio::spawn(async move {
        let stop = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        server::serve((public, public_routes), (admin, admin_routes), &http, &entropy, stop).await
    });
    Ok(Running { public: public_at, admin: admin_at, start, service, live, stop, serving, background })
}

/// TLS of both listeners, when edi itself encrypts. Only the admin listener asks for certificates.
fn load_tls(config: &Config) -> Result<[Option<Arc<Tls>>; 2], Failure> {
    let Some(files) = &config.listen.certificate else { return Ok([None, None]) };
    let load = |client_ca: Option<PathBuf>| {
        let files = TlsFiles { certificate: files.certificate_file.clone(), key: files.key_file.clone(), client_ca };
        Tls::load(files).map(Some).map_err(|error| {
            Failure::new(Exit::Config, error.to_string())
                .hint("listen.certificate_file and listen.key_file name PEM files")
        })
    };
    Ok([load(None)?, load(files.admin_client_ca_file.clone())?])
}

/// What `edi serve` prints once it serves: where everything is, never a secret.
fn greet(config: &Config, running: &Running, output: Output) {
    tracing::info!(
        target: "edi::serve",
        public = %running.public,
        admin = %running.admin,
        issuer = %config.issuer,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    if running.start == Start::First {
        tracing::info!(
            target: "edi::serve",
            master_key_file = %config.keys.master_key_file.display(),
            operator_file = %config.keys.operator_file.display(),
            "first start: signing keys and an operator are made; back the master key up"
        );
        output.note(format!(
            "first start: the operator's credentials are in {}, the master key is in {} (back it up)",
            config.keys.operator_file.display(),
            config.keys.master_key_file.display()
        ));
    }
}

/// Reloads at each SIGHUP.
async fn reload_at_signal(live: Arc<Live>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        live.on_signal().await;
    }
}

async fn open_store(config: &Config, ambient: &Ambient) -> Result<Arc<dyn Store>, Failure> {
    let clock = Arc::clone(&ambient.clock);
    match config.store.engine {
        Engine::Memory => Ok(Arc::new(MemoryStore::new(clock))),
        Engine::Sled => {
            let path = config.store.path.clone();
            // There may be a million; all other mirrors are small.
            let index: Box<dyn Fold> = Box::new(RevocationIndex::default());
            let options = Options {
                reserve: config.store.reserve,
                cache: config.store.cache,
                early: vec![(revocations::PREFIX.into(), index)],
            };
            let opened = tokio::task::spawn_blocking(move || SledStore::open_with(&path, clock, options)).await;
            let opened = opened.map_err(anyhow::Error::from)?;
            let store = opened.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
            Ok(Arc::new(store))
        }
    }
}

fn settings(config: &Config) -> Settings {
    let seconds = |length: Duration| u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
    Settings {
        issuer: config.issuer.as_str().to_owned(),
        lifetimes: Lifetimes::new(seconds(config.tokens.ttl), seconds(config.tokens.max_ttl)),
        audience: config.tokens.audience.clone(),
        default_role: config.tokens.default_role.clone(),
        algorithms: config.keys.algorithms.clone(),
        schedule: Schedule { rotate_every: config.keys.rotate_every, publish_before: config.keys.publish_before },
        claims: RoleClaims { groups: config.claims.groups, keycloak_roles: config.claims.keycloak_roles },
        hashing_threads: config.limits.hashing_threads,
        hashing_queue: config.limits.hashing_queue,
        client_cache: config.limits.client_cache,
        failures: failures(config),
    }
}

/// How many failed authentications are borne.
pub(super) fn failures(config: &Config) -> Rate {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Rate { burst: number(config.limits.failures_burst), per_second: number(config.limits.failures_per_second) }
}

fn plan(config: &Config, settings: &Settings, admin_at: SocketAddr) -> Plan {
    Plan {
        master_key_file: config.keys.master_key_file.clone(),
        operator_file: config.keys.operator_file.clone(),
        issuer: settings.issuer.clone(),
        admin_url: config.listen.admin_url_at(admin_at),
        algorithms: settings.algorithms.clone(),
        max_ttl: settings.lifetimes.max(),
    }
}

fn surroundings(config: &Config, public: SocketAddr, admin: SocketAddr) -> Surroundings {
    let (engine, folder) = match config.store.engine {
        Engine::Memory => ("memory", None),
        Engine::Sled => ("sled", Some(config.store.path.display().to_string())),
    };
    let tls = match config.listen.tls {
        config::Tls::Off => "off",
        config::Tls::OffBehindProxy => "off-behind-proxy",
        config::Tls::On => "on",
    };
    Surroundings { public: public.to_string(), admin: admin.to_string(), tls, engine, folder }
}

/// Remembers what was counted, for the figures of the last minute.
async fn beat(service: Arc<Service>) {
    loop {
        tokio::time::sleep(BEAT).await;
        service.pulse.beat(tokio::time::Instant::now());
    }
}

fn http_settings(config: &Config) -> server::Settings {
    let mut http = server::Settings {
        max_connections: config.limits.max_connections,
        keep_alive: config.limits.keep_alive,
        request_timeout: server::LiveSpan::new(config.limits.request_timeout),
        shutdown_timeout: config.limits.drain,
        issuer_path: config.issuer.path().into(),
        ..server::Settings::default()
    };
    let trusted = config.listen.trusted_proxies.clone();
    http.proxies = Proxies::new(move |ip| trusted.iter().any(|network| network.contains(ip)));
    if let Some(workers) = config.listen.workers {
        http.workers = workers;
    }
    let fits = descriptors::affordable(http.max_connections, most_descriptors(), http.workers);
    if fits < http.max_connections {
        tracing::warn!(
            target: "edi::serve",
            wanted = http.max_connections,
            connections = fits,
            "fewer connections than limits.max_connections: the limit on open files (ulimit -n) allows no more"
        );
        http.max_connections = fits;
    }
    http
}

/// Deletes what has expired, now and then, a little at a time.
async fn sweep(store: Arc<dyn Store>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        loop {
            match store.sweep(SWEPT_AT_ONCE).await {
                Ok(count) if count == SWEPT_AT_ONCE => tokio::time::sleep(SWEEP_PAUSE).await,
                Ok(_) | Err(CommitError::Unavailable(_) | CommitError::Full(_)) => break,
                Err(error) => {
                    tracing::warn!(target: "edi::store", %error, "sweeping expired records failed");
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod silence;
