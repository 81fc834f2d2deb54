//! Files that hold secrets: nobody else may read them, and a power cut never leaves half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The most bytes such a file may have.
const MAX_BYTES: u64 = 64 * 1024;

/// What is wrong with a private file, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// Any user of the machine can read or change it.
    #[error(
        "{} can be read or changed by every user of this machine (mode {mode:04o}): run `chmod 600 {}` \
         (for a Kubernetes Secret set `defaultMode: 0400` on its volume)", .path.display(), quoted(.path)
    )]
    OpenToWorld {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its group can read or change it, and that is not edi's own arrangement.
    #[error(
        "{} can be read or changed by its group (mode {mode:04o}, owner {owner}): run `chmod 600 {}`",
        .path.display(), quoted(.path)
    )]
    OpenToGroup {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The user id of its owner.
        owner: u32,
    },
    /// A folder, a pipe, or far too large.
    #[error("{} is not a plain file of at most 64 KiB", .0.display())]
    NotAFile(PathBuf),
    /// A new file would replace this one.
    #[error("{} exists already; move it away first, it may be the only copy", .0.display())]
    Exists(PathBuf),
    /// Its folder is missing.
    #[error("there is no folder {}: run `mkdir -m 700 {}`", .0.display(), quoted(.0))]
    NoFolder(PathBuf),
    /// The operating system refused.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl PrivateFileError {
    /// Whether the file is simply not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(&b);
    if !text.starts_with('-') && text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> PrivateFileError + use<'a> {
    move |source| PrivateFileError::Io { what, path: path.to_owned(), source }
}

/// Refuses a secret file that others can read: any access for the world, writing for the group, and reading for the
/// group unless root or edi's own user owns it (so Kubernetes mounts Secrets).
///
/// # Errors
/// What is wrong, with the command that mends it.
pub fn check_private_file(path: &Path) -> Result<(), PrivateFileError> {
    check(path, &fs::metadata(path).map_err(failed("open", path))?, fs::FileType::is_file)
}

fn check(path: &Path, found: &fs::Metadata, fits: fn(&fs::FileType) -> bool) -> Result<(), PrivateFileError> {
    let (path, mode, owner) = (path.to_owned(), found.mode() & 0o7777, found.uid());
    let trusted = owner == 0 || owner == rustix::process::geteuid().as_raw();
    if !fits(&found.file_type()) || found.len() > MAX_BYTES {
        Err(PrivateFileError::NotAFile(path))
    } else if mode & 0o007 != 0 {
        Err(PrivateFileError::OpenToWorld { path, mode })
    } else if mode & 0o020 != 0 || (mode & 0o070 != 0 && !trusted) {
        Err(PrivateFileError::OpenToGroup { path, mode, owner })
    } else {
        Ok(())
    }
}

/// Reads a secret file after checking, on the opened file itself, that it is private.
///
/// # Errors
/// Those of [`check_private_file`], and I/O.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    read_what_fits(path, fs::FileType::is_file)
}

/// The same, of a pipe too: what a shell's `<(command)` stands for, which is there to be read once.
///
/// # Errors
/// As [`read`].
pub fn read_once(path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    read_what_fits(path, |kind| kind.is_file() || kind.is_fifo())
}

fn read_what_fits(path: &Path, fits: fn(&fs::FileType) -> bool) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let file = File::open(path).map_err(failed("open", path))?;
    check(path, &file.metadata().map_err(failed("read", path))?, fits)?;
    // Room for all at once: a buffer that grows leaves copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_BYTES).unwrap_or(0) + 1));
    file.take(MAX_BYTES + 1).read_to_end(&mut out).map_err(failed("read", path))?;
    if out.len() as u64 > MAX_BYTES { Err(PrivateFileError::NotAFile(path.to_owned())) } else { Ok(out) }
}

/// A complete, synced file under the temporary name `PATH.new`, waiting for its own name. Dropping it leaves the file
/// there for [`Staged::leftover`].
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    waiting: PathBuf,
}

impl Staged {
    /// Writes `content` (mode 0600) beside `path` and syncs it; `path` must not exist.
    ///
    /// # Errors
    /// [`PrivateFileError::Exists`] when either name is taken; I/O.
    pub fn write(path: &Path, content: &[u8]) -> Result<Self, PrivateFileError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(PrivateFileError::Exists(path.to_owned()));
        }
        Self::write_beside(path, content)
    }

    /// The same where `path` may exist: for what is to replace it.
    ///
    /// # Errors
    /// [`PrivateFileError::Exists`] when the temporary name is taken; I/O.
    pub fn write_beside(path: &Path, content: &[u8]) -> Result<Self, PrivateFileError> {
        let folder = folder_of(path);
        if !folder.is_dir() {
            return Err(PrivateFileError::NoFolder(folder.to_owned()));
        }
        let staged = Self { waiting: waiting_name(path), path: path.to_owned() };
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged.waiting) {
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => {
                return Err(PrivateFileError::Exists(staged.waiting));
            }
            opened => opened.map_err(failed("create", &staged.waiting))?,
        };
        let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| sync_folder(folder));
        if let Err(error) = written {
            // A half-written secret helps nobody.
            let _ = fs::remove_file(&staged.waiting);
            return Err(failed("write", &staged.waiting)(error));
        }
        Ok(staged)
    }

    /// What an interrupted start left under the temporary name of `path`. Should `path` itself exist too, the start was
    /// interrupted after publishing, and only the temporary name is left to [`Self::discard`].
    #[must_use]
    pub fn leftover(path: &Path) -> Option<Self> {
        let waiting = waiting_name(path);
        fs::symlink_metadata(&waiting).is_ok().then(|| Self { path: path.to_owned(), waiting })
    }

    /// Where the content waits.
    #[must_use]
    pub fn waiting_at(&self) -> &Path {
        &self.waiting
    }

    /// Gives the file its own name, durably. Never replaces another file.
    ///
    /// # Errors
    /// [`PrivateFileError::Exists`] when the name was taken meanwhile; I/O.
    pub fn publish(self) -> Result<(), PrivateFileError> {
        match fs::hard_link(&self.waiting, &self.path) {
            Ok(()) => fs::remove_file(&self.waiting).map_err(failed("remove", &self.waiting))?,
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => {
                return Err(PrivateFileError::Exists(self.path));
            }
            // No hard links here: rename, which alone could replace a file.
            Err(_) if fs::symlink_metadata(&self.path).is_ok() => return Err(PrivateFileError::Exists(self.path)),
            Err(_) => fs::rename(&self.waiting, &self.path).map_err(failed("rename to", &self.path))?,
        }
        sync_folder(folder_of(&self.path)).map_err(failed("sync the folder of", &self.path))
    }

    /// Removes the file.
    ///
    /// # Errors
    /// I/O.
    pub fn discard(self) -> Result<(), PrivateFileError> {
        fs::remove_file(&self.waiting).map_err(failed("remove", &self.waiting))?;
        sync_folder(folder_of(&self.path)).map_err(failed("sync the folder of", &self.path))
    }
}

/// Writes a new secret file: mode 0600, synced, never over another one.
///
/// # Errors
/// [`PrivateFileError::Exists`]; I/O.
pub fn write_new(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    Staged::write(path, content)?.publish()
}

fn waiting_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the names in the folder of `path` survive a power cut.
///
/// # Errors
/// I/O.
pub fn sync_folder_of(path: &Path) -> Result<(), PrivateFileError> {
    sync_folder(folder_of(path)).map_err(failed("sync the folder of", path))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn with_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a secret.key");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn files_that_the_world_or_a_writing_group_reaches_are_refused_with_the_chmod() {
        for mode in [0o644, 0o604, 0o602, 0o601, 0o777, 0o444] {
            let (_folder, path) = with_mode(mode);
            let refusal = check_private_file(&path).unwrap_err();
            assert!(matches!(refusal, PrivateFileError::OpenToWorld { .. }), "{mode:o}");
            let mend = format!("`chmod 600 '{}'`", path.display());
            assert!(refusal.to_string().contains(&mend), "{refusal}");
        }
        let (_folder, path) = with_mode(0o660);
        assert!(matches!(check_private_file(&path), Err(PrivateFileError::OpenToGroup { mode: 0o660, .. })));
    }

    #[test]
    fn own_files_and_group_readable_ones_of_a_trusted_owner_pass() {
        for mode in [0o600, 0o400, 0o440, 0o640] {
            let (_folder, path) = with_mode(mode);
            assert!(check_private_file(&path).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn a_group_readable_file_of_another_user_is_refused() {
        let (_folder, path) = with_mode(0o640);
        // Only root can give a file away; elsewhere the rule is the same code.
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
            assert!(matches!(check_private_file(&path), Err(PrivateFileError::OpenToGroup { owner: 12_345, .. })));
        }
    }

    #[test]
    fn a_new_file_is_private_whole_and_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        write_new(&path, b"first").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(write_new(&path, b"second"), Err(PrivateFileError::Exists(_))));
        assert_eq!(read(&path).unwrap().as_slice(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
        assert!(matches!(write_new(&folder.path().join("no/x"), b""), Err(PrivateFileError::NoFolder(_))));
    }

    #[test]
    fn what_an_interrupted_start_left_is_found_and_finished_or_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.json");
        drop(Staged::write(&path, b"one").unwrap());
        assert!(matches!(Staged::write(&path, b"two"), Err(PrivateFileError::Exists(_))));
        let left = Staged::leftover(&path).unwrap();
        assert_eq!(read(left.waiting_at()).unwrap().as_slice(), b"one");
        left.discard().unwrap();
        assert!(Staged::leftover(&path).is_none());
        let staged = Staged::write(&path, b"three").unwrap();
        fs::write(&path, "in between").unwrap();
        assert!(matches!(staged.publish(), Err(PrivateFileError::Exists(_))));
    }

    #[test]
    fn a_missing_file_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(&folder.path().join("none")).unwrap_err().is_missing());
        assert!(!read(folder.path()).unwrap_err().is_missing());
    }
}
