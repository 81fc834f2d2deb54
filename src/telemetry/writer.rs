//! The thread that writes log lines, and the room in which they wait for it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::metrics::Counter;

/// Lines that this process dropped.
pub(super) static LOST: Counter = Counter::new();

/// How many bytes of lines may wait.
const ROOM: usize = 4 * 1024 * 1024;
/// Room beyond this is given back once it is empty.
const KEPT: usize = 256 * 1024;
/// How long lines gather after some were written. A thread that waits for each line is woken for each, by whoever logs
/// it and is in the middle of a request; one that is asleep is not.
const GATHER: Duration = Duration::from_millis(5);
/// How long the end of the process waits for a reader that has stalled.
const PATIENCE: Duration = Duration::from_secs(1);

/// What waits, and for whom.
#[derive(Default)]
struct Waiting {
    /// Whole lines in one piece of memory: a line is copied to its end and belongs to nobody.
    lines: Vec<u8>,
    /// Lines that found no room since this was last told.
    lost: u64,
    /// The thread waits to be woken.
    idle: bool,
    /// The thread is writing what it took.
    writing: bool,
    /// No writer is left.
    closed: bool,
}

/// What writers and the thread share.
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to do.
    work: Condvar,
    /// What was taken is written.
    written: Condvar,
    room: usize,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writers of one thread; when the last of them goes, the thread ends.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.waiting().closed = true;
        self.0.work.notify_one();
    }
}

/// Hands lines to the thread. Never blocks for longer than copying a line takes.
#[derive(Clone)]
pub(super) struct Writer(Arc<Handle>);

impl Writer {
    /// Takes one whole line, its end included, that holds no other line break.
    pub(super) fn line(&self, line: &[u8]) {
        self.take(line, |_| {});
    }

    fn take(&self, line: &[u8], mend: impl FnOnce(&mut [u8])) {
        let shared = &*self.0.0;
        let mut waiting = shared.waiting();
        let start = waiting.lines.len();
        if start + line.len() > shared.room {
            waiting.lost += 1;
            return;
        }
        waiting.lines.extend_from_slice(line);
        mend(waiting.lines.get_mut(start..).unwrap_or_default());
        let wake = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if wake {
            shared.work.notify_one();
        }
    }
}

impl Write for &Writer {
    /// Takes one whole line: the formatters of tracing write each event in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line, one_line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event stays on its line whatever its fields hold: JSON escapes line breaks, the pretty format not everywhere.
fn one_line(line: &mut [u8]) {
    if let Some((_, inner)) = line.split_last_mut() {
        // Every byte is written, so that many are at a time.
        for byte in inner {
            *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte };
        }
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// Writes out what waits when dropped, waiting for a second at most.
#[must_use = "log lines are lost at the end unless this is kept until then"]
pub struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        // A reader of the stream may be gone for good.
        drop(self.0.written.wait_timeout_while(self.0.waiting(), PATIENCE, busy));
    }
}

/// Starts the thread. It ends when every writer is gone.
pub(super) fn start(out: impl Write + Send + 'static) -> (Writer, Guard) {
    start_with(out, ROOM)
}

fn start_with(out: impl Write + Send + 'static, room: usize) -> (Writer, Guard) {
    let (waiting, work, written) = (Mutex::default(), Condvar::new(), Condvar::new());
    let shared = Arc::new(Shared { waiting, work, written, room });
    let (writer, guard) = (Writer(Arc::new(Handle(Arc::clone(&shared)))), Guard(Arc::clone(&shared)));
    // Without a thread lines find no room in the end and are dropped: a process that cannot start one has worse problems.
    let _ = std::thread::Builder::new().name("edi-log".into()).spawn(move || run(out, &shared));
    (writer, guard)
}

fn run(mut out: impl Write, shared: &Shared) {
    // What is written now; the two change places.
    let mut taken = Vec::new();
    loop {
        let mut waiting = shared.waiting();
        while waiting.lines.is_empty() && waiting.lost == 0 {
            if waiting.closed {
                return;
            }
            waiting.idle = true;
            waiting = shared.work.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.idle = false;
        waiting.writing = true;
        std::mem::swap(&mut waiting.lines, &mut taken);
        let lost = std::mem::take(&mut waiting.lost);
        drop(waiting);
        // All of it with one system call, so that a busy moment costs few of them. A stream that takes nothing is no
        // reason to stop serving.
        let _ = out.write_all(&taken).and_then(|()| out.flush());
        taken.clear();
        taken.shrink_to(KEPT);
        shared.waiting().writing = false;
        shared.written.notify_all();
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
    fn lines_of_several_threads_stay_whole() {
        let sink = Sink::default();
        let (writer, guard) = start(sink.clone());
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let writer = writer.clone();
                scope.spawn(move || (0..2000).for_each(|n| writer.line(format!("{name} {n}\n").as_bytes())));
            }
        });
        drop(guard);
        let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        for name in ["a", "b", "c", "d"] {
            let mine = written.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
            assert!(mine.eq(0..2000), "{name}");
        }
    }

    #[test]
    fn a_reader_that_stalls_blocks_nobody() {
        let sink = Sink::default();
        let stalled = Arc::clone(&sink.0);
        let stall = stalled.lock().unwrap();
        let (writer, guard) = start_with(sink, 8);
        for _ in 0..100 {
            (&writer).write_all(b"x\n").unwrap();
        }
        assert!(writer.0.0.waiting().lost >= 80);
        drop(guard);
        drop(stall);
    }

    #[test]
    fn the_thread_ends_with_the_last_writer() {
        struct Gone(std::sync::mpsc::Sender<()>);
        impl Write for Gone {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Drop for Gone {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (gone, wait) = std::sync::mpsc::channel();
        let (writer, guard) = start(Gone(gone));
        writer.clone().line(b"x\n");
        drop((writer, guard));
        assert_eq!(wait.recv_timeout(Duration::from_secs(10)), Ok(()));
    }
}
