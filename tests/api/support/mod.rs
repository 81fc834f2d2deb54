//! What the tests share.

pub(crate) mod edi;
pub(crate) mod fake;
pub(crate) mod http;
pub(crate) mod jwt;
pub(crate) mod program;
pub(crate) mod serve;
