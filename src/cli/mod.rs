//! The command line: the composition root, and the operator's way to a running edi.
//!
//! [`Cli`] is what may be typed, [`run`] does it, [`Failure`] says how it ended. `serve`, `demo`, `restore` and `recover` put the
//! parts of edi together; every other command but `check` and `completions` is a client of the servers and knows no
//! more of them than any other client: URLs and JSON.

pub mod allocator;
mod api;
mod apply;
mod audit;
mod backup;
mod check;
mod client;
mod client_key;
mod client_keygen;
mod client_rotate;
mod client_secret;
mod client_whose;
mod completions;
mod credentials;
pub mod demo;
mod deployment;
mod descriptors;
mod doctor;
mod dump;
mod exchange;
mod exit;
mod explain;
mod files;
mod flags;
mod health;
mod input;
mod inspect;
mod issuer;
mod key;
mod key_change;
mod key_export;
mod key_import;
mod key_plan;
mod key_revoke;
mod live;
mod login;
mod output;
mod parse;
mod progress;
mod proxy_config;
pub mod recover;
mod reload;
mod restore;
mod revoke;
mod role;
pub mod serve;
mod session;
mod set;
mod signals;
mod status;
mod table;
mod timeline;
mod token;
mod verify;
mod view;
mod why;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};
pub use flags::ConfigFlags;
pub use output::{Color, Output};

/// Issues short-lived tokens for model prediction APIs, and runs the service that does.
#[derive(Debug, Parser)]
#[command(name = "edi", version, max_term_width = 110, after_help = AFTER_HELP)]
pub struct Cli {
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
    /// When to use colours; NO_COLOR counts as well
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Environment:
  EDI_CONFIG         the configuration file
  EDI_CREDENTIALS    the operator's credentials; wins over `edi login` [default: keys/operator.json]
  EDI_SERVER         the admin API's URL [default: the one in the credentials]
  EDI_ISSUER, EDI_CLIENT_ID, EDI_CLIENT_SECRET    for `edi token`
  EDI_PUBLIC         where the issuer is reached, when not at its own URL

Exit codes:
  0 done, 1 refused or failed, 2 usage, 64 bad configuration, 65 unreadable input,
  69 server not reachable, 77 not permitted";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Demo(Box<demo::Args>),
    Check(Box<check::Args>),
    #[command(alias = "clients")]
    Client(Box<client::Args>),
    #[command(alias = "deployments")]
    Deployment(Box<deployment::Args>),
    #[command(alias = "roles")]
    Role(Box<role::Args>),
    #[command(alias = "keys")]
    Key(Box<key::Args>),
    #[command(alias = "tokens")]
    Token(Box<token::Args>),
    #[command(aliases = ["revocation", "revocations"])]
    Revoke(Box<revoke::Args>),
    Login(Box<login::Args>),
    Logout(Box<login::LogoutArgs>),
    Whoami(Box<login::WhoamiArgs>),
    Doctor(Box<doctor::Args>),
    Apply(Box<apply::Args>),
    Diff(Box<apply::DiffArgs>),
    Dump(Box<dump::Args>),
    Audit(Box<audit::Args>),
    Why(Box<why::Args>),
    ProxyConfig(Box<proxy_config::Args>),
    Status(Box<status::Args>),
    Health(Box<health::Args>),
    Reload(Box<reload::Args>),
    Backup(Box<backup::Args>),
    Restore(Box<restore::Args>),
    Recover(Box<recover::Args>),
    Completions(completions::Args),
}

impl Cli {
    /// Whether the program stays for long.
    #[must_use]
    pub fn stays(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }
}

/// Does what was typed.
///
/// # Errors
/// [`Failure`] with the exit code and what to print on standard error.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::with(cli.json, cli.color);
    match cli.command {
        Command::Serve(args) => serve::run(*args, output).await,
        Command::Demo(args) => demo::run(*args, output).await,
        Command::Check(args) => check::run(&args, output),
        Command::Client(args) => client::run(*args, output).await,
        Command::Deployment(args) => deployment::run(*args, output).await,
        Command::Role(args) => role::run(*args, output).await,
        Command::Key(args) => key::run(*args, output).await,
        Command::Token(args) => token::run(*args, output).await,
        Command::Revoke(args) => revoke::run(*args, output).await,
        Command::Login(args) => login::run(*args, output).await,
        Command::Logout(args) => login::logout(*args, output).await,
        Command::Whoami(args) => login::whoami(*args, output).await,
        Command::Doctor(args) => doctor::run(*args, output).await,
        Command::Apply(args) => apply::run(*args, output).await,
        Command::Diff(args) => apply::diff(*args, output).await,
        Command::Dump(args) => dump::run(*args, output).await,
        Command::Audit(args) => audit::run(*args, output).await,
        Command::Why(args) => why::run(*args, output).await,
        Command::ProxyConfig(args) => proxy_config::run(*args, output).await,
        Command::Status(args) => status::run(*args, output).await,
        Command::Reload(args) => reload::run(*args, output).await,
        Command::Health(args) => health::run(*args, output).await,
        Command::Backup(args) => backup::run(*args, output).await,
        Command::Restore(args) => restore::run(*args, output).await,
        Command::Recover(args) => recover::run(*args, output).await,
        Command::Completions(args) => completions::run(&args, output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_reference_names_every_command() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/cli.md")).unwrap();
        for command in Cli::command().get_subcommands() {
            assert!(text.contains(&format!("| `edi {}", command.get_name())), "{}", command.get_name());
        }
    }

    #[test]
    fn plurals_and_short_forms_are_understood() {
        for line in [
            "edi clients list",
            "edi client ls",
            "edi deployments rm x --yes",
            "edi roles list",
            "edi keys list",
            "edi tokens inspect -",
            "edi token explain - --deployment fraud",
            "edi deployment access fraud",
            "edi proxy-config istio --jwks-uri http://edi.edi.svc:8080/.well-known/jwks.json",
            "edi proxy-config oauth2-proxy --deployment fraud --upstream fraud=http://model:9000",
            "edi key export --pem --kid abc",
            "edi key plan --width 60",
            "edi key import - --kid old-name --alg PS256 --lifetime 1d",
            "edi key import old.pem --verify-only",
            "edi key revoke abc --all --dry-run",
            "edi key rotate-master --yes",
            "edi keys export --pem --all",
            "edi token inspect",
            "edi revocations list --kind role",
            "edi revoke list --since 2h --actor alice --reason leak --state in_force",
            "edi revoke undo client svc --yes",
            "edi revoke undo key --OdDX-7O-dm1uiimTnHqhNXXgP5TrjYSpMZbargMmI",
            "edi audit list --since 24h --actor op --action client.* --outcome refused --limit 5",
            "edi audit tail --json",
            "edi audit verify",
            "edi why -898aa590fb980de5c9b3e719",
            "edi revoke --client svc --yes --json",
            "edi revoke --token - --dry-run",
            "edi revoke --key --OdDX-7O-dm1uiimTnHqhNXXgP5TrjYSpMZbargMmI --yes",
            "edi revoke --jti -xg4wH0z6kG2pXq0Xn9tJA --yes",
            "edi key revoke -OdDX-7O-dm1uiimTnHqhNXXgP5TrjYSpMZbargMmI --yes",
            "edi client create svc --role a --role b --scope edi:introspect --lifetime 10m --auth-method basic --alg RS256",
            "edi client update svc --add-role a --remove-role b --lifetime default",
            "edi client secret add svc --expires 90d --secret-stdin",
            "edi client secret rotate svc --overlap 24h",
            "edi client whose -",
            "edi client whose - --client svc",
            "edi client secret rotate svc --compromised --yes",
            "edi client secret rotate svc --compromised next --dry-run --reason leaked",
            "edi backup edi.backup",
            "edi backup verify edi.backup",
            "edi restore edi.backup --store-path elsewhere",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
        for line in [
            "edi",
            "edi client create -x",
            "edi client create svc --role edi:admin",
            "edi client create svc --scope models",
            "edi client create svc --client-secret hunter2",
            "edi client create svc --lifetime 0s",
            "edi client update svc --role a --add-role b",
            "edi client secret add svc --expires tomorrow",
            "edi client secret rotate svc --overlap 1h --compromised",
            "edi client secret rotate svc --overlap soon",
            "edi client whose edi_abc_def",
            "edi client secret rotate svc --reason leaked",
            "edi backup",
            "edi why",
            "edi why ../clients",
            "edi restore",
            "edi revoke",
            "edi revoke --client a --role b",
            "edi revoke --token eyJhbGciOiJub25lIn0.e30.",
            "edi token inspect eyJhbGciOiJub25lIn0.e30.",
            "edi token explain eyJhbGciOiJub25lIn0.e30.",
            "edi key export --pem --kid a --all",
            "edi proxy-config squid",
            "edi proxy-config nginx --upstream http://model/path",
            "edi proxy-config nginx --edi-url http://edi/;return",
            "edi proxy-config istio --namespace Models",
            "edi token get --issuer https://x.example/ --client-id a",
            "edi token get --issuer https://x.example --client-id a --role r --scope edi:read",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
