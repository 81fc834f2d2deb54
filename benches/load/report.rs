//! Figures: kept by round, told as medians with their extremes, as a table and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::Args;
use super::machine;

/// One round of one server.
pub(crate) struct Sample {
    /// Requests a second.
    pub(crate) rate: f64,
    /// The server's processor time per request.
    pub(crate) cpu: Duration,
    /// The server's processor time per elapsed time: 1 is a core in full use.
    pub(crate) busy: f64,
    /// How long each answer took, in order.
    pub(crate) latencies: Vec<Duration>,
}

/// What the load can do when the server does nearly nothing.
pub(crate) struct Calibration {
    /// Requests a second.
    pub(crate) rate: f64,
    /// The load's own processor time per request.
    pub(crate) own_cpu: Duration,
}

/// All rounds of one kind of work.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) aim: &'static str,
    pub(crate) edi: Vec<Sample>,
    pub(crate) limit: Vec<Sample>,
    /// edi's memory after it.
    pub(crate) resident_kib: u64,
}

/// Everything measured.
pub(crate) struct Report {
    machine: String,
    connections: usize,
    /// Whether server and load had a core each.
    pub(crate) pinned: bool,
    /// edi's memory before any work.
    pub(crate) idle_kib: Option<u64>,
    pub(crate) calibration: Option<Calibration>,
    pub(crate) rows: Vec<Row>,
    /// What has no rounds, by name.
    pub(crate) others: serde_json::Map<String, Value>,
}

/// Median, least and greatest.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
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
        format!("{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.least, self.greatest)
    }
}

fn micros(length: Duration) -> f64 {
    length.as_secs_f64() * 1e6
}

/// The median over the rounds of what that share of a round's answers took at most, in microseconds.
fn within(samples: &[Sample], per_mille: usize) -> f64 {
    let of_round = |sample: &Sample| {
        let last = sample.latencies.len().saturating_sub(1);
        sample.latencies.get(last * per_mille / 1000).copied().map_or(f64::NAN, micros)
    };
    Spread::of(samples.iter().map(of_round)).median
}

fn server(samples: &[Sample]) -> Value {
    json!({
        "rate": Spread::of(samples.iter().map(|sample| sample.rate)).json(),
        "cpu_us": Spread::of(samples.iter().map(|sample| micros(sample.cpu))).json(),
        "busy_cores": Spread::of(samples.iter().map(|sample| sample.busy)).json(),
        "p50_us": within(samples, 500),
        "p99_us": within(samples, 990),
        "p999_us": within(samples, 999),
    })
}

impl Row {
    /// edi's rate as a part of the limit server's in the same round.
    fn rate(&self) -> Spread {
        Spread::of(self.edi.iter().zip(&self.limit).map(|(edi, limit)| edi.rate / limit.rate))
    }

    /// edi's processor time as a multiple of the limit server's in the same round.
    fn cpu(&self) -> Spread {
        Spread::of(self.edi.iter().zip(&self.limit).map(|(edi, limit)| micros(edi.cpu) / micros(limit.cpu)))
    }

    fn cells(&self) -> [String; 11] {
        let median = |samples: &[Sample], value: fn(&Sample) -> f64| Spread::of(samples.iter().map(value)).median;
        [
            self.name.clone(),
            format!("{:.0}", median(&self.edi, |sample| sample.rate)),
            format!("{:.0}", median(&self.limit, |sample| sample.rate)),
            self.rate().text(2),
            format!("{:.1}", median(&self.edi, |sample| micros(sample.cpu))),
            format!("{:.1}", median(&self.limit, |sample| micros(sample.cpu))),
            self.cpu().text(2),
            format!("{:.0} / {:.0} / {:.0}", within(&self.edi, 500), within(&self.edi, 990), within(&self.edi, 999)),
            format!(
                "{:.0} / {:.0} / {:.0}",
                within(&self.limit, 500),
                within(&self.limit, 990),
                within(&self.limit, 999)
            ),
            format!("{:.1}", self.resident_kib as f64 / 1024.0),
            self.aim.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "work": self.name, "aim": self.aim, "rounds": self.edi.len(), "edi": server(&self.edi),
            "limit": server(&self.limit), "rate_ratio": self.rate().json(), "cpu_ratio": self.cpu().json(),
            "resident_kib": self.resident_kib,
        })
    }
}

const HEADS: [&str; 11] = [
    "work",
    "edi/s",
    "limit/s",
    "rate edi:limit",
    "edi CPU us",
    "limit CPU us",
    "CPU edi:limit",
    "edi p50/p99/p99.9 us",
    "limit p50/p99/p99.9 us",
    "RSS MiB",
    "aim",
];

impl Report {
    /// An empty one.
    pub(crate) fn new(args: &Args) -> Self {
        Self {
            machine: machine::description(),
            connections: args.connections,
            pinned: false,
            idle_kib: None,
            calibration: None,
            rows: Vec::new(),
            others: serde_json::Map::new(),
        }
    }

    /// The table.
    pub(crate) fn print(&self) {
        let placed = if self.pinned { "server and load on a core each" } else { "not pinned" };
        println!("{}; {} connections, {placed}", self.machine, self.connections);
        if let Some(Calibration { rate, own_cpu }) = &self.calibration {
            let own = micros(*own_cpu);
            println!("load alone: {rate:.0}/s against a fixed answer, at {own:.1} us of its own CPU a request");
        }
        if let Some(idle) = self.idle_kib {
            println!("edi idle: {:.1} MiB", idle as f64 / 1024.0);
        }
        let rows: Vec<[String; 11]> =
            std::iter::once(HEADS.map(str::to_owned)).chain(self.rows.iter().map(Row::cells)).collect();
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

    /// Everything, for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "machine": self.machine, "connections": self.connections, "pinned": self.pinned,
            "idle_kib": self.idle_kib,
            "load": self.calibration.as_ref().map(|load| json!({ "rate": load.rate, "cpu_us": micros(load.own_cpu) })),
            "works": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "others": self.others,
        })
    }
}
