//! Log events as flat JSON objects, one a line: `timestamp`, `level`, the event's fields, `target`.
//!
//! tracing-subscriber has such a format; it goes through a serializer that checks every piece of text again, which made
//! up a tenth of a decision's processor time. This writes straight into the line. Spans are left out: edi has none.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format.
pub(super) struct FlatJson;

impl<S, N> FormatEvent<S, N> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut out)?;
        out.write_str("\",\"level\":\"")?;
        out.write_str(event.metadata().level().as_str())?;
        out.write_char('"')?;
        let mut members = Members { out, outcome: Ok(()) };
        event.record(&mut members);
        members.member("target", |out| text(out, event.metadata().target()));
        members.outcome?;
        members.out.write_str("}\n")
    }
}

/// The members of the object, the first of which is there already.
struct Members<'a> {
    out: Writer<'a>,
    /// Of all that was written so far: visitors have no way to fail.
    outcome: fmt::Result,
}

impl<'a> Members<'a> {
    fn member(&mut self, name: &str, value: impl FnOnce(&mut Writer<'a>) -> fmt::Result) {
        if self.outcome.is_ok() {
            self.outcome = self.write(name, value);
        }
    }

    fn write(&mut self, name: &str, value: impl FnOnce(&mut Writer<'a>) -> fmt::Result) -> fmt::Result {
        self.out.write_char(',')?;
        text(&mut self.out, name)?;
        self.out.write_char(':')?;
        value(&mut self.out)
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field.name(), |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field.name(), |out| text(out, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field.name(), |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field.name(), |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field.name(), |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no other numbers.
        self.member(
            field.name(),
            |out| if value.is_finite() { write!(out, "{value:?}") } else { out.write_str("null") },
        );
    }
}

/// A text as a JSON string, quotes included.
fn text(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    Escaped(out).write_str(text)?;
    out.write_char('"')
}

/// The inside of a JSON string (RFC 8259 §7).
struct Escaped<'a, 'b>(&'a mut Writer<'b>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let special = |b: u8| b < b' ' || matches!(b, b'"' | b'\\');
        let mut rest = text;
        while let Some(at) = rest.bytes().position(special) {
            // What is special is a byte of its own in UTF-8, so that the text may be cut before and behind it.
            let (plain, tail) = rest.split_at_checked(at).ok_or(fmt::Error)?;
            let (found, tail) = tail.split_at_checked(1).ok_or(fmt::Error)?;
            self.0.write_str(plain)?;
            match found {
                "\"" => self.0.write_str("\\\"")?,
                "\\" => self.0.write_str("\\\\")?,
                "\n" => self.0.write_str("\\n")?,
                "\r" => self.0.write_str("\\r")?,
                "\t" => self.0.write_str("\\t")?,
                other => write!(self.0, "\\u{:04x}", other.bytes().next().unwrap_or_default())?,
            }
            rest = tail;
        }
        self.0.write_str(rest)
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
            text(&mut Writer::new(&mut line), &value).unwrap();
            prop_assert!(!line.contains('\n') && !line.contains('\r'));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), value);
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
