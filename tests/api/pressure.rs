//! Connections under pressure, against the built program: slow ones in any number, and few descriptors to hold them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::serve::Serve;

struct Program {
    child: Child,
    public: String,
    admin: String,
}

impl Program {
    /// Serves from `folder` with at most `descriptors` open files, which it cannot raise.
    fn start(folder: &Path, descriptors: u32, settings: &[(&str, &str)]) -> Self {
        let [public, admin] = Serve::free_addresses();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")])
            .args([env!("CARGO_BIN_EXE_edi"), "serve", "--listen-public", &public, "--listen-admin", &admin])
            .current_dir(folder)
            .env_clear()
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let program = Self { child, public, admin };
        let started = Instant::now();
        while exchange(&program.public, "GET /health/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").is_none()
        {
            let log = std::fs::read_to_string(folder.join("log")).unwrap();
            assert!(started.elapsed() < Duration::from_secs(30), "not ready: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        program
    }

    fn figure(&self, series: &str) -> f64 {
        let page = exchange(&self.admin, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {page}")).parse().unwrap()
    }

    fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
        fields.map(|field| field.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer to a request on a connection of its own; `None` when there was none.
fn exchange(at: &str, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200 ").then_some(answer)
}

fn token_request(folder: &Path) -> String {
    let operator = std::fs::read_to_string(folder.join("keys/operator.json")).unwrap();
    let operator: Value = serde_json::from_str(&operator).unwrap();
    let text = |name: &str| operator[name].as_str().unwrap().to_owned();
    let basic = STANDARD.encode(format!("{}:{}", text("client_id"), text("client_secret")));
    let form = "grant_type=client_credentials&scope=edi:read";
    format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

/// Keeps `count` connections that never finish their request, and opens each anew when it is closed.
fn hold_slow(at: &str, count: usize, over: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (at, over) = (at.to_owned(), Arc::clone(over));
    std::thread::spawn(move || {
        let open = || {
            let mut stream = TcpStream::connect(&at).ok()?;
            stream.set_nonblocking(true).ok()?;
            let _ = stream.write_all(b"POST /oauth2/token HTTP/1.1\r\nHost: a\r\nX: ");
            Some(stream)
        };
        let mut held: Vec<Option<TcpStream>> = (0..count).map(|_| open()).collect();
        while !over.load(Ordering::Relaxed) {
            for slot in &mut held {
                // One more byte of a head that never ends; an error says that the server has closed it.
                let gone = slot.as_mut().is_none_or(|stream| stream.write_all(b"x").is_err());
                if gone {
                    *slot = open();
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    })
}

#[test]
fn two_hundred_slow_callers_lock_nobody_out_however_few_descriptors_there_are() {
    let folder = tempfile::TempDir::new().unwrap();
    let edi = Program::start(folder.path(), 128, &[]);
    let request = token_request(folder.path());
    let over = Arc::new(AtomicBool::new(false));
    let slow = hold_slow(&edi.public, 200, &over);
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut answered = 0;
    while started.elapsed() < Duration::from_secs(5) {
        let asked = Instant::now();
        let answer = exchange(&edi.public, &request);
        assert!(answer.is_some_and(|answer| answer.contains("access_token")), "after {answered} answers");
        slowest = slowest.max(asked.elapsed());
        answered += 1;
    }
    assert!(answered > 10 && slowest < Duration::from_secs(3), "{answered} answers, the slowest took {slowest:?}");
    assert!(edi.figure("edi_connections_cut_total{listener=\"public\",reason=\"crowded\"}") > 0.0);
    let (open, most) = (edi.figure("process_open_fds"), edi.figure("process_max_fds"));
    assert!((most - 128.0).abs() < 0.1 && open < most, "{open} of {most}");
    over.store(true, Ordering::Relaxed);
    slow.join().unwrap();
}

#[test]
fn without_descriptors_it_waits_and_comes_back() {
    let folder = tempfile::TempDir::new().unwrap();
    // So few that the connections do not fit beside everything else: accepting itself fails now and then.
    let edi = Program::start(folder.path(), 44, &[]);
    let request = token_request(folder.path());
    let over = Arc::new(AtomicBool::new(false));
    let slow = hold_slow(&edi.public, 60, &over);
    std::thread::sleep(Duration::from_secs(2));
    let before = edi.processor_ticks();
    std::thread::sleep(Duration::from_secs(2));
    let spent = edi.processor_ticks() - before;
    assert!(spent < 120, "{spent} ticks of 10 ms in two seconds: it spins");
    over.store(true, Ordering::Relaxed);
    slow.join().unwrap();
    let started = Instant::now();
    while exchange(&edi.public, &request).is_none() {
        assert!(started.elapsed() < Duration::from_secs(15), "it does not come back");
        std::thread::sleep(Duration::from_millis(100));
    }
}
