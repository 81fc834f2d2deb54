//! Configuration: defaults < `config/edi.toml` < `EDI__SECTION__KEY` < flags. Raw text goes in, proven types come out,
//! or every problem at once.
//!
//! [`load`] is the way in. What each key means, its default and its bounds: `docs/reference/config.md`; a commented
//! file with every key: `config/edi.toml`. Knows nothing of who uses the values.

mod issuer;
mod layers;
mod network;
mod parse;
mod problem;
mod raw;
mod span;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use issuer::Issuer;
pub use layers::{DEFAULT_FILE, Sources};
pub use network::Network;
pub use problem::{Origin, Problem};
pub use span::{parse_span, span};

use crate::model::algorithm::Algorithm;
use crate::model::default_role::DefaultRole;

/// Reads, merges and judges all sources.
///
/// # Errors
/// Every problem found, each with its key, value, origin and reason; never an empty list.
pub fn load(sources: &Sources) -> Result<Config, Vec<Problem>> {
    let merged = layers::merge(sources);
    parse::parse(&merged.raw, &merged.origins, merged.problems)
}

/// Every key with what the sources say of it, in the order of [`defaults`]; what cannot be used leaves the default.
#[must_use]
pub fn settings(sources: &Sources) -> Vec<(String, serde_json::Value)> {
    layers::leaves(&layers::merge(sources).raw)
}

/// Every key with its default as JSON, ordered by name.
#[must_use]
pub fn defaults() -> Vec<(String, serde_json::Value)> {
    layers::defaults()
}

/// A configuration that was found to work.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The issuer identifier; all published URLs are built from it.
    pub issuer: Issuer,
    /// `[listen]`
    pub listen: Listen,
    /// `[store]`
    pub store: Store,
    /// `[keys]`
    pub keys: Keys,
    /// `[tokens]`
    pub tokens: Tokens,
    /// `[claims]`
    pub claims: Claims,
    /// `[limits]`
    pub limits: Limits,
    /// `[audit]`
    pub audit: Audit,
    /// `[log]`
    pub log: Log,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// Where edi listens.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// The public listener: tokens, keys, decisions. Port 0 takes a free one.
    pub public: SocketAddr,
    /// The admin listener. Port 0 takes a free one.
    pub admin: SocketAddr,
    /// The admin URL operators are told; see [`Listen::admin_url_at`].
    pub admin_url: Option<String>,
    /// Who encrypts.
    pub tls: Tls,
    /// The certificate of both listeners, when edi itself encrypts.
    pub certificate: Option<Certificate>,
    /// Worker threads; `None`: one per core.
    pub workers: Option<usize>,
    /// Proxies whose forwarded-for headers count.
    pub trusted_proxies: Vec<Network>,
}

impl Listen {
    /// The admin URL for `keys/operator.json`: the configured one, or that of the address the admin listener is bound
    /// to, with loopback in place of "all addresses".
    #[must_use]
    pub fn admin_url_at(&self, bound: SocketAddr) -> String {
        let ip = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let scheme = if self.tls == Tls::On { "https" } else { "http" };
        self.admin_url.clone().unwrap_or_else(|| format!("{scheme}://{}", SocketAddr::new(ip, bound.port())))
    }
}

/// Who encrypts the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Nobody; both listeners stay on loopback.
    Off,
    /// A proxy in front; plain HTTP may leave the machine's loopback.
    OffBehindProxy,
    /// edi itself, with [`Listen::certificate`].
    On,
}

/// PEM files for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and those between it and its authority.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Authorities of the certificates that callers of the admin listener must have.
    pub admin_client_ca_file: Option<PathBuf>,
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// The engine.
    pub engine: Engine,
    /// The engine's folder; unused in memory.
    pub path: PathBuf,
    /// Bytes of the disk kept for what takes rights away when it is full.
    pub reserve: u64,
    /// Bytes of memory for what was read from the disk.
    pub cache: u64,
}

/// A store engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Embedded, durable.
    Sled,
    /// Forgets everything at exit; for tests and trials.
    Memory,
}

/// Key files and the life of signing keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Keys {
    /// The file with the master key.
    pub master_key_file: PathBuf,
    /// The file with the first operator's credentials.
    pub operator_file: PathBuf,
    /// The algorithms of the ring: at least one, each once, the default first.
    pub algorithms: Vec<Algorithm>,
    /// How often a new key takes over.
    pub rotate_every: Duration,
    /// How long a key is published before it signs.
    pub publish_before: Duration,
}

/// What tokens look like.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokens {
    /// The lifetime of a token whose client has none of its own. Whole seconds.
    pub ttl: Duration,
    /// The longest lifetime anybody can have. Whole seconds.
    pub max_ttl: Duration,
    /// The audience of roles that have none of their own.
    pub audience: String,
    /// Granted to a client that is created without roles, and put on a deployment that is created without one.
    pub default_role: Option<DefaultRole>,
}

/// Claims beside those of RFC 9068.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// `groups`, the roles again.
    pub groups: bool,
    /// `realm_access.roles`, the roles as Keycloak writes them.
    pub keycloak_roles: bool,
}

/// Bounds on what callers and floods can take.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The largest body at OAuth, decision and Legion endpoints, in bytes.
    pub oauth_body_bytes: usize,
    /// The largest body at the admin API, in bytes.
    pub admin_body_bytes: usize,
    /// The most connections of one listener.
    pub max_connections: usize,
    /// How long a request may take to arrive.
    pub request_timeout: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long requests in flight may take to finish when edi stops.
    pub drain: Duration,
    /// Threads that check secrets people chose.
    pub hashing_threads: usize,
    /// Checks that may wait for such a thread.
    pub hashing_queue: usize,
    /// Clients held in memory.
    pub client_cache: usize,
    /// Failed authentications a client id, and an address, may have at once.
    pub failures_burst: usize,
    /// How many of them are forgiven a second.
    pub failures_per_second: usize,
}

/// The stored audit trail.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// How long its entries are kept.
    pub keep: Duration,
}

/// What edi logs, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// A level (`info`), or levels by target (`info,edi::store=debug`); fit for `EnvFilter`.
    pub level: String,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// The collector's URL for OTLP over HTTP; `None`: no traces.
    pub otlp_endpoint: Option<String>,
    /// How many in a hundred of the traces that begin here are sent.
    pub sampled_percent: u8,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// What works but deserves a second look, in sentences.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.issuer.is_exposed() {
            remarks.push(format!("issuer {} is plain HTTP: secrets and tokens can be read on the way", self.issuer));
        }
        if self.store.engine == Engine::Memory {
            remarks.push("store.engine = \"memory\": clients, keys and revocations are gone when edi stops".into());
        }
        let jwks_cache = Duration::from_mins(5);
        if self.keys.publish_before < jwks_cache {
            remarks.push(format!(
                "keys.publish_before = {} is shorter than the 5m that many verifiers keep a JWKS for, whatever lifetime it \
                 has: they can meet a key they do not know yet",
                span(self.keys.publish_before)
            ));
        }
        if self.listen.tls == Tls::OffBehindProxy && self.listen.trusted_proxies.is_empty() {
            remarks.push(
                "listen.trusted_proxies is empty: behind a proxy all callers share one address, so they share its budget \
                 of failed attempts"
                    .into(),
            );
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A source of a file that is gone when the test is over.
    struct Written {
        sources: Sources,
        _file: tempfile::NamedTempFile,
    }

    impl std::ops::Deref for Written {
        type Target = Sources;
        fn deref(&self) -> &Sources {
            &self.sources
        }
    }

    impl std::ops::DerefMut for Written {
        fn deref_mut(&mut self) -> &mut Sources {
            &mut self.sources
        }
    }

    /// A source of this file alone.
    fn from_file(text: &str) -> Written {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Written { sources: Sources { file: Some(file.path().into()), ..Sources::default() }, _file: file }
    }

    /// A source of these variables alone; the empty file keeps the working directory's out.
    fn environment(pairs: &[(&str, &str)]) -> Written {
        let mut written = from_file("");
        written.environment = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        written
    }

    fn problems(sources: &Sources) -> Vec<String> {
        let path = sources.file.as_ref().unwrap().display().to_string();
        let problems = load(sources).expect_err("must be refused");
        problems.iter().map(|problem| problem.to_string().replace(&path, "edi.toml")).collect()
    }

    fn shipped() -> String {
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/edi.toml")).unwrap()
    }

    #[test]
    fn the_shipped_file_parses_and_equals_the_defaults() {
        assert_eq!(load(&from_file(&shipped())), load(&environment(&[])));
        assert!(load(&environment(&[])).unwrap().remarks().is_empty());
    }

    #[test]
    fn the_shipped_file_holds_every_key_with_its_default() {
        let tree: serde_json::Value = config::Config::builder()
            .add_source(config::File::from_str(&shipped(), config::FileFormat::Toml))
            .build()
            .unwrap()
            .try_deserialize()
            .unwrap();
        for (key, default) in defaults() {
            let found = tree.pointer(&format!("/{}", key.replace('.', "/")));
            assert_eq!(found, Some(&default), "{key}");
        }
    }

    #[test]
    fn the_reference_lists_every_key_and_no_other() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/config.md")).unwrap();
        let rows: BTreeSet<(String, String)> = text
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                let key = cells.next()?.trim_end_matches('`').to_owned();
                Some((key, cells.next()?.trim_matches('`').to_owned()))
            })
            .collect();
        let wanted = defaults().into_iter().map(|(key, value)| (key, value.to_string())).collect();
        assert_eq!(rows, wanted);
    }

    #[test]
    fn later_layers_win() {
        let mut sources = from_file("[tokens]\nttl = \"5m\"\naudience = \"file\"\nmax_ttl = \"2h\"\n");
        sources.environment.insert("EDI__TOKENS__TTL".into(), "6m".into());
        sources.environment.insert("EDI__TOKENS__AUDIENCE".into(), "env".into());
        sources.flags.push(("tokens.ttl", "7m".into()));
        let tokens = load(&sources).unwrap().tokens;
        assert_eq!((tokens.ttl.as_secs(), tokens.audience.as_str(), tokens.max_ttl.as_secs()), (420, "env", 7200));
    }

    #[test]
    fn the_environment_carries_numbers_switches_and_lists() {
        let config = load(&environment(&[
            ("EDI__LISTEN__WORKERS", "3"),
            ("EDI__CLAIMS__KEYCLOAK_ROLES", "true"),
            ("EDI__KEYS__ALGORITHMS", "RS256, ES256"),
            ("EDI__TOKENS__DEFAULT_ROLE", ""),
            ("EDI__LIMITS__CLIENT_CACHE", "1_000"),
            ("EDI_ISSUER", "a variable of the command line, not a key"),
            ("EDI_PORT", "tcp://10.0.0.1:80"),
        ]))
        .unwrap();
        assert_eq!(config.listen.workers, Some(3));
        assert!(config.claims.keycloak_roles);
        assert_eq!(config.keys.algorithms, [Algorithm::Rs256, Algorithm::Es256]);
        assert_eq!(config.tokens.default_role, None);
        assert_eq!(config.limits.client_cache, 1000);
        let config = load(&environment(&[("EDI__TOKENS__DEFAULT_ROLE", "role-{id}")])).unwrap();
        assert_eq!(config.tokens.default_role, Some(DefaultRole::Template("role-{id}".into())));
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let mut sources = from_file(
            "isuer = \"https://x.example\"\n[listen]\npublic = \"here\"\nworkers = \"many\"\n[tokens]\nttl = 5\n\
             max_ttl = \"1 fortnight\"\ndefault_role = \"openid\"\n[claims]\ngroups = \"yes\"\n[keys]\n\
             algorithms = [\"ES256\", \"HS256\"]\n",
        );
        sources.environment.insert("EDI__STORE__ENGINE".into(), "postgres".into());
        sources.environment.insert("EDI__STORE".into(), "sled".into());
        sources.flags.push(("issuer", "https://x.example/".into()));
        let mut found = problems(&sources);
        found.sort();
        let wanted = [
            "claims.groups = \"yes\" in edi.toml: expected true or false",
            "issuer = \"https://x.example/\" from a flag: verifiers compare issuers byte for byte: write it as \
             https://x.example",
            "isuer in edi.toml: unknown key; did you mean `issuer`?",
            "keys.algorithms = \"HS256\" in edi.toml: expected ES256, RS256, PS256 or EdDSA",
            "listen.public = \"here\" in edi.toml: expected an address and a port such as 127.0.0.1:8080",
            "listen.workers = \"many\" in edi.toml: expected a whole number",
            "tokens.default_role = \"openid\" in edi.toml: a role cannot be named like one of OpenID Connect's scopes \
             (openid, profile, email, groups, …)",
            "tokens.max_ttl = \"1 fortnight\" in edi.toml: expected a duration such as 15m, 1h 30m or 30d",
            "tokens.ttl = \"5\" in edi.toml: expected text in quotes",
        ];
        for line in wanted {
            assert!(found.iter().any(|problem| problem == line), "missing: {line}\nfound: {found:#?}");
        }
        assert!(found.iter().any(|problem| problem.starts_with("store")), "{found:#?}");
        assert_eq!(found.len(), wanted.len() + 1, "{found:#?}");
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused_with_the_numbers() {
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[("TOKENS__TTL", "2h"), ("TOKENS__MAX_TTL", "1h")], "tokens.ttl = 2h is longer than tokens.max_ttl = 1h"),
            (&[("TOKENS__TTL", "5s")], "at least 10s"),
            (&[("TOKENS__TTL", "90500ms")], "whole seconds"),
            (&[("TOKENS__MAX_TTL", "31days")], "at most 30d"),
            (&[("KEYS__ROTATE_EVERY", "1h")], "must be longer than keys.publish_before = 1h"),
            (&[("KEYS__ROTATE_EVERY", "65m")], "would keep 23 old keys published; at most 9"),
            (&[("LISTEN__PUBLIC", "0.0.0.0:8080")], "off-behind-proxy"),
            (&[("LISTEN__ADMIN", "10.0.0.1:8081")], "off-behind-proxy"),
            (&[("LISTEN__ADMIN", "127.0.0.1:8080")], "both are 127.0.0.1:8080"),
            (
                &[("LISTEN__ADMIN", "0.0.0.0:8080"), ("LISTEN__TLS", "off-behind-proxy")],
                "0.0.0.0:8080 takes port 8080 on every address",
            ),
            (&[("LISTEN__TLS", "yes")], "expected off, off-behind-proxy or on"),
            (&[("LISTEN__TLS", "on")], "listen.tls = \"on\" needs listen.certificate_file"),
            (&[("LISTEN__TLS", "on"), ("LISTEN__CERTIFICATE_FILE", "a.pem")], "needs listen.key_file"),
            (&[("LISTEN__KEY_FILE", "a.pem")], "only with listen.tls = \"on\""),
            (&[("LISTEN__ADMIN_URL", "edi-admin")], "expected a URL"),
            (&[("LISTEN__TRUSTED_PROXIES", "10.0.0.0/99")], "10.0.0.0/8"),
            (&[("TOKENS__AUDIENCE", "two words")], "printable"),
            (&[("TOKENS__DEFAULT_ROLE", "role-{name}")], "the one placeholder is {id}"),
            (&[("TOKENS__DEFAULT_ROLE", "edi:{id}")], "a role has 1 to 63"),
            (&[("KEYS__ALGORITHMS", "")], "at least one"),
            (&[("KEYS__ALGORITHMS", "ES256,ES256")], "twice"),
            (&[("KEYS__OPERATOR_FILE", "keys/master.key")], "the same file"),
            (&[("STORE__PATH", "")], "expected a path"),
            (&[("LIMITS__OAUTH_BODY_BYTES", "10")], "expected 16384 to 1048576"),
            (&[("LIMITS__HASHING_THREADS", "9")], "expected 1 to 2"),
            (&[("LIMITS__REQUEST_TIMEOUT", "2m")], "at most 30s"),
            (&[("LOG__LEVEL", "loud")], "expected off, error, warn, info, debug or trace"),
            (&[("LOG__FORMAT", "xml")], "expected auto, pretty or json"),
            (&[("ISSUER", "")], "expected a URL"),
        ];
        for (pairs, why) in rows {
            let pairs: Vec<(String, &str)> = pairs.iter().map(|(key, value)| (format!("EDI__{key}"), *value)).collect();
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            let found = problems(&environment(&pairs));
            assert!(found.iter().any(|problem| problem.contains(why)), "{pairs:?}: {found:?}");
        }
    }

    #[test]
    fn a_missing_or_broken_file_is_a_problem_of_its_own() {
        let missing = Sources { file: Some("/nonexistent/edi.toml".into()), ..Sources::default() };
        assert!(problems(&missing)[0].contains("cannot be read"));
        let mut broken = from_file("[tokens\nttl = 1");
        broken.flags.push(("log.format", "xml".into()));
        let found = problems(&broken);
        assert!(found[0].contains("not valid TOML") && found[1].contains("log.format"), "{found:?}");
    }

    #[test]
    fn the_default_issuer_follows_a_loopback_listener() {
        let issuer = |pairs: &[(&str, &str)]| load(&environment(pairs)).unwrap().issuer.to_string();
        assert_eq!(issuer(&[("EDI__LISTEN__PUBLIC", "127.0.0.1:9000")]), "http://127.0.0.1:9000");
        assert_eq!(issuer(&[("EDI__LISTEN__PUBLIC", "[::1]:9000")]), "http://[::1]:9000");
        assert_eq!(issuer(&[("EDI__LISTEN__PUBLIC", "127.0.0.1:0")]), "http://127.0.0.1:8080");
        let encrypted = [
            ("EDI__LISTEN__TLS", "on"),
            ("EDI__LISTEN__CERTIFICATE_FILE", "a.pem"),
            ("EDI__LISTEN__KEY_FILE", "a.key"),
        ];
        assert_eq!(issuer(&encrypted), "https://127.0.0.1:8080");
        let behind = [("EDI__LISTEN__PUBLIC", "0.0.0.0:9000"), ("EDI__LISTEN__TLS", "off-behind-proxy")];
        assert_eq!(issuer(&behind), "http://127.0.0.1:8080");
        let named = [("EDI__LISTEN__PUBLIC", "127.0.0.1:9000"), ("EDI__ISSUER", "https://edi.example.com")];
        assert_eq!(issuer(&named), "https://edi.example.com");
    }

    #[test]
    fn the_admin_url_is_the_configured_one_or_that_of_the_listener() {
        let listen = |pairs: &[(&str, &str)]| load(&environment(pairs)).unwrap().listen;
        assert_eq!(listen(&[]).admin_url_at("127.0.0.1:8081".parse().unwrap()), "http://127.0.0.1:8081");
        assert_eq!(listen(&[]).admin_url_at("0.0.0.0:9".parse().unwrap()), "http://127.0.0.1:9");
        assert_eq!(listen(&[]).admin_url_at("[::]:9".parse().unwrap()), "http://[::1]:9");
        let named = listen(&[("EDI__LISTEN__ADMIN_URL", "https://admin.example/edi/")]);
        assert_eq!(named.admin_url_at("0.0.0.0:9".parse().unwrap()), "https://admin.example/edi");
    }

    proptest::proptest! {
        #[test]
        fn any_text_at_any_key_is_taken_or_refused_in_words(which in 0_usize..100, text in "\\PC{0,40}") {
            let keys = defaults();
            let key = &keys[which % keys.len()].0;
            if let Err(problems) = load(&environment(&[(&problem::variable(key), &text)])) {
                proptest::prop_assert!(!problems.is_empty());
                proptest::prop_assert!(problems.iter().all(|it| !it.reason.is_empty()));
            }
        }
    }
}
