//! From what the configuration says to what the program may rely on. Judges each value, then how they fit together.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::problem::{Origin, Problem};
use super::raw::{DEFAULT_ISSUER, RawConfig, RawKeys, RawLimits, RawListen, RawStore, RawTelemetry, RawTokens};
use super::span::{parse_span, span};
use super::{
    Audit, Certificate, Claims, Config, Engine, Issuer, Keys, Limits, Listen, Log, LogFormat, Network, Store,
    Telemetry, Tls, Tokens,
};
use crate::model::algorithm::Algorithm;
use crate::model::default_role::DefaultRole;
use crate::model::deployment::is_audience;
use crate::model::keyring::MAX_LIVE_KEYS;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// Clock differences every key's window includes.
const SKEW: Duration = MINUTE;
/// How many old keys a ring has room for beside the one that signs, its standby and a rotation by hand.
const MAX_OLD_KEYS: u128 = MAX_LIVE_KEYS as u128 - 3;

/// Judges `raw`; `found` are the problems known before.
pub(super) fn parse(
    raw: &RawConfig,
    origins: &BTreeMap<String, Origin>,
    found: Vec<Problem>,
) -> Result<Config, Vec<Problem>> {
    let mut judge = Judge { origins, problems: found };
    let listen = judge.listen(&raw.listen);
    let issuer = judge.issuer(&raw.issuer, listen.as_ref());
    let store = judge.store(&raw.store);
    let tokens = judge.tokens(&raw.tokens);
    let keys = judge.keys(&raw.keys, tokens.as_ref());
    let limits = judge.limits(&raw.limits);
    let audit = judge.duration("audit.keep", &raw.audit.keep, DAY..=36_500 * DAY).map(|keep| Audit { keep });
    let log = judge.log(raw);
    let telemetry = judge.telemetry(&raw.telemetry);
    let claims = Claims { groups: raw.claims.groups, keycloak_roles: raw.claims.keycloak_roles };

    let whole = (issuer, listen, store, keys, tokens, limits, audit, log, telemetry);
    let problems = judge.problems;
    match whole {
        (
            Some(issuer),
            Some(listen),
            Some(store),
            Some(keys),
            Some(tokens),
            Some(limits),
            Some(audit),
            Some(log),
            Some(telemetry),
        ) if problems.is_empty() => {
            Ok(Config { issuer, listen, store, keys, tokens, claims, limits, audit, log, telemetry })
        }
        _ => Err(problems),
    }
}

/// Collects problems; a `None` always left one behind.
struct Judge<'a> {
    origins: &'a BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Judge<'_> {
    fn refuse(&mut self, key: &str, value: impl Display, reason: impl Into<String>) {
        let origin = self.origins.get(key).cloned().unwrap_or_default();
        self.problems.push(Problem::new(key, value.to_string(), reason).from_origin(origin));
    }

    fn take<T, E: Display>(&mut self, key: &str, text: &str, outcome: Result<T, E>) -> Option<T> {
        outcome.map_err(|reason| self.refuse(key, text, reason.to_string())).ok()
    }

    fn read<T: FromStr<Err: Display>>(&mut self, key: &str, text: &str) -> Option<T> {
        self.take(key, text, text.parse())
    }

    fn choose<T: Copy, const N: usize>(&mut self, key: &str, text: &str, choices: [(&str, T); N]) -> Option<T> {
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let (last, others) = names.split_last().unwrap_or((&"", &[]));
            self.refuse(key, text, format!("expected {} or {last}", others.join(", ")));
        }
        found
    }

    fn path(&mut self, key: &str, text: &str) -> Option<PathBuf> {
        let outcome = if text.trim().is_empty() { Err("expected a path") } else { Ok(text.into()) };
        self.take(key, text, outcome)
    }

    fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        self.take(key, text, text.parse().map_err(|_| "expected an address and a port such as 127.0.0.1:8080"))
    }

    fn number(&mut self, key: &str, value: u64, range: RangeInclusive<u64>) -> Option<usize> {
        let outcome = usize::try_from(value)
            .ok()
            .filter(|_| range.contains(&value))
            .ok_or_else(|| format!("expected {} to {}", range.start(), range.end()));
        self.take(key, &value.to_string(), outcome)
    }

    fn duration(&mut self, key: &str, text: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let outcome = match parse_span(text) {
            Err(reason) => Err(reason.to_owned()),
            Ok(given) if given < *range.start() => Err(format!("at least {}", span(*range.start()))),
            Ok(given) if given > *range.end() => Err(format!("at most {}", span(*range.end()))),
            Ok(given) => Ok(given),
        };
        self.take(key, text, outcome)
    }

    fn issuer(&mut self, text: &str, listen: Option<&Listen>) -> Option<Issuer> {
        // The default follows a public listener that was moved on loopback, or encrypts; anything else has to be said.
        let moved = listen.filter(|listen| listen.public.ip().is_loopback() && listen.public.port() != 0);
        match moved {
            Some(Listen { public, tls, .. }) if text == DEFAULT_ISSUER => {
                let scheme = if *tls == Tls::On { "https" } else { "http" };
                self.read("issuer", &format!("{scheme}://{public}"))
            }
            _ => self.read("issuer", text),
        }
    }

    fn listen(&mut self, raw: &RawListen) -> Option<Listen> {
        let public = self.address("listen.public", &raw.public);
        let admin = self.address("listen.admin", &raw.admin);
        let tls = self.choose(
            "listen.tls",
            &raw.tls,
            [("off", Tls::Off), ("off-behind-proxy", Tls::OffBehindProxy), ("on", Tls::On)],
        );
        // Compared with nothing, only called: a trailing slash is no mistake here.
        let admin_url = match raw.admin_url.trim_end_matches('/') {
            "" => Some(None),
            url => self.read::<Issuer>("listen.admin_url", url).map(|url| Some(url.to_string())),
        };
        let certificate = self.certificate(raw, tls);
        let workers = self.number("listen.workers", raw.workers, 0..=1024);
        let mut trusted_proxies = Vec::new();
        for text in &raw.trusted_proxies {
            trusted_proxies.extend(self.read::<Network>("listen.trusted_proxies", text));
        }
        for (key, address) in [("listen.public", public), ("listen.admin", admin)] {
            if let Some(address) = address
                && tls == Some(Tls::Off)
                && !address.ip().is_loopback()
            {
                self.refuse(
                    key,
                    address,
                    "plain HTTP beyond loopback: give edi a certificate (listen.tls = \"on\"), or let a proxy in front \
                     encrypt and say so with listen.tls = \"off-behind-proxy\"",
                );
            }
        }
        if let (Some(public), Some(admin)) = (public, admin)
            && public.port() == admin.port()
            && public.port() != 0
        {
            let wide = [public, admin].into_iter().find(|address| address.ip().is_unspecified());
            if public == admin {
                self.refuse("listen.admin", admin, format!("the two listeners need two ports: both are {public}"));
            } else if let Some(wide) = wide {
                let reason = format!("{wide} takes port {} on every address: choose two ports", wide.port());
                self.refuse("listen.admin", admin, reason);
            }
        }
        Some(Listen {
            public: public?,
            admin: admin?,
            admin_url: admin_url?,
            tls: tls?,
            certificate,
            workers: workers.map(|count| Some(count).filter(|count| *count > 0))?,
            trusted_proxies,
        })
    }

    /// The files of TLS: there when edi encrypts, and then only. What is missing is noted as a problem.
    fn certificate(&mut self, raw: &RawListen, tls: Option<Tls>) -> Option<Certificate> {
        let files = [
            ("listen.certificate_file", &raw.certificate_file),
            ("listen.key_file", &raw.key_file),
            ("listen.admin_client_ca_file", &raw.admin_client_ca_file),
        ];
        let given = |text: &String| Some(text.trim()).filter(|text| !text.is_empty()).map(PathBuf::from);
        if tls? != Tls::On {
            for (key, text) in files.into_iter().filter(|(_, text)| given(text).is_some()) {
                self.refuse(key, text, "only with listen.tls = \"on\"");
            }
            return None;
        }
        for (key, text) in files.into_iter().take(2).filter(|(_, text)| given(text).is_none()) {
            self.refuse(key, text, format!("listen.tls = \"on\" needs {key}"));
        }
        Some(Certificate {
            certificate_file: given(&raw.certificate_file)?,
            key_file: given(&raw.key_file)?,
            admin_client_ca_file: given(&raw.admin_client_ca_file),
        })
    }

    fn store(&mut self, raw: &RawStore) -> Option<Store> {
        let engine = self.choose("store.engine", &raw.engine, [("sled", Engine::Sled), ("memory", Engine::Memory)]);
        let path = self.path("store.path", &raw.path);
        let reserve = self.number("store.reserve_mib", raw.reserve_mib, 0..=1024);
        let cache = self.number("store.cache_mib", raw.cache_mib, 32..=64 * 1024);
        let bytes = |mib: usize| mib as u64 * 1024 * 1024;
        Some(Store { engine: engine?, path: path?, reserve: bytes(reserve?), cache: bytes(cache?) })
    }

    fn tokens(&mut self, raw: &RawTokens) -> Option<Tokens> {
        let ttl = self.duration("tokens.ttl", &raw.ttl, 10 * SECOND..=30 * DAY);
        let max_ttl = self.duration("tokens.max_ttl", &raw.max_ttl, 10 * SECOND..=30 * DAY);
        let audience = is_audience(&raw.audience)
            .then(|| raw.audience.clone())
            .ok_or("an audience has 1 to 512 printable ASCII characters, without space, quote, backslash and #");
        let audience = self.take("tokens.audience", &raw.audience, audience);
        let default_role = match raw.default_role.as_str() {
            "" => Some(None),
            name => self.read::<DefaultRole>("tokens.default_role", name).map(Some),
        };
        if let (Some(ttl), Some(max)) = (ttl, max_ttl)
            && ttl > max
        {
            let reason = format!("tokens.ttl = {} is longer than tokens.max_ttl = {}", span(ttl), span(max));
            self.refuse("tokens.ttl", &raw.ttl, reason);
        }
        Some(Tokens { ttl: ttl?, max_ttl: max_ttl?, audience: audience?, default_role: default_role? })
    }

    fn keys(&mut self, raw: &RawKeys, tokens: Option<&Tokens>) -> Option<Keys> {
        let master_key_file = self.path("keys.master_key_file", &raw.master_key_file);
        let operator_file = self.path("keys.operator_file", &raw.operator_file);
        if master_key_file.is_some() && master_key_file == operator_file {
            self.refuse("keys.operator_file", &raw.operator_file, "the same file as keys.master_key_file");
        }
        let algorithms = self.algorithms(&raw.algorithms);
        let rotate_every = self.duration("keys.rotate_every", &raw.rotate_every, MINUTE..=3650 * DAY);
        let publish_before = self.duration("keys.publish_before", &raw.publish_before, SECOND..=30 * DAY);
        if let (Some(rotate), Some(publish)) = (rotate_every, publish_before)
            && rotate <= publish
        {
            let reason = format!(
                "keys.rotate_every = {} must be longer than keys.publish_before = {}, or no key is ready in time",
                span(rotate),
                span(publish)
            );
            self.refuse("keys.rotate_every", &raw.rotate_every, reason);
        } else if let (Some(rotate), Some(tokens)) = (rotate_every, tokens) {
            // An old key stays published until its last token has expired.
            let kept = (tokens.max_ttl + SKEW).as_millis().div_ceil(rotate.as_millis().max(1));
            if kept > MAX_OLD_KEYS {
                let reason = format!(
                    "with tokens.max_ttl = {} a rotation every {} would keep {kept} old keys published; at most \
                     {MAX_OLD_KEYS}: rotate less often or lower tokens.max_ttl",
                    span(tokens.max_ttl),
                    span(rotate)
                );
                self.refuse("keys.rotate_every", &raw.rotate_every, reason);
            }
        }
        Some(Keys {
            master_key_file: master_key_file?,
            operator_file: operator_file?,
            algorithms: algorithms?,
            rotate_every: rotate_every?,
            publish_before: publish_before?,
        })
    }

    fn algorithms(&mut self, names: &[String]) -> Option<Vec<Algorithm>> {
        const KEY: &str = "keys.algorithms";
        let mut algorithms = Vec::new();
        for name in names {
            match name.parse::<Algorithm>() {
                Ok(algorithm) if algorithms.contains(&algorithm) => self.refuse(KEY, name, "named twice"),
                Ok(algorithm) => algorithms.push(algorithm),
                Err(reason) => self.refuse(KEY, name, reason),
            }
        }
        if names.is_empty() {
            self.refuse(KEY, "", "name at least one algorithm");
        }
        (!algorithms.is_empty()).then_some(algorithms)
    }

    fn limits(&mut self, raw: &RawLimits) -> Option<Limits> {
        let oauth_body_bytes = self.number("limits.oauth_body_bytes", raw.oauth_body_bytes, 16_384..=1_048_576);
        let admin_body_bytes = self.number("limits.admin_body_bytes", raw.admin_body_bytes, 65_536..=16_777_216);
        let max_connections = self.number("limits.max_connections", raw.max_connections, 16..=1_000_000);
        let request_timeout = self.duration("limits.request_timeout", &raw.request_timeout, SECOND..=30 * SECOND);
        let keep_alive = self.duration("limits.keep_alive", &raw.keep_alive, SECOND..=60 * MINUTE);
        let drain = self.duration("limits.drain", &raw.drain, SECOND..=60 * MINUTE);
        let hashing_threads = self.number("limits.hashing_threads", raw.hashing_threads, 1..=2);
        let hashing_queue = self.number("limits.hashing_queue", raw.hashing_queue, 1..=4096);
        let client_cache = self.number("limits.client_cache", raw.client_cache, 100..=10_000_000);
        let failures_burst = self.number("limits.failures_burst", raw.failures_burst, 1..=1_000_000);
        let failures_per_second = self.number("limits.failures_per_second", raw.failures_per_second, 1..=100_000);
        Some(Limits {
            oauth_body_bytes: oauth_body_bytes?,
            admin_body_bytes: admin_body_bytes?,
            max_connections: max_connections?,
            request_timeout: request_timeout?,
            keep_alive: keep_alive?,
            drain: drain?,
            hashing_threads: hashing_threads?,
            hashing_queue: hashing_queue?,
            client_cache: client_cache?,
            failures_burst: failures_burst?,
            failures_per_second: failures_per_second?,
        })
    }

    fn log(&mut self, raw: &RawConfig) -> Option<Log> {
        let formats = [("auto", LogFormat::Auto), ("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
        let format = self.choose("log.format", &raw.log.format, formats);
        let level = is_filter(&raw.log.level)
            .then(|| raw.log.level.clone())
            .ok_or("expected off, error, warn, info, debug or trace, alone or by target as in info,edi::store=debug");
        let level = self.take("log.level", &raw.log.level, level);
        Some(Log { format: format?, level: level? })
    }

    fn telemetry(&mut self, raw: &RawTelemetry) -> Option<Telemetry> {
        let key = "telemetry.otlp_endpoint";
        let text = raw.otlp_endpoint.trim();
        let fits = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !text.is_empty() && !fits {
            self.refuse(key, text, "expected the URL of a collector such as http://127.0.0.1:4318");
        } else if !text.is_empty() && !cfg!(feature = "otel") {
            self.refuse(key, text, "this edi was built without OpenTelemetry: build it with `--features otel`");
        }
        let percent = self.number("telemetry.sampled_percent", raw.sampled_percent, 0..=100)?;
        Some(Telemetry {
            otlp_endpoint: Some(text.to_owned()).filter(|text| !text.is_empty()),
            sampled_percent: u8::try_from(percent).ok()?,
        })
    }
}

/// Stricter than `EnvFilter`, which takes a misspelt level for the name of a module.
fn is_filter(text: &str) -> bool {
    let is_level = |text: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&text);
    let is_target = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-'))
    };
    text.split(',').all(|part| match part.split_once('=') {
        None => is_level(part),
        Some((target, level)) => is_target(target) && is_level(level),
    })
}
