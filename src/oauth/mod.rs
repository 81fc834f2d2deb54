//! The protocol: who the caller is, what it may have, what the answer says. Knows no HTTP framework and no engine.

pub mod error;
