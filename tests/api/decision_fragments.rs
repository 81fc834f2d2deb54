//! At Envoy's door the path of the request is the caller's own: one with a fragment, which parsers drop, is refused
//! wherever in the connection it comes and however it is cut into packets (RFC 9112 §3.2). A `#` elsewhere is none.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::edi::TestEdi;

const FRAGMENT: &str = "/authz/envoy/model/fraud/x#/../../other";

/// Sends the pieces, each by itself, and reads until the server closes: the status of every answer.
async fn statuses(at: SocketAddr, pieces: &[&[u8]]) -> Vec<u16> {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for (sent, piece) in pieces.iter().enumerate() {
        if sent > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // A server that refuses may have closed by now.
        let _ = stream.write_all(piece).await;
    }
    let mut answers = Vec::new();
    let read = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut answers)).await;
    let text = String::from_utf8_lossy(&answers);
    assert!(read.is_ok(), "the server does not close: {text}");
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].parse().unwrap()).collect()
}

struct World {
    edi: TestEdi,
    token: String,
    basic: String,
}

impl World {
    async fn new() -> Self {
        let edi = TestEdi::new().await;
        let deployment =
            json!({ "id": "fraud", "role": "fraud", "hosts": ["models.example.com"], "paths": ["/model/fraud/"] });
        edi.admin("POST", "deployments", &deployment).await.assert(201);
        let svc = edi.register("svc", &["fraud"]).await;
        let basic = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", svc.id, svc.secret))
        };
        Self { token: edi.token(&svc, &[]).await, edi, basic }
    }

    fn get(&self, target: &str) -> String {
        let token = &self.token;
        format!("GET {target} HTTP/1.1\r\nHost: models.example.com\r\nAuthorization: Bearer {token}\r\n\r\n")
    }

    /// The last of a connection.
    fn closing(&self, target: &str) -> String {
        self.get(target).replacen("\r\n", "\r\nConnection: close\r\n", 1)
    }

    fn post(&self, path: &str, content_type: &str, body: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.basic,
            body.len()
        )
    }

    async fn ask(&self, pieces: &[&str]) -> Vec<u16> {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        statuses(self.edi.public, &pieces).await
    }
}

#[tokio::test]
async fn a_fragment_is_refused_in_every_request_of_a_connection() {
    let world = World::new().await;
    let (good, bad) = (world.get("/authz/envoy/model/fraud/x"), world.get(FRAGMENT));
    let (token, jwks) = (
        world.post("/oauth2/token", "application/x-www-form-urlencoded", "grant_type=client_credentials"),
        world.get("/.well-known/jwks.json"),
    );
    assert_eq!(world.ask(&[&bad]).await, [400], "the first");
    assert_eq!(world.ask(&[&good, &bad]).await, [200, 400], "a later one");
    assert_eq!(world.ask(&[&[&*jwks, &bad].concat()]).await, [200, 400], "one that is not waited for");
    assert_eq!(world.ask(&[&[&*token, &bad, &good].concat()]).await, [200, 400], "behind a body, and no more after it");
    assert_eq!(world.ask(&[&token, &bad]).await, [200, 400], "after a body");
    for target in ["/authz/envoy#", "/authz/envoy/model/fraud/x?a#b", "http://edi/authz/envoy/model/fraud/x#"] {
        assert_eq!(world.ask(&[&[&*jwks, &world.get(target)].concat()]).await, [200, 400], "{target}");
    }
    let stranger = format!("GET {FRAGMENT} HTTP/1.0\nHost: models.example.com\n\n");
    assert_eq!(world.ask(&[&stranger]).await, [400], "whoever asks");
    assert_eq!(world.ask(&[&[&*good, &bad, &good].concat()]).await, [200, 400], "what came before is answered");
}

#[tokio::test]
async fn a_fragment_is_refused_however_its_line_is_cut() {
    let world = World::new().await;
    let (good, bad) = (world.get("/authz/envoy/model/fraud/x"), world.get(FRAGMENT));
    let token = world.post("/oauth2/token", "application/x-www-form-urlencoded", "grant_type=client_credentials");
    let line = bad.find('\n').unwrap() + 1;
    let cut_at = async |at: usize| {
        let (one, two) = bad.split_at(at);
        assert_eq!(world.ask(&[one, two]).await, [400], "cut at {at}");
        assert_eq!(world.ask(&[&good, one, two]).await, [200, 400], "a later one, cut at {at}");
        let with_body = [&token, one].concat();
        assert_eq!(world.ask(&[&with_body, two]).await, [200, 400], "behind a body, cut at {at}");
    };
    for at in 1..=line {
        cut_at(at).await;
    }
    let bytes: Vec<&[u8]> = bad.as_bytes()[..line].chunks(1).chain([&bad.as_bytes()[line..]]).collect();
    assert_eq!(statuses(world.edi.public, &bytes).await, [400], "byte by byte");
    let all: Vec<&[u8]> = [&[good.as_bytes()][..], &bytes].concat();
    assert_eq!(statuses(world.edi.public, &all).await, [200, 400], "a later one, byte by byte");
}

#[tokio::test]
async fn a_hash_elsewhere_closes_no_door() {
    let world = World::new().await;
    let (door, last) = (world.get("/authz/envoy/model/fraud/x"), world.closing("/authz/envoy/model/fraud/x?a=%23b"));
    let form = "application/x-www-form-urlencoded";
    let logged = "GET /authz/envoy/model/fraud/x#y HTTP/1.1\r\n";
    for (what, between, status) in [
        ("another good one", door.clone(), 200),
        ("a form with it", world.post("/oauth2/token", form, "grant_type=client_credentials&scope=a#b"), 400),
        ("a form with it, escaped", world.post("/oauth2/introspect", form, "token=a%23b"), 200),
        ("a form with any text", world.post("/oauth2/introspect", form, &format!("token={logged}")), 200),
        ("JSON", world.post("/api/v1/model/token", "application/json", r##"{"role_name": "#1"}"##), 400),
        ("JSON that ends with it", world.post("/api/v1/model/token", "application/json", r"{}#"), 400),
        ("a header", door.replacen("\r\n", "\r\nReferer: https://a/authz/envoy/#b\r\n", 1), 200),
        ("a path of edi's own", world.get("/.well-known/jwks.json#a"), 200),
    ] {
        let wanted = [200, status, 200];
        assert_eq!(world.ask(&[&[&*door, &between, &last].concat()]).await, wanted, "{what}, at once");
        assert_eq!(world.ask(&[&door, &between, &last]).await, wanted, "{what}, one by one");
        let (one, two) = between.split_at(between.rfind('#').unwrap_or(20));
        assert_eq!(world.ask(&[&door, one, two, &last]).await, wanted, "{what}, cut");
    }
    // The door reads no body, so it says nothing of what stands in one.
    let with_body = format!("\r\nConnection: close\r\nContent-Length: {}\r\n", logged.len());
    let with_body = door.replacen("\r\n", &with_body, 1) + logged;
    let (one, two) = with_body.split_at(with_body.rfind('#').unwrap());
    assert_eq!(world.ask(&[&with_body]).await, [200]);
    assert_eq!(world.ask(&[one, two]).await, [200]);
    let client = json!({ "client_id": "with-hash", "client_name": "team #1: GET /authz/envoy/x#y HTTP/1.1" });
    world.edi.admin("POST", "clients", &client).await.assert(201);
}
