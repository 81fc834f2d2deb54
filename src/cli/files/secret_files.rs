//! Where new secrets go: one file a client, mode 0600, in a folder that only the operator can enter.
//!
//! A secret is shown once, so its place is made first. Before a client is asked for, `FILE.pending` says so, durably;
//! when the secret is there, it is written and synced under another name, gets its own, and the note goes. Whatever
//! breaks off in between leaves the note, and the next run gives the client another secret.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::{Exit, Failure};
use crate::keys::private_file::{self, PrivateFileError, Staged};
use crate::secret::Secret;

const PENDING: &str = ".pending";

/// What a secret's file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// `CLIENT.json`: issuer, token endpoint, client id and secret.
    Json,
    /// `CLIENT.env`: `EDI_ISSUER`, `EDI_CLIENT_ID` and `EDI_CLIENT_SECRET`.
    Env,
    /// `CLIENT.yaml`: a Kubernetes Secret with the same.
    Kubernetes,
}

/// Where and how secrets are kept.
#[derive(Debug, Clone)]
pub(in crate::cli) struct SecretFiles {
    /// The folder.
    pub(in crate::cli) folder: PathBuf,
    /// What a file looks like.
    pub(in crate::cli) format: Format,
    /// The namespace of Kubernetes Secrets.
    pub(in crate::cli) namespace: Option<String>,
    /// The name of Kubernetes Secrets; `{client_id}` stands for the client.
    pub(in crate::cli) name: String,
    /// The text in `iss`.
    pub(in crate::cli) issuer: String,
    /// Where tokens come from.
    pub(in crate::cli) token_endpoint: String,
    /// The admin API, for clients that have rights there.
    pub(in crate::cli) admin: String,
}

/// A place that waits for its secret.
#[derive(Debug)]
pub(in crate::cli) struct Reserved {
    file: PathBuf,
    pending: PathBuf,
}

impl SecretFiles {
    /// Makes the folder if need be, and refuses what could not be kept: for all new clients, before the first is made.
    ///
    /// # Errors
    /// When the folder cannot be made or entered by others, a file is there already, or two Secrets would have one name.
    pub(in crate::cli) fn prepare(&self, new: &[&str]) -> Result<(), Failure> {
        let shown = self.folder.display();
        if !self.folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(|error| {
                Failure::new(Exit::Failed, format!("the folder {shown} for secrets cannot be made: {error}"))
            })?;
        }
        let mut problems = Vec::new();
        let mut names = std::collections::BTreeMap::new();
        for id in new {
            let file = self.file(id);
            // One whose note is still there was written by a run that broke off right after.
            if std::fs::symlink_metadata(&file).is_ok() && !pending_of(&file).exists() {
                problems.push(format!("{} is there already, but client {id} is new", file.display()));
            }
            if self.format == Format::Kubernetes {
                let name = self.kubernetes_name(id);
                if !is_dns_label_path(&name) {
                    problems.push(format!("{name} is no name for a Kubernetes Secret (client {id})"));
                }
                if let Some(other) = names.insert(name.clone(), *id) {
                    problems.push(format!("the Secrets of {other} and {id} would both be called {name}"));
                }
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, format!("nothing was changed\n  {}", problems.join("\n  ")))
            .hint("move the files away, or name another folder with --secrets-dir, other names with --secrets-name"))
    }

    /// The clients whose secret an earlier run did not get to keep.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(in crate::cli) fn lost(&self) -> Result<Vec<String>, Failure> {
        let ending = format!("{}{PENDING}", self.ending());
        let items = match std::fs::read_dir(&self.folder) {
            Ok(items) => items,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Failure::new(Exit::Failed, format!("{} cannot be read: {error}", self.folder.display())));
            }
        };
        let mut lost: Vec<String> = items
            .filter_map(|item| item.ok()?.file_name().to_str()?.strip_suffix(&ending).map(ToOwned::to_owned))
            .collect();
        lost.sort();
        Ok(lost)
    }

    /// Notes that a secret is about to be made.
    ///
    /// # Errors
    /// I/O.
    pub(in crate::cli) fn reserve(&self, id: &str) -> Result<Reserved, Failure> {
        let file = self.file(id);
        let pending = pending_of(&file);
        let note = json!({
            "client_id": id,
            "note": "edi is making a secret for this client. If this file stays, the secret was lost: run the same \
                     command again and the client gets another one.",
        });
        if !pending.exists() {
            private_file::write_new(&pending, note.to_string().as_bytes()).map_err(|error| unwritable(&error))?;
        }
        Ok(Reserved { file, pending })
    }

    /// Keeps a secret. Returns where.
    ///
    /// # Errors
    /// I/O; the note stays then.
    pub(in crate::cli) fn keep(
        &self,
        place: Reserved,
        id: &str,
        secret: &Secret,
        admin: bool,
    ) -> Result<PathBuf, Failure> {
        let content = self.content(id, secret, admin);
        if let Some(leftover) = Staged::leftover(&place.file) {
            leftover.discard().map_err(|error| unwritable(&error))?;
        }
        // Only what a run that broke off left is ever replaced: `prepare` refused everything else.
        if let Err(error) = std::fs::remove_file(&place.file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Failure::new(Exit::Failed, format!("{} cannot be replaced: {error}", place.file.display())));
        }
        private_file::write_new(&place.file, content.as_bytes()).map_err(|error| unwritable(&error))?;
        let file = place.file.clone();
        place.forget()?;
        Ok(file)
    }

    fn file(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}{}", self.ending()))
    }

    const fn ending(&self) -> &'static str {
        match self.format {
            Format::Json => ".json",
            Format::Env => ".env",
            Format::Kubernetes => ".yaml",
        }
    }

    fn kubernetes_name(&self, id: &str) -> String {
        self.name.replace("{client_id}", &id.to_ascii_lowercase().replace('_', "-"))
    }

    fn content(&self, id: &str, secret: &Secret, admin: bool) -> Zeroizing<String> {
        let quoted = |text: &str| Zeroizing::new(Value::from(text).to_string());
        let mut rows = vec![
            ("issuer", quoted(&self.issuer)),
            ("token_endpoint", quoted(&self.token_endpoint)),
            ("client_id", quoted(id)),
            ("client_secret", quoted(secret.expose())),
        ];
        if admin {
            // With it, the file is what EDI_CREDENTIALS wants.
            rows.insert(1, ("admin", quoted(&self.admin)));
        }
        let lines = |before: &str, between: &str, after: &str| {
            let lines: Vec<String> =
                rows.iter().map(|(name, value)| format!("{before}{name}{between}{}", value.as_str())).collect();
            Zeroizing::new(lines.join(after))
        };
        Zeroizing::new(match self.format {
            Format::Json => format!("{{\n{}\n}}\n", lines("  \"", "\": ", ",\n").as_str()),
            Format::Env => {
                format!("EDI_ISSUER={}\nEDI_CLIENT_ID={id}\nEDI_CLIENT_SECRET={}\n", self.issuer, secret.expose())
            }
            Format::Kubernetes => {
                let namespace = self.namespace.as_ref().map(|it| format!("  namespace: {}\n", quoted(it).as_str()));
                format!(
                    "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {}\n{}  labels:\n    \
                     app.kubernetes.io/managed-by: edi\ntype: Opaque\nstringData:\n{}\n",
                    self.kubernetes_name(id),
                    namespace.unwrap_or_default(),
                    lines("  ", ": ", "\n").as_str()
                )
            }
        })
    }
}

impl Reserved {
    /// Takes the note away: there is no secret to keep.
    ///
    /// # Errors
    /// I/O.
    pub(in crate::cli) fn forget(self) -> Result<(), Failure> {
        std::fs::remove_file(&self.pending).map_err(|error| {
            Failure::new(Exit::Failed, format!("{} cannot be removed: {error}", self.pending.display()))
        })
    }
}

fn pending_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(PENDING);
    name.into()
}

fn unwritable(error: &PrivateFileError) -> Failure {
    Failure::new(Exit::Failed, error.to_string()).hint("--secrets-dir names a folder that you may write to")
}

/// A DNS subdomain name, as Kubernetes wants names (RFC 1123).
fn is_dns_label_path(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(folder: &Path, format: Format) -> SecretFiles {
        SecretFiles {
            folder: folder.join("secrets"),
            format,
            namespace: Some("models".into()),
            name: "edi-{client_id}".into(),
            issuer: "https://edi.example".into(),
            token_endpoint: "https://edi.example/oauth2/token".into(),
            admin: "https://admin.example".into(),
        }
    }

    fn secret() -> Secret {
        Secret::new("edi_a1_xyz".into())
    }

    #[test]
    fn each_format_holds_what_a_service_needs_and_is_private() {
        for (format, name, wanted) in [
            (Format::Json, "Svc_1.json", "\"client_secret\": \"edi_a1_xyz\"\n}\n"),
            (Format::Env, "Svc_1.env", "EDI_CLIENT_ID=Svc_1\nEDI_CLIENT_SECRET=edi_a1_xyz\n"),
            (Format::Kubernetes, "Svc_1.yaml", "  name: edi-svc-1\n  namespace: \"models\"\n"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let files = files(folder.path(), format);
            files.prepare(&["Svc_1"]).unwrap();
            let kept = files.keep(files.reserve("Svc_1").unwrap(), "Svc_1", &secret(), false).unwrap();
            assert_eq!(kept, folder.path().join("secrets").join(name));
            let text = std::fs::read_to_string(&kept).unwrap();
            assert!(text.contains(wanted) && text.contains("edi_a1_xyz"), "{text}");
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&kept), mode(kept.parent().unwrap())), (0o600, 0o700));
            assert_eq!(std::fs::read_dir(kept.parent().unwrap()).unwrap().count(), 1, "no note is left");
            assert!(files.prepare(&["Svc_1"]).unwrap_err().message.contains("is there already"));
        }
    }

    #[test]
    fn an_operators_file_is_what_credentials_look_like() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), Format::Json);
        files.prepare(&["alice"]).unwrap();
        let kept = files.keep(files.reserve("alice").unwrap(), "alice", &secret(), true).unwrap();
        assert!(crate::cli::credentials::Credentials::read(Some(&kept)).is_ok());
    }

    #[test]
    fn what_breaks_off_leaves_a_note_and_the_next_run_keeps_another_secret() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), Format::Env);
        assert_eq!(files.lost().unwrap(), Vec::<String>::new());
        files.prepare(&["svc"]).unwrap();
        drop(files.reserve("svc").unwrap());
        assert_eq!(files.lost().unwrap(), ["svc"]);
        // Broken off again, while and after writing.
        std::fs::write(files.folder.join("svc.env.new"), "half").unwrap();
        std::fs::write(files.folder.join("svc.env"), "old").unwrap();
        files.prepare(&["svc"]).unwrap();
        let kept = files.keep(files.reserve("svc").unwrap(), "svc", &secret(), false).unwrap();
        assert!(std::fs::read_to_string(kept).unwrap().contains("edi_a1_xyz"));
        assert_eq!(files.lost().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn names_that_kubernetes_refuses_or_that_meet_are_told_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), Format::Kubernetes);
        let failure = files.prepare(&["a_b", "a-b", "x-"]).unwrap_err();
        assert!(failure.message.contains("both be called edi-a-b") && failure.message.contains("edi-x- is no name"));
    }
}
