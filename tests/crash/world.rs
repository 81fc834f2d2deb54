//! What was done to the program and what it acknowledged: the truth that a restart is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edi::store::Write;
use edi::store::backup::Reader;
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

/// The key that signed a token.
fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a header")).expect("base64url");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}

/// The id of a token.
fn jti(token: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims")).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["jti"].as_str().expect("a jti").to_owned()
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
    /// Whether it was revoked by its own id.
    by_itself: bool,
}

#[derive(Default)]
struct Truth {
    clients: BTreeMap<String, Client>,
    tokens: Vec<Token>,
    /// Keys that were withdrawn, or asked to be.
    revoked_keys: BTreeMap<String, Known>,
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
    backups: AtomicU64,
}

impl World {
    fn truth(&self) -> std::sync::MutexGuard<'_, Truth> {
        self.truth.lock().expect("no worker panicked")
    }

    pub(crate) fn summary(&self) -> String {
        let truth = self.truth();
        format!(
            "{} changes acknowledged, {} cut off without an answer, {} facts checked after restarts, {} backups read; {} clients, {} tokens",
            self.acknowledged.load(Ordering::Relaxed),
            self.unanswered.load(Ordering::Relaxed),
            self.checked.load(Ordering::Relaxed),
            self.backups.load(Ordering::Relaxed),
            truth.clients.len(),
            truth.tokens.len()
        )
    }

    /// Does one thing after the other until the program is gone.
    pub(crate) async fn work(&self, program: Address, operator: &str, mut dice: Dice) {
        loop {
            let outcome = match dice.roll() % 120 {
                0..=35 => self.register(&program, operator).await,
                36..=71 => self.issue(&program, &mut dice).await,
                72..=91 => self.revoke(&program, &mut dice).await,
                92..=99 => self.disable(&program, operator, &mut dice).await,
                100 => self.rotate_secret(&program, operator, &mut dice).await,
                109..=110 => self.back_up(&program, operator).await,
                111 => self.revoke_key(&program, operator, &mut dice).await,
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
            let mut truth = self.truth();
            // A leak that was dealt with meanwhile may have caught it.
            let same = truth.clients.get(&id).is_some_and(|client| client.secret.as_ref() == Some(&secret));
            let revoked = if same { Known::No } else { Known::Maybe };
            truth.tokens.push(Token { text: text.to_owned(), client: id, revoked, by_itself: false });
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
            // Somebody is replacing it.
            let Some(secret) = secret else {
                truth.tokens[index].revoked = Known::No;
                return Ok(());
            };
            (index, text, owner, secret)
        };
        let (index, text, owner, secret) = chosen;
        let answer = self.counted(program.form("/oauth2/revoke", &owner, &secret, format!("token={text}")).await)?;
        if answer.status().as_u16() == 200
            && let Some(token) = self.truth().tokens.get_mut(index)
        {
            token.revoked = Known::Yes;
        }
        // Under a key that is being withdrawn nothing is written any more.
        let mut truth = self.truth();
        if !truth.revoked_keys.contains_key(&kid(&text)) && truth.tokens[index].revoked == Known::Yes {
            truth.tokens[index].by_itself = true;
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

    /// A leak: the old secret stops and the client's tokens are revoked, in one commit.
    async fn rotate_secret(&self, program: &Address, operator: &str, dice: &mut Dice) -> reqwest::Result<()> {
        let Some((id, _)) = self.some_client(dice) else { return Ok(()) };
        {
            // Out of everybody's hands until it is known what came of it.
            let mut truth = self.truth();
            let Some(client) = truth.clients.get_mut(&id).filter(|client| client.secret.is_some()) else {
                return Ok(());
            };
            client.secret = None;
            for token in truth.tokens.iter_mut().filter(|token| token.client == id && token.revoked == Known::No) {
                token.revoked = Known::Maybe;
            }
        }
        let path = format!("clients/{id}/secrets/rotate");
        let body = json!({ "compromised": true });
        let (status, answer) = self.counted(program.admin("POST", &path, operator, Some(body)).await)?;
        // Another worker disabled it in between, or the token that asks is too young.
        if status != 200 && status != 201 {
            assert!(matches!(status, 409 | 503), "{status} {answer}");
            return Ok(());
        }
        let secret = answer["client_secret"].as_str().expect("a secret").to_owned();
        let mut truth = self.truth();
        if let Some(client) = truth.clients.get_mut(&id) {
            client.secret = Some(secret);
        }
        for token in truth.tokens.iter_mut().filter(|token| token.client == id && token.revoked == Known::Maybe) {
            token.revoked = Known::Yes;
        }
        Ok(())
    }

    /// The emergency: a key is out of the JWKS at once, and its tokens are worth nothing.
    async fn revoke_key(&self, program: &Address, operator: &str, dice: &mut Dice) -> reqwest::Result<()> {
        let chosen = {
            let mut truth = self.truth();
            let index = usize::try_from(dice.roll()).unwrap_or(0) % truth.keys.len().max(1);
            // Not the one that vouches for the operator.
            let Some(kid) = truth.keys.iter().nth(index).filter(|it| **it != kid(operator)).cloned() else {
                return Ok(());
            };
            truth.keys.remove(&kid);
            truth.revoked_keys.insert(kid.clone(), Known::Maybe);
            kid
        };
        let (status, answer) =
            self.counted(program.admin("POST", &format!("keys/{chosen}/revoke"), operator, None).await)?;
        assert!(matches!(status, 200 | 409), "{status} {answer}");
        if status == 200 {
            self.truth().revoked_keys.insert(chosen, Known::Yes);
        }
        Ok(())
    }

    /// A backup while everybody else writes: it is sound, and what was acknowledged before it began is in it.
    async fn back_up(&self, program: &Address, operator: &str) -> reqwest::Result<()> {
        let (clients, revoked) = {
            let truth = self.truth();
            let there = truth.clients.iter().filter(|(_, client)| client.exists == Known::Yes);
            let clients: Vec<String> = there.map(|(id, _)| format!("client/{id}")).collect();
            let revoked = truth.tokens.iter().filter(|token| token.revoked == Known::Yes && token.by_itself);
            let revoked: Vec<String> = revoked.map(|token| format!("revocation/jti/{}", jti(&token.text))).collect();
            (clients, revoked)
        };
        let request = program.http.get(format!("{}/admin/v1/backup", program.admin)).bearer_auth(operator);
        let answer = request.send().await?;
        assert_eq!(answer.status().as_u16(), 200);
        let bytes = answer.bytes().await?;
        let mut reader = Reader::new(&*bytes).expect("a backup that arrived whole is sound");
        let mut state = BTreeSet::new();
        while let Some(entry) = reader.entry().expect("a backup that arrived whole is sound") {
            match entry.write {
                Write::Put { .. } => state.insert(entry.key.to_string()),
                Write::Delete => state.remove(entry.key.as_str()),
            };
        }
        for wanted in clients.iter().chain(&revoked) {
            assert!(state.contains(wanted), "{wanted} was acknowledged before the backup began and is not in it");
        }
        self.backups.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn rotate(&self, program: &Address, operator: &str) -> reqwest::Result<()> {
        let (status, answer) = self.counted(program.admin("POST", "keys/rotate", operator, None).await)?;
        // A ring that holds as many trusted keys as it may refuses; so does one that another worker is rotating.
        assert!(matches!(status, 200 | 409), "{status} {answer}");
        if status == 200 {
            for field in ["kid", "old", "pending"] {
                let kid = answer[field].as_str().expect("a kid").to_owned();
                let mut truth = self.truth();
                if !truth.revoked_keys.contains_key(&kid) {
                    truth.keys.insert(kid);
                }
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
        let (clients, tokens, keys, revoked_keys) = {
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
            (clients, tokens, truth.keys.clone(), truth.revoked_keys.clone())
        };
        for (kid, revoked) in &revoked_keys {
            let gone = !published.contains(kid.as_str());
            assert!(gone || *revoked != Known::Yes, "round {round}: key {kid} was revoked and is published");
            self.truth().revoked_keys.insert(kid.clone(), if gone { Known::Yes } else { Known::Maybe });
        }
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
            let mut answer = address.token(id, &secret, None).await.expect("an answer");
            // A leak that was dealt with just before the crash covers new tokens for another moment.
            for _ in 0..60 {
                if answer["error"] != "temporarily_unavailable" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                answer = address.token(id, &secret, None).await.expect("an answer");
            }
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
        let kid = &*kid(text);
        let withdrawn = self.truth().revoked_keys.contains_key(kid) && !published.contains(kid);
        assert!(withdrawn || published.contains(kid), "round {round}: the key {kid} of a live token is not published");
        let (id, secret) = program.operator();
        let body = format!("token={text}");
        let answer = program.address().form("/oauth2/introspect", id, secret, body).await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        let active = answer["active"] == true;
        let disabled = self.truth().clients.get(client).map_or(Known::Maybe, |client| client.disabled);
        if withdrawn {
            assert!(!active, "round {round}: a token of {client} under the revoked key {kid} is active");
            return;
        }
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
