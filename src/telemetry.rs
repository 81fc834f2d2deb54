//! Log lines: where they go and how they look. Knows nothing of who writes them.
//!
//! Lines go to standard error through a thread of its own, in front of which they wait: a reader of that stream that
//! stalls must stall no request. Lines that find no room there are counted and reported once there is room. A crate for this exists
//! (tracing-appender); it brings a date library and log files along, and reports no losses in the log.

mod json;
#[cfg(feature = "otel")]
pub mod otel;
mod writer;

use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use tracing::{Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use json::Members;
pub use writer::Guard;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people at a terminal; coloured when standard error is one.
    #[default]
    Pretty,
    /// For programs: one flat JSON object a line, `timestamp` in RFC 3339.
    Json,
}

/// Why logging could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log level '{0}' is not understood; use error, warn, info, debug or trace, or target=level pairs with commas")]
pub struct InvalidLevel(String);

/// Targets that report what callers send wrong; each such request has its own line already.
const NOISE: [&str; 3] = ["actix_http=off", "actix_server=warn", "mio=warn"];

/// Puts another filter in the place of the one that runs.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// How the process's filter is changed; set once logging runs.
static FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Where lines go that are JSON; set once logging runs and they are.
static JSON: OnceLock<writer::Writer> = OnceLock::new();

/// Whether [`json_line`] writes anything.
#[must_use]
pub fn is_json() -> bool {
    JSON.get().is_some()
}

/// Writes an event whose level and target are wanted (`tracing::enabled!`) as a line of JSON, by the members it has beside
/// time, level and target. For what is logged at every request: the way through `tracing` costs several times as much.
pub fn json_line(level: Level, target: &'static str, members: impl FnOnce(&mut Members<'_>)) {
    if let Some(writer) = JSON.get() {
        json::line(level, target, members, |line| writer.line(line.as_bytes()));
    }
}

/// Changes what is logged from now on.
///
/// # Errors
/// As [`init`]; what was in force stays in force. Nothing happens, and nothing is refused, before [`init`].
pub fn set_level(level: &str) -> Result<(), InvalidLevel> {
    let filter = filter(level)?;
    FILTER.get().map_or(Ok(()), |set| set(filter)).map_err(InvalidLevel)
}

/// Starts logging for the whole process, and logs panics by their place. Called again it changes nothing.
///
/// Lines still queued are written when the returned guard is dropped: keep it until the end.
///
/// # Errors
/// When `level` is no filter: `info`, or `warn,edi::access=info`.
pub fn init(format: Format, level: &str) -> Result<Guard, InvalidLevel> {
    let filter = filter(level)?;
    let (writer, guard) = writer::start(std::io::stderr());
    let (subscriber, set) = subscriber(format, filter, writer.clone(), std::io::stderr().is_terminal());
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let _ = FILTER.set(set);
        if format == Format::Json {
            let _ = JSON.set(writer);
        }
        std::panic::set_hook(Box::new(panicked));
    }
    Ok(guard)
}

/// How many lines this process dropped because standard error was not read in time.
#[must_use]
pub fn lost_lines() -> u64 {
    writer::LOST.get()
}

/// Checks a level without starting anything.
///
/// # Errors
/// As [`init`].
pub fn check_level(level: &str) -> Result<(), InvalidLevel> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, InvalidLevel> {
    // The filter's own parser takes a misspelt level for the name of a target.
    let is_level = |text: &str| text.trim().parse::<LevelFilter>().is_ok();
    let is_target = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':'))
    };
    let fits = |part: &str| match part.trim().split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => !part.trim().is_empty() && is_level(part),
    };
    if let Some(odd) = level.split(',').find(|part| !fits(part)) {
        return Err(InvalidLevel(odd.escape_default().to_string()));
    }
    // What the operator says stands after what is said here, and so wins.
    let text = NOISE.into_iter().chain(level.split(',').map(str::trim)).collect::<Vec<_>>().join(",");
    EnvFilter::builder().with_regex(false).parse(text).map_err(|error| InvalidLevel(error.to_string()))
}

fn subscriber<W>(
    format: Format,
    filter: EnvFilter,
    writer: W,
    colour: bool,
) -> (Box<dyn Subscriber + Send + Sync>, SetFilter)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        Format::Pretty => {
            let builder = builder.with_ansi(colour).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (Box::new(builder.finish()), Box::new(set))
        }
        Format::Json => {
            let builder = builder.event_format(json::FlatJson).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (Box::new(builder.finish()), Box::new(set))
        }
    }
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current().name().map(str::to_owned);
    tracing::error!(target: "edi::panic", what = panic.payload_as_str(), place, thread, "a thread panicked");
}

#[cfg(test)]
pub(crate) mod testing {
    use std::io::Write;
    use std::sync::{Arc, LazyLock, Mutex};

    use tracing::{Dispatch, Level};

    use super::json::{self, Members};
    use super::{Format, filter, subscriber, writer};

    #[derive(Clone, Default)]
    pub(super) struct Sink(pub(super) Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// While one subscriber at most is alive, tracing asks whichever thread meets an event first whether anybody wants
    /// it, and remembers a no for all threads. Two that want everything keep it from that.
    static ATTENTIVE: LazyLock<[Dispatch; 2]> =
        LazyLock::new(|| [(); 2].map(|()| Dispatch::new(tracing_subscriber::registry())));

    /// A line of [`super::json_line`].
    pub(crate) fn told(level: Level, target: &'static str, members: impl FnOnce(&mut Members<'_>)) -> String {
        json::line(level, target, members, str::to_owned)
    }

    /// What this thread logs in a format meanwhile, through the writer that serves.
    pub(crate) fn logged(format: Format, level: &str, write: impl FnOnce()) -> String {
        LazyLock::force(&ATTENTIVE);
        let sink = Sink::default();
        let (writer, guard) = writer::start(sink.clone());
        let (subscriber, _) = subscriber(format, filter(level).unwrap(), writer, false);
        tracing::subscriber::with_default(subscriber, write);
        drop(guard);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::logged;
    use super::*;

    const HOSTILE: &str = "/a\n2026-01-01T00:00:00Z INFO edi::access: forged\r\u{1b}[31m\u{2028}\",\"status\":200";

    #[test]
    fn json_lines_are_flat_objects() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(target: "edi::access", method = "GET", path = HOSTILE, status = 404, reason = Option::<&str>::None);
        });
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["path"], HOSTILE);
        assert_eq!(line["status"], 404);
        assert_eq!(line["target"], "edi::access");
        assert_eq!(line["level"], "INFO");
        assert!(line.get("reason").is_none());
        assert!(crate::model::time::Timestamp::parse_rfc3339(line["timestamp"].as_str().unwrap()).is_some());
    }

    #[test]
    fn callers_text_cannot_forge_a_pretty_line() {
        let text = logged(Format::Pretty, "info", || tracing::info!(path = HOSTILE, shown = %HOSTILE));
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.contains('\r'), "{text:?}");
    }

    #[test]
    fn noise_is_off_unless_asked_for() {
        let write = || tracing::error!(target: "actix_http::h1::dispatcher", "stream error");
        assert_eq!(logged(Format::Json, "info", write), "");
        assert_ne!(logged(Format::Json, "info,actix_http=error", write), "");
    }

    #[test]
    fn a_level_that_is_no_filter_is_refused() {
        for good in ["info", "WARN", "edi=debug", "warn,edi::access=info", "off"] {
            assert_eq!(check_level(good), Ok(()), "{good}");
        }
        for bad in ["", "  ", "loud", "edi=loud", "=", "info;debug"] {
            assert!(check_level(bad).is_err(), "{bad}");
        }
    }
}
