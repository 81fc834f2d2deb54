//! What the parts of the hot path cost, each by itself.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{BatchSize, Criterion};
use edi::ambient::Ambient;
use edi::http::credentials::Presented;
use edi::http::form;
use edi::keys::generate::NewKey;
use edi::keys::jws::Jws;
use edi::keys::secrets::{self, SecretKeys};
use edi::keys::signer::Signer;
use edi::keys::verifier::Verifier;
use edi::model::algorithm::Algorithm;
use edi::model::client::Client;
use edi::model::id::{ClientId, Kid, TokenId};
use edi::model::revocation::{Revocation, Subject};
use edi::model::scope::{Role, split_scope};
use edi::oauth::access_token::{Claims, Life, Lineage, RoleClaims, json_text, write_claims};
use edi::oauth::grant::{Granted, decide};
use edi::oauth::remembered::{Known, RememberedTokens, digest_of};
use edi::store::collections::revocations::{self, Facts, RevocationIndex};
use edi::store::mirror::Fold as _;
use edi::store::record::encode;

/// How many revocations the index holds.
const REVOCATIONS: usize = 1_000_000;
/// How many tokens are remembered: as many as one generation holds.
const REMEMBERED: usize = 16_000;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    parsing(&mut criterion);
    secret_check(&mut criterion)?;
    tokens(&mut criterion)?;
    revocation_lookup(&mut criterion)?;
    remembered_lookup(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn parsing(criterion: &mut Criterion) {
    criterion.bench_function("scope split, 1 name", |b| b.iter(|| split_scope(black_box("fraud"))));
    criterion.bench_function("scope split, 5 names", |b| {
        b.iter(|| split_scope(black_box("fraud churn-v2 eta.prod credit_scoring embeddings")));
    });
    let body = b"grant_type=client_credentials&scope=fraud%20churn-v2";
    criterion.bench_function("form parse", |b| b.iter(|| form::parse(black_box(body))));
    let secret = "edi_abcdefghijkl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBB";
    let header = format!("Basic {}", STANDARD.encode(format!("fraud-caller:{secret}")));
    criterion.bench_function("Basic parse", |b| b.iter(|| Presented::parse(black_box(header.as_bytes()))));
}

fn secret_check(criterion: &mut Criterion) -> Result<()> {
    let ambient = Ambient::system();
    let keys = SecretKeys::generate(&*ambient.entropy);
    let client = ClientId::parse("fraud-caller")?;
    let (_, secret, at_rest) = keys.make(&client, &*ambient.entropy);
    criterion.bench_function("secret check", |b| {
        b.iter(|| {
            let tagged = secrets::parse(black_box(secret.expose()))?;
            (keys.tag_holds(client.as_str(), &tagged) && keys.matches(secret.expose(), &at_rest)).then_some(())
        });
    });
    Ok(())
}

fn granted() -> Result<Granted> {
    Ok(Granted {
        roles: vec![Role::parse("fraud")?],
        admin_scopes: Vec::new(),
        audience: "model-prediction-api".into(),
    })
}

fn claims(client: &ClientId, granted: &Granted, ambient: &Ambient) -> String {
    let life = Life { issued: ambient.now(), lifetime: 900, lineage: &Lineage::default() };
    let jti = TokenId::from_bytes(ambient.random());
    let extra = RoleClaims { groups: true, keycloak_roles: false };
    write_claims(&json_text("https://edi.example"), client, granted, jti, life, extra)
}

fn client(id: &ClientId, ambient: &Ambient) -> Result<Client> {
    Ok(Client {
        roles: BTreeSet::from([Role::parse("fraud")?, Role::parse("churn-v2")?]),
        ..Client::new(id.clone(), ambient.now())
    })
}

fn tokens(criterion: &mut Criterion) -> Result<()> {
    let ambient = Ambient::system();
    let (id, granted) = (ClientId::parse("fraud-caller")?, granted()?);
    let registered = client(&id, &ambient)?;
    criterion.bench_function("scope and audience decision", |b| {
        b.iter(|| {
            let asked = black_box(Some("fraud"));
            decide(&registered, asked, None, "https://edi.example", "model-prediction-api", &())
        });
    });
    criterion.bench_function("claims writing", |b| b.iter(|| claims(black_box(&id), &granted, &ambient)));
    let json = claims(&id, &granted, &ambient);
    for algorithm in Algorithm::ALL {
        let key = NewKey::generate(algorithm, &*ambient.entropy)?;
        let signer = Signer::new(algorithm, key.kid.clone(), &key.pkcs8)?;
        let verifier = Verifier::from_jwk_for(&key.public, algorithm)?;
        let token = signer.sign(json.as_bytes())?;
        let parsed = Jws::parse(&token)?;
        criterion.bench_function(&format!("sign, {algorithm}"), |b| b.iter(|| signer.sign(black_box(json.as_bytes()))));
        criterion.bench_function(&format!("verify, {algorithm}"), |b| {
            b.iter(|| verifier.verify(black_box(parsed.signing_input), &parsed.signature));
        });
        if algorithm == Algorithm::default() {
            criterion.bench_function("JWS parse", |b| b.iter(|| Jws::parse(black_box(&token))));
            criterion.bench_function("claims reading", |b| {
                b.iter_batched(
                    || key.kid.clone(),
                    |kid| Claims::read(black_box(&parsed.payload), kid),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    Ok(())
}

fn revocation_lookup(criterion: &mut Criterion) -> Result<()> {
    let ambient = Ambient::system();
    let client = ClientId::parse("fraud-caller")?;
    let roles = [Role::parse("fraud")?];
    let mut index = RevocationIndex::default();
    let end = ambient.now().plus(std::time::Duration::from_hours(24));
    let mut revoked = Vec::with_capacity(1024);
    for number in 0..REVOCATIONS {
        let jti = TokenId::from_bytes(ambient.random());
        let key = revocations::key(&Subject::Token(jti));
        let revocation = Revocation::of_token(ambient.now(), end, client.clone(), None);
        index.put(&key, &encode(&key, &revocation)?, Some(end))?;
        if number % (REVOCATIONS / 1024) == 0 {
            revoked.push(jti);
        }
    }
    let facts = Facts { client: &client, roles: &roles, kid: "k", iat: ambient.now().secs() };
    let mut next = revoked.iter().cycle();
    criterion.bench_function("revocation lookup among 1 M, revoked", |b| {
        b.iter(|| next.next().map(|jti| index.revokes(black_box(*jti), facts)));
    });
    let others: Vec<TokenId> = (0..1024).map(|_| TokenId::from_bytes(ambient.random())).collect();
    let mut next = others.iter().cycle();
    criterion.bench_function("revocation lookup among 1 M, not revoked", |b| {
        b.iter(|| next.next().map(|jti| index.revokes(black_box(*jti), facts)));
    });
    Ok(())
}

fn remembered_lookup(criterion: &mut Criterion) -> Result<()> {
    let ambient = Ambient::system();
    let client = ClientId::parse("fraud-caller")?;
    let json = claims(&client, &granted()?, &ambient);
    let read = Claims::read(json.as_bytes(), Kid::parse("k")?).context("claims that edi wrote")?;
    let known = Known { claims: Arc::new(read), algorithm: Algorithm::default() };
    let memory = RememberedTokens::default();
    let tokens: Vec<String> = (0..REMEMBERED).map(|number| format!("{json}.{number}")).collect();
    for token in &tokens {
        memory.remember(digest_of(token), known.clone());
    }
    let mut next = tokens.iter().cycle();
    criterion.bench_function("remembered-token lookup, digest included", |b| {
        b.iter(|| next.next().and_then(|token| memory.recall(&digest_of(black_box(token)))));
    });
    Ok(())
}
