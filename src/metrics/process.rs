//! What the operating system says of this process, under the names that Prometheus's own client libraries use.

use std::fs;
use std::io;

use rustix::io::Errno;

use super::{Kind, Page};

/// The system's clock ticks a second in `/proc`: 100 on every Linux.
const TICKS: f64 = 100.0;

/// Open descriptors of this process; `None` where the system does not say.
#[must_use]
pub fn open_descriptors() -> Option<usize> {
    match fs::read_dir("/proc/self/fd") {
        // The folder that is being read is one of them.
        Ok(open) => Some(open.count().saturating_sub(1)),
        // None is left to look with.
        Err(error) if says_none_left(&error) => usize::try_from(most_descriptors()?).ok(),
        Err(_) => None,
    }
}

/// Whether there is no descriptor left, of this process or of the whole system.
#[must_use]
pub fn is_out_of_descriptors() -> bool {
    fs::File::open("/dev/null").is_err_and(|error| says_none_left(&error))
}

fn says_none_left(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The most descriptors this process may have; `None` when there is no limit.
#[must_use]
pub fn most_descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Writes what is known. Reads a few files below `/proc`, which takes some microseconds.
pub fn write(page: &mut Page) {
    if let Some(open) = open_descriptors() {
        page.one("process_open_fds", Kind::Gauge, "Open file descriptors.", open);
    }
    if let Some(most) = most_descriptors() {
        page.one("process_max_fds", Kind::Gauge, "The most file descriptors this process may open.", most);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().ok()
    };
    if let Some(resident) = kib("VmRSS") {
        page.one("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", resident * 1024);
    }
    if let Some(size) = kib("VmSize") {
        page.one("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory.", size * 1024);
    }
    if let Some(threads) = kib("Threads") {
        page.one("process_threads", Kind::Gauge, "Threads.", threads);
    }
    if let Some(seconds) = processor_seconds() {
        let help = "Processor time, user and system.";
        page.one("process_cpu_seconds_total", Kind::Counter, help, seconds);
    }
}

fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold anything: fields 14 and 15 of all are user and system time.
    let (_, rest) = stat.rsplit_once(") ")?;
    let ticks = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
    Some(ticks.map(f64::from).sum::<f64>() / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_says_it_all() {
        let mut page = Page::new();
        write(&mut page);
        let text = page.into_text();
        for name in
            ["open_fds", "max_fds", "resident_memory_bytes", "virtual_memory_bytes", "threads", "cpu_seconds_total"]
        {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name} in {text}");
        }
    }
}
