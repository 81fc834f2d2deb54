//! `docs/emergencies.md`: every command of every page is run, by a shell, against the built program.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::serve::Serve;

/// The pages: each heading with its `sh` blocks.
fn pages() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/emergencies.md")).unwrap();
    let mut out = Vec::new();
    for page in text.split("\n## ").skip(1) {
        let (heading, body) = page.split_once('\n').unwrap();
        let blocks = body.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned());
        out.push((heading.to_owned(), blocks.collect()));
    }
    out
}

fn shell(folder: &Path, script: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_edi")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder)
        .env_clear()
        .env("PATH", path)
        .output()
        .unwrap()
}

fn run(folder: &Path, script: &str) -> String {
    let done = shell(folder, script);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{script}\n{out}\n{err}");
    format!("{out}{err}")
}

/// A running edi with the client of the pages; its secret is in `leaked.txt`.
fn prepared() -> (TempDir, Serve) {
    let folder = TempDir::new().unwrap();
    let edi = Serve::start(folder.path(), &Serve::free_addresses());
    run(folder.path(), "edi client create fraud-caller --role fraud --json | jq -r .client_secret > leaked.txt");
    (folder, edi)
}

#[test]
fn each_page_can_be_copied_line_by_line() {
    let pages = pages();
    assert_eq!(pages.len(), 3, "three pages");
    for (heading, blocks) in pages {
        assert!(!blocks.is_empty(), "{heading}");
        let (folder, edi) = prepared();
        let token = format!(
            "EDI_ISSUER={} EDI_CLIENT_ID=fraud-caller EDI_CLIENT_SECRET=$(cat leaked.txt) edi token get",
            edi.issuer
        );
        run(folder.path(), &format!("{token} > token.txt"));
        let active = "edi key list --json | jq -r 'map(select(.state == \"active\"))[0].kid'";
        let before = run(folder.path(), active);
        // One shell for the page: what a block sets, the next may use.
        let told = run(folder.path(), &blocks.join("\n"));
        let explained = shell(folder.path(), "edi token explain - < token.txt");
        assert!(!explained.status.success(), "{heading}: what was leaked or revoked does not count any more");
        if heading.starts_with("A client secret") {
            assert!(told.contains("fraud-caller"), "{told}");
            assert!(!shell(folder.path(), &token).status.success(), "the leaked secret is worth nothing");
        } else if heading.starts_with("A signing key") {
            assert!(told.contains("rollout restart deployment/istiod") && told.contains("revoked:"), "{told}");
            assert_ne!(run(folder.path(), active), before);
            run(folder.path(), &format!("{token} > new.txt; edi token explain - < new.txt"));
        } else {
            assert!(told.contains("ok\n"), "{told}");
        }
    }
}
