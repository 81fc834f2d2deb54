//! Requests as OpenTelemetry spans, sent by OTLP over HTTP in batches from a thread of its own. A collector that stalls
//! stalls no request: what finds the queue full is dropped.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use crate::model::time::Timestamp;

/// Where spans go; set once.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method, one of the known ones.
    pub method: &'a str,
    /// The kind of endpoint: few values.
    pub endpoint: &'static str,
    /// Its path, made presentable.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// When it was answered, and how long that took.
    pub ended: Timestamp,
    /// In microseconds.
    pub micros: u64,
    /// Its id.
    pub request_id: &'a str,
    /// The client that proved itself.
    pub client_id: Option<&'a str>,
    /// A well-formed `traceparent`.
    pub traceparent: Option<&'a str>,
}

/// Sends what waits when it is dropped.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        // A collector that is gone is no reason to hold the end up.
        let _ = self.0.shutdown_with_timeout(Duration::from_secs(2));
    }
}

/// Starts sending to a collector (`http://127.0.0.1:4318`): of traces that begin here `percent` in a hundred, of those that
/// come from a caller the ones that it samples.
///
/// # Errors
/// In words, when the exporter cannot be made.
pub fn start(endpoint: &str, percent: u8) -> Result<Traces, String> {
    let endpoint = match endpoint.trim_end_matches('/') {
        base if base.ends_with("/v1/traces") => base.to_owned(),
        base => format!("{base}/v1/traces"),
    };
    // The exporter's client keeps a runtime of its own, which cannot be made on a thread that runs one.
    let exporter = std::thread::spawn(move || {
        let _ = rustls::crypto::ring::default_provider().install_default();
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(endpoint).build()
    });
    let exporter = exporter.join().map_err(|_| "its client cannot be started".to_owned())?;
    let exporter = exporter.map_err(|error| error.to_string())?;
    let resource = Resource::builder()
        .with_service_name("edi")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::TraceIdRatioBased(f64::from(percent.min(100)) / 100.0);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(sampler)))
        .with_resource(resource)
        .build();
    let _ = TRACER.set(provider.tracer("edi"));
    Ok(Traces(provider))
}

/// Takes a request down. Nothing happens before [`start`].
pub fn request(request: Request<'_>) {
    let Some(tracer) = TRACER.get() else { return };
    let ended = UNIX_EPOCH + Duration::from_millis(u64::try_from(request.ended.millis()).unwrap_or_default());
    let started: SystemTime = ended.checked_sub(Duration::from_micros(request.micros)).unwrap_or(ended);
    let mut attributes = vec![
        KeyValue::new("http.request.method", request.method.to_owned()),
        KeyValue::new("http.route", request.endpoint),
        KeyValue::new("url.path", request.path.to_owned()),
        KeyValue::new("http.response.status_code", i64::from(request.status)),
        KeyValue::new("edi.request_id", request.request_id.to_owned()),
    ];
    attributes.extend(request.client_id.map(|id| KeyValue::new("edi.client_id", id.to_owned())));
    let builder = SpanBuilder::from_name(format!("{} {}", request.method, request.endpoint))
        .with_kind(SpanKind::Server)
        .with_start_time(started)
        .with_attributes(attributes);
    let parent = request
        .traceparent
        .and_then(parent)
        .map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
    let mut span = tracer.build_with_context(builder, &parent);
    if request.status >= 500 {
        span.set_status(Status::error(""));
    }
    span.end_with_timestamp(ended);
}

/// The span that a well-formed `traceparent` names.
fn parent(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    Some(SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::default()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Takes one request as a collector does, and gives its body.
    fn collect(listener: &TcpListener) -> Vec<u8> {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut all = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let read = socket.read(&mut chunk).unwrap();
            all.extend_from_slice(chunk.get(..read).unwrap());
            let text = String::from_utf8_lossy(&all).to_ascii_lowercase();
            let Some(end) = text.find("\r\n\r\n") else { continue };
            assert!(text.starts_with("post /v1/traces "), "{text}");
            let length = text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            if all.len() >= end + 4 + length.parse::<usize>().unwrap() {
                break;
            }
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        all
    }

    #[test]
    fn a_request_reaches_the_collector_under_its_callers_trace() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let traces = start(&format!("http://{}", listener.local_addr().unwrap()), 0).unwrap();
        let answered = |traceparent| Request {
            method: "POST",
            endpoint: "token",
            path: "/oauth2/token",
            status: 200,
            ended: Timestamp::from_secs(1_800_000_000),
            micros: 250,
            request_id: "r1",
            client_id: Some("svc"),
            traceparent,
        };
        // Not sampled by its caller, and begun here with nothing sampled: neither is sent.
        request(answered(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")));
        request(answered(None));
        request(answered(Some("00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
        let collector = std::thread::spawn(move || collect(&listener));
        drop(traces);
        let body = collector.join().unwrap();
        let holds = |bytes: &[u8]| body.windows(bytes.len()).any(|window| window == bytes);
        let trace = TraceId::from_hex("1bf7651916cd43dd8448eb211c80319c").unwrap().to_bytes();
        assert!(holds(&trace) && holds(b"POST token") && holds(b"svc"));
        let other = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap().to_bytes();
        assert!(!holds(&other), "what its caller does not sample is not sent");
    }
}
