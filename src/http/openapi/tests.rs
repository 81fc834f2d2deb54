//! The document is held to the tables, to OpenAPI's own rules and to itself.

use std::collections::BTreeSet;

use super::*;
use crate::model::algorithm::Algorithm;
use crate::model::keyring::Schedule;
use crate::oauth::access_token::RoleClaims;

fn settings() -> Settings {
    Settings {
        issuer: "https://edi.example/tenant".into(),
        lifetimes: crate::oauth::service::Lifetimes::new(900, 86_400),
        audience: "model-prediction-api".into(),
        default_role: "default".parse().ok(),
        algorithms: vec![Algorithm::Es256],
        schedule: Schedule {
            rotate_every: std::time::Duration::from_secs(1),
            publish_before: std::time::Duration::ZERO,
        },
        claims: RoleClaims { groups: true, keycloak_roles: false },
        hashing_threads: 1,
        hashing_queue: 1,
        client_cache: 1,
        failures: crate::oauth::failures::Rate::default(),
    }
}

fn each(document: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "servers") {
            all.push((format!("{} {path}", method.to_uppercase()), operation));
        }
    }
    all
}

#[test]
fn the_document_has_what_is_routed_and_nothing_else() {
    let document = document(&settings());
    let described: BTreeSet<String> = each(&document).into_iter().map(|(name, _)| name).collect();
    let rows = TABLE.iter().map(|row| format!("{} /admin/v1/{}", row.method, row.path));
    let places = PUBLIC.iter().chain(ADMIN).flat_map(|place| {
        let named = place.takes.methods().iter();
        // HEAD goes wherever GET does; of its own it is only told of at the doors.
        let named = named.filter(|method| **method != "HEAD" || place.takes == Takes::Any);
        named.map(|method| format!("{method} {}", place.path.replace("{rest:.*}", "/{path}")))
    });
    assert_eq!(described, rows.chain(places).collect());
}

#[test]
fn every_operation_is_whole() {
    let document = document(&settings());
    let mut ids = BTreeSet::new();
    let tags: Vec<&str> = TAGS.iter().map(|(name, _)| *name).collect();
    for (name, operation) in each(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}: its id is another's too");
        assert!(tags.contains(&operation["tags"][0].as_str().unwrap()), "{name}: {}", operation["tags"]);
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with(['2', '3'])), "{name}");
        assert!(answers.contains_key("400"), "{name}");
        let mut parameters = BTreeSet::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let text = |member: &str| parameter[member].as_str().unwrap_or_default();
            assert!(parameters.insert((text("in"), text("name"))), "{name}: {parameter}");
            assert!(
                !text("description").is_empty(),
                "{name}: `parameter` in openapi.rs does not know {}",
                text("name")
            );
        }
        for part in name.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            assert!(parameters.contains(&("path", part)), "{name}: {part}");
        }
        if name.contains("/admin/v1/") {
            for status in ["401", "403", "422", "503"] {
                assert!(answers.contains_key(status), "{name}: {status}");
            }
            assert!(!operation["x-edi-scopes"].as_array().unwrap().is_empty(), "{name}");
            let body = operation.get("requestBody");
            let takes = name.starts_with("POST") || name.starts_with("PUT") || name.starts_with("PATCH");
            assert_eq!(body.is_some(), takes, "{name}: a body that is read is described");
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_part_is_used() {
    let document = document(&settings());
    let mut left = vec![&document];
    let mut named = BTreeSet::new();
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(members) => {
                if let Some(to) = members.get("$ref") {
                    let pointer = to.as_str().unwrap().strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
                    named.insert(pointer.to_owned());
                }
                left.extend(members.values());
            }
            _ => {}
        }
    }
    for kind in ["schemas", "responses", "headers"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(named.contains(&format!("/components/{kind}/{name}")), "{kind}/{name} is not used");
        }
    }
}

#[test]
fn the_example_of_a_token_lives_as_long_as_tokens_do_here() {
    let short = Settings { lifetimes: crate::oauth::service::Lifetimes::new(10, 20), ..settings() };
    let answer = &document(&short)["paths"]["/oauth2/token"]["post"]["responses"]["200"]["content"]["application/json"];
    assert_eq!(answer["examples"].as_object().unwrap().values().next().unwrap()["value"]["expires_in"], 10, "{answer}");
}
