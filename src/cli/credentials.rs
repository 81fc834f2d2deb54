//! The operator's credentials: the file `edi serve` writes at its first start, or one made from `edi client create`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigFlags, Exit, Failure};
use crate::config::Issuer;
use crate::keys::private_file::{self, PrivateFileError};
use crate::secret::Secret;

/// Who the command line is, and where edi is.
#[derive(Debug)]
pub(super) struct Credentials {
    /// Where tokens come from.
    pub(super) issuer: Issuer,
    /// The admin API's URL, without a trailing slash.
    pub(super) admin: String,
    /// The client the command line acts as.
    pub(super) client_id: String,
    /// Its secret.
    pub(super) client_secret: Secret,
    /// Where this was read.
    pub(super) path: PathBuf,
}

#[derive(Deserialize)]
struct Raw {
    issuer: String,
    admin: String,
    client_id: String,
    client_secret: String,
}

impl Credentials {
    /// Reads `path`, or the configured `keys.operator_file`.
    ///
    /// # Errors
    /// When the file is missing, readable by others, or not what it should be.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let path = if let Some(path) = path {
            path.to_owned()
        } else {
            let config = std::env::var_os("EDI_CONFIG").map(PathBuf::from);
            ConfigFlags { config, ..Default::default() }.load()?.keys.operator_file
        };
        let shown = path.display();
        let bytes = private_file::read_once(&path).map_err(|error| match error {
            error if error.is_missing() => Failure::new(Exit::Data, format!("there are no credentials at {shown}")).hint(
                "`edi serve` writes them at its first start; run this command in its folder, or set EDI_CREDENTIALS to \
                 the file. Lost? `edi recover` makes others",
            ),
            PrivateFileError::OpenToWorld { .. } | PrivateFileError::OpenToGroup { .. } => {
                Failure::new(Exit::Data, format!("the credentials: {error}")).hint(format!("chmod 600 {shown}"))
            }
            error => Failure::new(Exit::Data, format!("the credentials cannot be read: {error}"))
                .hint("set EDI_CREDENTIALS to a file that you may read"),
        })?;
        // serde's words could repeat a value; only the place is told.
        let raw: Raw = serde_json::from_slice(&bytes).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Failure::new(Exit::Data, format!("the credentials at {shown} do not parse ({place})"))
                .hint("expected JSON with the texts issuer, admin, client_id and client_secret")
        })?;
        let client_secret = Secret::new(raw.client_secret);
        let url = |key: &str, text: &str| {
            Issuer::parse(text)
                .map_err(|reason| Failure::new(Exit::Data, format!("the credentials at {shown}: {key}: {reason}")))
        };
        let issuer = url("issuer", &raw.issuer)?;
        let admin = url("admin", raw.admin.trim_end_matches('/'))?.to_string();
        Ok(Self { issuer, admin, client_id: raw.client_id, client_secret, path })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn written(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    const GOOD: &str = r#"{"issuer":"http://127.0.0.1:8080","admin":"http://127.0.0.1:8081/",
        "client_id":"operator","client_secret":"edi_hunter2"}"#;

    #[test]
    fn credentials_are_read_and_never_printed() {
        let file = written(GOOD, 0o600);
        let credentials = Credentials::read(Some(file.path())).unwrap();
        assert_eq!(credentials.admin, "http://127.0.0.1:8081");
        assert_eq!(credentials.client_secret.expose(), "edi_hunter2");
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }

    #[test]
    fn credentials_that_others_can_read_are_refused() {
        // Whom a group may trust is the rule of all private files: `private_file`.
        for mode in [0o604, 0o602, 0o601, 0o620, 0o660] {
            let file = written(GOOD, mode);
            let failure = Credentials::read(Some(file.path())).unwrap_err();
            assert_eq!(failure.exit, Exit::Data, "{mode:o}");
            assert_eq!(failure.hint.unwrap(), format!("chmod 600 {}", file.path().display()), "{mode:o}");
        }
        for mode in [0o600, 0o400, 0o440, 0o640] {
            assert!(Credentials::read(Some(written(GOOD, mode).path())).is_ok(), "{mode:o}");
        }
        let theirs = written(GOOD, 0o640);
        // Only root can give a file away.
        if std::os::unix::fs::chown(theirs.path(), Some(12_345), None).is_ok() {
            let failure = Credentials::read(Some(theirs.path())).unwrap_err();
            assert_eq!(failure.hint.unwrap(), format!("chmod 600 {}", theirs.path().display()));
        }
    }

    #[test]
    fn a_password_manager_can_pipe_them_in() {
        use std::os::fd::AsRawFd as _;

        let (reading, mut writing) = std::io::pipe().unwrap();
        writing.write_all(GOOD.as_bytes()).unwrap();
        drop(writing);
        let path = format!("/proc/self/fd/{}", reading.as_raw_fd());
        assert_eq!(Credentials::read(Some(Path::new(&path))).unwrap().client_id, "operator");
    }

    #[test]
    fn broken_credentials_are_refused_without_repeating_them() {
        for (text, why) in [
            (r#"{"client_secret": "hunter2""#, "do not parse"),
            (r#"{"issuer": 7, "client_secret": "hunter2"}"#, "do not parse"),
            (&GOOD.replace("8080", "8080/"), "issuer: verifiers compare"),
        ] {
            let failure = Credentials::read(Some(written(text, 0o600).path())).unwrap_err();
            assert!(failure.message.contains(why), "{failure}");
            assert!(!failure.to_string().contains("hunter2"));
        }
        let missing = Credentials::read(Some(Path::new("/nonexistent/operator.json"))).unwrap_err();
        assert!(missing.hint.unwrap().contains("EDI_CREDENTIALS"));
    }
}
