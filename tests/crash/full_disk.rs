//! A disk that is really full: a small file system of its own, filled to the last byte under a running program.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{Address, Program};

/// A file system in memory. Dropping it takes it away.
struct Disk(PathBuf);

impl Disk {
    /// `None` where it takes more rights than we have.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m", "edi-test"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.into()))
    }

    fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &how]).arg(&self.0).status().expect("mount").success());
    }

    /// Fills it; the file that does so.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("data/filler");
        let mut file = File::options().append(true).create(true).open(&path).expect("a file");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What a caller sees of tokens while the disk is full.
struct Caller<'a> {
    address: &'a Address,
    program: &'a Program,
    secret: String,
}

impl Caller<'_> {
    async fn token(&self) -> String {
        let answer = self.address.token("svc", &self.secret, None).await.expect("an answer");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    async fn active(&self, token: &str) -> bool {
        let (id, secret) = self.program.operator();
        let answer = self.address.form("/oauth2/introspect", id, secret, format!("token={token}")).await;
        answer.expect("an answer").json::<Value>().await.expect("JSON")["active"] == true
    }

    async fn decision(&self, token: &str) -> u16 {
        let request = self.address.http.get(format!("{}/authz?role=r", self.address.public));
        request.bearer_auth(token).send().await.expect("an answer").status().as_u16()
    }

    async fn get(&self, path: &str) -> u16 {
        let request = self.address.http.get(format!("{}{path}", self.address.public));
        request.send().await.expect("an answer").status().as_u16()
    }

    /// Everything that must go on.
    async fn serves(&self) -> String {
        let token = self.token().await;
        assert!(self.active(&token).await, "introspection");
        assert_eq!(self.decision(&token).await, 200);
        assert_eq!(self.get("/.well-known/jwks.json").await, 200);
        assert_eq!(self.get("/health/ready").await, 200);
        token
    }

    async fn revoke(&self, token: &str) {
        let answer = self.address.form("/oauth2/revoke", "svc", &self.secret, format!("token={token}")).await;
        assert_eq!(answer.expect("an answer").status().as_u16(), 200, "a revocation passes");
        assert!(!self.active(token).await);
        assert_eq!(self.decision(token).await, 401);
    }
}

/// Runs it, or says that it did not.
pub(crate) async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = Disk::mount(&folder.path().join("data")) else {
        println!("SKIPPED: a full disk and a read-only one: mounting a small file system takes root");
        return;
    };
    let mut program = Program::start(folder.path()).await;
    let operator = program.operator_token().await;
    let address = program.address();
    let register = async |id: &str, address: &Address, operator: &str| {
        let body = json!({ "client_id": id, "roles": ["r"] });
        address.admin("POST", "clients", operator, Some(body)).await.expect("an answer")
    };
    let (status, made) = register("svc", &address, &operator).await;
    assert_eq!(status, 201, "{made}");
    let secret = made["client_secret"].as_str().expect("a secret").to_owned();
    let (status, _) = register("other", &address, &operator).await;
    assert_eq!(status, 201);
    let caller = Caller { address: &address, program: &program, secret: secret.clone() };
    let early = caller.serves().await;

    let filler = disk.fill();
    // Until something does not fit any more: the database takes its room by the eight megabytes. One answer may say that
    // the outcome is unknown.
    let mut told = String::new();
    let roles: Vec<String> =
        (0..250).map(|n| format!("a-role-whose-name-takes-as-much-room-as-a-name-may-{n}")).collect();
    for n in 0..1000 {
        let body = json!({ "client_id": format!("more-{n}"), "roles": roles });
        let (status, answer) = address.admin("POST", "clients", &operator, Some(body)).await.expect("an answer");
        if status == 201 {
            continue;
        }
        assert_eq!(status, 503, "{answer}");
        answer["detail"].as_str().unwrap_or_default().clone_into(&mut told);
        if told.contains("the disk is full") {
            break;
        }
        assert!(told.contains("unknown"), "{told}");
    }
    assert!(told.contains("nothing was changed") && told.contains("the disk is full"), "{told}");
    for _ in 0..20 {
        let token = caller.serves().await;
        caller.revoke(&token).await;
    }
    let (status, answer) = address.admin("GET", "status", &operator, None).await.expect("an answer");
    assert_eq!((status, &answer["store"]["health"]), (200, &json!("full")), "{answer}");
    assert!(answer["attention"].to_string().contains("disk is full"), "{answer}");
    let body = json!({ "state": "disabled" });
    let (status, answer) = address.admin("PATCH", "clients/other", &operator, Some(body)).await.expect("an answer");
    assert_eq!(status, 200, "disabling passes: {answer}");
    let live = caller.serves().await;
    // Longer than decisions put up with silence.
    tokio::time::sleep(Duration::from_secs(6)).await;
    caller.serves().await;

    // kill -9, and a start on the full disk.
    program.kill();
    program = Program::start(folder.path()).await;
    let operator = program.operator_token().await;
    let address = program.address();
    let caller = Caller { address: &address, program: &program, secret };
    assert!(caller.active(&live).await && caller.active(&early).await);
    let token = caller.serves().await;
    caller.revoke(&token).await;
    let (status, answer) = address.admin("GET", "clients/other", &operator, None).await.expect("an answer");
    assert_eq!((status, &answer["state"]), (200, &json!("disabled")), "{answer}");
    let (status, answer) = register("one-more", &address, &operator).await;
    assert!(status == 503 && answer.to_string().contains("the disk is full"), "{status} {answer}");

    std::fs::remove_file(filler).expect("it was there");
    let began = Instant::now();
    while register("after", &address, &operator).await.0 != 201 {
        assert!(began.elapsed() < Duration::from_secs(10), "writes resume by themselves");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let resumed = began.elapsed();
    let (_, answer) = address.admin("GET", "status", &operator, None).await.expect("an answer");
    assert_eq!(answer["store"]["health"], "ok", "{answer}");
    assert!(folder.path().join("data/reserve").metadata().expect("the reserve").len() > 1 << 20);
    caller.serves().await;
    program.kill();

    disk.remount("ro");
    let said = Program::refused(folder.path());
    assert!(said.contains("Read-only file system") && said.contains("mount its disk for writing"), "{said}");
    disk.remount("rw");
    Program::start(folder.path()).await.kill();
    println!("a full disk: tokens, decisions and 21 revocations went on; writes resumed after {resumed:.1?}");
}
