//! The published keys as a verifier takes them. Pure: the answer in, findings out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::fetch::Fetched;
use super::finding::Findings;
use crate::cli::view;

const SET: &str = "key set";
const KEYS: &str = "keys";
const CACHE: &str = "key set's caching";
/// Private members of RFC 7518 §6; `k` is a symmetric key.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// A key that was withdrawn is believed for as long as this at most, in seconds.
const LONG_CACHE: u64 = 3600;

/// Judges the key set as it came; gives its keys.
pub(super) fn judge(came: &Result<Fetched, String>, all: &mut Findings) -> Option<Vec<Value>> {
    let came = match came {
        Ok(came) => came,
        Err(why) => {
            all.fail(SET, why, "make jwks_uri reachable from where the verifiers are");
            return None;
        }
    };
    let url = &came.url;
    if (300..400).contains(&came.status) {
        let fix = "publish the final URL as jwks_uri; most verifiers do not follow";
        all.fail(SET, format!("{url} redirects to {}", came.header("location")), fix);
        return None;
    }
    if !matches!(came.header("content-encoding"), "" | "identity") {
        let fix = "let the proxy in front compress only for who asks (Accept-Encoding)";
        all.fail(SET, format!("{url} comes compressed though nobody asked for it"), fix);
        return None;
    }
    let document = came.object().filter(|_| came.status == 200);
    let Some(keys) = document.as_ref().and_then(|it| it.get("keys")).and_then(Value::as_array).cloned() else {
        let fix = "jwks_uri must answer 200 with {\"keys\": [ … ]}: check the route of the proxy in front";
        all.fail(SET, format!("{url} answers {} without a key set", came.status), fix);
        return None;
    };
    if keys.is_empty() {
        all.fail(SET, format!("{url} holds no key"), "no token can be verified: see why the server publishes none");
        return Some(keys);
    }
    let kinds: Vec<String> =
        keys.iter().map(|key| format!("{} ({})", short(&view::text(key, "kid")), view::text(key, "alg"))).collect();
    all.ok(SET, format!("{} keys at {url}: {}", keys.len(), kinds.join(", ")));
    Some(keys)
}

/// Judges the keys.
pub(super) fn judge_keys(keys: &[Value], metadata: &Value, all: &mut Findings) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for key in keys {
        *seen.entry(view::text(key, "kid")).or_default() += 1;
    }
    for (kid, count) in seen.iter().filter(|(_, count)| **count > 1) {
        let (found, fix) = if kid.is_empty() {
            (
                format!("{count} keys have no kid"),
                "give each a kid: without one a verifier tries them all, or the first",
            )
        } else {
            (
                format!("{count} keys share the kid {}", short(kid)),
                "a kid names one key: verifiers keep the first or the last",
            )
        };
        all.fail(KEYS, found, fix);
    }
    if seen.get("") == Some(&1) {
        let fix = "give it a kid: verifiers that choose by kid refuse its tokens, and at a rotation nobody can tell it \
                   from the next";
        all.warn(KEYS, "a key has no kid", fix);
    }
    let published = view::list(metadata, "id_token_signing_alg_values_supported");
    for key in keys {
        judge_key(key, &published, keys.len(), all);
    }
    let algorithms: Vec<String> = keys.iter().map(|key| view::text(key, "alg")).collect();
    if !algorithms.is_empty() && algorithms.iter().all(|algorithm| algorithm == "EdDSA") {
        let fix = "sign with ES256 or RS256 as well, or know that HAProxy, Apache's modules and others cannot verify";
        all.warn(KEYS, "every key is EdDSA", fix);
    }
    if all.is_clean(KEYS) {
        all.ok(KEYS, "each has a kid of its own, its algorithm and use: sig, and no private part");
    }
}

fn judge_key(key: &Value, published: &[String], count: usize, all: &mut Findings) {
    let (kid, kty, alg) = (short(&view::text(key, "kid")), view::text(key, "kty"), view::text(key, "alg"));
    if kty == "oct" || PRIVATE.iter().any(|member| key.get(*member).is_some()) {
        let fix =
            "withdraw it NOW: whoever read this URL can sign. edi: `edi key revoke KID`; others: rotate, then purge";
        all.fail(KEYS, format!("key {kid} is published with its private part"), fix);
        return;
    }
    match key.get("use").and_then(Value::as_str) {
        Some("sig") => {}
        // Keycloak publishes its encryption key beside the others.
        Some("enc") if count > 1 => return,
        Some(other) => {
            all.fail(KEYS, format!("key {kid} is for {other:?}, not sig"), "publish signing keys with use: sig");
        }
        None => all.warn(KEYS, format!("key {kid} has no use"), "add use: sig; some verifiers skip keys without it"),
    }
    let fits = match kty.as_str() {
        "EC" => matches!(
            (alg.as_str(), view::text(key, "crv").as_str()),
            ("ES256" | "", "P-256") | ("ES384" | "", "P-384") | ("ES512" | "", "P-521") | ("ES256K" | "", "secp256k1")
        ),
        "RSA" => alg.is_empty() || alg.starts_with("RS") || alg.starts_with("PS"),
        "OKP" => matches!(alg.as_str(), "EdDSA" | "Ed25519" | ""),
        _ => false,
    };
    if !fits {
        let fix = "the members contradict each other: make the server publish the key as it is";
        all.fail(KEYS, format!("key {kid} is {kty} and says alg {alg:?}"), fix);
    }
    if alg.is_empty() {
        let fix = "add alg; without it a verifier has to believe the token's own header";
        all.warn(KEYS, format!("key {kid} has no alg"), fix);
    } else if !published.is_empty() && !published.contains(&alg) {
        let fix = "list it: go-oidc refuses every token whose algorithm is not in that list";
        all.fail(KEYS, format!("id_token_signing_alg_values_supported lacks {alg}, the algorithm of key {kid}"), fix);
    }
    if kty == "RSA" {
        let bits = key.get("n").and_then(Value::as_str).and_then(|n| URL_SAFE_NO_PAD.decode(n).ok());
        let bits = bits.map_or(0, |n| n.iter().skip_while(|byte| **byte == 0).count() * 8);
        if bits < 2048 {
            let fix = "RSA keys have 2048 bits or more: rotate to one";
            all.fail(KEYS, format!("key {kid} is RSA of {bits} bits"), fix);
        }
    }
}

/// Judges for how long verifiers will believe what they fetched.
pub(super) fn judge_caching(came: &Fetched, revalidated: Option<&Fetched>, all: &mut Findings) {
    let control = came.header("cache-control").to_ascii_lowercase();
    let age = control.split(',').find_map(|part| part.trim().strip_prefix("max-age=")?.parse::<u64>().ok());
    if control.contains("no-store") || control.contains("private") {
        let fix =
            "let it be cached for some minutes (Cache-Control: public, max-age=300), or every verifier asks each time";
        all.warn(CACHE, format!("Cache-Control is {control:?}"), fix);
    } else if let Some(age) = age.filter(|age| *age > LONG_CACHE) {
        let fix = "lower max-age to 300 or so: a key that is withdrawn is believed that long, and a new one unknown";
        all.warn(CACHE, format!("verifiers may keep the key set for {age} s"), fix);
    } else if age.is_none() {
        let fix = "send Cache-Control: public, max-age=300, so that caching is not each verifier's guess";
        all.warn(CACHE, "no max-age", fix);
    }
    match revalidated {
        Some(second) if second.status != 304 && !came.header("etag").is_empty() => {
            let fix = "answer 304 to If-None-Match; a proxy that rewrites bodies or tags is the usual cause";
            all.warn(CACHE, format!("its ETag is not honoured: {} instead of 304", second.status), fix);
        }
        _ => {}
    }
    if all.is_clean(CACHE) {
        all.ok(CACHE, control);
    }
}

/// A kid on one line.
fn short(kid: &str) -> String {
    match kid.char_indices().nth(16) {
        Some((end, _)) => format!("{}…", &kid.get(..end).unwrap_or_default()),
        None if kid.is_empty() => "(none)".to_owned(),
        None => kid.to_owned(),
    }
}
