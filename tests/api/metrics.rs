//! `GET /metrics`: a page that Prometheus reads, that says what happened, and that is documented to the last name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::edi::{Setup, TestEdi};
use crate::support::http::Ask;

/// A sample's name and labels, as written.
type Series = String;

/// A page taken apart, every rule of the format held on the way.
#[derive(Debug)]
pub(crate) struct Exposition {
    /// Name and type of each family.
    pub(crate) families: BTreeMap<String, String>,
    /// The value of each series.
    pub(crate) samples: BTreeMap<Series, f64>,
}

impl Exposition {
    fn parse(text: &str) -> Self {
        let mut page = Self { families: BTreeMap::new(), samples: BTreeMap::new() };
        let mut current: Option<(String, String)> = None;
        let mut helped = None;
        assert!(text.ends_with('\n'), "the last line ends");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty(), "{line}");
                helped = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(helped.take().as_deref(), Some(name), "HELP before TYPE: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(kind != "counter" || name.ends_with("_total"), "{line}");
                let before = page.families.insert(name.into(), kind.into());
                assert_eq!(before, None, "a family comes once: {line}");
                current = Some((name.into(), kind.into()));
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
                let name = series.split('{').next().unwrap();
                let (family, kind) = current.as_ref().unwrap_or_else(|| panic!("no family yet: {line}"));
                let suffix = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} under {family}"));
                let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.contains(&suffix), "{line} under {family}");
                for label in labels(series).keys() {
                    assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
                }
                assert!(kind != "counter" || value >= 0.0, "{line}");
                let before = page.samples.insert(series.into(), value);
                assert_eq!(before, None, "a series comes once: {line}");
            }
        }
        page.assert_histograms();
        page
    }

    /// Buckets grow, the last is `+Inf` and equals the count.
    fn assert_histograms(&self) {
        for family in self.families.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut by_labels: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (series, value) in &self.samples {
                if series.split('{').next().unwrap() == format!("{family}_bucket") {
                    let mut labels = labels(series);
                    let bound = labels.remove("le").unwrap();
                    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
                    by_labels.entry(format!("{labels:?}")).or_default().push((bound, *value));
                }
            }
            assert!(!by_labels.is_empty(), "{family} has buckets");
            for (labels, mut buckets) in by_labels {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{family} {labels}: {buckets:?}");
                assert!(buckets.last().unwrap().0.is_infinite(), "{family} {labels}");
            }
        }
    }

    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.samples.keys()))
    }
}

fn labels(series: &str) -> BTreeMap<String, String> {
    let Some((_, rest)) = series.split_once('{') else { return BTreeMap::new() };
    let inside = rest.strip_suffix('}').unwrap_or_else(|| panic!("{series}"));
    inside
        .split(',')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_owned())
        })
        .collect()
}

pub(crate) async fn scrape(edi: &TestEdi) -> Exposition {
    let answer = Ask::new(edi.admin, "GET", "/metrics").send().await.assert(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    Exposition::parse(&answer.body)
}

#[tokio::test]
async fn what_happens_is_counted() {
    let edi = TestEdi::new().await;
    let svc = edi.register("svc", &["a"]).await;
    let before = scrape(&edi).await;
    let token = edi.token(&svc, &[]).await;
    edi.token(&svc, &[]).await;
    let wrong = crate::support::edi::Registered { secret: "wrong".into(), ..svc.clone() };
    edi.request_token(&wrong, &[]).await.assert(401);
    edi.request_token(&svc, &[("scope", "b")]).await.assert_refused(400, "invalid_scope");
    edi.introspect(&svc, &token).await.assert(200);
    edi.revoke(&svc, &token).await.assert(200);
    edi.ask("GET", "/authz?role=a").bearer(&token).send().await.assert(401);
    edi.ask("GET", "/authz?role=a").send().await.assert(401);
    edi.ask("GET", "/nowhere").send().await.assert(404);
    edi.ask("POST", "/api/v1/model/token").basic(&svc.id, &svc.secret).json(&json!({"role_name": "a"})).send().await;
    let after = scrape(&edi).await;
    let grown = |series: &str| after.value(series) - before.value(series);
    for (series, by) in [
        ("edi_token_requests_total{grant=\"client_credentials\",outcome=\"issued\"}", 2.0),
        ("edi_token_requests_total{grant=\"client_credentials\",outcome=\"invalid_client\"}", 1.0),
        ("edi_token_requests_total{grant=\"client_credentials\",outcome=\"invalid_scope\"}", 1.0),
        ("edi_token_requests_total{grant=\"legion\",outcome=\"issued\"}", 1.0),
        ("edi_tokens_issued_total{alg=\"ES256\"}", 3.0),
        ("edi_refusals_total{endpoint=\"token\",error=\"invalid_client\"}", 1.0),
        ("edi_refusals_total{endpoint=\"authz\",error=\"invalid_token\"}", 1.0),
        ("edi_refusals_total{endpoint=\"authz\",error=\"no_token\"}", 1.0),
        ("edi_http_requests_total{endpoint=\"introspect\",status=\"2xx\"}", 1.0),
        ("edi_http_requests_total{endpoint=\"other\",status=\"4xx\"}", 1.0),
        ("edi_http_request_duration_seconds_count{endpoint=\"token\"}", 4.0),
        ("edi_http_request_duration_seconds_bucket{endpoint=\"token\",le=\"+Inf\"}", 4.0),
        ("edi_revocations", 1.0),
        ("edi_store_commits_total{outcome=\"committed\"}", 1.0),
        ("edi_store_commit_duration_seconds_count", 1.0),
    ] {
        assert!((grown(series) - by).abs() < 0.1, "{series} grew by {} and not by {by}", grown(series));
    }
    assert!(after.value("edi_connections_accepted_total{listener=\"public\"}") >= 9.0);
    assert!((after.value("edi_store_writable") - 1.0).abs() < 0.1);
    assert!((after.value("edi_keys{alg=\"ES256\",state=\"active\"}") - 1.0).abs() < 0.1);
    assert!((after.value("edi_keys{alg=\"ES256\",state=\"pending\"}") - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_key_tells_how_old_it_is_and_what_comes_next() {
    let edi = TestEdi::new().await;
    edi.advance(3600);
    let page = scrape(&edi).await;
    assert!((page.value("edi_key_age_seconds{alg=\"ES256\",state=\"active\"}") - 3600.0).abs() < 1.0);
    let due = page.value("edi_key_rotation_due_seconds{alg=\"ES256\"}");
    assert!((due - (29.0 * 24.0 + 23.0) * 3600.0).abs() < 1.0, "{due}");
    edi.advance(60 * 24 * 3600);
    let late = scrape(&edi).await;
    assert!(
        late.families.contains_key("edi_key_next_transition_seconds")
            && (late.samples.contains_key("edi_key_next_transition_seconds{alg=\"ES256\",to=\"active\"}")
                || late.value("edi_key_rotation_due_seconds{alg=\"ES256\"}") < 0.0),
        "overdue, or planned by now"
    );
}

#[tokio::test]
async fn a_store_that_fails_shows() {
    let edi = TestEdi::new().await;
    edi.memory().stall_watches(true);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let page = scrape(&edi).await;
    assert!(page.value("edi_store_silence_seconds") > 0.9, "{}", page.value("edi_store_silence_seconds"));
    edi.memory().stall_watches(false);
}

#[tokio::test]
async fn no_label_carries_what_a_caller_sent() {
    let edi = TestEdi::new().await;
    let svc = edi.register("label-client", &["label-role"]).await;
    edi.token(&svc, &[("scope", "label-role")]).await;
    edi.ask("GET", "/label-path").send().await.assert(404);
    edi.ask("GET", "/authz?role=label-role").send().await.assert(401);
    edi.ask("LABEL-METHOD", "/oauth2/token").send().await;
    let answer = Ask::new(edi.admin, "GET", "/metrics").send().await.assert(200);
    assert!(!answer.body.to_lowercase().contains("label-"), "{answer}");
    // On the admin listener alone.
    edi.ask("GET", "/metrics").send().await.assert(404);
    Ask::new(edi.admin, "POST", "/metrics").send().await.assert(405);
}

#[tokio::test]
async fn the_reference_lists_every_metric_and_no_other() {
    // On disk, which has figures that memory has not.
    let setup = Setup::on_disk();
    let edi = setup.start().await;
    let page = scrape(&edi).await;
    let reference = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/metrics.md")).unwrap();
    let mut listed = BTreeSet::new();
    for row in reference.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        assert_eq!(page.families.get(&name).map(String::as_str), Some(cells[2]), "{row}");
        let wanted: BTreeSet<String> =
            cells[3].split(", ").filter(|it| !it.is_empty()).map(|it| it.trim_matches('`').to_owned()).collect();
        let of_family = |series: &&String| {
            let shown = series.split('{').next().unwrap();
            [name.clone(), format!("{name}_count")].iter().any(|it| it == shown)
        };
        for series in page.samples.keys().filter(of_family) {
            assert_eq!(labels(series).into_keys().collect::<BTreeSet<_>>(), wanted, "{row}: {series}");
        }
        assert!(listed.insert(name), "{row}");
    }
    let shown: BTreeSet<String> = page.families.into_keys().collect();
    assert_eq!(shown, listed);
}
