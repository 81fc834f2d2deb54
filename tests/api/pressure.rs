//! Connections under pressure, against the built program: slow ones in any number, and few descriptors to hold them.

use std::io::{BufRead as _, Read as _, Write as _};
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
    // Slow ones that reconnect wait in the same line as everybody: some 40 places, each for a fifth of a second.
    assert!(answered > 2 && slowest < Duration::from_secs(10), "{answered} answers, the slowest took {slowest:?}");
    assert!(edi.figure("edi_connections_cut_total{listener=\"public\",reason=\"crowded\"}") > 0.0);
    let (open, most) = (edi.figure("process_open_fds"), edi.figure("process_max_fds"));
    assert!((most - 128.0).abs() < 0.1 && open < most, "{open} of {most}");
    over.store(true, Ordering::Relaxed);
    slow.join().unwrap();
}

/// A connection that stays open.
struct Kept(std::io::BufReader<TcpStream>);

impl Kept {
    fn open(at: &str) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(std::io::BufReader::new(stream))
    }

    /// Asks for a 200 and gives its body.
    #[track_caller]
    fn ask(&mut self, request: &str) -> String {
        let request = request.replace("Connection: close\r\n", "");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            assert!(self.0.read_line(&mut head).unwrap() > 0, "closed after {head:?}");
            let line = head[start..].to_ascii_lowercase();
            if let Some(bytes) = line.strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap();
            }
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

const READY: &str = "GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n";
const METRICS: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn without_descriptors_the_connected_go_on_the_others_wait_and_the_log_and_a_metric_say_so() {
    let folder = tempfile::TempDir::new().unwrap();
    let alone = [("EDI__LISTEN__WORKERS", "1")];
    let at_rest = Program::start(folder.path(), 1024, &alone).figure("process_open_fds");
    // Room for a few connections beside everything else, fewer than edi serves with at least: so it is accepting that
    // fails, and no limit of edi's own comes before it.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of some dozens")]
    let edi = Program::start(folder.path(), at_rest as u32 + 4, &alone);
    let request = token_request(folder.path());
    let (mut good, mut watching) = (Kept::open(&edi.public), Kept::open(&edi.admin));
    assert!(good.ask(&request).contains("access_token"));
    let exhausted = |page: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix("edi_descriptors_exhausted_total ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let over = Arc::new(AtomicBool::new(false));
    let slow = hold_slow(&edi.public, 60, &over);
    let started = Instant::now();
    while exhausted(&watching.ask(METRICS)) == 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "never out of descriptors");
        std::thread::sleep(Duration::from_millis(50));
    }
    let page = watching.ask(METRICS);
    let figure = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    assert!(!figure("process_open_fds ").is_empty(), "said without a descriptor to look with, too: {page}");
    let before = edi.processor_ticks();
    for _ in 0..20 {
        assert!(good.ask(&request).contains("access_token"));
        assert!(good.ask(READY).contains(r#""status":"ok""#) && watching.ask(READY).contains(r#""status":"ok""#));
        std::thread::sleep(Duration::from_millis(100));
    }
    let spent = edi.processor_ticks() - before;
    assert!(spent < 120, "{spent} ticks of 10 ms in two seconds: it spins");
    over.store(true, Ordering::Relaxed);
    slow.join().unwrap();
    let started = Instant::now();
    while exchange(&edi.public, &request).is_none() {
        assert!(started.elapsed() < Duration::from_secs(45), "it does not come back");
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("no file descriptor is left: new connections wait"), "{log}");
}
