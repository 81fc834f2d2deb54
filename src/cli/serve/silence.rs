//! What goes on and what stops while the store is silent (design §11), to the second: on a clock that the test moves, in
//! one thread, through the routes that serve.

use actix_web::body::to_bytes;
use actix_web::dev::Service as _;
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, web};
use serde_json::{Value, json};
use tokio::time::{advance, pause, sleep};

use super::*;
use crate::config::Sources;
use crate::http::manners::{Listener, Manners};

/// A wait by the paused clock. In small steps: what follows the store's watch hears every beat on the way.
async fn pass(length: Duration) {
    const STEP: Duration = Duration::from_millis(400);
    let mut left = length;
    while !left.is_zero() {
        let step = left.min(STEP);
        advance(step).await;
        left -= step;
    }
    sleep(Duration::from_millis(1)).await;
}

/// A service on a store in memory, and the operator's credentials.
async fn installed(folder: &std::path::Path) -> (Arc<MemoryStore>, Arc<Service>, Value) {
    let file = folder.join("edi.toml");
    std::fs::write(&file, "").unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let flags =
        vec![("keys.master_key_file", path("keys/master.key")), ("keys.operator_file", path("keys/operator.json"))];
    let config = config::load(&Sources { file: Some(file), flags, ..Sources::default() }).unwrap();
    let (ambient, settings) = (Ambient::system(), settings(&config));
    let store = Arc::new(MemoryStore::new(Arc::clone(&ambient.clock)));
    let plan = plan(&config, &settings, config.listen.admin);
    let (master, _) = install::prepare(&*store, &ambient, &plan).await.unwrap();
    let masters = MasterKeys::new(plan.master_key_file.clone(), master);
    let service = Service::open(settings, ambient, Arc::clone(&store) as _, masters).await.unwrap();
    let operator = std::fs::read_to_string(plan.operator_file).unwrap();
    (store, service, serde_json::from_str(&operator).unwrap())
}

#[actix_web::test]
async fn tokens_go_on_from_memory_for_fifteen_minutes_decisions_for_five_seconds_and_all_comes_back() {
    let folder = tempfile::TempDir::new().unwrap();
    let (store, service, operator) = installed(folder.path()).await;
    let data = web::Data::from(Arc::clone(&service));
    let app = App::new().app_data(data).configure(|routes| routes::public(routes, "")).wrap(Manners::new(
        Listener::Public,
        Arc::clone(&service.ambient.entropy),
        Proxies::default(),
    ));
    let app = init_service(app).await;
    let ask = async |request: TestRequest| {
        let answer = app.call(request.insert_header(("host", "edi.example")).to_request()).await.unwrap();
        let (status, retry_after) = (answer.status().as_u16(), answer.headers().get("retry-after").cloned());
        let body = to_bytes(answer.into_body()).await.unwrap();
        (status, retry_after.is_some(), serde_json::from_slice::<Value>(&body).unwrap_or_default())
    };
    let text = |name: &str| operator[name].as_str().unwrap().to_owned();
    let (id, secret) = (text("client_id"), text("client_secret"));
    let form = |path: &str, more: [(&str, &str); 2]| {
        let fields = [("client_id", id.as_str()), ("client_secret", secret.as_str()), more[0], more[1]];
        TestRequest::post().uri(path).set_form(fields)
    };
    let token = || form("/oauth2/token", [("grant_type", "client_credentials"), ("scope", "edi:read")]);
    let issued = ask(token()).await;
    assert_eq!(issued.0, 200, "{issued:?}");
    let bearer = issued.2["access_token"].as_str().unwrap().to_owned();
    let introspect = || form("/oauth2/introspect", [("token", &bearer), ("x", "")]);
    let decide =
        || TestRequest::get().uri("/authz?role=a").insert_header(("authorization", format!("Bearer {bearer}")));
    let jwks = || TestRequest::get().uri("/.well-known/jwks.json");
    let ready = || TestRequest::get().uri("/health/ready");
    let readiness = |status: &str, store: &str| json!({ "status": status, "store": store });

    pause();
    store.stall_watches(true);
    store.fail_reads(true);
    pass(Duration::from_secs(4)).await;
    assert_eq!(ask(introspect()).await.0, 200, "four seconds are forgiven");
    assert_eq!(ask(ready()).await.2, readiness("ok", "ok"));

    pass(Duration::from_secs(2)).await;
    for request in [introspect(), decide()] {
        let (status, retry_after, body) = ask(request).await;
        assert_eq!((status, retry_after), (503, true), "{body}");
    }
    assert_eq!(ask(token()).await.0, 200);

    pass(Duration::from_secs(14 * 60 + 50)).await;
    assert!(service.silence() < ISSUING_ENDS, "{:?}", service.silence());
    assert_eq!(ask(token()).await.0, 200, "at {:?}", service.silence());
    assert_eq!(ask(ready()).await, (200, false, readiness("ok", "stale")));

    pass(Duration::from_secs(10)).await;
    assert!(service.silence() > ISSUING_ENDS, "{:?}", service.silence());
    let (status, retry_after, body) = ask(token()).await;
    assert_eq!((status, retry_after, &body["error"]), (503, true, &json!("temporarily_unavailable")));
    let (status, _, body) = ask(ready()).await;
    assert_eq!((status, body), (503, readiness("unavailable", "stale")));
    assert_eq!(ask(jwks()).await.0, 200, "what was issued goes on verifying");

    store.fail_reads(false);
    store.stall_watches(false);
    pass(Duration::from_secs(2)).await;
    assert_eq!(ask(token()).await.0, 200, "as soon as the store is heard of");
    assert_eq!(ask(introspect()).await.2["active"], true);
    assert_eq!(ask(ready()).await, (200, false, readiness("ok", "ok")));
}

/// The design's limit on issuing from memory.
const ISSUING_ENDS: Duration = Duration::from_mins(15);
