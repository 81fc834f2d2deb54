//! Log events as flat JSON objects, one a line: `timestamp`, `level`, the event's fields, `target`.
//!
//! tracing-subscriber has such a format; it goes through a serializer that checks every piece of text again, which made
//! up a tenth of a decision's processor time. This writes straight into the line. Spans are left out: edi has none.
//! Whoever has a line for every request writes its members by [`super::json_line`], past tracing's visit to its fields.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::ambient::SystemClock;
use crate::model::ascii;
use crate::model::time::Timestamp;

/// Room for a line as most are.
const USUAL: usize = 512;
/// A longer one's room is given back.
const KEPT: usize = 16 * USUAL;

/// What a thread makes its lines with.
#[derive(Default)]
struct Desk {
    /// The line: pushing onto text costs a fraction of writing through the formatter's layers.
    line: String,
    /// The last second that was told, and its text: a busy thread tells the same one thousands of times.
    second: Option<u64>,
    shown: String,
}

thread_local! {
    static DESK: Cell<Desk> = Cell::default();
}

/// The format.
pub(super) struct FlatJson;

impl<S, N> FormatEvent<S, N> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        line(level, target, |members| event.record(members), |line| out.write_str(line))
    }
}

/// Makes a line and hands it to `write`, its end included.
pub(super) fn line<T>(
    level: Level,
    target: &str,
    members: impl FnOnce(&mut Members<'_>),
    write: impl FnOnce(&str) -> T,
) -> T {
    // Taken away meanwhile: a value that logs while it is shown, or a thread that ends, gets a desk of its own.
    let mut desk = DESK.try_with(Cell::take).unwrap_or_default();
    desk.line.clear();
    desk.line.reserve(USUAL);
    desk.line.push_str("{\"timestamp\":\"");
    desk.push_time(SystemClock.since_epoch());
    let line = &mut desk.line;
    line.push_str("\",\"level\":\"");
    line.push_str(level.as_str());
    line.push('"');
    members(&mut Members(line));
    push_name(line, "target");
    push_text(line, target);
    line.push_str("}\n");
    let written = write(line);
    if line.capacity() <= KEPT {
        let _ = DESK.try_with(|mine| mine.set(desk));
    }
    written
}

impl Desk {
    /// RFC 3339 with microseconds.
    fn push_time(&mut self, since_epoch: Duration) {
        let second = since_epoch.as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            self.shown = Timestamp::from_secs(i64::try_from(second).unwrap_or(i64::MAX)).rfc3339();
            self.shown.truncate(self.shown.trim_end_matches('Z').len());
        }
        let mut part = *b".000000Z";
        let mut micros = since_epoch.subsec_micros();
        for digit in part.iter_mut().skip(1).take(6).rev() {
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
        self.line.push_str(&self.shown);
        self.line.push_str(std::str::from_utf8(&part).unwrap_or_default());
    }
}

/// The members of the object, the first of which is there already. Writing to a String cannot fail.
#[derive(Debug)]
pub struct Members<'a>(&'a mut String);

impl Members<'_> {
    /// A text.
    pub fn text(&mut self, name: &'static str, value: &str) {
        push_name(self.0, name);
        push_text(self.0, value);
    }

    /// A number.
    pub fn number(&mut self, name: &'static str, value: u64) {
        push_name(self.0, name);
        ascii::push_number(self.0, value);
    }

    /// An address, as `Display` writes it, without the detours of the formatter for the most usual kind.
    pub fn address(&mut self, name: &'static str, value: IpAddr) {
        push_name(self.0, name);
        self.0.push('"');
        match value {
            IpAddr::V4(address) => {
                for (index, octet) in address.octets().into_iter().enumerate() {
                    if index > 0 {
                        self.0.push('.');
                    }
                    ascii::push_number(self.0, octet);
                }
            }
            IpAddr::V6(address) => drop(write!(self.0, "{address}")),
        }
        self.0.push('"');
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        push_name(self.0, field.name());
        self.0.push('"');
        let _ = write!(Escaped(self.0), "{value:?}");
        self.0.push('"');
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        push_name(self.0, field.name());
        ascii::push_number(self.0, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        push_name(self.0, field.name());
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        push_name(self.0, field.name());
        // JSON has no other numbers.
        if value.is_finite() {
            let _ = write!(self.0, "{value:?}");
        } else {
            self.0.push_str("null");
        }
    }
}

/// A comma, a name and a colon. Names stand in edi's own sources and in those of its libraries, as identifiers.
#[inline]
fn push_name(out: &mut String, name: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

/// A text as a JSON string, quotes included.
fn push_text(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// The inside of a JSON string (RFC 8259 §7).
fn push_escaped(out: &mut String, text: &str) {
    if ascii::all(text.as_bytes(), |b| !matches!(b, 0..b' ' | b'"' | b'\\')) {
        return out.push_str(text);
    }
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control @ '\0'..' ' => drop(write!(out, "\\u{:04x}", u32::from(control))),
            plain => out.push(plain),
        }
    }
}

/// What is written through it is escaped.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::Format;
    use crate::telemetry::testing::logged;

    proptest! {
        #[test]
        fn any_text_comes_back_from_the_line(value in any::<String>()) {
            let mut line = String::new();
            push_text(&mut line, &value);
            prop_assert!(!line.contains('\n') && !line.contains('\r'));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), value);
        }
    }

    #[test]
    fn the_time_is_told_to_the_microsecond_and_anew_each_second() {
        let mut desk = Desk::default();
        for (micros, told) in [
            (1_795_299_240_999_999, "2026-11-21T22:14:00.999999Z"),
            (1_795_299_240_000_070, "2026-11-21T22:14:00.000070Z"),
            (1_795_299_241_000_000, "2026-11-21T22:14:01.000000Z"),
            (0, "1970-01-01T00:00:00.000000Z"),
        ] {
            desk.line.clear();
            desk.push_time(Duration::from_micros(micros));
            assert_eq!(desk.line, told);
        }
    }

    #[test]
    fn a_value_that_logs_while_it_is_shown_has_a_line_of_its_own() {
        struct Talkative;
        impl fmt::Display for Talkative {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let line = {
                    let mut desk = DESK.take();
                    desk.line.clear();
                    push_text(&mut desk.line, "inner");
                    DESK.set(desk);
                    "outer"
                };
                f.write_str(line)
            }
        }
        let text = logged(Format::Json, "info", || tracing::info!(first = "a", shown = %Talkative, last = "z"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["first"], &line["shown"], &line["last"]), (&"a".into(), &"outer".into(), &"z".into()));
    }

    #[test]
    fn addresses_are_written_as_they_are_shown() {
        for text in ["192.0.2.1", "0.0.0.0", "255.10.9.100", "2001:db8::1", "::1"] {
            let mut line = String::new();
            Members(&mut line).address("a", text.parse().unwrap());
            assert_eq!(line, format!(",\"a\":\"{text}\""));
        }
    }

    #[test]
    fn every_kind_of_value_has_its_json_form() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(
                target: "edi::\"t\"", up = 7_u64, down = -7_i64, yes = true, part = 0.5, whole = 1e300,
                none = f64::NAN, shown = %"a\"b", debugged = ?Some("c\n"), huge = u128::MAX, nothing = Option::<u64>::None,
                "said {}", "\\"
            );
        });
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "level": "INFO", "target": "edi::\"t\"", "message": "said \\", "up": 7, "down": -7, "yes": true,
                "part": 0.5, "whole": 1e300, "none": null, "shown": "a\"b", "debugged": "Some(\"c\\n\")",
                "huge": u128::MAX.to_string(),
            })
        );
    }
}
