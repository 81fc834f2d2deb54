//! The operator's credentials: the file `edi serve` writes at its first start, or one made from `edi client create`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigFlags, Exit, Failure};
use crate::config::Issuer;
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
        let metadata = std::fs::metadata(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(Exit::Data, format!("there are no credentials at {shown}")).hint(
                "`edi serve` writes them at its first start; run this command in its folder, or set EDI_CREDENTIALS to \
                 the file",
            ),
            _ => Failure::new(Exit::Data, format!("the credentials at {shown} cannot be read: {error}"))
                .hint("set EDI_CREDENTIALS to a file that you may read"),
        })?;
        let ours = rustix::process::geteuid().as_raw();
        if let Err(reason) = judge_mode(metadata.permissions().mode(), metadata.uid(), ours) {
            return Err(Failure::new(Exit::Data, format!("the credentials at {shown} {reason}"))
                .hint(format!("chmod 600 {shown}")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::new(Exit::Data, format!("the credentials at {shown} cannot be read: {error}"))
                .hint("set EDI_CREDENTIALS to a file that you may read")
        })?;
        let text = Secret::new(text);
        // serde's words could repeat a value; only the place is told.
        let raw: Raw = serde_json::from_str(text.expose()).map_err(|error| {
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

/// Others must not read secrets; a group may, when root or we ourselves arranged it (Kubernetes mounts Secrets so).
fn judge_mode(mode: u32, owner: u32, ours: u32) -> Result<(), &'static str> {
    if mode & 0o007 != 0 {
        Err("can be read by everybody on this machine")
    } else if mode & 0o070 != 0 && owner != 0 && owner != ours {
        Err("can be read by a group, and belong to somebody else")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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
        let file = written(GOOD, 0o604);
        let failure = Credentials::read(Some(file.path())).unwrap_err();
        assert_eq!(failure.exit, Exit::Data);
        assert_eq!(failure.hint.unwrap(), format!("chmod 600 {}", file.path().display()));
        for (mode, owner, fine) in
            [(0o600, 7, true), (0o640, 7, true), (0o640, 0, true), (0o640, 9, false), (0o602, 7, false)]
        {
            assert_eq!(judge_mode(mode, owner, 7).is_ok(), fine, "{mode:o} of {owner}");
        }
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
