//! What a flood of wrong credentials does to good clients: 64 connections that guess without pause, in every way there is,
//! and 200 that never finish a request, against the same good clients in a quiet moment before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::args::Args;
use super::drive::Connection;
use super::edi::{Site, basic};
use super::report::Report;
use super::work::{get, token_request};

/// Connections that guess.
const GUESSING: usize = 64;
/// Connections that never finish a request.
const SLOW: usize = 200;
/// How long a good client thinks between two requests.
const THINKING: Duration = Duration::from_millis(5);
/// How much longer the slowest hundredth may take under a flood.
const ALLOWED: f64 = 3.0;

/// A good client's requests.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failed: usize,
}

impl Seen {
    fn at(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let index = (sorted.len() as f64 * share) as usize;
        sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn success(&self) -> f64 {
        let all = self.latencies.len() + self.failed;
        100.0 * self.latencies.len() as f64 / all.max(1) as f64
    }
}

/// Runs quiet and flooded rounds in turns; whether good clients came through.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<bool> {
    let length = Duration::from_secs(if args.smoke { 2 } else { 8 });
    let rounds = if args.smoke { 1 } else { 3 };
    let site = Site::new(args.edi())?;
    let mut edi = site.start()?;
    edi.ready().await?;
    let made = edi.client("good", &[])?;
    let chosen = edi.client_with_secret("good-chosen", "correct horse battery staple")?;
    let late = edi.client_with_secret("late-chosen", "another horse battery staple")?;
    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    let mut answers = [0; 4];
    for _ in 0..rounds {
        quiet.push(good_clients(edi.public, &[&made, &chosen], length).await?);
        let flood = Flood::start(edi.public, &made);
        // The budgets are spent in the first moments; what is measured is what lasts.
        sleep(Duration::from_secs(1)).await;
        flooded.push(good_clients(edi.public, &[&made, &chosen], length).await?);
        for (sum, count) in answers.iter_mut().zip(flood.stop()?) {
            *sum += count;
        }
    }
    let flood = Flood::start(edi.public, &made);
    sleep(Duration::from_secs(1)).await;
    let unseen = first_success(edi.public, &late).await?;
    flood.stop()?;
    let resident = super::machine::resident_kib(edi.pid())?;
    edi.stop()?;

    let p99 = |seen: &[Seen]| {
        let mut all: Vec<Duration> = seen.iter().map(|round| round.at(0.99)).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let success = |seen: &[Seen]| seen.iter().map(Seen::success).fold(100.0, f64::min);
    let (before, during) = (p99(&quiet), p99(&flooded));
    let ratio = during.as_secs_f64() / before.as_secs_f64().max(1e-9);
    println!(
        "flood: {GUESSING} connections guessing, {SLOW} slow ones; good clients: one made by edi, one chosen secret"
    );
    for (name, seen) in [("quiet", &quiet), ("flooded", &flooded)] {
        for round in seen {
            println!(
                "  {name:8} {:6} requests, {:6.2} % succeeded, p50 {:?}, p99 {:?}",
                round.latencies.len() + round.failed,
                round.success(),
                round.at(0.5),
                round.at(0.99)
            );
        }
    }
    let [unauthorized, slowed, busy, other] = answers;
    println!("  the flood got {unauthorized} x 401, {slowed} x 429, {busy} x 503, {other} others");
    println!("  a chosen secret that edi had not seen before got through after {unseen:?}");
    println!(
        "flood: p99 {before:?} quiet, {during:?} flooded: {ratio:.2} times (allowed {ALLOWED}); {resident} KiB resident"
    );
    report.others.insert(
        "flood".into(),
        json!({
            "quiet_p99_us": before.as_micros(), "flooded_p99_us": during.as_micros(), "ratio": ratio,
            "quiet_success_percent": success(&quiet), "flooded_success_percent": success(&flooded),
            "answers": { "401": unauthorized, "429": slowed, "503": busy, "other": other },
            "unseen_chosen_ms": unseen.as_millis(), "resident_kib": resident,
        }),
    );
    let all_came_through = success(&flooded) >= 100.0;
    Ok(all_came_through && (args.smoke || ratio <= ALLOWED))
}

/// Good clients for so long, one connection each.
async fn good_clients(to: SocketAddr, authorizations: &[&str], length: Duration) -> Result<Seen> {
    let local = LocalSet::new();
    let tasks: Vec<_> = authorizations
        .iter()
        .map(|authorization| {
            let request = token_request("/oauth2/token", authorization);
            local.spawn_local(async move {
                let mut seen = Seen::default();
                let mut connection = Connection::open(to).await?;
                let started = Instant::now();
                while started.elapsed() < length {
                    let asked = Instant::now();
                    match connection.exchange(&request).await {
                        Ok((200, _)) => seen.latencies.push(asked.elapsed()),
                        Ok(_) => seen.failed += 1,
                        Err(_) => {
                            seen.failed += 1;
                            connection = Connection::open(to).await?;
                        }
                    }
                    sleep(THINKING).await;
                }
                anyhow::Ok(seen)
            })
        })
        .collect();
    local.await;
    let mut all = Seen::default();
    for task in tasks {
        let seen = task.await??;
        all.latencies.extend(seen.latencies);
        all.failed += seen.failed;
    }
    Ok(all)
}

/// How long it takes a client to get its first token, coming back whenever it is told to.
async fn first_success(to: SocketAddr, authorization: &str) -> Result<Duration> {
    let request = token_request("/oauth2/token", authorization);
    let started = Instant::now();
    loop {
        let mut connection = Connection::open(to).await?;
        match connection.exchange(&request).await {
            Ok((200, _)) => return Ok(started.elapsed()),
            Ok((503, _)) => sleep(Duration::from_secs(1)).await,
            Ok((status, _)) => anyhow::bail!("a right secret got {status}"),
            Err(error) => return Err(error),
        }
        ensure!(started.elapsed() < Duration::from_mins(1), "a right secret did not get through");
    }
}

/// A flood under way, on a thread of its own.
struct Flood {
    over: Arc<AtomicBool>,
    answers: Arc<[AtomicU64; 4]>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Flood {
    fn start(to: SocketAddr, good: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let answers: Arc<[AtomicU64; 4]> = Arc::default();
        let (stop, count, good) = (Arc::clone(&over), Arc::clone(&answers), good.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let local = LocalSet::new();
            for n in 0..GUESSING {
                local.spawn_local(guess(to, n, good.clone(), Arc::clone(&stop), Arc::clone(&count)));
            }
            for _ in 0..SLOW {
                local.spawn_local(dawdle(to, Arc::clone(&stop)));
            }
            runtime.block_on(local);
            Ok(())
        });
        Self { over, answers, thread }
    }

    /// Ends it; how many 401, 429, 503 and others it got.
    fn stop(self) -> Result<[u64; 4]> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
        Ok([0, 1, 2, 3].map(|at| self.answers.get(at).map_or(0, |count| count.load(Ordering::Relaxed))))
    }
}

async fn guess(to: SocketAddr, n: usize, good: String, over: Arc<AtomicBool>, answers: Arc<[AtomicU64; 4]>) {
    let mut turn = n;
    while !over.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::open(to).await else { continue };
        loop {
            turn += 1;
            let authorization = match turn % 4 {
                0 => wrong(&good, "good").unwrap_or_default(),
                1 => basic("good-chosen", &format!("a guess at a chosen secret {turn}")),
                2 => basic(&format!("nobody-{n}-{turn}"), "a guess without a tag"),
                _ => wrong(&good, &format!("no-such-client-{turn}")).unwrap_or_default(),
            };
            let Ok((status, _)) = connection.exchange(&token_request("/oauth2/token", &authorization)).await else {
                break;
            };
            let at = match status {
                401 => 0,
                429 => 1,
                503 => 2,
                _ => 3,
            };
            if let Some(count) = answers.get(at) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// The good client's secret with another end, for this client id.
fn wrong(good: &str, id: &str) -> Result<String> {
    use base64::Engine as _;
    let pair = good.strip_prefix("Basic ").context("no Basic")?;
    let pair = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(pair)?)?;
    let (_, secret) = pair.split_once(':').context("no pair")?;
    let (start, end) = secret.split_at_checked(secret.len() - 1).context("no secret")?;
    Ok(basic(id, &format!("{start}{}", if end == "A" { "B" } else { "A" })))
}

/// Half a head, and then a byte now and then.
async fn dawdle(to: SocketAddr, over: Arc<AtomicBool>) {
    let head = get("/health/live", "x-slow: ");
    let head = head.strip_suffix(b"\r\n").unwrap_or(&head).to_vec();
    while !over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(to).await else { continue };
        let mut sent = stream.write_all(&head).await;
        while sent.is_ok() && !over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(500)).await;
            sent = stream.write_all(b"x").await;
        }
    }
}
