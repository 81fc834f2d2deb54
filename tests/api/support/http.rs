//! A small HTTP/1.1 client that sends exactly what a test says, odd requests included, and shows the whole answer when
//! a test fails.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request in the making.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    at: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    /// A request without headers of its own.
    pub(crate) fn new(at: SocketAddr, method: &str, target: &str) -> Self {
        Self { at, method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body and its type.
    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// A form (RFC 6749 Appendix B).
    pub(crate) fn form(self, fields: &[(&str, &str)]) -> Self {
        let form: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body("application/x-www-form-urlencoded", form)
    }

    /// A JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// A bearer token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Client credentials by Basic, form-encoded as RFC 6749 §2.3.1 wants them.
    pub(crate) fn basic(self, id: &str, secret: &str) -> Self {
        use base64::Engine as _;
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
        self.header("authorization", format!("Basic {pair}"))
    }

    /// Sends it and reads the answer.
    pub(crate) async fn send(self) -> Answer {
        let mut text = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", self.method, self.target);
        let given = |name: &str| self.headers.iter().any(|(held, _)| held.eq_ignore_ascii_case(name));
        if !given("host") {
            text.push_str("host: edi.test\r\n");
        }
        if !given("content-length") && (!self.body.is_empty() || self.method == "POST") {
            let _ = write!(text, "content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text.push_str("\r\n");
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let mut sent = text.into_bytes();
        sent.extend_from_slice(&self.body);
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(&sent).await;
        let mut raw = Vec::new();
        // Up to the announced length and no further: a server that did not read the body keeps the connection a while.
        while !Answer::is_whole(&raw, self.method == "HEAD") && stream.read_buf(&mut raw).await.unwrap_or(0) > 0 {}
        Answer::parse(&raw, format!("{} {}", self.method, self.target))
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What was asked, for messages.
    asked: String,
    /// The status.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// The body as text.
    pub(crate) body: String,
}

impl Answer {
    fn is_whole(raw: &[u8], bodiless: bool) -> bool {
        let text = String::from_utf8_lossy(raw);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        bodiless || length.is_some_and(|length: usize| body.len() >= length)
    }

    fn parse(raw: &[u8], asked: String) -> Self {
        let text = String::from_utf8_lossy(raw).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { panic!("{asked}: no answer but {text:?}") };
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.into()));
        Self { asked, status: status.unwrap(), headers: headers.collect(), body: body.into() }
    }

    /// The one header of this name; empty when absent.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut all = self.headers.iter().filter(|(held, _)| held == name);
        let first = all.next().map_or("", |(_, value)| value);
        assert!(all.next().is_none(), "{name} twice in {self}");
        first
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// Demands a status.
    #[track_caller]
    pub(crate) fn assert(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Demands a status and exactly this JSON.
    #[track_caller]
    pub(crate) fn assert_json(self, status: u16, body: &Value) -> Self {
        let this = self.assert(status);
        assert_eq!(&this.json(), body, "{this}");
        this
    }

    /// Demands a refusal of RFC 6749 §5.2 with everything that belongs to one.
    #[track_caller]
    pub(crate) fn assert_refused(self, status: u16, code: &str) -> Self {
        let this = self.assert(status);
        let body = this.json();
        assert_eq!(body["error"], code, "{this}");
        let object = body.as_object().unwrap();
        assert!(object.keys().all(|key| key == "error" || key == "error_description"), "{this}");
        let description = body["error_description"].as_str().unwrap();
        let fits = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert!(!description.is_empty() && description.bytes().all(fits), "RFC 6749 §5.2 characters: {this}");
        assert_eq!(this.header("content-type"), "application/json", "{this}");
        assert_eq!((this.header("cache-control"), this.header("pragma")), ("no-store", "no-cache"), "{this}");
        let challenge = if status == 401 { r#"Basic realm="edi", charset="UTF-8""# } else { "" };
        assert_eq!(this.header("www-authenticate"), challenge, "{this}");
        assert!(!this.header("x-request-id").is_empty(), "{this}");
        this
    }

    /// Demands problem details (RFC 9457) with this status, and gives them.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{self}");
        let instance = format!("urn:edi:request:{}", self.header("x-request-id"));
        assert_eq!(problem["instance"], *instance, "{self}");
        problem
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "\n  asked: {}\n  answered: {}", self.asked, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "  {name}: {value}")?;
        }
        write!(f, "  {}", self.body)
    }
}
