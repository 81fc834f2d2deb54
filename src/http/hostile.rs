//! Hostile callers against a small app on the real server, over raw sockets: 4xx in the right dialect, never 5xx, never
//! a hang, and what honest callers get beside it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::oneshot;

use super::body;
use super::credentials::Presented;
use super::document::Document;
use super::error::{LegionError, OAuthHttpError};
use super::exchange::Exchange;
use super::problem::Problem;
use super::server::{Settings, bind, serve};
use super::{cors, form};
use crate::ambient::{Entropy, SeededEntropy};
use crate::oauth::error::OAuthError;

async fn token(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, OAuthHttpError> {
    let form = form::read(&request, payload).await?;
    let basic =
        Presented::read(request.headers()).into_basic()?.ok_or_else(|| OAuthError::invalid_client("no credentials"))?;
    Exchange::of(&request).note_client(basic.id());
    Ok(HttpResponse::Ok().json(serde_json::json!({ "scope": form.get("scope") })))
}

async fn admin(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let body = body::read(request.headers(), payload, body::ADMIN_LIMIT).await?;
    Ok(HttpResponse::Ok().json(body.len()))
}

async fn impatient(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, OAuthHttpError> {
    body::read_within(request.headers(), payload, body::OAUTH_LIMIT, Duration::from_millis(300)).await?;
    Ok(HttpResponse::Ok().finish())
}

async fn legion() -> Result<HttpResponse, LegionError> {
    Err(OAuthError::invalid_client("no credentials").into())
}

async fn slow() -> HttpResponse {
    tokio::time::sleep(Duration::from_millis(700)).await;
    HttpResponse::Ok().body("done")
}

async fn faulty() -> HttpResponse {
    tokio::task::yield_now().await;
    panic!("a fault with a s3cret")
}

fn public_routes(config: &mut ServiceConfig) {
    let jwks = Document::json("{\"keys\":[]}");
    let serve = move |request: HttpRequest| {
        let answer = jwks.answer(&request, "public, max-age=60");
        async move { answer }
    };
    config
        .service(web::resource("/oauth2/token").post(token))
        .service(web::resource("/api/v1/model/token").post(legion))
        .service(
            web::resource("/jwks")
                .get(serve.clone())
                .route(web::head().to(serve))
                .route(web::method(actix_web::http::Method::OPTIONS).to(cors::preflight)),
        )
        .service(web::resource("/impatient").post(impatient))
        .service(web::resource("/slow").get(slow))
        .service(web::resource("/faulty").get(faulty));
}

fn admin_routes(config: &mut ServiceConfig) {
    config.service(web::resource("/admin/v1/clients").post(admin));
}

/// The server on free ports, with times short enough for tests.
struct Server {
    public: SocketAddr,
    admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (public, admin) = (bind(any).unwrap(), bind(any).unwrap());
        let addresses = (public.local_addr().unwrap(), admin.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let settings = Settings {
                workers: 1,
                keep_alive: Duration::from_secs(1),
                head_timeout: Duration::from_secs(1),
                request_timeout: super::server::LiveSpan::new(Duration::from_millis(1500)),
                write_timeout: Duration::from_secs(1),
                ..Settings::default()
            };
            let entropy: Arc<dyn Entropy> = SeededEntropy::new(7);
            let stopped = async {
                let _ = stopped.await;
            };
            let served = serve((public, public_routes), (admin, admin_routes), &settings, &entropy, stopped);
            runtime.block_on(served).unwrap();
        });
        Self { public: addresses.0, admin: addresses.1, stop: Some(stop), thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
}

/// Sends bytes and reads until the server closes.
fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = connect(address);
    let _ = stream.write_all(request.as_ref());
    read_all(stream)
}

fn read_all(mut stream: TcpStream) -> String {
    let mut out = Vec::new();
    match stream.read_to_end(&mut out) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server neither answered nor closed: {error}; {:?}", String::from_utf8_lossy(&out)),
    }
    String::from_utf8(out).unwrap()
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: edi\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const BASIC: &str = "Authorization: Basic c3ZjOnMzY3JldA==\r\n";

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|h| h.1)
}

fn json(answer: &str) -> serde_json::Value {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[track_caller]
fn assert_manners(answer: &str) {
    let id = header(answer, "x-request-id").unwrap_or_else(|| panic!("no request id: {answer}"));
    assert!((1..=64).contains(&id.len()), "{id}");
    assert!(header(answer, "cache-control").is_some(), "{answer}");
    assert_eq!(header(answer, "x-content-type-options"), Some("nosniff"), "{answer}");
}

#[test]
fn refusals_are_in_the_dialect_of_their_listener_and_keep_manners() {
    let server = Server::start();
    let token = |headers: &str, body: &str| post("/oauth2/token", headers, body);
    let form = |extra: &str, body: &str| token(&format!("{FORM}{extra}"), body);
    let large = "x".repeat(17 * 1024);
    let closing = "Host: edi\r\nConnection: close\r\n";
    let many_headers = "X: 1\r\n".repeat(120);
    let framed =
        |how: &str, body: &str| format!("POST /oauth2/token HTTP/1.1\r\nHost: a\r\n{FORM}{BASIC}{how}\r\n\r\n{body}");
    let huge_header = format!("X: {}\r\n", "h".repeat(200 * 1024));
    for (what, request, code) in [
        ("no credentials", form("", "grant_type=client_credentials"), 401),
        ("broken credentials", form("Authorization: Basic !\r\n", "a=b"), 401),
        ("two credentials", form(&format!("{BASIC}{BASIC}"), "a=b"), 401),
        ("json", token("Content-Type: application/json\r\n", "{}"), 400),
        ("no content type", token("", "a=b"), 400),
        ("a repeated parameter", form(BASIC, "scope=a&scope="), 400),
        ("a NUL", form(BASIC, "scope=%00"), 400),
        ("65 parameters", form(BASIC, &"a=b&".repeat(65)), 400),
        ("a large body", form(BASIC, &large), 413),
        (
            "an announced large body",
            format!("POST /oauth2/token HTTP/1.1\r\n{closing}{FORM}Content-Length: 999999999999\r\n\r\nx"),
            413,
        ),
        (
            "a large chunked body",
            format!(
                "POST /oauth2/token HTTP/1.1\r\n{closing}{FORM}Transfer-Encoding: chunked\r\n\r\n4400\r\n{}\r\n0\r\n\r\n",
                "x".repeat(0x4400)
            ),
            413,
        ),
        ("a compressed body", form(&format!("{BASIC}Content-Encoding: gzip\r\n"), "a=b"), 415),
        ("secrets in the query", post("/oauth2/token?client_secret=x", &format!("{FORM}{BASIC}"), "a=b"), 400),
        ("an unknown path", format!("GET /nowhere HTTP/1.1\r\n{closing}\r\n"), 404),
        ("another method", format!("GET /oauth2/token HTTP/1.1\r\n{closing}\r\n"), 405),
        ("an unknown method", format!("FROB /oauth2/token HTTP/1.1\r\n{closing}\r\n"), 405),
        ("options where there is no cors", format!("OPTIONS /oauth2/token HTTP/1.1\r\n{closing}\r\n"), 405),
        ("options for the server", format!("OPTIONS * HTTP/1.1\r\n{closing}\r\n"), 404),
        ("connect", format!("CONNECT edi:80 HTTP/1.1\r\n{closing}\r\n"), 404),
        ("no host", "GET /jwks HTTP/1.1\r\n\r\n".into(), 400),
        ("no host in 1.0", "GET /jwks HTTP/1.0\r\n\r\n".into(), 400),
        ("two hosts", "GET /jwks HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
        ("two hosts on a line", "GET /jwks HTTP/1.1\r\nHost: a, b\r\nConnection: close\r\n\r\n".into(), 400),
        ("a host with a user", "GET /jwks HTTP/1.1\r\nHost: a@b\r\nConnection: close\r\n\r\n".into(), 400),
        ("an empty host", "GET /jwks HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n".into(), 400),
        ("a bad port", "GET /jwks HTTP/1.1\r\nHost: a:99999\r\nConnection: close\r\n\r\n".into(), 400),
        ("a host beyond ascii", "GET /jwks HTTP/1.1\r\nHost: ä\r\nConnection: close\r\n\r\n".into(), 400),
        (
            "two lengths",
            format!(
                "POST /oauth2/token HTTP/1.1\r\nHost: a\r\n{FORM}Content-Length: 3\r\nContent-Length: 4\r\n\r\na=b"
            ),
            400,
        ),
        (
            "length and chunks",
            format!(
                "POST /oauth2/token HTTP/1.1\r\nHost: a\r\n{FORM}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (
            "two transfer encodings",
            format!(
                "POST /oauth2/token HTTP/1.1\r\nHost: a\r\n{FORM}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (
            "an odd transfer encoding",
            format!(
                "POST /oauth2/token HTTP/1.1\r\nHost: a\r\n{FORM}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        ("a negative length", "POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".into(), 400),
        (
            "a bad chunk",
            format!("POST /oauth2/token HTTP/1.1\r\nHost: a\r\n{FORM}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
            400,
        ),
        ("a space before the colon", "GET /jwks HTTP/1.1\r\nHost : a\r\n\r\n".into(), 400),
        ("a folded header", "GET /jwks HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n".into(), 400),
        ("garbage", "\u{1}\u{2}\u{3} garbage\r\n\r\n".into(), 400),
        ("tls", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".into(), 400),
        ("a folded host", "GET /jwks HTTP/1.1\r\nHost: a\r\n b\r\n\r\n".into(), 400),
        ("a bare carriage return", "GET /jwks HTTP/1.1\r\nHost: a\rX: y\r\n\r\n".into(), 400),
        ("a NUL in a header", "GET /jwks HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n".into(), 400),
        ("a NUL in the path", "GET /jw\u{0}ks HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("a vertical tab before chunked", framed("Transfer-Encoding: \u{b}chunked", "0\r\n\r\n"), 400),
        ("chunked that is not last", framed("Transfer-Encoding: chunked, identity", "0\r\n\r\n"), 400),
        ("chunked that is not chunked", framed("Transfer-Encoding: xchunked", "0\r\n\r\n"), 400),
        ("the same length twice", framed("Content-Length: 3\r\nContent-Length: 3", "a=b"), 400),
        ("lengths in a list", framed("Content-Length: 3, 3", "a=b"), 400),
        ("a signed length", framed("Content-Length: +3", "a=b"), 400),
        ("a length in hexadecimal", framed("Content-Length: 0x3", "a=b"), 400),
        ("a length in other digits", framed("Content-Length: \u{663}", "a=b"), 400),
        ("a length of twenty digits", framed("Content-Length: 18446744073709551616", "a=b"), 400),
        ("no length at all", framed("Content-Length:", "a=b"), 400),
        ("a chunk of all there is", framed("Transfer-Encoding: chunked", "ffffffffffffffff1\r\na=b"), 400),
        ("a negative chunk", framed("Transfer-Encoding: chunked", "-1\r\na=b\r\n0\r\n\r\n"), 400),
        ("a chunk with bare line feeds", framed("Transfer-Encoding: chunked", "3\na=b\n0\n\n"), 400),
        ("a chunk that does not end", framed("Transfer-Encoding: chunked", "3\r\na=bXX0\r\n\r\n"), 400),
        ("two spaces", "GET  /jwks  HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("no version", "GET /jwks\r\n\r\n".into(), 400),
        ("another version", "GET /jwks HTTP/3.7\r\nHost: a\r\n\r\n".into(), 400),
        ("http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400),
        ("many headers", format!("GET /jwks HTTP/1.1\r\nHost: a\r\n{many_headers}\r\n"), 431),
        ("a huge header", format!("GET /jwks HTTP/1.1\r\nHost: a\r\n{huge_header}\r\n"), 431),
        ("a long path", format!("GET /{} HTTP/1.1\r\n{closing}\r\n", "p".repeat(60_000)), 404),
        ("a bare line feed in the path", "GET /jw\nks HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
    ] {
        let started = Instant::now();
        let answer = exchange(server.public, &request);
        assert_eq!(status(&answer), code, "{what}: {answer}");
        assert_manners(&answer);
        assert_eq!(header(&answer, "content-type"), Some("application/json"), "{what}: {answer}");
        let body = json(&answer);
        assert!(body["error"].is_string() && body["error_description"].is_string(), "{what}: {answer}");
        assert_eq!(header(&answer, "www-authenticate").is_some(), code == 401, "{what}: {answer}");
        assert_eq!(header(&answer, "allow").is_some(), code == 405, "{what}: {answer}");
        assert!(started.elapsed() < Duration::from_secs(10), "{what} took {:?}", started.elapsed());
    }
}

#[test]
fn admin_speaks_problems_and_legion_messages() {
    let server = Server::start();
    let large = "x".repeat(257 * 1024);
    for (request, code) in [
        (post("/admin/v1/clients", "", &large), 413),
        (post("/admin/v1/clients", "Content-Encoding: br\r\n", "x"), 415),
        ("GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), 404),
        ("GET /admin/v1/clients HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), 405),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: /\r\nConnection: close\r\n\r\n".to_owned(), 400),
    ] {
        let answer = exchange(server.admin, request);
        assert_eq!(status(&answer), code, "{answer}");
        assert_manners(&answer);
        assert_eq!(header(&answer, "content-type"), Some("application/problem+json"));
        let id = header(&answer, "x-request-id").unwrap();
        assert_eq!(json(&answer)["instance"], format!("urn:edi:request:{id}"));
        assert_eq!(json(&answer)["status"], code);
    }
    let answer = exchange(server.admin, post("/admin/v1/clients", "", &"x".repeat(200 * 1024)));
    assert_eq!((status(&answer), json(&answer)), (200, (200 * 1024).into()));

    for (path, code) in [("/api/v1/model/token", 401), ("/api/v1/nothing", 404)] {
        let answer = exchange(server.public, post(path, "", ""));
        assert_eq!(status(&answer), code);
        assert!(json(&answer)["message"].is_string(), "{answer}");
        assert_manners(&answer);
    }
}

#[test]
fn good_requests_are_answered() {
    let server = Server::start();
    let answer =
        exchange(server.public, post("/oauth2/token", &format!("{FORM}{BASIC}"), "scope=a+b&unknown=1&unknown=2"));
    assert_eq!((status(&answer), json(&answer)["scope"].as_str()), (200, Some("a b")), "{answer}");
    assert_manners(&answer);
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));

    let chunked = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: edi\r\nConnection: close\r\n{FORM}{BASIC}Transfer-Encoding: chunked\r\n\r\n\
         4\r\nscop\r\n3\r\ne=a\r\n0\r\n\r\n"
    );
    assert_eq!(json(&exchange(server.public, chunked))["scope"], "a");

    let expecting = post("/oauth2/token", &format!("{FORM}{BASIC}Expect: 100-continue\r\n"), "scope=a");
    let answer = exchange(server.public, expecting);
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), "{answer}");

    let old = exchange(server.public, "GET /jwks HTTP/1.0\r\nHost: edi\r\n\r\n");
    assert_eq!(status(&old), 200);
    let absolute = "GET http://other/jwks HTTP/1.1\r\nHost: edi\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&exchange(server.public, absolute)), 200);
}

#[test]
fn documents_are_open_to_every_origin_and_tagged() {
    let server = Server::start();
    let ask = |method: &str, extra: &str| {
        exchange(server.public, format!("{method} /jwks HTTP/1.1\r\nHost: edi\r\nConnection: close\r\n{extra}\r\n"))
    };
    let get = ask("GET", "");
    assert_eq!(header(&get, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&get, "cache-control"), Some("public, max-age=60"));
    let etag = header(&get, "etag").unwrap();
    let head = ask("HEAD", "");
    assert_eq!((status(&head), header(&head, "content-length")), (200, Some("11")));
    assert!(head.ends_with("\r\n\r\n") && header(&head, "etag") == Some(etag), "{head}");
    let known = ask("GET", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((status(&known), header(&known, "etag")), (304, Some(etag)));
    assert_manners(&known);
    let preflight = ask("OPTIONS", "Origin: https://a\r\nAccess-Control-Request-Method: GET\r\n");
    assert_eq!((status(&preflight), header(&preflight, "access-control-allow-methods")), (204, Some("GET, HEAD")));
    let elsewhere = exchange(server.public, post("/oauth2/token", "Origin: https://a\r\n", ""));
    assert_eq!(header(&elsewhere, "access-control-allow-origin"), None);
}

#[test]
fn an_id_of_the_caller_is_kept_and_a_forged_one_replaced() {
    let server = Server::start();
    let ask = |id: &str| {
        exchange(
            server.public,
            format!("GET /x HTTP/1.1\r\nHost: edi\r\nConnection: close\r\nX-Request-Id: {id}\r\n\r\n"),
        )
    };
    assert_eq!(header(&ask("trace-1.a_b"), "x-request-id"), Some("trace-1.a_b"));
    for bad in ["a b", "{\"a\":1}", "a\tb", &"x".repeat(65), "ä", ""] {
        let answer = ask(bad);
        let id = header(&answer, "x-request-id").unwrap();
        assert!(id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{bad:?}: {id}");
    }
    let injected = ask("a\r\nX-Injected: 1");
    assert_eq!(header(&injected, "x-injected"), None);
}

#[test]
fn a_panic_is_a_500_without_detail_and_the_server_lives_on() {
    let server = Server::start();
    for _ in 0..3 {
        let answer = exchange(server.public, "GET /faulty HTTP/1.1\r\nHost: edi\r\nConnection: close\r\n\r\n");
        assert_eq!((status(&answer), json(&answer)["error"].as_str()), (500, Some("server_error")));
        assert!(!answer.contains("s3cret"), "{answer}");
        assert_manners(&answer);
    }
    assert_eq!(status(&exchange(server.public, "GET /jwks HTTP/1.0\r\nHost: edi\r\n\r\n")), 200);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_one_bad_ends_the_connection() {
    let server = Server::start();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: edi\r\n\r\n");
    let body = "scope=a";
    let token = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: edi\r\n{FORM}{BASIC}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let all = [get("/jwks"), token, get("/slow"), get("/nowhere"), "garbage\r\n\r\n".into(), get("/jwks")].concat();
    let answer = exchange(server.public, all);
    let codes: Vec<&str> =
        answer.match_indices("HTTP/1.1 ").filter_map(|(at, _)| answer.get(at + 9..at + 12)).collect();
    assert_eq!(codes, ["200", "200", "200", "404", "400"], "{answer}");
    assert_eq!(answer.matches("x-request-id").count(), 5);
}

#[test]
fn what_follows_a_request_that_could_be_read_in_two_ways_is_never_answered() {
    let server = Server::start();
    let hidden = "GET /jwks HTTP/1.1\r\nHost: a\r\n\r\n";
    for framing in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5 + hidden.len()),
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Content-Length: 0\r\nContent-Length: 41\r\n\r\n".to_owned(),
        "X: a\r\n Content-Length: 41\r\n\r\n".to_owned(),
    ] {
        let answer = exchange(server.public, format!("POST /oauth2/token HTTP/1.1\r\nHost: a\r\n{framing}{hidden}"));
        assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (400, 1), "{framing}: {answer}");
        assert_eq!(header(&answer, "connection"), Some("close"), "{framing}: {answer}");
    }
    // What has one reading alone is read: trailers and extensions of chunks, and the request behind them.
    let body = "scope=a";
    let chunked = format!("{:x};ext=\"1\"\r\n{body}\r\n0;x\r\nX-Trailer: 1\r\nContent-Length: 9\r\n\r\n", body.len());
    let head = format!("POST /oauth2/token HTTP/1.1\r\nHost: a\r\n{FORM}{BASIC}Transfer-Encoding: chunked\r\n\r\n");
    let answer = exchange(
        server.public,
        format!("{head}{chunked}GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    );
    let codes: Vec<&str> =
        answer.match_indices("HTTP/1.1 ").filter_map(|(at, _)| answer.get(at + 9..at + 12)).collect();
    assert_eq!(codes, ["200", "404"], "{answer}");
}

#[test]
fn what_stalls_is_closed() {
    let server = Server::start();
    let head = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: edi\r\n{FORM}{BASIC}Content-Length: 10\r\n\r\n");
    let stalls = [
        ("nothing", String::new(), Some(408)),
        ("half a head", "GET /jwks HTTP/1.1\r\nHost:".to_owned(), Some(408)),
        ("half a body", format!("{}scope", head("/impatient")), Some(408)),
        ("half a body where only the connection loses patience", format!("{}scope", head("/oauth2/token")), None),
        ("an idle connection", "GET /jwks HTTP/1.1\r\nHost: edi\r\n\r\n".to_owned(), Some(200)),
        ("a later half head", "GET /jwks HTTP/1.1\r\nHost: edi\r\n\r\nGET /jw".to_owned(), Some(200)),
    ];
    let clients: Vec<_> = stalls
        .into_iter()
        .map(|(what, sent, code)| {
            let address = server.public;
            std::thread::spawn(move || {
                let started = Instant::now();
                let answer = exchange(address, sent);
                assert!(started.elapsed() < Duration::from_secs(15), "{what} held {:?}", started.elapsed());
                match code {
                    Some(code) => {
                        assert_eq!(status(&answer), code, "{what}: {answer}");
                        assert_manners(&answer);
                    }
                    None => assert_eq!(answer, "", "{what}"),
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_later_head_that_drips_is_cut_off() {
    let server = Server::start();
    let mut stream = connect(server.public);
    stream.write_all(b"GET /jwks HTTP/1.1\r\nHost: edi\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    assert!(stream.read(&mut answer).unwrap() > 0);
    let started = Instant::now();
    let mut drip = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        for byte in b"GET /jwks HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat_n(&b'x', 60)) {
            if drip.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(read_all(stream), "");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

#[test]
fn who_pipelines_without_reading_is_cut_off_and_costs_little() {
    let server = Server::start();
    let mut stream = connect(server.public);
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let many = "HEAD /jwks HTTP/1.1\r\nHost: edi\r\n\r\n".repeat(1000);
    let started = Instant::now();
    let mut sent = 0_usize;
    // The kernel's buffers take some megabytes; past them the server stops reading and then closes.
    while stream.write_all(many.as_bytes()).is_ok() {
        sent += many.len();
        assert!(sent < 64 << 20, "the server reads on although nobody takes its answers");
    }
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    assert_eq!(status(&exchange(server.public, "GET /jwks HTTP/1.0\r\nHost: edi\r\n\r\n")), 200);
}

#[test]
fn many_connections_at_once_are_served() {
    let server = Server::start();
    let open: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = connect(server.public);
            stream.write_all(b"GET /jwks HTTP/1.1\r\nHost: edi\r\nConnection: close\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for stream in open {
        assert_eq!(status(&read_all(stream)), 200);
    }
}

#[test]
fn a_stop_lets_answers_finish_and_takes_no_more() {
    let mut server = Server::start();
    let mut idle = connect(server.public);
    idle.write_all(b"GET /jwks HTTP/1.1\r\nHost: edi\r\n\r\n").unwrap();
    let mut answered = [0; 12];
    idle.read_exact(&mut answered).unwrap();
    let mut slow = connect(server.public);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: edi\r\n\r\n").unwrap();
    // Long enough to be taken, on a crowded machine too, and in the middle of the answer on any other.
    std::thread::sleep(Duration::from_millis(400));
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let answer = read_all(slow);
    assert_eq!(status(&answer), 200);
    assert!(answer.ends_with("done"), "{answer}");
    assert_eq!(answered, *b"HTTP/1.1 200");
    read_all(idle);
    assert!(TcpStream::connect(server.public).is_err());
}

#[test]
fn an_address_in_use_is_said_plainly() {
    let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = bind(first.local_addr().unwrap()).unwrap_err().to_string();
    assert!(error.contains("something else listens there already"), "{error}");
    let error = bind("192.0.2.1:1".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("no interface of this machine"), "{error}");
}
