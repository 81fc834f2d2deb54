//! Requests at a fixed rate, whatever the server does: a loop that sleeps until the next request is due or an answer
//! comes, so that its core is free for either. Timers of the runtime know milliseconds alone, and one that polls instead
//! gives way to whatever else wants its core just when it is wanted itself.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::thread::{current_timer_slack, set_current_timer_slack};

use super::drive::Outcome;
use super::wire::{Answer, LONGEST};

/// This close to the next request it looks for answers without sleeping: being woken takes about as long.
const NEAR: Duration = Duration::from_micros(10);

/// What is sent, and when.
pub(crate) struct Pace<'a> {
    pub(crate) request: &'a [u8],
    /// Of every answer.
    pub(crate) status: u16,
    /// Requests a second, evenly.
    pub(crate) rate: f64,
    pub(crate) length: Duration,
}

/// What came of it.
pub(crate) struct Paced {
    /// Each answer's time counts from when its request was due: what a server makes others wait is not left out.
    pub(crate) outcome: Outcome,
    /// How late each request was sent while there was a connection for it: the load's own doing.
    pub(crate) late: Vec<Duration>,
}

struct Line {
    stream: TcpStream,
    /// When the request under way was due.
    due: Instant,
    /// Since when no request is under way.
    free: Instant,
    buffer: Vec<u8>,
    filled: usize,
}

impl Line {
    fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let now = Instant::now();
        Ok(Self { stream, due: now, free: now, buffer: vec![0; LONGEST], filled: 0 })
    }

    /// Reads what has come; whether that is the whole answer.
    fn read(&mut self, status: u16) -> Result<bool> {
        let room = self.buffer.get_mut(self.filled..).filter(|room| !room.is_empty());
        let read = match self.stream.read(room.context("the answer is too long")?) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            read => read?,
        };
        ensure!(read > 0, "the connection was closed in place of an answer");
        self.filled += read;
        let Some(answer) = Answer::parse(self.buffer.get_mut(..self.filled).unwrap_or_default())? else {
            return Ok(false);
        };
        ensure!(self.filled <= answer.taken, "more came than the answer");
        if self.filled < answer.taken {
            return Ok(false);
        }
        if answer.status != status {
            let body = self.buffer.get(answer.body..answer.length).unwrap_or_default();
            bail!("answered {} instead of {status}: {}", answer.status, String::from_utf8_lossy(body));
        }
        self.filled = 0;
        Ok(true)
    }
}

/// Sends over so many connections in turn. Nobody else of this thread runs meanwhile.
pub(crate) fn run(to: SocketAddr, connections: usize, pace: &Pace) -> Result<Paced> {
    let mut lines = (0..connections.max(1)).map(|_| Line::open(to)).collect::<Result<Vec<_>>>()?;
    // Else the system wakes up to 50 us late, to wake others at the same time.
    let slack = current_timer_slack()?;
    set_current_timer_slack(NonZeroU64::new(1))?;
    let paced = driven(&mut lines, pace);
    set_current_timer_slack(NonZeroU64::new(slack))?;
    paced
}

fn driven(lines: &mut [Line], pace: &Pace) -> Result<Paced> {
    let gap = Duration::from_secs(1).div_f64(pace.rate.max(1.0));
    let count = (pace.length.as_secs_f64() / gap.as_secs_f64()) as usize;
    let (mut latencies, mut late) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut free: VecDeque<usize> = (0..lines.len()).collect();
    let mut busy: Vec<usize> = Vec::with_capacity(lines.len());
    let started = Instant::now();
    let due_of = |sent: usize| started + gap.mul_f64(sent as f64);
    while latencies.len() < count {
        let mut now = Instant::now();
        // When every connection is busy the next request is late, and its time counts.
        while late.len() < count && due_of(late.len()) <= now {
            let Some(index) = free.pop_front() else { break };
            let line = lines.get_mut(index).context("no such connection")?;
            line.due = due_of(late.len());
            late.push(now.saturating_duration_since(line.due.max(line.free)));
            let written = line.stream.write(pace.request).context("the connection broke while sending")?;
            ensure!(written == pace.request.len(), "a request did not fit");
            busy.push(index);
            now = Instant::now();
        }
        let wait = (late.len() < count && !free.is_empty())
            .then(|| due_of(late.len()).saturating_duration_since(now))
            .map(|wait| wait.saturating_sub(NEAR));
        for index in ready(lines, &busy, wait)? {
            let line = lines.get_mut(index).context("no such connection")?;
            if line.read(pace.status)? {
                line.free = Instant::now();
                latencies.push(line.free - line.due);
                busy.retain(|other| *other != index);
                free.push_back(index);
            }
        }
    }
    Ok(Paced { outcome: Outcome { elapsed: started.elapsed(), latencies, bodies: Vec::new() }, late })
}

/// Those of the connections that have something to read, after so long at most.
fn ready(lines: &[Line], busy: &[usize], wait: Option<Duration>) -> Result<Vec<usize>> {
    let timeout = wait.map(Timespec::try_from).transpose()?;
    let mut polled: Vec<PollFd> = busy
        .iter()
        .filter_map(|index| lines.get(*index))
        .map(|line| PollFd::new(&line.stream, PollFlags::IN))
        .collect();
    match poll(&mut polled, timeout.as_ref()) {
        Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
        polled => polled?,
    };
    Ok(busy.iter().zip(&polled).filter(|(_, fd)| !fd.revents().is_empty()).map(|(index, _)| *index).collect())
}
