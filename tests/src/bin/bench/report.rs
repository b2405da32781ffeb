//! Samples, and figures with limits.

use std::process::ExitCode;
use std::time::Duration;

/// The samples of a measurement.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The sample below which `percent` of all samples are.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().expect("at least one sample")
    }

    /// The median.
    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }
}

/// The printed report, and whether all figures were reached.
#[derive(Debug)]
pub(crate) struct Report {
    is_reached: bool,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { is_reached: true }
    }

    /// A line of context.
    #[expect(clippy::unused_self, reason = "all that is printed goes through the report")]
    pub(crate) fn note(&self, text: &str) {
        println!("{text}");
    }

    /// A row of times, and their median in medians of `floor`.
    #[expect(clippy::unused_self, reason = "all that is printed goes through the report")]
    pub(crate) fn times(&self, what: &str, samples: &Samples, floor: &Samples) {
        println!(
            "{what:<44} p50 {:>9}  p99 {:>9}  {:>6.3} x  ({} runs)",
            shown(samples.median()),
            shown(samples.percentile(99)),
            ratio(samples.median(), floor.median()),
            samples.len()
        );
    }

    /// A figure that should be at most `limit`.
    pub(crate) fn at_most(&mut self, what: &str, value: f64, limit: f64, unit: &str) {
        self.figure(what, value, "at most", limit, unit, value <= limit);
    }

    /// A figure that should be at least `limit`.
    pub(crate) fn at_least(&mut self, what: &str, value: f64, limit: f64, unit: &str) {
        self.figure(what, value, "at least", limit, unit, value >= limit);
    }

    fn figure(&mut self, what: &str, value: f64, bound: &str, limit: f64, unit: &str, is_reached: bool) {
        self.is_reached &= is_reached;
        let verdict = if is_reached { "reached" } else { "MISSED" };
        println!("{what:<60} {value:>10.3} {unit:<7} {bound} {limit}: {verdict}");
    }

    pub(crate) fn verdict(&self) -> ExitCode {
        if self.is_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The ratio of a duration to `base`.
pub(crate) fn ratio(duration: Duration, base: Duration) -> f64 {
    duration.as_secs_f64() / base.as_secs_f64()
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn shown(duration: Duration) -> String {
    if duration < Duration::from_millis(10) {
        format!("{} µs", duration.as_micros())
    } else {
        format!("{:.1} ms", millis(duration))
    }
}
