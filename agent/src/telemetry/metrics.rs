//! The metrics page: the status at this moment in the Prometheus text format.

mod rules;

use std::{collections::BTreeMap, fs, sync::atomic::Ordering::Relaxed, time::SystemTime};

use prometheus::{
    TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use super::{limits, lists, names::Name, responses, services, status::Status};
use crate::{alert::WaitOutcome, config::keys::PRIORITIES, digests::Left};

/// The whole page.
pub fn page(status: &Status, now: std::time::Instant) -> Result<String, prometheus::Error> {
    let mut page = Page::default();
    page.agent(status, now);
    page.policy(status);
    page.detection(status);
    page.pushdown(status);
    limits::add(&mut page, &status.limits());
    services::add(&mut page, &status.services());
    responses::add(&mut page, &status.responses());
    lists::add(&mut page, &status.lists());
    page.digests(status);
    page.rules(status);
    page.containers(status);
    page.outputs(status);
    page.delivery(status);
    let mut families = page.families();
    families.sort_by(|one, other| one.name().cmp(other.name()));
    TextEncoder::new().encode_to_string(&families)
}

/// Samples by metric, in the order they were added.
#[derive(Default)]
pub(super) struct Page {
    samples: BTreeMap<&'static str, (Name, Vec<Metric>)>,
}

impl Page {
    fn digests(&mut self, status: &Status) {
        let tallies = &status.digests;
        self.add(Name::DigestsMade, &[], tallies.made.load(Relaxed));
        self.add(Name::DigestsBytes, &[], tallies.bytes.load(Relaxed));
        for left in Left::ALL {
            self.add(Name::DigestsLeftOut, &[("cause", left.name())], tallies.left(left));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "the format has only floating-point numbers")]
    pub(super) fn add(&mut self, name: Name, labels: &[(&str, &str)], value: u64) {
        self.add_f64(name, labels, value as f64);
    }

    fn add_f64(&mut self, name: Name, labels: &[(&str, &str)], value: f64) {
        let (_, kind, _) = name.info();
        let mut metric = Metric::default();
        if kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.put(name, labels, metric);
    }

    /// Times by step: upper bounds in seconds, the last of which has none, with how many are in each.
    #[expect(clippy::cast_precision_loss, reason = "the format has only floating-point numbers")]
    pub(super) fn add_histogram(
        &mut self,
        name: Name,
        labels: &[(&str, &str)],
        steps: &[(f64, u64)],
        sum_ns: u64,
    ) {
        let mut histogram = Histogram::default();
        let mut count = 0;
        let mut buckets = Vec::new();
        for (place, (bound, own)) in steps.iter().enumerate() {
            count += own;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(if place + 1 == steps.len() { f64::INFINITY } else { *bound });
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum_ns as f64 / 1e9);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.put(name, labels, metric);
    }

    fn put(&mut self, name: Name, labels: &[(&str, &str)], mut metric: Metric) {
        let (text, ..) = name.info();
        let mut pairs: Vec<LabelPair> = labels
            .iter()
            .map(|(label, value)| {
                let mut pair = LabelPair::default();
                pair.set_name((*label).to_owned());
                pair.set_value((*value).to_owned());
                pair
            })
            .collect();
        pairs.sort_by(|one, other| one.name().cmp(other.name()));
        metric.set_label(pairs);
        self.samples.entry(text).or_insert_with(|| (name, Vec::new())).1.push(metric);
    }

    pub(super) fn families(self) -> Vec<MetricFamily> {
        let family = |(name, metrics): (Name, Vec<Metric>)| {
            let (text, kind, help) = name.info();
            let mut family = MetricFamily::default();
            family.set_name(text.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family.set_metric(metrics);
            family
        };
        self.samples.into_values().map(family).collect()
    }

    fn agent(&mut self, status: &Status, now: std::time::Instant) {
        self.add(Name::FalcoVersion, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.add(Name::ScapEngine, &[("engine_name", "rampart"), ("evt_source", "syscall")], 1);
        self.add(Name::Ready, &[], u64::from(status.latches.waiting_for().is_empty()));
        if let Ok(cpus) = std::thread::available_parallelism() {
            self.add(Name::FalcoCpus, &[], cpus.get() as u64);
        }
        if let Some(bytes) = resident_bytes() {
            self.add(Name::FalcoRss, &[], bytes);
        }
        if let Some(facts) = status.facts() {
            self.add(Name::Hostname, &[("hostname", &facts.hostname)], 1);
            self.add(Name::FalcoKernelRelease, &[("kernel_release", &facts.kernel_release)], 1);
            self.add(Name::FalcoStart, &[], since_epoch_ns(facts.started));
            let running = now.saturating_duration_since(facts.started_at);
            self.add(Name::FalcoDuration, &[], running.as_secs());
        }
    }

    fn policy(&mut self, status: &Status) {
        let policy = status.policy();
        if let Some(loaded) = policy.loaded {
            self.add(Name::FalcoReload, &[], since_epoch_ns(loaded));
            self.add(Name::PolicyInfo, &[("digest", &policy.digest)], 1);
            self.add(Name::PolicyRules, &[], policy.rules as u64);
        }
        for (path, digest) in &policy.sources {
            let path = path.to_string_lossy();
            self.add(Name::FalcoRulesFiles, &[("file_name", &path), ("sha256", digest)], 1);
        }
        self.add(Name::Reloads, &[("outcome", "success")], policy.reloads);
        self.add(Name::Reloads, &[("outcome", "failure")], policy.failures);
    }

    #[expect(clippy::cast_precision_loss, reason = "the format has only floating-point numbers")]
    fn detection(&mut self, status: &Status) {
        let detection = status.detection();
        self.add(Name::Records, &[], detection.records);
        self.add(Name::RecordGaps, &[], detection.gaps);
        self.add(Name::DecodeErrors, &[], detection.decode_errors);
        self.add(Name::Evaluated, &[], detection.evaluated);
        self.add(Name::Alerts, &[], detection.alerts);
        self.add(Name::Processes, &[], detection.processes);
        self.add(Name::ScapThreads, &[], detection.processes);
        self.add(Name::ProcessEvictions, &[], detection.evictions);
        for entry in &detection.matches {
            let priority = entry.priority.to_string();
            let tags: Vec<String> = entry.tags.iter().map(|tag| tag_label(tag)).collect();
            let mut labels: Vec<(&str, &str)> =
                vec![("rule_name", &entry.rule), ("priority", &priority), ("source", &entry.source)];
            labels.extend(tags.iter().map(|tag| (tag.as_str(), "true")));
            // Two tags that differ only in characters a label cannot have would be one label twice.
            labels.sort_unstable();
            labels.dedup();
            self.add(Name::FalcoMatches, &labels, entry.count);
        }
        let (mut seen, mut ring_full, mut lost) = (0u64, 0u64, 0u64);
        for (family, counters, unexplained) in &detection.families {
            let labels = [("family", family.name())];
            self.add(Name::Seen, &labels, counters.seen);
            self.add(Name::Filtered, &labels, counters.filtered);
            self.add(Name::Counted, &labels, counters.counted);
            self.add(Name::Emitted, &labels, counters.emitted);
            self.add(Name::RingFull, &labels, counters.ring_full);
            self.add(Name::KernelErrors, &labels, counters.error);
            self.add_f64(Name::Unexplained, &labels, *unexplained as f64);
            self.add(Name::ScapDropsBuffer, &[("drop", family.name()), ("dir", "exit")], counters.ring_full);
            seen += counters.seen;
            ring_full += counters.ring_full;
            lost += counters.ring_full + counters.error;
        }
        self.add(Name::ScapEvents, &[], seen);
        self.add(Name::ScapDrops, &[], lost);
        self.add(Name::ScapDropsBuffer, &[("drop", "total"), ("dir", "exit")], ring_full);
    }

    fn pushdown(&mut self, status: &Status) {
        let detection = status.detection();
        let (judged, pushdown) = (detection.judged, detection.pushdown);
        self.add(Name::PushdownGeneration, &[], pushdown.generation);
        self.add(Name::PushdownMasks, &[("of", "call")], judged.calls);
        self.add(Name::PushdownMasks, &[("of", "process")], judged.processes);
        self.add(Name::PushdownStreams, &[], judged.streams);
        self.add(Name::PushdownFull, &[("of", "call")], pushdown.full_calls);
        self.add(Name::PushdownFull, &[("of", "process")], pushdown.full_processes);
        self.add(Name::PushdownFreshStarts, &[], pushdown.fresh_starts);
        self.add(Name::PushdownSamples, &[], judged.samples);
        self.add(Name::PushdownDisagreements, &[], judged.disagreements);
    }

    fn containers(&mut self, status: &Status) {
        let tallies = &status.lookups;
        for (outcome, count) in
            [("found", &tallies.found), ("unknown", &tallies.unknown), ("failed", &tallies.failed)]
        {
            self.add(Name::ContainerLookups, &[("outcome", outcome)], count.load(Relaxed));
        }
        self.add(Name::ContainerTimeouts, &[], tallies.timeouts.load(Relaxed));
        self.add(Name::ContainerRunning, &[], tallies.running.load(Relaxed));
        self.add(Name::PodEvents, &[], tallies.pods.load(Relaxed));
        self.add(Name::PodErrors, &[], tallies.pod_errors.load(Relaxed));
        let detection = status.detection();
        self.add(Name::Containers, &[], detection.containers.containers);
        self.add(Name::FalcoContainers, &[], detection.containers.containers);
        self.add(Name::ContainersPending, &[], detection.containers.pending);
        self.add(Name::ContainerEvictions, &[], detection.containers.evictions);
        self.add(Name::Pods, &[], detection.containers.pods);
        self.add(Name::EventsWaiting, &[], detection.waits.waiting);
        for (outcome, count) in WaitOutcome::ALL.iter().zip(detection.waits.ended) {
            self.add(Name::EventWaits, &[("outcome", outcome.name())], count);
        }
    }

    fn outputs(&mut self, status: &Status) {
        let mut full = 0;
        for tally in status.outputs() {
            let output = ("output", tally.name);
            self.add(Name::OutputWritten, &[output], tally.written);
            self.add(Name::OutputDropped, &[output, ("reason", "queue_full")], tally.dropped_full);
            self.add(Name::OutputDropped, &[output, ("reason", "write_failed")], tally.dropped_failed);
            self.add(Name::OutputFailing, &[output], u64::from(tally.failing));
            full += tally.dropped_full;
        }
        self.add(Name::FalcoQueueDrops, &[], full);
    }

    fn delivery(&mut self, status: &Status) {
        let delivery = status.delivery();
        if !delivery.is_used {
            return;
        }
        let counts = delivery.counts;
        for (outcome, count) in [
            ("kept", counts.appended),
            ("acknowledged", counts.acknowledged),
            ("failed", counts.failed),
            ("damaged", counts.damaged),
        ] {
            self.add(Name::SpoolAlerts, &[("outcome", outcome)], count);
        }
        for (priority, count) in PRIORITIES.iter().zip(counts.shed) {
            self.add(Name::SpoolShed, &[("priority", priority)], count);
        }
        self.add(Name::SpoolPending, &[], delivery.pending);
        self.add(Name::SpoolBytes, &[], delivery.bytes);
        self.add(Name::CollectorConnected, &[], u64::from(delivery.is_connected));
        if let Some(certificate) = delivery.certificate {
            self.add(Name::CertificateExpiry, &[], certificate.ends_secs);
            self.add(Name::CertificateLifetime, &[], certificate.life_secs);
        }
    }
}

/// A tag as part of a label's name, which may have only letters, digits and underscores.
fn tag_label(tag: &str) -> String {
    let clean = tag.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '_' });
    "tag_".chars().chain(clean).collect()
}

fn since_epoch_ns(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Resident memory of this process in bytes.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Instant};

    use rampart_common::{counter::FamilyCounters, event::Family};

    use super::*;
    use crate::telemetry::status::{Detection, Facts, RuleMatches, shared};

    fn filled() -> (std::sync::Arc<Status>, Instant) {
        let status = shared();
        let now = Instant::now();
        status.set_facts(Facts {
            hostname: "node-1".into(),
            kernel_release: "6.18".into(),
            started: SystemTime::UNIX_EPOCH,
            started_at: now,
        });
        let counters =
            FamilyCounters { seen: 10, filtered: 1, emitted: 6, ring_full: 2, error: 1, counted: 1 };
        status.set_detection(Detection {
            families: vec![(Family::Open, counters, 0), (Family::Net, counters, -1)],
            matches: vec![RuleMatches {
                rule: "Read \"x\"".into(),
                priority: 4,
                source: "syscall".into(),
                tags: vec!["T1555".into(), "mitre-x".into(), "mitre.x".into()],
                count: 3,
            }],
            ..Detection::default()
        });
        status.update_policy(|policy| {
            policy.loaded = Some(SystemTime::UNIX_EPOCH);
            policy.digest = "abc".into();
            policy.sources = vec![("/etc/x.yaml".into(), "def".into())];
            policy.failures = 2;
        });
        (status, now)
    }

    #[test]
    fn falco_names_labels_and_sums() {
        let (status, now) = filled();
        let page = page(&status, now).unwrap();
        let matches = "falcosecurity_falco_rules_matches_total{priority=\"4\",rule_name=\"Read \\\"x\\\"\",\
                       source=\"syscall\",tag_T1555=\"true\",tag_mitre_x=\"true\"} 3\n";
        for line in [
            matches,
            "falcosecurity_scap_n_evts_total 20\n",
            "falcosecurity_scap_n_drops_total 6\n",
            "falcosecurity_scap_n_drops_buffer_total{dir=\"exit\",drop=\"total\"} 4\n",
            "rampart_events_unexplained{family=\"net\"} -1\n",
            "rampart_policy_reloads_total{outcome=\"failure\"} 2\n",
            "rampart_policy_info{digest=\"abc\"} 1\n",
            "rampart_ready 0\n",
            "# TYPE falcosecurity_falco_rules_matches_total counter\n",
        ] {
            assert!(page.contains(line), "no {line} in\n{page}");
        }
    }

    #[test]
    fn names_are_unique_and_well_formed() {
        let names: BTreeSet<&str> = Name::ALL.iter().map(|name| name.info().0).collect();
        assert_eq!(names.len(), Name::ALL.len());
        for name in Name::ALL.iter().copied() {
            let (text, kind, help) = name.info();
            // Names that were promised without a prefix.
            let is_promised = name == Name::RateLimitExceeded
                || text.starts_with("circuit_breaker_")
                || text.starts_with("load_balancer_");
            let known = text.starts_with("rampart_") || text.starts_with("falcosecurity_");
            assert!(known || is_promised, "{text}");
            assert!(!help.is_empty() && !help.ends_with('.'), "{text}");
            if text.starts_with("rampart_") {
                assert_eq!(text.ends_with("_total"), kind == MetricType::COUNTER, "{text}");
            }
        }
    }

    #[test]
    fn own_memory_is_read() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
