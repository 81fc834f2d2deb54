//! The built program serving, as a process of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ports;

/// `edi serve`. Dropping it kills it.
pub(crate) struct Serve {
    child: Child,
    /// The issuer, which is where its public listener is.
    pub(crate) issuer: String,
}

impl Serve {
    /// Serves from `folder` at these addresses, the public and the admin one, and waits until it is ready.
    pub(crate) fn start(folder: &Path, [public, admin]: &[String; 2]) -> Self {
        let issuer = format!("http://{public}");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_edi"))
            .args(["serve", "--issuer", &issuer, "--listen-public", public, "--listen-admin", admin])
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let patience = Instant::now();
        loop {
            if std::net::TcpStream::connect(public).is_ok() && ask(public).is_some_and(|it| it.contains(" 200 ")) {
                return Self { child, issuer };
            }
            let ended = child.try_wait().unwrap();
            let log = || std::fs::read_to_string(folder.join("log")).unwrap();
            assert!(ended.is_none(), "it ended: {}", log());
            assert!(patience.elapsed() < Duration::from_mins(1), "not ready after a minute: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Addresses that are free at this moment.
    pub(crate) fn free_addresses() -> [String; 2] {
        [(); 2].map(|()| ports::free_address().to_string())
    }

    /// What its environment holds under a name.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let all = std::fs::read_to_string(format!("/proc/{}/environ", self.child.id())).unwrap();
        let value = all.split('\0').find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='));
        value.map(str::to_owned)
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(public: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut socket = std::net::TcpStream::connect(public).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(socket, "GET /health/ready HTTP/1.1\r\nHost: {public}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer)
}
