//! The built program, run in a folder of its own with an environment of its own.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Run {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs `program` while this thread goes on serving.
pub(crate) async fn run(program: Program, line: &str) -> Run {
    let line = line.to_owned();
    tokio::task::spawn_blocking(move || program.run(&line)).await.unwrap()
}

/// The program, with what it will be run with.
pub(crate) struct Program {
    folder: TempDir,
    environment: Vec<(String, String)>,
    stdin: String,
}

impl Program {
    /// In an empty folder, with an empty environment and empty standard input.
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), environment: Vec::new(), stdin: String::new() }
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets standard input.
    pub(crate) fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    /// Writes a file into the folder, with this mode.
    pub(crate) fn file(self, path: &str, text: &str, mode: u32) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Runs `edi` with arguments given as one line.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.run_in(self.folder.path(), line)
    }

    /// The same in another folder.
    pub(crate) fn run_in(&self, folder: &Path, line: &str) -> Run {
        let mut child = Command::new(env!("CARGO_BIN_EXE_edi"))
            .args(line.split(' ').filter(|word| !word.is_empty()))
            .env_clear()
            .envs(self.environment.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that does not read its standard input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(self.stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}
