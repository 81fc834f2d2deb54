//! A document as somebody else's program would fetch it: no redirects followed, nothing unpacked, every header kept.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::cli::exchange;
use crate::cli::{Exit, Failure};

/// The largest document that is read.
const MAX: usize = 4 * 1024 * 1024;

/// A document as it came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) url: String,
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Until the head of the answer was there.
    pub(super) took: Duration,
}

impl Fetched {
    /// The first header of this name; empty when absent.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(there, _)| there == name).map_or("", |(_, value)| value)
    }

    /// The body as a JSON object.
    pub(super) fn object(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok().filter(Value::is_object)
    }
}

/// Fetches a document.
///
/// # Errors
/// Why there is no answer, in words.
pub(super) async fn get(url: &str, headers: &[(&str, &str)]) -> Result<Fetched, String> {
    fetch(Method::GET, url, headers, None).await
}

/// Sends a form.
///
/// # Errors
/// Why there is no answer, in words.
pub(super) async fn post(url: &str, form: &str) -> Result<Fetched, String> {
    fetch(Method::POST, url, &[("content-type", "application/x-www-form-urlencoded")], Some(form)).await
}

async fn fetch(method: Method, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Result<Fetched, String> {
    let told = |failure: Failure| {
        if failure.exit == Exit::Usage { format!("{url} is no URL") } else { failure.message }
    };
    let mut request = exchange::request(method, url).map_err(told)?.header("accept", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.body(body.to_owned());
    }
    let began = Instant::now();
    let lost = |error: reqwest::Error| {
        if error.is_timeout() { "no answer in time".to_owned() } else { exchange::root_cause(&error.without_url()) }
    };
    let mut response = request.send().await.map_err(lost)?;
    let took = began.elapsed();
    let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let mut fetched =
        Fetched { url: url.to_owned(), status: response.status().as_u16(), headers, body: Vec::new(), took };
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if fetched.body.len() + chunk.len() > MAX {
            return Err("more than 4 MiB came".to_owned());
        }
        fetched.body.extend_from_slice(&chunk);
    }
    Ok(fetched)
}
