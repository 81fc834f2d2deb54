//! Large blocks go back to the system once they are freed.
//!
//! glibc gives large blocks mappings of their own until one of them is freed; from then on blocks of that size come from
//! its heaps, and up to twice as much stays there, freed but resident. Opening the store frees several blocks of 8 MiB, so
//! that a server would keep some 10 MiB for nothing, and some 50 beside a million revocations. Nothing but its environment
//! keeps glibc from that without `unsafe`, and it reads it before `main`: the program starts itself once more, as the same
//! process, and goes on as it is where the system allows no such thing.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// As much may stay at the end of a heap. Naming any bound ends the adapting of all.
const BOUND: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "1048576");
/// Says that it was tried: what runs with more rights than its caller starts without the variables of glibc.
const TRIED: &str = "EDI_ALLOCATOR_SETTLED";
/// Who sets one of these knows better.
const OTHERS: [&str; 3] = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"];

/// Starts this program again with the bound, unless it has one.
pub fn settle() {
    let is_set = |name: &str| env::var_os(name).is_some();
    if !cfg!(all(target_os = "linux", target_env = "gnu"))
        || is_set(TRIED)
        || is_set(BOUND.0)
        || OTHERS.iter().any(|name| is_set(name))
    {
        return;
    }
    let Ok(own) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut again = Command::new(own);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // It returns only where it failed; a little memory is all that is lost.
    let _ = again.args(arguments).env(BOUND.0, BOUND.1).env(TRIED, "1").exec();
}
