//! `edi health`: whether the server on this machine is well; for a container's health check, which has no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args as ClapArgs;
use reqwest::Method;

use super::exchange;
use super::output::printable;
use super::{ConfigFlags, Exit, Failure, Output};
use crate::config::Tls;

/// Ask the server on this machine whether it can serve tokens; exit code 0 when it can.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Ask no more than whether the process answers
    #[arg(long)]
    live: bool,
    /// The listener to ask [default: the public one of the configuration]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    flags: ConfigFlags,
}

/// Asks.
///
/// # Errors
/// Exit code 69 when nobody answers, or not with 200.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let base = if let Some(url) = args.url {
        url
    } else {
        let listen = args.flags.load()?.listen;
        let scheme = if listen.tls == Tls::On { "https" } else { "http" };
        format!("{scheme}://{}", from_here(listen.public))
    };
    let path = if args.live { "/health/live" } else { "/health/ready" };
    let request = exchange::unverified(Method::GET, &format!("{}{path}", base.trim_end_matches('/')))?;
    let answer = exchange::send(request, &base, "is it running? start it with `edi serve`").await?;
    let body = printable(&String::from_utf8_lossy(&answer.body));
    if answer.status != 200 {
        return Err(Failure::new(Exit::Unavailable, format!("{base} answers {}: {body}", answer.status)));
    }
    output.line(&body)
}

/// Where a listener of this machine is reached: one on all addresses, on loopback.
fn from_here(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}
