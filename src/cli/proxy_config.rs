//! `edi proxy-config`: the configuration by which a proxy guards the registered deployments, on standard output.
//!
//! One file per proxy under `proxy_config/`, each a text around what [`site`] has proven to be plain: no value can end
//! a string or a line of its target.

mod caddy;
mod envoy;
mod envoy_gateway;
mod haproxy;
mod headers;
mod ingress_nginx;
mod istio;
mod kubernetes;
mod nginx;
mod oauth2_proxy;
mod site;
mod traefik;

use std::net::SocketAddr;

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Value, json};

use self::site::{Choices, Site, UpstreamFor, Url};
use super::api::{Api, ApiFlags, Needs};
use super::{Exit, Failure, Output, view};
use crate::config::Issuer;
use crate::model::id::DeploymentId;
use crate::model::scope::AdminScope;

const READ: Needs = &[AdminScope::Read, AdminScope::Admin];

/// A proxy that can guard deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Proxy {
    /// Verifies by the key set, in the mesh: `RequestAuthentication` and `AuthorizationPolicy`
    Istio,
    /// Asks edi (`ext_authz`): a bootstrap file
    Envoy,
    /// Verifies by the key set: `HTTPRoute` and `SecurityPolicy`
    EnvoyGateway,
    /// Asks edi (`auth-url`): `Ingress`
    IngressNginx,
    /// Asks edi (`auth_request`): a file for conf.d
    Nginx,
    /// Asks edi (`forwardAuth`): a file for the file provider
    Traefik,
    /// Asks edi (`forward_auth`): a Caddyfile
    Caddy,
    /// Verifies by public keys in PEM files: haproxy.cfg
    Haproxy,
    /// Verifies by the key set, for one deployment: oauth2-proxy.cfg
    Oauth2Proxy,
}

/// Write a proxy's configuration for the registered deployments.
///
/// It goes to standard output, remarks about it to standard error. Read it before you use it: it knows edi's
/// deployments, not your network.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  edi proxy-config nginx --upstream http://10.0.0.5:9000 > /etc/nginx/conf.d/models.conf
  edi proxy-config istio --jwks-uri http://edi.edi.svc:8080/.well-known/jwks.json | kubectl apply -f -
  edi proxy-config traefik --upstream fraud=http://fraud:9000 --upstream spam=http://spam:9000")]
pub(super) struct Args {
    /// Which proxy
    #[arg(value_enum)]
    proxy: Proxy,
    /// Only this deployment; repeatable [default: all]
    #[arg(long = "deployment", value_name = "ID")]
    deployments: Vec<DeploymentId>,
    /// The issuer as tokens name it [default: the one in the credentials]
    #[arg(long, value_name = "URL")]
    issuer: Option<Issuer>,
    /// Where the proxy fetches the key set, such as an address inside the cluster [default: below the issuer]
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<Url>,
    /// Where the proxy reaches edi's public listener [default: the issuer]
    #[arg(long, value_name = "URL")]
    edi_url: Option<Url>,
    /// Where the models are: one address for all, or ID=URL for one deployment; repeatable
    #[arg(long = "upstream", value_name = "[ID=]URL")]
    upstreams: Vec<UpstreamFor>,
    /// Where the proxy listens, for those that say so in this file
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The Kubernetes namespace of the models
    #[arg(long, value_name = "NAME", default_value = "models", value_parser = kubernetes::namespace)]
    namespace: String,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(it: Args, output: Output) -> Result<(), Failure> {
    let mut api = Api::new(&it.api, READ)?;
    let issuer = it.issuer.unwrap_or_else(|| api.issuer().clone());
    let audience = view::text(&api.get(&["status"]).await?, "audience");
    let mut deployments = api.list(&["deployments"], &[]).await?;
    for id in &it.deployments {
        if !deployments.iter().any(|deployment| view::text(deployment, "id") == id.as_str()) {
            return Err(Failure::new(Exit::Failed, format!("there is no deployment {id}"))
                .hint("see what there is with `edi deployment list`"));
        }
    }
    if !it.deployments.is_empty() {
        deployments.retain(|deployment| {
            let id = view::text(deployment, "id");
            it.deployments.iter().any(|wanted| wanted.as_str() == id)
        });
    }
    let choices = Choices {
        audience,
        jwks_uri: it.jwks_uri,
        edi: it.edi_url,
        upstreams: it.upstreams,
        listen: it.listen,
        namespace: it.namespace,
    };
    let text = write(it.proxy, &issuer, choices, &deployments).map_err(|why| {
        Failure::new(Exit::Failed, why).hint("leave it out with --deployment, or write that part by hand")
    })?;
    if output.json {
        return output.json(&json!({ "configuration": text }));
    }
    output.line(text.trim_end())
}

fn write(proxy: Proxy, issuer: &Issuer, choices: Choices, deployments: &[Value]) -> Result<String, String> {
    let site = Site::read(issuer, choices, deployments)?;
    if site.guarded.is_empty() {
        return Err("there is no deployment to guard; register one with `edi deployment create`".into());
    }
    match proxy {
        Proxy::Istio => Ok(istio::render(&site)),
        Proxy::Envoy => envoy::render(&site),
        Proxy::EnvoyGateway => envoy_gateway::render(&site),
        Proxy::IngressNginx => ingress_nginx::render(&site),
        Proxy::Nginx => nginx::render(&site),
        Proxy::Traefik => traefik::render(&site),
        Proxy::Caddy => caddy::render(&site),
        Proxy::Haproxy => haproxy::render(&site),
        Proxy::Oauth2Proxy => oauth2_proxy::render(&site),
    }
}

#[cfg(test)]
mod tests;
