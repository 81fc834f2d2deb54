//! What was done to the program and what it acknowledged: the truth that a restart is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::program::{Address, Program};

/// SplitMix64: repeatable.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Whether something holds: acknowledged, refused by nobody, or asked for without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Yes,
    No,
    Maybe,
}

struct Client {
    secret: Option<String>,
    exists: Known,
    disabled: Known,
}

struct Token {
    text: String,
    client: String,
    revoked: Known,
}

#[derive(Default)]
struct Truth {
    clients: BTreeMap<String, Client>,
    tokens: Vec<Token>,
    /// Keys that were published when last seen.
    keys: BTreeSet<String>,
}

#[derive(Default)]
pub(crate) struct World {
    truth: Mutex<Truth>,
    next: AtomicU64,
    acknowledged: AtomicU64,
    unanswered: AtomicU64,
    checked: AtomicU64,
}

impl World {
    fn truth(&self) -> std::sync::MutexGuard<'_, Truth> {
        self.truth.lock().expect("no worker panicked")
    }

    pub(crate) fn summary(&self) -> String {
        let truth = self.truth();
        format!(
            "{} changes acknowledged, {} cut off without an answer, {} facts checked after restarts; {} clients, {} tokens",
            self.acknowledged.load(Ordering::Relaxed),
            self.unanswered.load(Ordering::Relaxed),
            self.checked.load(Ordering::Relaxed),
            truth.clients.len(),
            truth.tokens.len()
        )
    }

    /// Does one thing after the other until the program is gone.
    pub(crate) async fn work(&self, program: Address, operator: &str, mut dice: Dice) {
        loop {
            let outcome = match dice.roll() % 10 {
                0..=2 => self.register(&program, operator).await,
                3..=5 => self.issue(&program, &mut dice).await,
                6..=7 => self.revoke(&program, &mut dice).await,
                8 => self.disable(&program, operator, &mut dice).await,
                _ => self.rotate(&program, operator).await,
            };
            if outcome.is_err() {
                return;
            }
        }
    }

    fn counted<T>(&self, outcome: reqwest::Result<T>) -> reqwest::Result<T> {
        let counter = if outcome.is_ok() { &self.acknowledged } else { &self.unanswered };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    async fn register(&self, program: &Address, operator: &str) -> reqwest::Result<()> {
        let id = format!("client-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let client = Client { secret: None, exists: Known::Maybe, disabled: Known::No };
        self.truth().clients.insert(id.clone(), client);
        let body = json!({ "client_id": id, "roles": ["r"] });
        let (status, answer) = self.counted(program.admin("POST", "clients", operator, Some(body)).await)?;
        assert_eq!(status, 201, "{answer}");
        let secret = answer["client_secret"].as_str().expect("a secret").to_owned();
        if let Some(client) = self.truth().clients.get_mut(&id) {
            client.secret = Some(secret);
            client.exists = Known::Yes;
        }
        Ok(())
    }

    /// A client that works, as far as is known.
    fn some_client(&self, dice: &mut Dice) -> Option<(String, String)> {
        let truth = self.truth();
        let good: Vec<_> = truth
            .clients
            .iter()
            .filter(|(_, client)| client.exists == Known::Yes && client.disabled == Known::No)
            .filter_map(|(id, client)| Some((id, client.secret.as_ref()?)))
            .collect();
        let index = usize::try_from(dice.roll()).unwrap_or(0) % good.len().max(1);
        good.get(index).map(|(id, secret)| ((*id).clone(), (*secret).clone()))
    }

    async fn issue(&self, program: &Address, dice: &mut Dice) -> reqwest::Result<()> {
        let Some((id, secret)) = self.some_client(dice) else { return Ok(()) };
        let answer = program.token(&id, &secret, None).await?;
        if let Some(text) = answer["access_token"].as_str() {
            let token = Token { text: text.to_owned(), client: id, revoked: Known::No };
            self.truth().tokens.push(token);
        }
        Ok(())
    }

    async fn revoke(&self, program: &Address, dice: &mut Dice) -> reqwest::Result<()> {
        let chosen = {
            let mut truth = self.truth();
            let count = truth.tokens.len().max(1);
            let index = usize::try_from(dice.roll()).unwrap_or(0) % count;
            let Some(token) = truth.tokens.get_mut(index).filter(|token| token.revoked == Known::No) else {
                return Ok(());
            };
            token.revoked = Known::Maybe;
            let (text, owner) = (token.text.clone(), token.client.clone());
            let secret = truth.clients.get(&owner).and_then(|client| client.secret.clone());
            (index, text, owner, secret.expect("who has a token has a secret"))
        };
        let (index, text, owner, secret) = chosen;
        let answer = self.counted(program.form("/oauth2/revoke", &owner, &secret, format!("token={text}")).await)?;
        if answer.status().as_u16() == 200
            && let Some(token) = self.truth().tokens.get_mut(index)
        {
            token.revoked = Known::Yes;
        }
        Ok(())
    }

    async fn disable(&self, program: &Address, operator: &str, dice: &mut Dice) -> reqwest::Result<()> {
        let Some((id, _)) = self.some_client(dice) else { return Ok(()) };
        if let Some(client) = self.truth().clients.get_mut(&id) {
            client.disabled = Known::Maybe;
        }
        let body = json!({ "state": "disabled" });
        let path = format!("clients/{id}");
        let (status, answer) = self.counted(program.admin("PATCH", &path, operator, Some(body)).await)?;
        assert_eq!(status, 200, "{answer}");
        if let Some(client) = self.truth().clients.get_mut(&id) {
            client.disabled = Known::Yes;
        }
        Ok(())
    }

    async fn rotate(&self, program: &Address, operator: &str) -> reqwest::Result<()> {
        let (status, answer) = self.counted(program.admin("POST", "keys/rotate", operator, None).await)?;
        // A ring that holds as many trusted keys as it may refuses; so does one that another worker is rotating.
        assert!(matches!(status, 200 | 409), "{status} {answer}");
        if status == 200 {
            for field in ["kid", "old", "pending"] {
                self.truth().keys.insert(answer[field].as_str().expect("a kid").to_owned());
            }
        }
        Ok(())
    }

    /// Holds a restarted program to everything that was acknowledged before.
    pub(crate) async fn check(&self, program: &Program, operator: &str, round: u64) {
        let address = program.address();
        let jwks: Value = address
            .http
            .get(format!("{}/.well-known/jwks.json", address.public))
            .send()
            .await
            .expect("the JWKS")
            .json()
            .await
            .expect("JSON");
        let published: BTreeSet<&str> =
            jwks["keys"].as_array().expect("keys").iter().filter_map(|key| key["kid"].as_str()).collect();
        let (clients, tokens, keys) = {
            let truth = self.truth();
            let clients: Vec<_> = truth
                .clients
                .iter()
                .map(|(id, client)| (id.clone(), client.secret.clone(), client.exists, client.disabled))
                .collect();
            let tokens: Vec<_> = truth
                .tokens
                .iter()
                .enumerate()
                .map(|(n, token)| (n, token.text.clone(), token.client.clone(), token.revoked))
                .collect();
            (clients, tokens, truth.keys.clone())
        };
        for kid in &keys {
            assert!(published.contains(kid.as_str()), "round {round}: key {kid} was acknowledged and is gone");
        }
        // The older a fact, the more often it was checked: all the young ones, and a part of the others.
        let young = |n: usize, count: usize| n + 60 >= count || (n as u64 + round).is_multiple_of(7);
        let count = clients.len();
        for (n, (id, secret, exists, disabled)) in clients.into_iter().enumerate() {
            if young(n, count) {
                self.check_client(&address, operator, &id, secret, exists, disabled, round).await;
            }
        }
        let count = tokens.len();
        for (n, text, client, revoked) in tokens {
            if young(n, count) {
                self.check_token(program, &published, n, &text, &client, revoked, round).await;
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one client's whole truth")]
    async fn check_client(
        &self,
        address: &Address,
        operator: &str,
        id: &str,
        secret: Option<String>,
        exists: Known,
        disabled: Known,
        round: u64,
    ) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let (status, view) = address.admin("GET", &format!("clients/{id}"), operator, None).await.expect("an answer");
        let found = match status {
            200 => true,
            404 => false,
            other => panic!("round {round}: client {id}: {other} {view}"),
        };
        assert!(found || exists != Known::Yes, "round {round}: client {id} was acknowledged and is gone");
        if !found {
            self.truth().clients.remove(id);
            return;
        }
        assert_eq!(view["roles"], json!(["r"]), "round {round}: client {id} is half-written: {view}");
        let is_disabled = view["state"] == "disabled";
        match disabled {
            Known::Yes => assert!(is_disabled, "round {round}: client {id} was disabled and is not"),
            Known::No => assert!(!is_disabled, "round {round}: client {id} is disabled, and nobody asked for it"),
            Known::Maybe => {}
        }
        {
            let mut truth = self.truth();
            if let Some(client) = truth.clients.get_mut(id) {
                client.exists = Known::Yes;
                client.disabled = if is_disabled { Known::Yes } else { Known::No };
            }
        }
        if let Some(secret) = secret {
            let answer = address.token(id, &secret, None).await.expect("an answer");
            let issued = answer.get("access_token").is_some();
            assert_eq!(issued, !is_disabled, "round {round}: client {id}: {answer}");
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one token's whole truth")]
    async fn check_token(
        &self,
        program: &Program,
        published: &BTreeSet<&str>,
        index: usize,
        text: &str,
        client: &str,
        revoked: Known,
        round: u64,
    ) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let header = text.split('.').next().expect("a header");
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("a JSON header");
        let kid = header["kid"].as_str().expect("a kid");
        assert!(published.contains(kid), "round {round}: the key {kid} of a live token is not published");
        let (id, secret) = program.operator();
        let body = format!("token={text}");
        let answer = program.address().form("/oauth2/introspect", id, secret, body).await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        let active = answer["active"] == true;
        let disabled = self.truth().clients.get(client).map_or(Known::Maybe, |client| client.disabled);
        match (revoked, disabled) {
            (Known::Yes, _) => assert!(!active, "round {round}: a revoked token of {client} is active again"),
            (_, Known::Yes) => assert!(!active, "round {round}: a token of the disabled {client} is active"),
            (Known::No, Known::No) => assert!(active, "round {round}: a token of {client} was lost"),
            _ => {}
        }
        // What was unknown is settled by what is there now; it must not change again.
        if revoked == Known::Maybe
            && disabled == Known::No
            && let Some(token) = self.truth().tokens.get_mut(index)
        {
            token.revoked = if active { Known::No } else { Known::Yes };
        }
    }
}
