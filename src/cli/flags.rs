//! Flags that set configuration keys, shared by the commands that read the configuration.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::config::{self, Config, Sources};

/// Which file, and what the command line says over it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigFlags {
    /// The configuration file [default: config/edi.toml if it exists]
    #[arg(long, value_name = "FILE", env = "EDI_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Where services and proxies reach edi (listen.public)
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen_public: Option<String>,
    /// Where operators reach edi (listen.admin)
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen_admin: Option<String>,
    /// Who encrypts: off, off-behind-proxy, on (listen.tls)
    #[arg(long, value_name = "MODE")]
    pub listen_tls: Option<String>,
    /// The URL that verifiers know edi by (issuer)
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// The store's engine: sled, memory (store.engine)
    #[arg(long, value_name = "ENGINE")]
    pub store_engine: Option<String>,
    /// The store's folder (store.path)
    #[arg(long, value_name = "DIR")]
    pub store_path: Option<String>,
    /// The master key's file (keys.master_key_file)
    #[arg(long, value_name = "FILE")]
    pub master_key_file: Option<String>,
    /// The first operator's credentials (keys.operator_file)
    #[arg(long, value_name = "FILE")]
    pub operator_file: Option<String>,
    /// The form of log lines: auto, pretty, json (log.format)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What is logged: info, debug, info,edi::store=debug, … (log.level)
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl ConfigFlags {
    /// All layers: defaults, file, environment and these flags.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let flags = [
            ("listen.public", &self.listen_public),
            ("listen.admin", &self.listen_admin),
            ("listen.tls", &self.listen_tls),
            ("issuer", &self.issuer),
            ("store.engine", &self.store_engine),
            ("store.path", &self.store_path),
            ("keys.master_key_file", &self.master_key_file),
            ("keys.operator_file", &self.operator_file),
            ("log.format", &self.log_format),
            ("log.level", &self.log_level),
        ];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        Sources::of_process(self.config.clone(), flags)
    }

    /// The configuration that all layers make.
    ///
    /// # Errors
    /// Exit code 64 with every problem.
    pub fn load(&self) -> Result<Config, Failure> {
        config::load(&self.sources()).map_err(|problems| Failure::of_config(&problems))
    }
}
