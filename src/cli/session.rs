//! Logins that are kept: a short-lived token of a named operator, in a file that only they can read. Never the secret.
//!
//! ```text
//! $XDG_STATE_HOME/edi/logins/<admin API>.json   one for each server
//! $XDG_STATE_HOME/edi/logins/current            the one that counts when none is named
//! ```
//! Knows nothing of how a token is got.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Exit, Failure};
use crate::config::Issuer;
use crate::keys::private_file;
use crate::model::time::Timestamp;
use crate::secret::Secret;

const CURRENT: &str = "current";

/// A login.
#[derive(Debug)]
pub(super) struct Session {
    /// Where the token comes from.
    pub(super) issuer: Issuer,
    /// The admin API it is for, without a trailing slash.
    pub(super) admin: String,
    /// Who logged in.
    pub(super) client_id: String,
    /// What the token holds.
    pub(super) scope: String,
    /// The token.
    pub(super) token: Secret,
    /// When it ends.
    pub(super) expires_at: Timestamp,
    /// Where it is kept.
    pub(super) path: PathBuf,
}

#[derive(Deserialize)]
struct Raw {
    issuer: String,
    admin: String,
    client_id: String,
    scope: String,
    access_token: String,
    expires_at: String,
}

/// Where logins are kept. `None`: there is no home.
pub(super) fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    Some(state.join("edi/logins"))
}

impl Session {
    /// The login at `server`, or else the latest; `None` when there is none.
    ///
    /// # Errors
    /// When its file can be read by others, or is not what it should be.
    pub(super) fn find(folder: &Path, server: Option<&str>) -> Result<Option<Self>, Failure> {
        let path = match server {
            Some(server) => file_of(folder, server),
            None => match std::fs::read_to_string(folder.join(CURRENT)) {
                Ok(server) => file_of(folder, server.trim()),
                Err(_) => return Ok(None),
            },
        };
        if std::fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let unusable = |why: String| {
            Failure::new(Exit::Data, format!("the login at {} cannot be used: {why}", path.display()))
                .hint("`edi login` makes another; `edi logout` takes it away")
        };
        let bytes = private_file::read(&path).map_err(|error| unusable(error.to_string()))?;
        // serde's words could repeat a value.
        let raw: Raw = serde_json::from_slice(&bytes).map_err(|_| unusable("it does not parse".into()))?;
        let issuer = Issuer::parse(&raw.issuer).map_err(|why| unusable(why.clone()))?;
        let expires_at = Timestamp::parse_rfc3339(&raw.expires_at).ok_or_else(|| unusable("it has no end".into()))?;
        Ok(Some(Self {
            issuer,
            admin: raw.admin,
            client_id: raw.client_id,
            scope: raw.scope,
            token: Secret::new(raw.access_token),
            expires_at,
            path,
        }))
    }

    /// Forgets the login at `server`, or else the latest, without reading it: for one that cannot be used. Gives the file
    /// that is gone.
    ///
    /// # Errors
    /// I/O.
    pub(super) fn discard(folder: &Path, server: Option<&str>) -> Result<PathBuf, Failure> {
        let current = std::fs::read_to_string(folder.join(CURRENT)).unwrap_or_default();
        let path = file_of(folder, server.unwrap_or(current.trim()));
        remove(folder, &path)?;
        Ok(path)
    }

    /// Keeps it, in place of an earlier one at the same server, as the one that counts.
    ///
    /// # Errors
    /// I/O.
    pub(super) fn keep(&mut self, folder: &Path) -> Result<(), Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::new(Exit::Failed, format!("the login cannot be kept: {what}: {error}"))
                .hint("XDG_STATE_HOME names a folder that you may write to")
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failed(&folder.display().to_string(), &error))?;
        self.path = file_of(folder, &self.admin);
        let text = Zeroizing::new(
            json!({
                "issuer": self.issuer.as_str(), "admin": self.admin, "client_id": self.client_id, "scope": self.scope,
                "access_token": self.token.expose(), "expires_at": self.expires_at.rfc3339(),
            })
            .to_string(),
        );
        for (path, text) in [(self.path.clone(), text.as_bytes()), (folder.join(CURRENT), self.admin.as_bytes())] {
            replace(&path, text).map_err(|error| failed(&path.display().to_string(), &error))?;
        }
        Ok(())
    }

    /// Forgets it.
    ///
    /// # Errors
    /// I/O.
    pub(super) fn forget(&self, folder: &Path) -> Result<(), Failure> {
        remove(folder, &self.path)
    }

    /// Refuses when it has ended: nobody else is asked in its place, or the audit would name somebody else.
    ///
    /// # Errors
    /// Exit code 77 with what to do.
    pub(super) fn demand_alive(&self, now: Timestamp) -> Result<(), Failure> {
        if now < self.expires_at {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Denied,
            format!("the login of {} at {} ended at {}", self.client_id, self.admin, self.expires_at),
        )
        .hint(format!("`edi login --client-id {}`, or `edi logout` to go on with a credentials file", self.client_id)))
    }
}

/// Removes the login at `path`, and with it the note that it is the one that counts.
fn remove(folder: &Path, path: &Path) -> Result<(), Failure> {
    let current = folder.join(CURRENT);
    if std::fs::read_to_string(&current).is_ok_and(|server| file_of(folder, server.trim()) == path) {
        let _ = std::fs::remove_file(&current);
    }
    std::fs::remove_file(path)
        .map_err(|error| Failure::new(Exit::Failed, format!("{} cannot be removed: {error}", path.display())))
}

/// A server's name, fit for a file.
fn file_of(folder: &Path, server: &str) -> PathBuf {
    let server = server.trim_end_matches('/');
    let plain: String =
        server.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).take(80).collect();
    // What the readable part folds together, the digest tells apart.
    let digest = ring::digest::digest(&ring::digest::SHA256, server.as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..6).unwrap_or_default());
    folder.join(format!("{plain}.{tag}.json"))
}

/// Writes a private file in place of another, whole or not at all.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn session(admin: &str, who: &str) -> Session {
        Session {
            issuer: Issuer::parse("https://edi.example").unwrap(),
            admin: admin.into(),
            client_id: who.into(),
            scope: "edi:read".into(),
            token: Secret::new("hunter2".into()),
            expires_at: Timestamp::from_secs(1_000),
            path: PathBuf::new(),
        }
    }

    #[test]
    fn the_latest_login_counts_unless_a_server_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("logins");
        assert!(Session::find(&folder, None).unwrap().is_none());
        session("https://a.example", "alice").keep(&folder).unwrap();
        session("https://b.example", "bob").keep(&folder).unwrap();
        let who = |server| Session::find(&folder, server).unwrap().map(|it| it.client_id);
        assert_eq!(who(None).as_deref(), Some("bob"));
        assert_eq!(who(Some("https://a.example/")).as_deref(), Some("alice"));
        assert_eq!(who(Some("https://c.example")), None);
        Session::find(&folder, None).unwrap().unwrap().forget(&folder).unwrap();
        assert_eq!((who(None), who(Some("https://a.example")).as_deref()), (None, Some("alice")));
    }

    #[test]
    fn a_login_is_private_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("logins");
        let mut kept = session("https://a.example", "alice");
        kept.keep(&folder).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&kept.path), mode(&folder)), (0o600, 0o700));
        assert!(!format!("{kept:?}").contains("hunter2"));
        std::fs::set_permissions(&kept.path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Session::find(&folder, None).unwrap_err().message.contains("chmod 600"));
        std::fs::set_permissions(&kept.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&kept.path, "{\"access_token\": \"hunter2\"").unwrap();
        let failure = Session::find(&folder, None).unwrap_err();
        assert!(failure.message.contains("does not parse") && !failure.message.contains("hunter2"));
        assert_eq!(Session::discard(&folder, None).unwrap(), kept.path);
        assert!(Session::find(&folder, None).unwrap().is_none() && !kept.path.exists());
    }

    #[test]
    fn an_ended_login_is_told_and_nobody_steps_in() {
        let session = session("https://a.example", "alice");
        assert!(session.demand_alive(Timestamp::from_secs(999)).is_ok());
        let failure = session.demand_alive(Timestamp::from_secs(1_000)).unwrap_err();
        assert_eq!(failure.exit, Exit::Denied);
        assert!(failure.hint.unwrap().contains("edi login --client-id alice"));
    }
}
