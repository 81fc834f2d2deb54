//! What operators send: a body's fields, the tags of If-Match and If-None-Match, a page's limit and cursor.
#![no_main]

use edi::admin::fields::Fields;
use edi::admin::page::PageRequest;
use edi::admin::version::{Condition, IfMatch};
use edi::store::Revision;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(fields) = Fields::parse(bytes) {
        // What nobody took is a problem, never a panic.
        let _ = fields.finish();
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let there = Revision::default();
    let only = IfMatch(Some(text.to_owned()));
    if only.demand(there).is_ok() {
        assert!(text.contains('*') || text.contains('"'));
    }
    let condition = Condition { only, none: Some(text.to_owned()) };
    let _ = (condition.demand(None), condition.demand(Some(there)));
    let (limit, cursor) = text.split_once('&').unwrap_or((text, ""));
    let _ = PageRequest::parse(Some(limit), Some(cursor));
});
