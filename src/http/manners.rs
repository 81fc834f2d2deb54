//! What every request goes through and every answer has, on both listeners: a request id, a checked `Host`, headers that
//! keep answers out of caches and sniffers, a body for bare errors, a caught panic, a log line.
//!
//! One layer, written by hand, around all routes: it costs a few allocations for texts, which is next to nothing beside a
//! signature.

use std::cell::RefCell;
use std::future::{Future, Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::InternalError;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{Error, HttpMessage as _, HttpResponse};

use super::access_log::Line;
use super::error::{Refusal, legion_body, oauth_body};
use super::exchange::{self, Exchange, Ids, REQUEST_ID};
use super::host;
use super::peer::{self, Proxies};
use super::problem::{self, Problem};
use super::traffic::{Board, Endpoint, ErrorCode, Traffic};
use crate::ambient::Entropy;
use crate::oauth::refusals::Refusals;

/// Which of the two listeners; decides how bare errors look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// What services and proxies reach: RFC 6749's JSON, or Legion's under `/api/v1/`.
    Public,
    /// The admin API: `application/problem+json`.
    Admin,
}

impl Listener {
    pub(super) fn dialect(self, path: &str) -> Dialect {
        match self {
            Self::Public if path.starts_with("/api/v1/") => Dialect::Legion,
            Self::Public => Dialect::OAuth,
            Self::Admin => Dialect::Problem,
        }
    }
}

/// How an error looks that brings no body of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OAuth,
    Legion,
    Problem,
}

impl Dialect {
    /// Content type and body.
    pub(super) fn body(self, status: StatusCode, request_id: &str) -> (&'static str, String) {
        let (code, text) = match status {
            StatusCode::BAD_REQUEST => ("invalid_request", "the request is malformed"),
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path takes other methods, see Allow"),
            StatusCode::REQUEST_TIMEOUT => ("request_timeout", "the request did not arrive in time"),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ("invalid_request", "the headers are too large"),
            StatusCode::INTERNAL_SERVER_ERROR => ("server_error", "something went wrong on this side"),
            other if other.is_server_error() => ("temporarily_unavailable", "try again shortly"),
            _ => ("invalid_request", "the request is refused"),
        };
        match self {
            Self::OAuth => ("application/json", oauth_body(code, text)),
            Self::Legion => ("application/json", legion_body(text)),
            Self::Problem => (problem::CONTENT_TYPE, Problem::new(status).detail(text).body(Some(request_id))),
        }
    }
}

/// The layer itself; wraps an `App`.
#[derive(Clone)]
pub struct Manners {
    listener: Listener,
    entropy: Arc<dyn Entropy>,
    proxies: Proxies,
    board: Arc<Board>,
    issuer_path: Arc<str>,
    refusals: Option<Arc<Refusals>>,
}

impl Manners {
    /// Manners for a listener. `proxies` are those whose `X-Forwarded-For` is believed.
    #[must_use]
    pub fn new(listener: Listener, entropy: Arc<dyn Entropy>, proxies: Proxies) -> Self {
        Self { listener, entropy, proxies, board: Arc::default(), issuer_path: "".into(), refusals: None }
    }

    /// The same, counting on `board`; public endpoints also answer under `issuer_path`.
    #[must_use]
    pub fn counting(self, board: Arc<Board>, issuer_path: Arc<str>) -> Self {
        Self { board, issuer_path, ..self }
    }

    /// The same, remembering refusals.
    #[must_use]
    pub fn remembering(self, refusals: Option<Arc<Refusals>>) -> Self {
        Self { refusals, ..self }
    }
}

impl<S> Transform<S, ServiceRequest> for Manners
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error>,
    S::Future: Unpin,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Transform = Mannered<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let traffic = self.board.join();
        let refusals = Rc::new(Memory(self.refusals.clone()));
        ready(Ok(Mannered { inner, manners: self.clone(), traffic, refusals, ids: RefCell::new(Ids::default()) }))
    }
}

/// A worker's own hold of the memory that all workers share: a request that holds this one disturbs no other worker.
struct Memory(Option<Arc<Refusals>>);

/// A worker's routes with manners.
pub struct Mannered<S> {
    inner: S,
    manners: Manners,
    traffic: Arc<Traffic>,
    refusals: Rc<Memory>,
    ids: RefCell<Ids>,
}

impl<S> Service<ServiceRequest> for Mannered<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error>,
    // An app's routing gives a box.
    S::Future: Unpin,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let Manners { listener, entropy, proxies, issuer_path, .. } = &self.manners;
        let id =
            exchange::incoming(request.headers()).map_or_else(|| self.ids.borrow_mut().next(&**entropy), Into::into);
        let address = request.peer_addr().map(|peer| peer::address(peer.ip(), request.headers(), proxies));
        let exchange = Rc::new(Exchange::new(id, address).traced(exchange::traceparent(request.headers())));
        let endpoint = Endpoint::of(*listener, request.path(), issuer_path);
        let line =
            Line::begin(request.method(), request.path(), Rc::clone(&exchange), endpoint, Arc::clone(&self.traffic));
        let dialect = listener.dialect(request.path());
        let upgrade = request.head().upgrade();
        request.extensions_mut().insert(Rc::clone(&exchange));
        let refused = if host::acceptable(request.headers()) {
            lacks_certificate(&request).then_some((
                StatusCode::FORBIDDEN,
                "this listener wants a client certificate (listen.admin_client_ca_file)",
            ))
        } else {
            Some((StatusCode::BAD_REQUEST, "the Host header is missing, doubled or malformed"))
        };
        let state = if let Some((status, why)) = refused {
            let mut response = HttpResponse::build(status).finish();
            response.extensions_mut().insert(Refusal(why.into()));
            State::Refused(Some(Box::new(request.into_response(response))))
        } else {
            // A handler's future is only made here; it runs when polled. Routing runs at once, so both are guarded.
            match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
                Ok(future) => State::Running(future),
                Err(_) => State::Panicked,
            }
        };
        let refusals = Rc::clone(&self.refusals);
        Answering { state, finish: Some(Finish { dialect, exchange, line, upgrade, refusals }) }
    }
}

/// What a connection of a listener that asks for certificates brought along.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientCertificate {
    pub(super) shown: bool,
}

/// Whether a certificate is wanted and missing. Health checks come without one.
fn lacks_certificate(request: &ServiceRequest) -> bool {
    request.conn_data::<ClientCertificate>().is_some_and(|certificate| !certificate.shown)
        && !matches!(request.path(), "/health/live" | "/health/ready")
}

enum State<F> {
    Running(F),
    Refused(Option<Box<ServiceResponse<BoxBody>>>),
    Panicked,
}

/// The future of an answer.
pub struct Answering<F> {
    state: State<F>,
    finish: Option<Finish>,
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<ServiceResponse<BoxBody>, Error>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.state {
            State::Running(future) => match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *future).poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(outcome)) => Some(outcome),
                Err(_) => None,
            },
            State::Refused(response) => response.take().map(|response| Ok(*response)),
            State::Panicked => None,
        };
        // What panicked is not polled again, and dropped here rather than with the connection.
        self.state = State::Refused(None);
        let Some(finish) = self.finish.take() else { return Poll::Pending };
        Poll::Ready(match outcome {
            Some(Ok(mut answer)) => {
                finish.run(answer.response_mut());
                Ok(answer)
            }
            Some(Err(error)) => Err(finish.fail(error.error_response())),
            None => Err(finish.fail(panicked())),
        })
    }
}

fn panicked() -> HttpResponse {
    let mut response = HttpResponse::InternalServerError().finish();
    response.extensions_mut().insert(Refusal("a handler panicked".into()));
    response
}

/// What is left to do once the routes have answered.
struct Finish {
    dialect: Dialect,
    exchange: Rc<Exchange>,
    line: Line,
    /// The caller offered another protocol.
    upgrade: bool,
    refusals: Rc<Memory>,
}

impl Finish {
    /// An answer that has lost its request (a panic, an error of the framework).
    fn fail(self, mut response: HttpResponse) -> Error {
        self.run(&mut response);
        InternalError::from_response("an error of the framework", response).into()
    }

    fn run(self, response: &mut HttpResponse<BoxBody>) {
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            self.fill(response);
        }
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(self.exchange.id()) {
            headers.insert(REQUEST_ID.clone(), id);
        }
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.upgrade {
            // The offer is ignored (RFC 9110 §7.8), and the connection ends after this answer: actix-http would say
            // `upgrade` of it and close it all the same.
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        let bytes = match response.body().size() {
            BodySize::None => Some(0),
            BodySize::Sized(bytes) => Some(bytes),
            BodySize::Stream => None,
        };
        let mut extensions = response.extensions_mut();
        let refusal = extensions.remove::<Refusal>();
        let error = if refusal.is_some() { extensions.remove::<ErrorCode>() } else { None };
        drop(extensions);
        if let (Some(refusals), Some(Refusal(reason)), 400..) = (&self.refusals.0, &refusal, status.as_u16()) {
            refusals.note(self.line.refused(status, error, reason));
        }
        self.line.end(status, bytes, error, refusal.as_ref().map(|Refusal(reason)| &**reason));
    }

    /// Gives a bare error its body, and a problem its `instance`.
    fn fill(&self, response: &mut HttpResponse<BoxBody>) {
        let problem = response.extensions_mut().remove::<Problem>();
        let (content_type, body) = if let Some(problem) = problem {
            (problem::CONTENT_TYPE, problem.body(Some(self.exchange.id())))
        } else if !response.headers().contains_key(CONTENT_TYPE) && response.body().size().is_eof() {
            self.dialect.body(response.status(), self.exchange.id())
        } else {
            return;
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let with_body = std::mem::replace(response, HttpResponse::new(StatusCode::OK)).set_body(BoxBody::new(body));
        *response = with_body;
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::http::Method;
    use actix_web::test::{TestRequest, init_service};
    use actix_web::{App, HttpRequest, web};
    use serde_json::Value;

    use super::super::error::OAuthHttpError;
    use super::*;
    use crate::ambient::SeededEntropy;
    use crate::oauth::error::OAuthError;
    use crate::telemetry::Format;
    use crate::telemetry::testing::logged;

    async fn handler(request: HttpRequest) -> Result<HttpResponse, OAuthHttpError> {
        match request.path() {
            "/good" => {
                Exchange::of(&request).note_client("svc");
                Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "public")).body("12345"))
            }
            "/wrong" => Err(OAuthError::invalid_client("the secret is wrong").into()),
            "/framework" => Ok(HttpResponse::ServiceUnavailable().finish()),
            "/never" => std::future::pending().await,
            _ => panic!("a fault"),
        }
    }

    /// Sends requests through the layer; `None` gives a request up halfway. Returns the answers and the log lines.
    fn ask(format: Format, requests: Vec<(TestRequest, bool)>) -> (Vec<(u16, Value)>, String) {
        let mut answers = Vec::new();
        let lines = logged(format, "edi::access=info", || {
            actix_web::rt::System::new().block_on(async {
                let manners = Manners::new(Listener::Public, SeededEntropy::new(1), Proxies::default());
                let routes = ["/good", "/wrong", "/framework", "/never", "/faulty"];
                let app = App::new().service(web::resource(routes).get(handler)).wrap(manners);
                let service = init_service(app).await;
                for (request, wait) in requests {
                    let answer = service.call(request.peer_addr("192.0.2.9:1".parse().unwrap()).to_request());
                    if !wait {
                        assert!(futures_util::FutureExt::now_or_never(answer).is_none());
                        continue;
                    }
                    let answer = match answer.await {
                        Ok(answer) => answer.into_parts().1,
                        Err(error) => error.error_response(),
                    };
                    assert!(answer.headers().contains_key(&REQUEST_ID));
                    let status = answer.status().as_u16();
                    let body = to_bytes(answer.into_body()).await.unwrap_or_default();
                    answers.push((status, serde_json::from_slice(&body).unwrap_or_default()));
                }
            });
        });
        (answers, lines)
    }

    fn get(uri: &str) -> TestRequest {
        TestRequest::get().uri(uri).insert_header(("host", "edi"))
    }

    #[test]
    fn each_request_leaves_one_line_that_says_what_came_of_it() {
        let (answers, lines) = ask(
            Format::Json,
            vec![
                (get("/good?client_secret=s3cret").insert_header((REQUEST_ID.clone(), "mine")), true),
                (get("/wrong").insert_header(("authorization", "Basic s3cret")), true),
                (get("/framework"), true),
                (get("/never"), false),
                (get("/faulty"), true),
                (get("/eyJhbGciOiJub25lIn0.e30."), true),
                (TestRequest::get().uri("/good"), true),
                (get("/good").method(Method::from_bytes(b"S3CRET").unwrap()), true),
            ],
        );
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
                (text("method"), text("path"), line["status"].as_u64().unwrap(), text("client_id"), text("reason"))
            })
            .collect();
        let row = |method: &str, path: &str, status, client: &str, reason: &str| {
            (method.to_owned(), path.to_owned(), status, client.to_owned(), reason.to_owned())
        };
        assert_eq!(
            told,
            [
                row("GET", "/good", 200, "svc", "-"),
                row("GET", "/wrong", 401, "-", "the secret is wrong"),
                row("GET", "/framework", 503, "-", "-"),
                row("GET", "/never", 499, "-", "the caller left before the answer"),
                row("GET", "/faulty", 500, "-", "a handler panicked"),
                row("GET", "/[redacted]", 404, "-", "-"),
                row("GET", "/good", 400, "-", "the Host header is missing, doubled or malformed"),
                row("other", "/good", 405, "-", "-"),
            ]
        );
        assert!(lines.iter().all(|line| line["address"] == "192.0.2.9" && line["micros"].is_u64()));
        assert_eq!((lines[0]["request_id"].as_str(), lines[0]["bytes"].as_u64()), (Some("mine"), Some(5)));
        assert_eq!(lines[4]["level"], "ERROR");
        let codes: Vec<_> = answers.iter().map(|(_, body)| body["error"].as_str().unwrap_or("-")).collect();
        assert_eq!(
            codes,
            [
                "-",
                "invalid_client",
                "temporarily_unavailable",
                "server_error",
                "not_found",
                "invalid_request",
                "method_not_allowed"
            ]
        );
        let all = lines.iter().map(Value::to_string).collect::<String>();
        assert!(!all.to_lowercase().contains("s3cret"), "{all}");
    }

    #[test]
    fn a_line_cannot_be_forged_from_outside() {
        let hostile = "/good%0A%22,%22status%22:200";
        for format in [Format::Json, Format::Pretty] {
            let (_, lines) = ask(format, vec![(get(hostile), true), (get("/\"quoted\\\""), true)]);
            assert_eq!(lines.lines().count(), 2, "{lines}");
        }
    }
}
