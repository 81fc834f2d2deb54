//! What the system says: processor time and memory of a process, its cores, and what machine this is.

use anyhow::{Context as _, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::time::Duration;

/// Processor time of a process, all its threads, user and system.
///
/// From the scheduler's books in nanoseconds, where it keeps them; else from `stat`, in ticks of 10 ms. A thread that has
/// ended is missing from the former: servers end none while they serve.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let threads = || -> Option<Duration> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            sum += text.split(' ').next()?.parse::<u64>().ok()?;
        }
        (sum > 0).then(|| Duration::from_nanos(sum))
    };
    if let Some(exact) = threads() {
        return Ok(exact);
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // Behind the name, which may hold anything: fields 14 and 15 of all are user and system time.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ')).context("stat has no name")?;
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// The same of several processes.
pub(crate) fn cpu_of(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| cpu(*pid)).sum()
}

/// Resident memory in KiB of several processes.
pub(crate) fn resident_kib_of(pids: &[u32]) -> Result<u64> {
    pids.iter().map(|pid| resident_kib(*pid)).sum()
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}

/// Cores for servers, a core for the load, and what this thread was allowed at first.
pub(crate) struct Cores {
    all: CpuSet,
    server: CpuSet,
    load: CpuSet,
}

impl Cores {
    /// The first core this process may use for a server and the last for the load; `None` when there is only one or
    /// pinning is not wanted.
    pub(crate) fn find(unpinned: bool) -> Option<Self> {
        Self::with(1, unpinned)
    }

    /// The same with two cores for a server: on a machine that has no third, the load shares the second.
    pub(crate) fn find_two(unpinned: bool) -> Option<Self> {
        Self::with(2, unpinned)
    }

    fn with(servers: usize, unpinned: bool) -> Option<Self> {
        let all = sched_getaffinity(None).ok()?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let set = |cores: &[usize]| {
            let mut set = CpuSet::new();
            for core in cores {
                set.set(*core);
            }
            set
        };
        let (server, load) = (set(usable.get(..servers)?), set(&[*usable.last()?]));
        (!unpinned && usable.len() > 1).then_some(Self { all, server, load })
    }

    /// Runs `start` on the server's core: a process inherits the core of the thread that starts it.
    pub(crate) fn for_server<T>(cores: Option<&Self>, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(cores) = cores else { return start() };
        sched_setaffinity(None, &cores.server).context("cannot pin the server")?;
        let started = start();
        sched_setaffinity(None, &cores.load).context("cannot pin the load")?;
        started
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        // What comes after the pinned rounds may use every core again.
        let _ = sched_setaffinity(None, &self.all);
    }
}

/// The machine in a line.
pub(crate) fn description() -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |it| it.1);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// The id as the system's calls take it.
pub(crate) fn pid(child: &std::process::Child) -> Pid {
    Pid::from_child(child)
}
