//! Figures: kept by round, told as medians with their extremes, as a table and as JSON.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::aims::Aim;
use super::args::Args;
use super::machine::{self, Cores};

/// One round of one server.
pub(crate) struct Sample {
    /// Requests a second.
    pub(crate) rate: f64,
    /// The server's processor time per request, where its processes are here.
    pub(crate) cpu: Option<Duration>,
    /// The server's processor time per elapsed time: 1 is a core in full use.
    pub(crate) busy: f64,
    /// The load's.
    pub(crate) load_busy: f64,
    /// How long each answer took, in order.
    pub(crate) latencies: Vec<Duration>,
}

impl Sample {
    fn cpu_us(&self) -> f64 {
        self.cpu.map_or(f64::NAN, micros)
    }

    /// What that share of the answers took at most, in microseconds.
    pub(crate) fn within(&self, per_mille: usize) -> f64 {
        at_per_mille(&self.latencies, per_mille)
    }
}

/// What that share of them is at most, in microseconds; they are in order.
pub(crate) fn at_per_mille(ordered: &[Duration], per_mille: usize) -> f64 {
    let last = ordered.len().saturating_sub(1);
    ordered.get(last * per_mille / 1000).copied().map_or(f64::NAN, micros)
}

/// What the load can do when the server does nearly nothing, each way of connecting.
#[derive(Default)]
pub(crate) struct Calibration(pub(crate) Vec<(String, Sample)>);

/// All rounds of one kind of work: a server and the one beside it.
pub(crate) struct Row {
    name: String,
    aims: &'static [Aim],
    names: [String; 2],
    pub(crate) subject: Vec<Sample>,
    pub(crate) reference: Vec<Sample>,
    /// Memory of either after it.
    resident_kib: [Option<u64>; 2],
}

/// A figure that stands by itself.
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: Spread,
    pub(crate) unit: &'static str,
    pub(crate) digits: usize,
    /// The most it is to be.
    pub(crate) most: Option<f64>,
}

/// Everything measured.
pub(crate) struct Report {
    machine: String,
    connections: usize,
    /// Whether servers and load had cores of their own.
    pinned: bool,
    pub(crate) calibration: Option<Calibration>,
    pub(crate) rows: Vec<Row>,
    pub(crate) facts: Vec<Fact>,
    /// What has no rounds, by name.
    pub(crate) others: serde_json::Map<String, Value>,
}

/// Median, least and greatest.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    /// Of these.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.wrapping_sub(1)), at(half)) };
        Self { median, least: at(0), greatest: at(values.len().wrapping_sub(1)) }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.least, "max": self.greatest })
    }

    fn text(self, digits: usize) -> String {
        if self.median.is_nan() {
            return "-".to_owned();
        }
        format!("{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.least, self.greatest)
    }
}

fn micros(length: Duration) -> f64 {
    length.as_secs_f64() * 1e6
}

/// The median over the rounds.
fn median(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    Spread::of(samples.iter().map(value)).median
}

fn server(name: &str, samples: &[Sample], resident_kib: Option<u64>) -> Value {
    let spread = |value: fn(&Sample) -> f64| Spread::of(samples.iter().map(value)).json();
    json!({
        "name": name,
        "rate": spread(|sample| sample.rate),
        "cpu_us": spread(Sample::cpu_us),
        "cpu_s_per_1000": median(samples, Sample::cpu_us) / 1000.0,
        "busy_cores": spread(|sample| sample.busy),
        "load_busy_cores": spread(|sample| sample.load_busy),
        "p50_us": median(samples, |sample| sample.within(500)),
        "p99_us": median(samples, |sample| sample.within(990)),
        "p999_us": median(samples, |sample| sample.within(999)),
        "resident_kib": resident_kib,
    })
}

impl Row {
    /// One without rounds yet.
    pub(crate) fn new(name: &str, aims: &'static [Aim], subject: &str, reference: &str) -> Self {
        Self {
            name: name.to_owned(),
            aims,
            names: [subject.to_owned(), reference.to_owned()],
            subject: Vec::new(),
            reference: Vec::new(),
            resident_kib: [None; 2],
        }
    }

    /// Reads the memory of both.
    pub(crate) fn resident(&mut self, subject: &[u32], reference: &[u32]) -> Result<()> {
        let of = |pids: &[u32]| (!pids.is_empty()).then(|| machine::resident_kib_of(pids)).transpose();
        self.resident_kib = [of(subject)?, of(reference)?];
        Ok(())
    }

    /// A figure of the subject by the reference's in the same round.
    fn by_round(&self, of: impl Fn(&Sample, &Sample) -> f64) -> Spread {
        Spread::of(self.subject.iter().zip(&self.reference).map(|(subject, reference)| of(subject, reference)))
    }

    fn rate(&self) -> Spread {
        self.by_round(|subject, reference| subject.rate / reference.rate)
    }

    fn cpu(&self) -> Spread {
        self.by_round(|subject, reference| subject.cpu_us() / reference.cpu_us())
    }

    fn cpu_more(&self) -> Spread {
        self.by_round(|subject, reference| subject.cpu_us() - reference.cpu_us())
    }

    fn p99(&self) -> Spread {
        self.by_round(|subject, reference| subject.within(990) / reference.within(990))
    }

    /// Whether an aim is met by the median of the rounds.
    fn meets(&self, aim: Aim) -> bool {
        match aim {
            Aim::Rate(least) => self.rate().median >= least,
            Aim::Cpu(most) => self.cpu().median <= most,
            Aim::CpuMore(most) => self.cpu_more().median <= most,
            Aim::P99(most) => self.p99().median <= most,
        }
    }

    /// Whether the load had more to do than a server whose core was not in full use: the rate is the load's then.
    fn held_back(&self) -> bool {
        let held = |samples: &[Sample]| {
            median(samples, |sample| sample.load_busy) > 0.9 && median(samples, |sample| sample.busy) < 0.9
        };
        held(&self.subject) || held(&self.reference)
    }

    fn cells(&self) -> Vec<String> {
        let times = |samples: &[Sample]| {
            let at = |per_mille| median(samples, |sample| sample.within(per_mille));
            format!("{:.0} / {:.0} / {:.0}", at(500), at(990), at(999))
        };
        let cpu = |samples: &[Sample]| match median(samples, Sample::cpu_us) {
            unknown if unknown.is_nan() => "-".to_owned(),
            known => format!("{known:.1}"),
        };
        let memory = |kib: Option<u64>| kib.map_or_else(|| "-".to_owned(), |kib| format!("{:.1}", kib as f64 / 1024.0));
        let [subject, reference] = &self.resident_kib;
        let aims = self.aims.iter().map(|aim| format!("{}: {}", aim.text(), verdict(self.meets(*aim))));
        vec![
            self.name.clone(),
            self.names.join(" : "),
            format!("{:.0}", median(&self.subject, |sample| sample.rate)),
            format!("{:.0}", median(&self.reference, |sample| sample.rate)),
            self.rate().text(2),
            cpu(&self.subject),
            cpu(&self.reference),
            self.cpu().text(2),
            times(&self.subject),
            times(&self.reference),
            self.p99().text(2),
            format!("{} : {}", memory(*subject), memory(*reference)),
            aims.collect::<Vec<_>>().join(", "),
        ]
    }

    fn json(&self) -> Value {
        let [subject, reference] = &self.names;
        let aims = self.aims.iter().map(|aim| json!({ "aim": aim.text(), "met": self.meets(*aim) }));
        json!({
            "work": self.name, "aims": aims.collect::<Vec<_>>(), "rounds": self.subject.len(),
            "subject": server(subject, &self.subject, self.resident_kib[0]),
            "reference": server(reference, &self.reference, self.resident_kib[1]),
            "rate_ratio": self.rate().json(), "cpu_ratio": self.cpu().json(), "cpu_more_us": self.cpu_more().json(),
            "p99_ratio": self.p99().json(), "held_back_by_load": self.held_back(),
        })
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

const HEADS: [&str; 13] = [
    "work",
    "a : b",
    "a/s",
    "b/s",
    "rate a:b",
    "a CPU ms/1,000",
    "b CPU ms/1,000",
    "CPU a:b",
    "a p50/p99/p99.9 us",
    "b p50/p99/p99.9 us",
    "p99 a:b",
    "RSS MiB a : b",
    "aim",
];

impl Fact {
    fn met(&self) -> Option<bool> {
        self.most.map(|most| self.value.median <= most)
    }

    fn cells(&self) -> Vec<String> {
        let aim = self.most.map_or_else(String::new, |most| {
            format!("<= {most} {}: {}", self.unit, verdict(self.value.median <= most))
        });
        vec![self.name.clone(), format!("{} {}", self.value.text(self.digits), self.unit), aim]
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "unit": self.unit, "value": self.value.json(), "most": self.most, "met": self.met(),
        })
    }
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column)));
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            let lines = (0..row.len()).map(|column| "-".repeat(width(column) + 2));
            println!("|{}|", lines.collect::<Vec<_>>().join("|"));
        }
    }
}

impl Report {
    /// An empty one.
    pub(crate) fn new(args: &Args) -> Self {
        Self {
            machine: machine::description(),
            connections: args.connections,
            pinned: Cores::find(args.unpinned).is_some(),
            calibration: None,
            rows: Vec::new(),
            facts: Vec::new(),
            others: serde_json::Map::new(),
        }
    }

    /// The tables.
    pub(crate) fn print(&self) {
        let placed = if self.pinned {
            "servers on the first core (two where two workers or processes are named), the load on the last"
        } else {
            "not pinned"
        };
        println!("{}; {} connections, {placed}", self.machine, self.connections);
        for (over, sample) in self.calibration.iter().flat_map(|calibration| &calibration.0) {
            let own = sample.load_busy / sample.rate * 1e6;
            println!(
                "the load against a fixed answer, {over}: {:.0}/s at {own:.1} us of its own CPU a request, {:.1} of the \
                 server's",
                sample.rate,
                sample.cpu_us()
            );
        }
        if !self.rows.is_empty() {
            table(&HEADS, self.rows.iter().map(Row::cells));
        }
        for row in self.rows.iter().filter(|row| row.held_back()) {
            println!("{}: the load had its core in full use and a server had not; read the CPU time", row.name);
        }
        if !self.facts.is_empty() {
            table(&["figure", "value", "aim"], self.facts.iter().map(Fact::cells));
        }
    }

    /// Everything, for programs.
    pub(crate) fn json(&self) -> Value {
        let calibration = self.calibration.iter().flat_map(|calibration| &calibration.0).map(|(over, sample)| {
            json!({
                "over": over, "rate": sample.rate, "cpu_us": sample.load_busy / sample.rate * 1e6,
                "server_cpu_us": sample.cpu_us(),
            })
        });
        json!({
            "machine": self.machine, "connections": self.connections, "pinned": self.pinned,
            "load": calibration.collect::<Vec<_>>(),
            "works": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "facts": self.facts.iter().map(Fact::json).collect::<Vec<_>>(),
            "others": self.others,
        })
    }
}
