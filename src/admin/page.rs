//! Pages of a list: a limit and an opaque cursor.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use serde::Serialize;

use super::error::{AdminError, FieldError};
use crate::store::{Key, StoreError};

/// The page size when none is asked for.
pub const DEFAULT_LIMIT: usize = 100;
/// The largest page.
pub const MAX_LIMIT: usize = 1000;

/// The longest cursor.
pub const MAX_CURSOR: usize = crate::store::MAX_KEY.div_ceil(3) * 4;
/// What a cursor looks like; an empty one counts as omitted.
pub const CURSOR_PATTERN: &str = "^(([A-Za-z0-9_-]{4})*[A-Za-z0-9_-]{2,4})?$";

/// As [`URL_SAFE_NO_PAD`], without a word about bits behind the last byte.
const CURSOR: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most.
    pub limit: usize,
    /// After which key.
    pub after: Option<Key>,
}

impl PageRequest {
    /// Reads `limit` and `cursor` as they stand in a query.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] naming the parameter.
    pub fn parse(limit: Option<&str>, cursor: Option<&str>) -> Result<Self, AdminError> {
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
        let after = cursor.map(|cursor| {
            let bytes = CURSOR.decode(cursor).ok()?;
            // Whatever has the form of a cursor names a place in the order of all keys, be it one that no page ends at.
            let mut key = String::from_utf8_lossy(&bytes).into_owned();
            key.truncate(key.floor_char_boundary(crate::store::MAX_KEY));
            (!key.is_empty() && cursor.len() <= MAX_CURSOR).then(|| Key::new(key))
        });
        if after == Some(None) {
            problem("cursor", "expected the next_cursor of an earlier answer".into());
        }
        if problems.is_empty() {
            Ok(Self { limit, after: after.flatten() })
        } else {
            Err(AdminError::Invalid(problems))
        }
    }
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
    /// A page whose successor starts after `next`.
    #[must_use]
    pub fn new(items: Vec<T>, next: Option<&Key>) -> Self {
        Self { items, next_cursor: next.map(|key| URL_SAFE_NO_PAD.encode(key.as_str())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_there_and_back() {
        let page = Page::<u8>::new(vec![], Some(&Key::new("client/a")));
        let next = PageRequest::parse(Some("5"), page.next_cursor.as_deref()).unwrap();
        assert_eq!(next, PageRequest { limit: 5, after: Some(Key::new("client/a")) });
        for (limit, cursor) in [(Some("0"), None), (Some("1001"), None), (Some("x"), None), (None, Some("!"))] {
            assert!(PageRequest::parse(limit, cursor).is_err(), "{limit:?} {cursor:?}");
        }
    }
}
