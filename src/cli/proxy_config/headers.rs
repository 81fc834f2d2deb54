//! Headers that pass a proxy: who calls, as edi verified it, and those by which a caller could pretend to be somebody
//! or to ask for something else.

/// What edi's decision says of the caller.
pub(super) const IDENTITY: [&str; 4] =
    ["X-Auth-Request-User", "X-Auth-Request-Groups", "X-Edi-Client-Id", "X-Edi-Token-Id"];

/// What no model may hear from a caller, beside [`IDENTITY`] and what the proxy itself sets.
pub(super) const UNTRUSTED: [&str; 17] = [
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Forwarded-User",
    "X-Forwarded-Groups",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Method",
    "X-Rewrite-URL",
    "X-Envoy-Original-Path",
    "X-Auth-Request-Email",
    "X-Auth-Request-Preferred-Username",
    "X-Auth-Request-Redirect",
    "X-Auth-Request-Access-Token",
    "X-Edi-Roles",
];
