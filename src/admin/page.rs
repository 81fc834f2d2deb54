//! Pages of a list: a limit and an opaque cursor.
//!
//! A cursor is the key after which a page starts, behind a checksum over the list's name and that key. One that lost a
//! character on its way, or comes from another list, would be a place in the order too, and leave out items without a
//! word; so it is refused. It is no signature: who makes one up sees what the list shows anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::error::{AdminError, FieldError};
use crate::store::{Key, StoreError};

/// The page size when none is asked for.
pub const DEFAULT_LIMIT: usize = 100;
/// The largest page.
pub const MAX_LIMIT: usize = 1000;

/// The bytes of a cursor's checksum.
const SUM: usize = 4;
/// The longest cursor.
pub const MAX_CURSOR: usize = (SUM + crate::store::MAX_KEY).div_ceil(3) * 4;
/// What a cursor looks like; an empty one counts as omitted.
pub const CURSOR_PATTERN: &str = "^(([A-Za-z0-9_-]{4})*[A-Za-z0-9_-]{2,4})?$";

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Of which list: a cursor is good for its own alone.
    pub list: &'static str,
    /// How many items at most.
    pub limit: usize,
    /// After which key.
    pub after: Option<Key>,
}

impl PageRequest {
    /// Reads `limit` and `cursor` as they stand in a query for this list.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] naming the parameter.
    pub fn parse(list: &'static str, limit: Option<&str>, cursor: Option<&str>) -> Result<Self, AdminError> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, detail: String| problems.push(FieldError { field: field.into(), detail });
        let limit = match limit.map(str::parse) {
            None => DEFAULT_LIMIT,
            Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
            Some(_) => {
                problem("limit", format!("expected a number from 1 to {MAX_LIMIT}"));
                DEFAULT_LIMIT
            }
        };
        let after = cursor.map(|cursor| place(list, cursor));
        if after == Some(None) {
            problem(
                "cursor",
                "expected the next_cursor of an earlier answer of this list, unchanged; start again".into(),
            );
        }
        if problems.is_empty() {
            Ok(Self { list, limit, after: after.flatten() })
        } else {
            Err(AdminError::Invalid(problems))
        }
    }
    /// What to ask with for the page that starts after `next`.
    #[must_use]
    pub fn cursor(&self, next: Option<&Key>) -> Option<String> {
        let key = next?.as_str();
        Some(URL_SAFE_NO_PAD.encode([&sum(self.list, key), key.as_bytes()].concat()))
    }
}

/// The place that a cursor of this list names.
fn place(list: &str, cursor: &str) -> Option<Key> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (said, key) = bytes.split_first_chunk::<SUM>()?;
    let key = std::str::from_utf8(key).ok().filter(|key| !key.is_empty() && key.len() <= crate::store::MAX_KEY)?;
    (*said == sum(list, key)).then(|| Key::new(key))
}

fn sum(list: &str, key: &str) -> [u8; SUM] {
    let mut hasher = crc32fast::Hasher::new();
    for part in [list, "\0", key] {
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_be_bytes()
}

/// How many entries one page looks at before it ends, with or without what is wanted among them.
const LOOKED_AT: usize = 10_000;
/// How many of them are read at once.
const READ_AT_ONCE: usize = 500;

/// One page of what is wanted from a longer list. A page may be short, even empty, with more to come: the work for one is
/// bounded.
///
/// # Errors
/// Those of the store.
pub async fn sift<T>(
    page: &PageRequest,
    takes: impl Fn(&T) -> bool,
    key: impl Fn(&T) -> Key,
    fetch: impl AsyncFn(Option<Key>, usize) -> Result<(Vec<T>, Option<Key>), StoreError>,
) -> Result<(Vec<T>, Option<Key>), AdminError> {
    let mut found = Vec::new();
    let mut after = page.after.clone();
    let mut looked_at = 0;
    loop {
        let (items, next) = fetch(after, READ_AT_ONCE).await?;
        looked_at += items.len();
        for item in items {
            if takes(&item) {
                if found.len() == page.limit {
                    let last = found.last().map(&key);
                    return Ok((found, last));
                }
                found.push(item);
            }
        }
        if next.is_none() || looked_at >= LOOKED_AT {
            return Ok((found, next));
        }
        after = next;
    }
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page, with the [cursor](PageRequest::cursor) of the next.
    #[must_use]
    pub fn new(items: Vec<T>, next_cursor: Option<String>) -> Self {
        Self { items, next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(limit: Option<&str>, cursor: Option<&str>) -> Result<PageRequest, AdminError> {
        PageRequest::parse("clients", limit, cursor)
    }

    #[test]
    fn a_cursor_goes_there_and_back() {
        let first = clients(Some("5"), None).unwrap();
        for key in ["client/a", "k", &"x".repeat(crate::store::MAX_KEY)] {
            let cursor = first.cursor(Some(&Key::new(key))).unwrap();
            assert!(cursor.len() <= MAX_CURSOR, "{key}");
            let next = clients(Some("5"), Some(&cursor)).unwrap();
            assert_eq!(next, PageRequest { list: "clients", limit: 5, after: Some(Key::new(key)) });
        }
        assert_eq!(first.cursor(None), None);
        for (limit, cursor) in [(Some("0"), None), (Some("1001"), None), (Some("x"), None), (None, Some("!"))] {
            assert!(clients(limit, cursor).is_err(), "{limit:?} {cursor:?}");
        }
    }

    #[test]
    fn a_mangled_cursor_is_no_place() {
        let cursor = clients(None, None).unwrap().cursor(Some(&Key::new("client/fraud-caller"))).unwrap();
        assert!(clients(None, Some(&cursor)).is_ok());
        assert!(PageRequest::parse("roles", None, Some(&cursor)).is_err(), "another list's");
        for at in 0..cursor.len() {
            assert!(clients(None, Some(&cursor[..at])).is_err(), "cut at {at}");
            assert!(clients(None, Some(&cursor[at + 1..])).is_err(), "begins at {at}");
            for other in ["A", "b", "7", "_", "-", "%", ""] {
                let mangled = [&cursor[..at], other, &cursor[at + 1..]].concat();
                assert_eq!(clients(None, Some(&mangled)).is_ok(), mangled == cursor, "{other:?} at {at}");
            }
        }
        for made_up in ["", "AA", "Y2xpZW50L2E", &format!("{cursor}="), &format!("{cursor}AA"), &cursor.to_lowercase()]
        {
            assert!(clients(None, Some(made_up)).is_err(), "{made_up}");
        }
    }
}
