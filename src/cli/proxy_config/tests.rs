//! Each proxy's configuration for the same two deployments is the file in `snapshots/`. After a change that is meant:
//! `EDI_WRITE_SNAPSHOTS=1 cargo test proxy_config`, and look at the difference.

use clap::ValueEnum as _;

use super::*;

fn deployments() -> Vec<Value> {
    vec![
        json!({
            "id": "fraud", "role": "fraud-scoring", "hosts": ["models.example.com"], "paths": ["/model/fraud/"],
        }),
        json!({
            "id": "Spam_v1.2", "role": "spam", "audience": "https://spam.example.com/api",
            "hosts": ["models.example.com", "*.spam.example.com"], "paths": ["/model/spam", "/model/spam.v1/"],
        }),
    ]
}

fn choices() -> Choices {
    Choices {
        audience: "model-prediction-api".into(),
        jwks_uri: Some("http://edi.edi.svc:8080/.well-known/jwks.json".parse().unwrap()),
        edi: Some("http://edi.edi.svc:8080".parse().unwrap()),
        upstreams: vec!["http://model:9000".parse().unwrap(), "fraud=http://fraud.models.svc:8000".parse().unwrap()],
        listen: None,
        namespace: "models".into(),
    }
}

fn rendered(proxy: Proxy, choices: Choices, deployments: &[Value]) -> Result<String, String> {
    write(proxy, &Issuer::parse("https://tokens.example.com").unwrap(), choices, deployments)
}

#[test]
fn configurations_are_as_recorded() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/proxy_config/snapshots");
    for proxy in Proxy::value_variants() {
        let one = matches!(proxy, Proxy::Oauth2Proxy);
        let all = deployments();
        let text = rendered(*proxy, choices(), if one { &all[..1] } else { &all }).unwrap();
        let name = proxy.to_possible_value().unwrap();
        let file = format!("{folder}/{}.txt", name.get_name());
        if std::env::var_os("EDI_WRITE_SNAPSHOTS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let recorded = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, recorded, "{file} differs");
    }
}

#[test]
fn every_deployment_is_named_with_its_role_where_the_proxy_decides() {
    for proxy in [Proxy::Istio, Proxy::EnvoyGateway, Proxy::Haproxy] {
        let text = rendered(proxy, choices(), &deployments()).unwrap();
        for wanted in ["fraud-scoring", "spam", "model-prediction-api", "https://spam.example.com/api"] {
            assert!(text.contains(wanted), "{proxy:?}: {wanted}");
        }
    }
}

#[test]
fn addresses_that_need_tls_get_it() {
    for (proxy, sign) in [
        (Proxy::Nginx, "proxy_ssl_verify on"),
        (Proxy::Envoy, "UpstreamTlsContext"),
        (Proxy::Haproxy, "ssl verify required"),
        (Proxy::Caddy, "https://edi.example.com:443"),
        (Proxy::Traefik, "https://edi.example.com/authz/forwarded"),
    ] {
        let tls = Choices {
            edi: Some("https://edi.example.com".parse().unwrap()),
            upstreams: vec!["https://model.example.com".parse().unwrap()],
            ..choices()
        };
        let text = rendered(proxy, tls, &deployments()).unwrap();
        assert!(text.contains(sign), "{proxy:?}: {text}");
        assert!(!rendered(proxy, choices(), &deployments()).unwrap().contains(sign), "{proxy:?}");
    }
}

#[test]
fn the_listening_address_is_the_chosen_one() {
    for proxy in [Proxy::Nginx, Proxy::Envoy, Proxy::Haproxy, Proxy::Caddy] {
        let chosen = Choices { listen: Some("127.0.0.9:12345".parse().unwrap()), ..choices() };
        let text = rendered(proxy, chosen, &deployments()).unwrap();
        assert!(text.contains("127.0.0.9") && text.contains("12345"), "{proxy:?}: {text}");
    }
}

#[test]
fn an_any_host_deployment_catches_what_no_other_does() {
    let all = [json!({ "id": "any", "role": "r", "paths": ["/"] }), deployments()[0].clone()];
    for (proxy, sign) in [
        (Proxy::Nginx, "server_name _;"),
        (Proxy::Envoy, "domains: [\"*\"]"),
        (Proxy::Haproxy, "    use_backend model-any\n"),
        (Proxy::Caddy, "http:// {"),
        (Proxy::Traefik, "PathPrefix(`/`)"),
    ] {
        let text = rendered(proxy, choices(), &all).unwrap();
        assert!(text.contains(sign), "{proxy:?}: {text}");
    }
}

#[test]
fn what_cannot_be_guarded_is_refused() {
    let nowhere = [json!({ "id": "d", "role": "r", "hosts": [], "paths": [] })];
    for proxy in Proxy::value_variants() {
        assert!(rendered(*proxy, choices(), &[]).is_err(), "{proxy:?}");
        // Istio chooses pods, oauth2-proxy stands before one model: neither needs a place.
        let by_place = !matches!(proxy, Proxy::Istio | Proxy::Oauth2Proxy);
        assert_eq!(rendered(*proxy, choices(), &nowhere).is_err(), by_place, "{proxy:?}");
    }
    assert!(rendered(Proxy::Oauth2Proxy, choices(), &deployments()).unwrap_err().contains("--deployment"));
    let by_address = Choices { upstreams: vec!["http://10.0.0.1:9".parse().unwrap()], ..choices() };
    assert!(rendered(Proxy::IngressNginx, by_address, &deployments()).unwrap_err().contains("SERVICE"));
}

#[test]
fn kubernetes_names_are_labels_and_never_shared() {
    let name = |id: &str| {
        let one = [json!({ "id": id, "role": "r", "hosts": ["h"], "paths": [] })];
        let site = Site::read(&Issuer::parse("https://t.example").unwrap(), choices(), &one).unwrap();
        kubernetes::name(&site.guarded[0])
    };
    assert_eq!(name("fraud-2"), "fraud-2");
    let long = "x".repeat(128);
    let made: Vec<String> = ["a.b", "a_b", "A-b", "a-b", "a.", &long].into_iter().map(name).collect();
    let distinct: std::collections::BTreeSet<&String> = made.iter().collect();
    assert_eq!(distinct.len(), made.len(), "{made:?}");
    assert!(made.iter().all(|name| kubernetes::namespace(name).is_ok()), "{made:?}");
}
