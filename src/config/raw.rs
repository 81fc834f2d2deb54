//! What the configuration says, before anyone believes it: every key, as text, numbers and switches, with its default.

use serde::{Deserialize, Serialize};

/// The built-in issuer; it follows `listen.public` when that is moved to another loopback address.
pub(super) const DEFAULT_ISSUER: &str = "http://127.0.0.1:8080";

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $type:ty = $default:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name { $(pub(super) $key: $type),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default),* }
            }
        }
    };
}

section! {
    /// The whole file.
    RawConfig {
        issuer: String = DEFAULT_ISSUER.into(),
        listen: RawListen = RawListen::default(),
        store: RawStore = RawStore::default(),
        keys: RawKeys = RawKeys::default(),
        tokens: RawTokens = RawTokens::default(),
        claims: RawClaims = RawClaims::default(),
        limits: RawLimits = RawLimits::default(),
        audit: RawAudit = RawAudit::default(),
        log: RawLog = RawLog::default(),
        telemetry: RawTelemetry = RawTelemetry::default(),
    }
}

section! {
    /// `[listen]`
    RawListen {
        public: String = "127.0.0.1:8080".into(),
        admin: String = "127.0.0.1:8081".into(),
        admin_url: String = String::new(),
        tls: String = "off".into(),
        certificate_file: String = String::new(),
        key_file: String = String::new(),
        admin_client_ca_file: String = String::new(),
        workers: u64 = 0,
        trusted_proxies: Vec<String> = Vec::new(),
    }
}

section! {
    /// `[store]`
    RawStore {
        engine: String = "sled".into(),
        path: String = "data".into(),
        reserve_mib: u64 = 16,
        cache_mib: u64 = 32,
    }
}

section! {
    /// `[keys]`
    RawKeys {
        master_key_file: String = "keys/master.key".into(),
        operator_file: String = "keys/operator.json".into(),
        algorithms: Vec<String> = vec!["ES256".into()],
        rotate_every: String = "30d".into(),
        publish_before: String = "1h".into(),
    }
}

section! {
    /// `[tokens]`
    RawTokens {
        ttl: String = "15m".into(),
        max_ttl: String = "24h".into(),
        audience: String = "model-prediction-api".into(),
        default_role: String = "default".into(),
    }
}

section! {
    /// `[claims]`
    RawClaims {
        groups: bool = true,
        keycloak_roles: bool = false,
    }
}

section! {
    /// `[limits]`
    RawLimits {
        oauth_body_bytes: u64 = 16_384,
        admin_body_bytes: u64 = 262_144,
        max_connections: u64 = 10_000,
        request_timeout: String = "20s".into(),
        keep_alive: String = "75s".into(),
        drain: String = "20s".into(),
        hashing_threads: u64 = 1,
        hashing_queue: u64 = 64,
        client_cache: u64 = 50_000,
        failures_burst: u64 = 200,
        failures_per_second: u64 = 20,
    }
}

section! {
    /// `[audit]`
    RawAudit {
        keep: String = "400d".into(),
    }
}

section! {
    /// `[log]`
    RawLog {
        format: String = "auto".into(),
        level: String = "info".into(),
    }
}

section! {
    /// `[telemetry]`
    RawTelemetry {
        otlp_endpoint: String = String::new(),
        sampled_percent: u64 = 10,
    }
}
