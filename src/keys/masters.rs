//! The master keys at hand: usually one, two while the one takes over from the other.
//!
//! Everything sealed names the master key it was sealed under, and the installation record in the store names the one
//! that counts. Both move in one commit, so at every revision of the store all that is sealed is sealed under the named
//! key. The files follow, and what a crash leaves of that the next start finishes:
//!
//! | file | what it is |
//! |---|---|
//! | `master.key` | the key that counts |
//! | `master.key.next` | a key that somebody put there to be the next one |
//! | `master.key.new` | the next one, made by edi; until the store names it, it is worth nothing |
//! | `master.key.ID.old` | one that counted before: older backups need it |

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

use super::KeyError;
use super::generate::seal_context;
use super::live::KeySet;
use super::master::{MasterKey, MasterKeyError, OpenError, sealed_under};
use super::private_file::{self, PrivateFileError, Staged};
use super::secrets::SecretKeys;
use crate::ambient::Entropy;
use crate::model::keyring::Ring;

/// What opens sealed values: a master key, or several.
pub trait Opens: Send + Sync {
    /// Opens what a master key sealed under the same context.
    ///
    /// # Errors
    /// [`OpenError`].
    fn open(&self, context: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, OpenError>;
}

impl Opens for MasterKey {
    fn open(&self, context: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        Self::open(self, context, sealed)
    }
}

/// The master keys that this process holds, and where the file of the one that counts is.
pub struct MasterKeys {
    file: PathBuf,
    held: RwLock<Vec<Arc<MasterKey>>>,
}

/// A master key that is to take over, waiting in a file.
pub struct Successor {
    /// The key.
    pub key: Arc<MasterKey>,
    /// Where it waits.
    pub waiting_at: PathBuf,
    /// Whether somebody provided it; otherwise edi made it.
    pub provided: bool,
}

impl MasterKeys {
    /// One key, and the file it belongs in.
    #[must_use]
    pub fn new(file: PathBuf, key: Arc<MasterKey>) -> Arc<Self> {
        Arc::new(Self { file, held: RwLock::new(vec![key]) })
    }

    /// Where the file of the key that counts belongs.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The key with this id. One that is not held yet is looked for beside the key file: another replica may have changed
    /// the master key.
    #[must_use]
    pub fn named(&self, id: &str) -> Option<Arc<MasterKey>> {
        let is_it = |key: &&Arc<MasterKey>| key.id().to_string() == id;
        if let Some(key) = self.held.read().unwrap_or_else(PoisonError::into_inner).iter().find(is_it) {
            return Some(Arc::clone(key));
        }
        let (_, key) = find(&self.file, id)?;
        let key = Arc::new(key);
        self.hold(Arc::clone(&key));
        Some(key)
    }

    /// Holds one more.
    pub fn hold(&self, key: Arc<MasterKey>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.iter().all(|other| other.id() != key.id()) {
            held.push(key);
        }
    }

    /// Forgets all but this one, once nothing is sealed under them any more.
    pub fn keep_only(&self, id: &str) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.iter().any(|key| key.id().to_string() == id) {
            held.retain(|key| key.id().to_string() == id);
        }
    }

    /// The key that is to take over: the one that waits in `master.key.next`, or a new one, written and synced to
    /// `master.key.new`.
    ///
    /// # Errors
    /// When a file cannot be written, or what waits is no master key.
    pub fn successor(&self, entropy: &dyn Entropy) -> Result<Successor, MasterKeyError> {
        let next = beside(&self.file, "next");
        if next.exists() {
            return Ok(Successor { key: Arc::new(MasterKey::load(&next)?), waiting_at: next, provided: true });
        }
        Staged::leftover(&self.file).map_or(Ok(()), Staged::discard)?;
        let made = MasterKey::generate(entropy);
        let waiting_at = made.stage_successor(&self.file)?.waiting_at().to_owned();
        // Read back: what is sealed under it shall open again.
        let key = Arc::new(MasterKey::load(&waiting_at)?);
        Ok(Successor { key, waiting_at, provided: false })
    }

    /// Removes a successor that did not take over, if edi made it.
    pub fn give_up(&self, successor: &Successor) {
        if !successor.provided {
            // One that stays is discarded by the next start or the next attempt.
            let _ = Staged::leftover(&self.file).map(Staged::discard);
        }
    }
}

impl Opens for MasterKeys {
    fn open(&self, context: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let wanted = sealed_under(sealed)?;
        if let Some(key) = self.named(&wanted.to_string()) {
            return key.open(context, sealed);
        }
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let given = held.first().map_or(wanted, |key| key.id());
        Err(OpenError::OtherMasterKey { sealed_under: wanted, given })
    }
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(held.iter().map(|key| key.id().to_string())).finish()
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// The master key with this id and its file: in its place, or waiting beside it.
#[must_use]
pub fn find(file: &Path, id: &str) -> Option<(PathBuf, MasterKey)> {
    [file.to_owned(), beside(file, "new"), beside(file, "next")].into_iter().find_map(|path| {
        let key = MasterKey::load(&path).ok().filter(|key| key.id().to_string() == id)?;
        Some((path, key))
    })
}

/// A file beside this one in which an earlier master key with this id was kept.
#[must_use]
pub fn earlier(file: &Path, id: &str) -> Option<PathBuf> {
    let path = kept_at(file, id);
    MasterKey::load(&path).ok().filter(|key| key.id().to_string() == id).map(|_| path)
}

fn kept_at(file: &Path, id: &str) -> PathBuf {
    beside(file, &format!("{id}.old"))
}

/// Gives the key that waits its place, and keeps the one that was there as `master.key.ID.old`. There is a file in that
/// place at every moment. Says where the old one is kept.
///
/// # Errors
/// When the folder cannot be written; the key then goes on waiting, and is found there.
pub fn take_place(file: &Path, waiting_at: &Path) -> Result<Option<PathBuf>, PrivateFileError> {
    let failed = |what: &'static str, path: &Path, source| PrivateFileError::Io { what, path: path.to_owned(), source };
    let mut kept = None;
    if let Ok(old) = MasterKey::load(file) {
        let path = kept_at(file, &old.id().to_string());
        match fs::hard_link(file, &path) {
            Ok(()) => {}
            Err(taken) if taken.kind() == std::io::ErrorKind::AlreadyExists => {}
            // No hard links here: a copy, whole before the original goes.
            Err(_) => private_file::write_new(&path, &private_file::read(file)?)?,
        }
        kept = Some(path);
    }
    fs::rename(waiting_at, file).map_err(|source| failed("rename to", file, source))?;
    private_file::sync_folder_of(file)?;
    Ok(kept)
}

/// Gives the key with this id its place, should it still wait beside it.
///
/// # Errors
/// When the folder cannot be written.
pub fn settle(file: &Path, id: &str) -> Result<(), PrivateFileError> {
    match find(file, id) {
        Some((path, _)) if path != file => take_place(file, &path).map(drop),
        _ => Ok(()),
    }
}

/// Seals the private keys of these rings, and the keys behind client secrets, anew under `to`. Proves on the way that all
/// of it opens and that nothing else changed; says how many private keys there are.
///
/// # Errors
/// When something does not open: nothing must be written then.
pub fn reseal(
    rings: &mut [Ring],
    secret_keys: &mut String,
    from: &dyn Opens,
    to: &MasterKey,
    entropy: &dyn Entropy,
) -> Result<usize, KeyError> {
    let mut count = 0;
    for ring in rings.iter_mut() {
        for key in ring.keys.iter_mut().filter(|key| !key.sealed.is_empty()) {
            let context = seal_context(ring.algorithm, &key.kid);
            let plain =
                from.open(&context, &key.sealed).map_err(|why| KeyError::Sealed { kid: key.kid.clone(), why })?;
            key.sealed = to.seal(&context, &plain, entropy);
            count += 1;
        }
    }
    KeySet::build(rings, to)?;
    let secrets = SecretKeys::open(from, secret_keys).map_err(KeyError::Secrets)?;
    *secret_keys = secrets.seal(to, entropy);
    SecretKeys::open(to, secret_keys).map_err(KeyError::Secrets)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::{SeededEntropy, SystemEntropy};

    fn made(seed: u64) -> Arc<MasterKey> {
        Arc::new(MasterKey::generate(&*SeededEntropy::new(seed)))
    }

    fn in_file(key: &Arc<MasterKey>) -> (tempfile::TempDir, Arc<MasterKeys>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        key.write_new(&file).unwrap();
        (folder, MasterKeys::new(file, Arc::clone(key)))
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn while_one_takes_over_from_the_other_both_open_what_they_sealed() {
        let entropy = SystemEntropy::new();
        let (one, two, three) = (made(1), made(2), made(3));
        let (_folder, masters) = in_file(&one);
        let (by_one, by_two) = (one.seal("c", b"x", &entropy), two.seal("c", b"y", &entropy));
        assert!(matches!(masters.open("c", &by_two), Err(OpenError::OtherMasterKey { .. })));
        masters.hold(Arc::clone(&two));
        assert_eq!(masters.open("c", &by_one).unwrap().as_slice(), b"x");
        assert_eq!(masters.open("c", &by_two).unwrap().as_slice(), b"y");
        masters.keep_only(&three.id().to_string());
        assert_eq!(masters.open("c", &by_two).unwrap().as_slice(), b"y", "never forgets all of them");
        masters.keep_only(&two.id().to_string());
        assert_eq!(masters.open("c", &by_two).unwrap().as_slice(), b"y");
    }

    #[test]
    fn a_key_that_another_replica_put_beside_the_file_is_found() {
        let entropy = SystemEntropy::new();
        let (one, two) = (made(1), made(2));
        let (folder, masters) = in_file(&one);
        two.write_new(&folder.path().join("master.key.next")).unwrap();
        let sealed = two.seal("c", b"y", &entropy);
        assert_eq!(masters.open("c", &sealed).unwrap().as_slice(), b"y");
        assert_eq!(masters.named(&two.id().to_string()).unwrap().id(), two.id());
    }

    #[test]
    fn a_successor_waits_beside_the_file_takes_its_place_and_leaves_the_old_one() {
        let entropy = SystemEntropy::new();
        let one = made(1);
        let (folder, masters) = in_file(&one);
        let given_up = masters.successor(&entropy).unwrap();
        assert_eq!(names(&folder), ["master.key", "master.key.new"]);
        masters.give_up(&given_up);
        assert_eq!(names(&folder), ["master.key"]);
        let next = masters.successor(&entropy).unwrap();
        assert_eq!(find(masters.file(), &next.key.id().to_string()).unwrap().0, next.waiting_at);
        let kept = take_place(masters.file(), &next.waiting_at).unwrap().unwrap();
        assert_eq!(MasterKey::load(masters.file()).unwrap().id(), next.key.id());
        assert_eq!(MasterKey::load(&kept).unwrap().id(), one.id());
        assert_eq!(earlier(masters.file(), &one.id().to_string()), Some(kept));
        assert_eq!(names(&folder).len(), 2);
    }

    #[test]
    fn a_provided_successor_is_used_and_never_removed() {
        let (one, two) = (made(1), made(2));
        let (folder, masters) = in_file(&one);
        two.write_new(&folder.path().join("master.key.next")).unwrap();
        let next = masters.successor(&SystemEntropy::new()).unwrap();
        assert!(next.provided && next.key.id() == two.id());
        masters.give_up(&next);
        assert_eq!(names(&folder), ["master.key", "master.key.next"]);
    }
}
