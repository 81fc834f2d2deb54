//! The thread that writes log lines, and the queue in front of it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::metrics::Counter;

/// Lines that this process dropped.
pub(super) static LOST: Counter = Counter::new();

/// How many lines may wait.
const QUEUE: usize = 8192;
/// How long lines gather after some were written. A thread that waits for each line is woken for each, by whoever logs
/// it and is in the middle of a request; one that is asleep is not.
const GATHER: Duration = Duration::from_millis(5);
/// How much is written with one system call when there is more than that to write.
const WRITTEN_AT_ONCE: usize = 64 * 1024;
/// How long the end of the process waits for a reader that has stalled.
const PATIENCE: Duration = Duration::from_secs(1);

enum Job {
    Line(Box<[u8]>),
    Flush(std::sync::mpsc::Sender<()>),
}

/// Hands lines to the thread. Never blocks.
#[derive(Clone)]
pub(super) struct Writer {
    queue: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl Write for &Writer {
    /// Takes one whole line: the formatters of tracing write each event in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = line.len();
        let line = one_line(line);
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Job::Line(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event stays on its line whatever its fields hold: JSON escapes line breaks, the pretty format not everywhere.
fn one_line(line: &[u8]) -> Box<[u8]> {
    let mut line: Box<[u8]> = line.into();
    if let Some((_, inner)) = line.split_last_mut() {
        // Every byte is written, so that many are at a time.
        for byte in inner {
            *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte };
        }
    }
    line
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// Writes out what is queued when dropped, waiting for a second at most.
#[must_use = "log lines are lost at the end unless this is kept until then"]
pub struct Guard(SyncSender<Job>);

impl Drop for Guard {
    fn drop(&mut self) {
        let (done, wait) = channel();
        let started = std::time::Instant::now();
        let mut job = Job::Flush(done);
        // The queue may be full, and its reader gone for good.
        while let Err(TrySendError::Full(again)) = self.0.try_send(job) {
            if started.elapsed() > PATIENCE {
                return;
            }
            job = again;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = wait.recv_timeout(PATIENCE.saturating_sub(started.elapsed()));
    }
}

/// Starts the thread. It ends when every writer and the guard are gone.
pub(super) fn start(out: impl Write + Send + 'static) -> (Writer, Guard) {
    start_with(out, QUEUE)
}

fn start_with(out: impl Write + Send + 'static, queue: usize) -> (Writer, Guard) {
    let (sender, receiver) = sync_channel(queue);
    let writer = Writer { queue: sender.clone(), lost: Arc::default() };
    let lost = Arc::clone(&writer.lost);
    // Without a thread lines find no receiver and are dropped: a process that cannot start one has worse problems.
    let _ = std::thread::Builder::new().name("edi-log".into()).spawn(move || run(out, &receiver, &lost));
    (writer, Guard(sender))
}

fn run(out: impl Write, jobs: &Receiver<Job>, lost: &AtomicU64) {
    let mut out = io::BufWriter::with_capacity(WRITTEN_AT_ONCE, out);
    while let Ok(first) = jobs.recv() {
        // A batch is what waits by now, so that a busy moment costs few system calls and a quiet one no delay.
        for job in std::iter::once(first).chain(jobs.try_iter().take(QUEUE)) {
            match job {
                // A stream that takes nothing is no reason to stop serving.
                Job::Line(line) => drop(out.write_all(&line)),
                Job::Flush(done) => {
                    let _ = out.flush();
                    let _ = done.send(());
                }
            }
        }
        let _ = out.flush();
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            LOST.add(lost);
            tracing::warn!(target: "edi::telemetry", lost, "log lines were dropped: standard error was not read in time");
        }
        std::thread::sleep(GATHER);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sink;
    use super::*;

    #[test]
    fn dropping_the_guard_writes_what_is_queued_in_order() {
        let sink = Sink::default();
        let (writer, guard) = start(sink.clone());
        let lines: Vec<u8> = (0..1000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        for line in lines.split_inclusive(|b| *b == b'\n') {
            (&writer).write_all(line).unwrap();
        }
        drop(guard);
        assert_eq!(*sink.0.lock().unwrap(), lines);
    }

    #[test]
    fn a_reader_that_stalls_blocks_nobody() {
        let sink = Sink::default();
        let stalled = Arc::clone(&sink.0);
        let stall = stalled.lock().unwrap();
        let (writer, guard) = start_with(sink, 4);
        for _ in 0..100 {
            (&writer).write_all(b"x\n").unwrap();
        }
        assert!(writer.lost.load(Ordering::Relaxed) >= 80);
        drop(guard);
        drop(stall);
    }
}
