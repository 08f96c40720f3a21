//! What the collector says about itself: logs on standard error, and metrics.

use std::collections::BTreeMap;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector, proto::MetricFamily,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

use crate::{
    config::Config,
    traces::{Pipe, TARGET, WithIds},
};

/// Bounds of the histogram of transactions, seconds.
const SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// What may become of a try to tell.
const OUTCOMES: [&str; 3] = ["delivered", "retried", "dead"];

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// When certificates end: `server`, `authority`.
    pub certificate_expiry: IntGaugeVec,
    /// Alerts stored.
    pub stored: IntCounter,
    /// Alerts that were there already.
    pub duplicates: IntCounter,
    /// Alerts that no store would take, by what is wrong with them.
    pub rejected: IntCounterVec,
    /// Transactions that failed.
    pub store_errors: IntCounter,
    /// Time of a transaction.
    pub transaction_seconds: Histogram,
    /// Streams of agents.
    pub sessions: IntGauge,
    /// Tries to tell, by channel and outcome.
    pub notifications: IntCounterVec,
    /// Requests for certificates, by outcome.
    pub enrolments: IntCounterVec,
    /// Logins, by outcome.
    pub logins: IntCounterVec,
    /// Alerts removed because they were kept long enough.
    pub trimmed: IntCounter,
    /// Alerts that watchers were too slow for.
    pub feed_missed: IntCounter,
    /// Things of the bus that were not kept, by reason; all of them are in the store.
    pub bus_dropped: IntCounterVec,
    /// Things to tell that nobody came for, and that were put onto the bus again.
    pub bus_recovered: IntCounter,
    /// Calls of the bus that failed.
    pub bus_errors: IntCounter,
    /// Rollouts that ended, by outcome.
    pub rollouts: IntCounterVec,
    /// Whether one is under way.
    pub rollout_under_way: IntGauge,
    /// Its step, from 1.
    pub rollout_step: IntGauge,
    /// Nodes that it has chosen, by how they are; of the collector that decides.
    pub rollout_nodes: IntGaugeVec,
    /// Size of the store.
    pub store_bytes: IntGauge,
    /// Nodes heard of within three heartbeats.
    pub nodes_active: IntGauge,
    /// Jobs by state.
    pub jobs: IntGaugeVec,
    /// What became of jobs that were given out.
    pub job_reports: IntCounterVec,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let counters =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(counter.clone()))?;
                Ok(counter)
            };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let seconds = HistogramOpts::new(
            "rampart_collector_transaction_duration_seconds",
            "Time that a transaction of alerts took, the disk included",
        );
        let transaction_seconds = Histogram::with_opts(seconds.buckets(SECONDS.to_vec()))?;
        registry.register(Box::new(transaction_seconds.clone()))?;
        let jobs = Opts::new("rampart_collector_jobs", "Jobs for nodes that wait or run, by state");
        let jobs = IntGaugeVec::new(jobs, &["state"])?;
        registry.register(Box::new(jobs.clone()))?;
        let job_reports = counters(
            "rampart_collector_job_attempts_total",
            "What became of jobs that were given out: done, waiting (tried again), dead (given up), stale (it was not the \
             node's any more)",
            &["outcome"],
        )?;
        // There from the start, or the first one would not show as an increase.
        for outcome in ["done", "waiting", "dead", "stale"] {
            job_reports.with_label_values(&[outcome]).reset();
        }
        let rollout_nodes = IntGaugeVec::new(
            Opts::new(
                "rampart_collector_rollout_nodes",
                "Nodes that the rollout under way has chosen, by how they are; of the collector that decides",
            ),
            &["state"],
        )?;
        registry.register(Box::new(rollout_nodes.clone()))?;
        let rollouts = counters(
            "rampart_collector_rollouts_total",
            "Rollouts of policy bundles that ended without a person, by outcome",
            &["outcome"],
        )?;
        // There from the start, or the first one would not show as an increase.
        for outcome in ["done", "rolled_back"] {
            rollouts.with_label_values(&[outcome]).reset();
        }
        let certificate_expiry = IntGaugeVec::new(
            Opts::new(
                "rampart_collector_certificate_expiry_timestamp_seconds",
                "When the certificate that the servers show and that of the authority end, seconds since the epoch",
            ),
            &["certificate"],
        )?;
        registry.register(Box::new(certificate_expiry.clone()))?;
        Ok(Self {
            certificate_expiry,
            stored: counter("rampart_collector_alerts_stored_total", "Alerts stored")?,
            duplicates: counter(
                "rampart_collector_alerts_duplicate_total",
                "Alerts that came again and were there already",
            )?,
            rejected: counters(
                "rampart_collector_alerts_rejected_total",
                "Alerts that are not valid, by reason",
                &["reason"],
            )?,
            store_errors: counter("rampart_collector_store_errors_total", "Transactions that failed")?,
            transaction_seconds,
            sessions: gauge("rampart_collector_sessions", "Streams of agents")?,
            notifications: counters(
                "rampart_collector_notifications_total",
                "Tries to tell of an alert, by channel and outcome",
                &["channel", "outcome"],
            )?,
            enrolments: counters(
                "rampart_collector_enrolments_total",
                "Requests for certificates of agents, by outcome",
                &["outcome"],
            )?,
            logins: counters("rampart_collector_logins_total", "Logins, by outcome", &["outcome"])?,
            trimmed: counter("rampart_collector_alerts_trimmed_total", "Alerts removed by retention")?,
            feed_missed: counter(
                "rampart_collector_feed_missed_total",
                "Alerts of the live feed that a watcher was too slow for",
            )?,
            bus_dropped: counters(
                "rampart_collector_bus_dropped_total",
                "Things to tell that the bus did not keep, by reason; they are told from the store",
                &["reason"],
            )?,
            bus_recovered: counter(
                "rampart_collector_bus_recovered_total",
                "Things to tell that nobody came for, put onto the bus again",
            )?,
            bus_errors: counter("rampart_collector_bus_errors_total", "Calls of the bus that failed")?,
            rollouts,
            rollout_under_way: gauge(
                "rampart_collector_rollout_under_way",
                "Whether a rollout of a policy bundle is under way",
            )?,
            rollout_step: gauge(
                "rampart_collector_rollout_step",
                "The step it is at, from 1; 0 without one",
            )?,
            rollout_nodes,
            store_bytes: gauge("rampart_collector_store_bytes", "Size of the store")?,
            jobs,
            job_reports,
            nodes_active: gauge("rampart_collector_nodes_active", "Nodes heard of within three heartbeats")?,
            registry,
        })
    }

    /// What became of tries to tell, by channel and outcome, since the collector started.
    pub fn told_by_channel(&self) -> BTreeMap<String, BTreeMap<&'static str, u64>> {
        let mut told: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
        for metric in self.notifications.collect().iter().flat_map(MetricFamily::get_metric) {
            let label = |name: &str| metric.get_label().iter().find(|pair| pair.name() == name);
            let (Some(channel), Some(outcome)) = (label("channel"), label("outcome")) else { continue };
            let counts =
                told.entry(channel.value().to_owned()).or_insert_with(|| OUTCOMES.map(|one| (one, 0)).into());
            if let Some(count) = counts.get_mut(outcome.value()) {
                *count = metric.get_counter().get_value() as u64;
            }
        }
        told
    }

    /// Shows further counters.
    pub fn show(&self, counters: IntCounterVec) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(counters))
    }

    /// The page in the Prometheus text format.
    pub fn page(&self) -> Result<String, prometheus::Error> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }
}

/// Starts logging, and what makes spans where they are wanted: their end of the pipe. A second call leaves logging as it is.
pub fn init(config: &Config) -> Result<Option<Pipe>, prometheus::Error> {
    let pipe = config.traces.clone().map(Pipe::new).transpose()?;
    let traces = pipe.as_ref().map(|pipe| {
        // What is logged about trouble becomes an event of the span it happened in.
        let wanted = Targets::new()
            .with_target(TARGET, LevelFilter::INFO)
            .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::WARN);
        tracing_opentelemetry::layer()
            .with_tracer(pipe.tracer())
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(wanted)
    });
    let filter = EnvFilter::new(format!("warn,{}={}", env!("CARGO_CRATE_NAME"), config.log_level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = if config.is_log_json {
        lines.json().flatten_event(true).map_event_format(WithIds).with_filter(filter).boxed()
    } else {
        lines.with_ansi(false).map_event_format(WithIds).with_filter(filter).boxed()
    };
    if let Err(error) = registry().with(traces).with(lines).try_init() {
        tracing::debug!(%error, "Logging was already set up");
    }
    Ok(pipe)
}
