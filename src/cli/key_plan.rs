//! `edi key plan`: what will happen to the signing keys, drawn for people.

use clap::Args as ClapArgs;
use serde_json::Value;

use super::api::{Api, ApiFlags, Needs};
use super::output::{printable, terminal_width};
use super::timeline::{Axis, wrapped};
use super::{Failure, Output, view};
use crate::model::scope::AdminScope;
use crate::model::time::Timestamp;

const READ: Needs = &[AdminScope::Read, AdminScope::Keys];
/// As much of a key id as tells it from its neighbours.
const SHORT: usize = 10;

/// Show what will happen to the signing keys: who signs until when, what is trusted until when, what is at risk.
///
/// Instants marked ~ follow from keys.rotate_every and happen unless somebody interferes; all others are decided.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Draw for a terminal of this width [default: that of this one, else 80]
    #[arg(long, value_name = "COLUMNS")]
    width: Option<usize>,
    #[command(flatten)]
    api: ApiFlags,
}

/// Does it.
pub(super) async fn run(it: Args, output: Output) -> Result<(), Failure> {
    let plan = Api::new(&it.api, READ)?.get(&["keys", "plan"]).await?;
    if output.json {
        return output.json(&plan);
    }
    let page = Page { output, width: it.width.unwrap_or_else(terminal_width), fine: utf8() };
    output.line(page.render(&plan))
}

/// Whether the terminal shows more than ASCII.
fn utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

struct Page {
    output: Output,
    width: usize,
    fine: bool,
}

/// The life of a key as the answer tells it.
struct Life {
    kid: String,
    state: String,
    published: Option<Timestamp>,
    signs: Option<Timestamp>,
    stops: Option<Timestamp>,
    leaves: Option<Timestamp>,
    verifies_only: bool,
    foreseen: Vec<String>,
}

/// What a key is at an instant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Nothing,
    Pending,
    Active,
    Retiring,
}

impl Life {
    fn of(key: &Value) -> Self {
        let at = |name: &str| Timestamp::parse_rfc3339(&view::text(key, name));
        Self {
            kid: view::text(key, "kid"),
            state: view::text(key, "state"),
            published: at("published_at"),
            signs: at("signs_from"),
            stops: at("stops_at"),
            leaves: at("unpublished_at"),
            verifies_only: view::text(key, "verifies_only") == "yes",
            foreseen: view::list(key, "foreseen"),
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.state.as_str(), "pending" | "active" | "retiring")
    }

    fn phase(&self, at: Timestamp) -> Phase {
        let reached = |instant: Option<Timestamp>| instant.is_some_and(|instant| instant <= at);
        if !reached(self.published) || reached(self.leaves) {
            Phase::Nothing
        } else if self.verifies_only || reached(self.stops) {
            Phase::Retiring
        } else if reached(self.signs) {
            Phase::Active
        } else {
            Phase::Pending
        }
    }

    fn short(&self) -> String {
        let short: String = self.kid.chars().take(SHORT).collect();
        if short == self.kid { short } else { format!("{short}…") }
    }

    /// What happens to it when: the instant, in words, and whether it is foreseen only. What happens at one instant is one.
    fn events(&self) -> Vec<(Timestamp, String, bool)> {
        let mut out: Vec<(Timestamp, String, bool)> = Vec::new();
        for (at, what, name) in [
            (self.published, "is published", "published_at"),
            (self.signs, "signs", "signs_from"),
            (self.stops, "signs no more and stays trusted", "stops_at"),
            (self.leaves, "leaves the key set", "unpublished_at"),
        ] {
            let Some(at) = at else { continue };
            let foreseen = self.foreseen.iter().any(|it| it == name);
            match out.last_mut() {
                Some((last, told, _)) if *last == at => *told = format!("{told}, {what}"),
                _ => out.push((at, format!("{} {what}", printable(&self.short())), foreseen)),
            }
        }
        out
    }
}

impl Page {
    fn render(&self, plan: &Value) -> String {
        let now = Timestamp::parse_rfc3339(&view::text(plan, "now")).unwrap_or_default();
        let mut out = vec![self.wrap(&format!("now  {}", when(now)), 5)];
        let rings = plan.get("rings").and_then(Value::as_array);
        let steps: Vec<&Value> = plan.get("transitions").and_then(Value::as_array).into_iter().flatten().collect();
        for ring in rings.into_iter().flatten() {
            out.push(String::new());
            self.ring(ring, plan, &steps, now, &mut out);
        }
        let risks: Vec<&Value> = plan.get("risks").and_then(Value::as_array).into_iter().flatten().collect();
        out.push(String::new());
        if risks.is_empty() {
            out.push(self.output.good("nothing is at risk"));
        } else {
            out.push(self.output.strong("at risk"));
        }
        out.extend(risks.iter().map(|risk| self.risk(risk)));
        out.join("\n")
    }

    fn ring(&self, ring: &Value, plan: &Value, steps: &[&Value], now: Timestamp, out: &mut Vec<String>) {
        let algorithm = view::text(ring, "algorithm");
        let configured = view::text(ring, "configured") == "yes";
        let turns = if configured {
            format!(
                "rotates every {}, a key is published {} before it signs",
                view::seconds(plan, "rotate_every"),
                view::seconds(plan, "publish_before")
            )
        } else {
            "no longer signs new tokens".to_owned()
        };
        let lifetime = view::seconds(ring, "longest_lifetime");
        let head = self.wrap(&printable(&format!("{algorithm}: {turns}; its tokens live up to {lifetime}")), 2);
        out.push(self.output.strong(&head));
        let keys = ring.get("keys").and_then(Value::as_array);
        let lives: Vec<Life> = keys.into_iter().flatten().map(Life::of).collect();
        let (live, ended): (Vec<&Life>, Vec<&Life>) = lives.iter().partition(|life| life.is_live());
        let mut events: Vec<(Timestamp, String, bool)> = live.iter().flat_map(|life| life.events()).collect();
        for step in steps.iter().filter(|step| step.get("kid").is_none() && view::text(step, "algorithm") == algorithm)
        {
            if let Some(at) = Timestamp::parse_rfc3339(&view::text(step, "at")) {
                events.push((at, "a new key is published".into(), true));
            }
        }
        events.push((now, "now".into(), false));
        events.sort_by_key(|(at, ..)| *at);
        let mut instants: Vec<Timestamp> = events.iter().map(|(at, ..)| *at).collect();
        instants.dedup();
        let mark = |at: Timestamp| match instants.iter().filter(|instant| **instant != now).position(|it| *it == at) {
            Some(n) => letter(n),
            None => '*',
        };
        let axis = Axis::new(instants.clone(), self.width);
        if let Some(axis) = &axis {
            out.push(axis.marks(mark));
        }
        for life in live {
            out.push(self.wrap(&format!("{} {}", life.state, printable(&life.kid)), 2));
            if let Some(axis) = &axis {
                out.push(self.bar(life, axis));
            }
        }
        for at in &instants {
            let mut happening: Vec<&str> = Vec::new();
            let mut foreseen = true;
            for (_, what, only_foreseen) in events.iter().filter(|(instant, ..)| instant == at) {
                happening.push(what);
                foreseen &= only_foreseen;
            }
            let sure = if foreseen { '~' } else { ' ' };
            out.push(self.wrap(&format!("{}{sure} {}  {}", mark(*at), when(*at), happening.join("; ")), 3));
        }
        if axis.is_some() {
            let key = [(Phase::Pending, "pending"), (Phase::Active, "active"), (Phase::Retiring, "retiring")];
            let key = key.map(|(phase, name)| format!("{} {name}", self.ink(phase))).join("  ");
            out.push(self.wrap(&key, 0));
        }
        for life in ended {
            out.push(self.wrap(&format!("{} {}", life.state, printable(&life.kid)), 2));
        }
    }

    fn bar(&self, life: &Life, axis: &Axis) -> String {
        let stretches = axis.bar(|at| life.phase(at)).into_iter().map(|(phase, length)| {
            let text = String::from(self.ink(phase)).repeat(length);
            match phase {
                Phase::Active => self.output.good(&text),
                Phase::Retiring => self.output.faint(&text),
                Phase::Nothing | Phase::Pending => text,
            }
        });
        stretches.collect::<String>().trim_end().to_owned()
    }

    const fn ink(&self, phase: Phase) -> char {
        match (phase, self.fine) {
            (Phase::Nothing, _) => ' ',
            (Phase::Pending, true) => '░',
            (Phase::Active, true) => '█',
            (Phase::Retiring, true) => '▒',
            (Phase::Pending, false) => '.',
            (Phase::Active, false) => '#',
            (Phase::Retiring, false) => '-',
        }
    }

    fn risk(&self, risk: &Value) -> String {
        let subject = [view::text(risk, "algorithm"), view::text(risk, "kid")];
        let subject: Vec<&str> = subject.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let until = Timestamp::parse_rfc3339(&view::text(risk, "until"));
        let until = until.map(|until| format!(" (until {})", when(until))).unwrap_or_default();
        let subject = if subject.is_empty() { String::new() } else { format!("{}: ", subject.join(" ")) };
        let text = format!("{subject}{}{until}", view::text(risk, "detail"));
        let level = view::text(risk, "level");
        let text = self.wrap(&format!("{level}: {}", printable(&text)), 2);
        if level == "warning" { self.output.bad(&text) } else { text }
    }

    fn wrap(&self, text: &str, indent: usize) -> String {
        let text = if self.fine { text.to_owned() } else { text.replace('…', "..").replace('·', "|") };
        wrapped(&text, self.width, indent)
    }
}

/// UTC, and local time where that differs.
fn when(at: Timestamp) -> String {
    let utc = chrono::DateTime::from_timestamp_millis(at.millis()).unwrap_or_default();
    let local = utc.with_timezone(&chrono::Local);
    let here = local.format("%Y-%m-%d %H:%M:%S %:z").to_string();
    let utc = utc.format("%Y-%m-%d %H:%M:%S UTC");
    if here.ends_with("+00:00") { utc.to_string() } else { format!("{utc} · {here}") }
}

fn letter(n: usize) -> char {
    ('a'..='z').chain('A'..='Z').nth(n).unwrap_or('+')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan() -> Value {
        json!({
            "now": "2026-11-22T02:00:00Z", "rotate_every": 2_592_000, "publish_before": 3600,
            "rings": [{
                "algorithm": "ES256", "configured": true, "longest_lifetime": 86_400,
                "keys": [
                    { "kid": "UTqUxzmRYAjqJybFidLw_u4VvZD8_1GMHa5NgUE79zM", "state": "retiring",
                      "published_at": "2026-10-20T00:00:00Z", "signs_from": "2026-10-21T00:00:00Z",
                      "stops_at": "2026-11-21T23:00:00Z", "unpublished_at": "2026-11-22T23:01:00Z" },
                    { "kid": "second", "state": "active", "published_at": "2026-10-21T00:00:00Z",
                      "signs_from": "2026-11-21T23:00:00Z", "stops_at": "2026-12-21T23:00:00Z",
                      "unpublished_at": "2026-12-22T23:01:00Z", "foreseen": ["stops_at", "unpublished_at"] },
                    { "kid": "third", "state": "pending", "published_at": "2026-11-21T23:00:00Z",
                      "signs_from": "2026-12-21T23:00:00Z", "foreseen": ["signs_from"] },
                    { "kid": "gone", "state": "revoked", "published_at": "2026-01-01T00:00:00Z",
                      "revoked_at": "2026-11-20T00:00:00Z" },
                ],
            }],
            "transitions": [{ "at": "2026-12-21T23:00:00Z", "algorithm": "ES256", "to": "pending", "decided": false }],
            "risks": [{ "risk": "publish_before_short", "level": "warning", "detail": "Istio keeps keys for 20m" }],
        })
    }

    fn rendered(width: usize, fine: bool) -> String {
        Page { output: Output::new(true), width, fine }.render(&plan())
    }

    #[test]
    fn bars_letters_and_dates_tell_the_life_of_each_key() {
        let page = rendered(72, true);
        let bars: Vec<&str> = page.lines().filter(|line| line.contains('█') || line.contains('░')).collect();
        // Three keys and the key to the inks.
        assert_eq!(bars.len(), 4, "{page}");
        assert!(bars[0].starts_with('░') && bars[0].ends_with('▒'), "{page}");
        assert!(bars[1].trim().starts_with('░') && bars[1].ends_with('▒'), "{page}");
        assert!(bars[2].trim().starts_with('░') && bars[2].ends_with('█'), "{page}");
        for text in [
            "2026-12-21 23:00:00 UTC",
            "second signs no more and stays trusted; third signs; a new key is published",
            "UTqUxzmRYA… leaves the key set",
            "revoked gone",
            "warning: Istio keeps keys for 20m",
        ] {
            let flat = page.replace("\n   ", " ");
            assert!(flat.contains(text), "{text} in\n{page}");
        }
        assert!(page.contains("\n*  2026-11-22 02:00:00 UTC  now\n"), "{page}");
        assert!(page.lines().any(|line| line.starts_with("e~ 2026-12-21")), "{page}");
    }

    #[test]
    fn it_fits_every_width_in_plain_letters_too() {
        for width in [0, 1, 8, 15, 20, 33, 40, 80, 200, 1000] {
            for fine in [true, false] {
                let page = rendered(width, fine);
                let widest = page.lines().map(|line| line.chars().count()).max().unwrap();
                assert!(widest <= width.max(8), "{widest} at {width}:\n{page}");
                assert!(fine || page.is_ascii(), "{page}");
            }
        }
    }

    #[test]
    fn what_a_newer_server_leaves_out_is_left_out() {
        let page = Page { output: Output::new(true), width: 80, fine: false }.render(&json!({}));
        assert!(page.contains("nothing is at risk"), "{page}");
    }
}
