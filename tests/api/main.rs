//! The one test binary: edi from outside, over HTTP and as a program. Nothing has to run beforehand.

mod cli_admin;
mod cli_program;
mod cli_token;
mod support;
