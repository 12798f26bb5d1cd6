//! The figures of one run: for people as text, for programs as JSON under names that stay.
//!
//! Names are never changed or given another meaning; new ones may come. A change that must break this raises
//! [`SCHEMA`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::cli::{Durability, Leaders, LogWriter, Loop, Machine, Mix, Options};
use crate::driver::Troubles;
pub(crate) use crate::environment::Environment;
use crate::error::BenchError;
use crate::histogram::Recorder;
use crate::measure::{Window, ratio, to_f64};
use crate::verify::Verdict;

/// The version of the JSON.
pub(crate) const SCHEMA: u32 = 1;

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Latency {
    fn of(recorder: &Recorder) -> Self {
        let all = recorder.total();
        let at = |quantile| all.value_at_quantile(quantile);
        Self {
            mean: all.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: all.max(),
        }
    }
}

/// Everything a run has to say. `null` in JSON is what could not be measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) ops_per_s: f64,
    pub(crate) writes_per_s: f64,
    pub(crate) reads_per_s: f64,
    pub(crate) latency_us: Latency,
    pub(crate) cpu_us_per_op: Option<f64>,
    pub(crate) disk_bytes_per_op: Option<f64>,
    /// Per replica.
    pub(crate) log_bytes_per_payload_byte: Option<f64>,
    /// Of all nodes together.
    pub(crate) syncs_per_s: Option<f64>,
    pub(crate) messages_per_op: Option<f64>,
    pub(crate) allocations_per_op: Option<f64>,
    /// Requests that ended in anything but success.
    pub(crate) errors: u64,
    pub(crate) troubles: Troubles,
    pub(crate) reads_found: u64,
    pub(crate) verified: bool,
    pub(crate) verification: Verdict,
    pub(crate) mode: &'static str,
    pub(crate) nodes: usize,
    pub(crate) groups: u64,
    pub(crate) active_groups: u32,
    pub(crate) value_size: usize,
    pub(crate) key_size: Option<usize>,
    pub(crate) keys: Option<u32>,
    pub(crate) machine: Machine,
    pub(crate) durability: Durability,
    pub(crate) log_writer: LogWriter,
    pub(crate) leaders: Leaders,
    #[serde(rename = "loop")]
    pub(crate) kind: &'static str,
    pub(crate) pipeline: Option<u32>,
    pub(crate) rate: Option<f64>,
    pub(crate) clients: u32,
    pub(crate) threads: usize,
    pub(crate) mix: Mix,
    pub(crate) duration_s: f64,
    pub(crate) warmup_s: f64,
    pub(crate) requests: u64,
    pub(crate) seed: u64,
    /// Microseconds of processor time per request, by thread name.
    pub(crate) cpu_us_per_op_by_thread: BTreeMap<String, f64>,
    /// What the engine counted in the window, all nodes together.
    pub(crate) engine: BTreeMap<String, u64>,
    pub(crate) git_revision: &'static str,
    pub(crate) environment: Environment,
    pub(crate) command: Vec<String>,
}

/// What a run brings home.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) nodes: usize,
    pub(crate) window: Window,
    pub(crate) latencies: Recorder,
    pub(crate) troubles: Troubles,
    pub(crate) reads_found: u64,
    pub(crate) verdict: Verdict,
    /// Whether the nodes ran in this process, so that its use of the machine is theirs.
    pub(crate) embedded: bool,
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        results: &Results,
        environment: Environment,
        command: Vec<String>,
    ) -> Self {
        let Results { nodes, window, .. } = results;
        let own = |amount: u64| results.embedded.then(|| window.per_request(amount));
        let kv = options.machine == Machine::Kv;
        let per_payload_byte = window
            .counter("log_bytes")
            .zip(window.counter("payload_bytes").filter(|&bytes| bytes > 0))
            .map(|(log, payload)| ratio(log, payload) / to_f64(*nodes as u64));
        let threads = window.process.cpu_by_thread.iter().filter(|&(_, &cpu)| cpu > 0);
        Self {
            schema: SCHEMA,
            ops_per_s: window.per_second(window.requests()),
            writes_per_s: window.per_second(window.writes),
            reads_per_s: window.per_second(window.reads),
            latency_us: Latency::of(&results.latencies),
            cpu_us_per_op: own(window.process.cpu_micros),
            disk_bytes_per_op: window.process.disk_bytes.and_then(own),
            log_bytes_per_payload_byte: per_payload_byte,
            syncs_per_s: window.counter("syncs").map(|n| {
                // The engine counts the writes of its log; without durability none of them is synced.
                if options.durability == Durability::Fsync { window.per_second(n) } else { 0.0 }
            }),
            messages_per_op: window.counter("messages_out").map(|n| window.per_request(n)),
            allocations_per_op: own(window.process.allocations),
            errors: results.troubles.errors(),
            troubles: results.troubles,
            reads_found: results.reads_found,
            verified: results.verdict.verified,
            verification: results.verdict.clone(),
            mode: if results.embedded { "embedded" } else { "endpoints" },
            nodes: *nodes,
            groups: options.groups,
            active_groups: options.active_groups,
            value_size: options.value_size,
            key_size: kv.then_some(options.key_size),
            keys: kv.then_some(options.keys),
            machine: options.machine,
            durability: options.durability,
            log_writer: options.log_writer,
            leaders: options.leaders,
            kind: match options.pace {
                Loop::Closed { .. } => "closed",
                Loop::Open { .. } => "open",
            },
            pipeline: match options.pace {
                Loop::Closed { pipeline } => Some(pipeline),
                Loop::Open { .. } => None,
            },
            rate: match options.pace {
                Loop::Closed { .. } => None,
                Loop::Open { rate } => Some(rate),
            },
            clients: options.clients,
            threads: options.threads,
            mix: options.mix,
            duration_s: window.seconds,
            warmup_s: options.warmup.as_secs_f64(),
            requests: window.requests(),
            seed: options.seed,
            cpu_us_per_op_by_thread: threads
                .map(|(name, &cpu)| (name.clone(), window.per_request(cpu)))
                .collect(),
            engine: window.engine.clone(),
            git_revision: environment.git_revision,
            environment,
            command,
        }
    }

    /// The report for people; `color` when it goes to a terminal.
    pub(crate) fn text(&self, color: bool) -> String {
        let mut text = String::new();
        self.write_text(&mut text, color).expect("a string takes everything");
        text
    }

    fn write_text(&self, out: &mut String, color: bool) -> std::fmt::Result {
        let paint = |code: &str, text: &str| -> String {
            if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let durability = match self.durability {
            Durability::Fsync => "synced".to_owned(),
            Durability::Os => paint("1;31", "NOT SYNCED (durability os: lost with the machine)"),
            Durability::None => {
                paint("1;31", "NOT SYNCED (durability none: lost with the process)")
            }
        };
        let of = if self.active_groups as u64 == self.groups {
            format!("{} groups", self.groups)
        } else {
            format!("{} of {} groups active", self.active_groups, self.groups)
        };
        let machine = format!("{:?}", self.machine).to_lowercase();
        writeln!(
            out,
            "{} nodes ({}), machine {machine}, {of}, {} B values, {durability}",
            self.nodes, self.mode, self.value_size
        )?;
        let pace = match (self.pipeline, self.rate) {
            (Some(pipeline), _) => format!("{} clients x {pipeline} under way", self.clients),
            (_, Some(rate)) => format!("{rate} requests/s whatever comes back"),
            (None, None) => String::new(),
        };
        writeln!(
            out,
            "{} loop: {pace}; mix {}; {} thread(s); seed {}; on {}",
            self.kind, self.mix, self.threads, self.seed, self.environment.filesystem
        )?;
        writeln!(out)?;
        self.write_figures(out)?;
        let verdict = &self.verification;
        let (exact, writes) =
            (if verdict.exact { "" } else { " (some outcomes unknown)" }, verdict.writes_checked);
        if self.verified {
            writeln!(
                out,
                "  verified      yes: {} acknowledged writes are there, replicas equal{exact}",
                thousands(writes)
            )?;
        } else {
            let no = paint("1;31", "NO");
            writeln!(out, "  verified      {no}: {} faults{exact}", verdict.faults)?;
            for fault in &verdict.first_faults {
                writeln!(out, "                {fault}")?;
            }
        }
        Ok(())
    }

    fn write_figures(&self, out: &mut String) -> std::fmt::Result {
        let l = &self.latency_us;
        writeln!(
            out,
            "  throughput    {} ops/s over {:.1} s",
            grouped(self.ops_per_s),
            self.duration_s
        )?;
        if self.mix.get > 0 {
            let (writes, reads) = (grouped(self.writes_per_s), grouped(self.reads_per_s));
            writeln!(out, "                {writes} writes/s, {reads} reads/s")?;
        }
        let [p50, p90, p99, p999, max] = [l.p50, l.p90, l.p99, l.p999, l.max].map(duration);
        writeln!(
            out,
            "  latency       p50 {p50}   p90 {p90}   p99 {p99}   p99.9 {p999}   max {max}"
        )?;
        let mut line = |name: &str, value: Option<f64>, what: &str| match value {
            Some(value) => writeln!(out, "  {name:13} {value:.3} {what}"),
            None => Ok(()),
        };
        line("cpu", self.cpu_us_per_op, "us/op, whole process")?;
        line("disk", self.disk_bytes_per_op, "B/op, whole process")?;
        line("log", self.log_bytes_per_payload_byte, "B per payload byte and replica")?;
        line("syncs", self.syncs_per_s, "/s, all nodes")?;
        line("messages", self.messages_per_op, "/op, all nodes")?;
        line("allocations", self.allocations_per_op, "/op, whole process")?;
        let mut threads: Vec<_> = self.cpu_us_per_op_by_thread.iter().collect();
        threads.sort_by(|a, b| b.1.total_cmp(a.1));
        let threads: Vec<_> =
            threads.iter().take(8).map(|(name, cpu)| format!("{name} {cpu:.3}")).collect();
        if !threads.is_empty() && self.mode == "embedded" {
            writeln!(out, "  cpu us/op by  {}", threads.join("  "))?;
        }
        let t = &self.troubles;
        writeln!(
            out,
            "  errors        {} (repeated: {} not leader, {} busy, {} transferring; {} inbox full)",
            self.errors, t.not_leader, t.busy, t.transferring, t.inbox_full
        )
    }
}

/// 1234567.8 as `1,234,568`.
pub(crate) fn grouped(number: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate, for people"
    )]
    thousands(number.round() as u64)
}

/// 1234567 as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds with a fitting unit.
pub(crate) fn duration(micros: u64) -> String {
    let micros = to_f64(micros);
    if micros < 1_000.0 {
        format!("{micros:.0} us")
    } else if micros < 1_000_000.0 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

/// Writes `value` as JSON, with a newline at the end.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), BenchError> {
    let refused = |why: String| BenchError::Report { path: path.to_owned(), why };
    let mut text = serde_json::to_string_pretty(value).map_err(|e| refused(e.to_string()))?;
    text.push('\n');
    std::fs::write(path, text).map_err(|e| refused(e.to_string()))
}

#[cfg(test)]
mod tests;
