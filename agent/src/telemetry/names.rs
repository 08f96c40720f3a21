//! Every metric in one place: its name, its kind and its one-line meaning.
//!
//! Names that Falco has are Falco's, so that dashboards made for it work; the rest start with `rampart_`.

use prometheus::proto::MetricType;

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// Version of the agent.
    FalcoVersion,
    /// Digest of each rule file.
    FalcoRulesFiles,
    /// When the agent started.
    FalcoStart,
    /// When the rules were loaded last.
    FalcoReload,
    /// How long the agent has been running.
    FalcoDuration,
    /// Kernel release.
    FalcoKernelRelease,
    /// CPUs of the machine.
    FalcoCpus,
    /// Matches by rule.
    FalcoMatches,
    /// Resident memory.
    FalcoRss,
    /// Alerts lost in full queues.
    FalcoQueueDrops,
    /// Engine in use.
    ScapEngine,
    /// Events that the programs saw and wanted.
    ScapEvents,
    /// Events lost.
    ScapDrops,
    /// Events lost because the ring was full.
    ScapDropsBuffer,
    /// Threads known.
    ScapThreads,
    /// Name of the machine.
    Hostname,
    /// Events seen, by family.
    Seen,
    /// Events rejected in the kernel, by family.
    Filtered,
    /// Events written to the ring, by family.
    Emitted,
    /// Events lost to a full ring, by family.
    RingFull,
    /// Events lost for other reasons, by family.
    KernelErrors,
    /// What the accounting equation leaves open, by family.
    Unexplained,
    /// Records received.
    Records,
    /// Sequence numbers that did not arrive.
    RecordGaps,
    /// Records that could not be decoded.
    DecodeErrors,
    /// Events evaluated against the rules.
    Evaluated,
    /// Alerts made.
    Alerts,
    /// Alerts written, by output.
    OutputWritten,
    /// Alerts lost, by output and reason.
    OutputDropped,
    /// Whether an output fails now.
    OutputFailing,
    /// Processes remembered.
    Processes,
    /// Processes forgotten for want of room.
    ProcessEvictions,
    /// Reloads, by outcome.
    Reloads,
    /// The policy in force.
    PolicyInfo,
    /// Rules in force.
    PolicyRules,
    /// Look-ups of containers, by outcome.
    ContainerLookups,
    /// Questions to container runtimes without an answer.
    ContainerTimeouts,
    /// Look-ups under way.
    ContainerRunning,
    /// Containers remembered.
    Containers,
    /// Containers whose metadata is awaited.
    ContainersPending,
    /// Containers and pods forgotten.
    ContainerEvictions,
    /// Pods of the node.
    Pods,
    /// Changes of pods.
    PodEvents,
    /// Faults of the watch.
    PodErrors,
    /// Events that wait for metadata.
    EventsWaiting,
    /// Waits for metadata, by outcome.
    EventWaits,
    /// Containers, under Falco's name.
    FalcoContainers,
    /// Number of the plan in force.
    PushdownGeneration,
    /// Masks computed for the kernel.
    PushdownMasks,
    /// Masks without room.
    PushdownFull,
    /// Fresh starts for lack of room.
    PushdownFreshStarts,
    /// Rejected events judged as samples.
    PushdownSamples,
    /// Samples that a rule matched.
    PushdownDisagreements,
    /// Number of the services' tables in force.
    ServicesGeneration,
    /// Services in panic.
    ServicePanic,
    /// Tier in use of a service.
    ServiceTier,
    /// Connections and datagrams to services.
    ServiceRequests,
    /// Connect latencies of backends.
    ConnectSeconds,
    /// Connections of a backend.
    BackendConnections,
    /// Backends that are up.
    BackendUp,
    /// Ends of connections of a backend.
    BackendEnds,
    /// Connections to a backend that were ended because it is left out.
    BackendDrained,
    /// State of a breaker.
    BreakerState,
    /// Times that a breaker opened.
    BreakerOpens,
    /// Number of the rate limits in force.
    LimitsGeneration,
    /// Places where rate limits are attached.
    LimitsAttached,
    /// Packets that the rate limiter judged.
    LimitsPackets,
    /// Their bytes.
    LimitsBytes,
    /// Malformed packets that the rate limiter saw.
    LimitsDefects,
    /// Packets that the rate limiter was to answer by a reset.
    LimitsResets,
    /// Verdicts that the rate limiter sent as samples.
    LimitsSamples,
    /// Lists and grants made while the agent runs.
    LimitsEntries,
    /// Sources that have used up a quota.
    LimitsUsedUp,
    /// What each class has of its rate.
    LimitsScale,
    /// How near the node is to the nearest threshold.
    LimitsStress,
    /// Alerts of the rate limiter that found no room.
    LimitsAlertsDropped,
    /// Packets over a limit.
    RateLimitExceeded,
    /// Trials of a rule.
    RuleCandidates,
    /// Time that a rule took.
    RuleSeconds,
    /// Rules left out.
    RuleShed,
    /// Time that the rules took, by family.
    FamilySeconds,
    /// CPU budget of a family.
    Budget,
    /// What a family took of it.
    BudgetUsed,
    /// Times a rule was left out.
    BudgetSheds,
    /// Times a rule came back.
    BudgetReturns,
    /// Alerts in the spool, by what became of them.
    SpoolAlerts,
    /// Alerts dropped from the spool, by priority.
    SpoolShed,
    /// Alerts that wait in the spool.
    SpoolPending,
    /// Size of the spool.
    SpoolBytes,
    /// Whether the collector is reached.
    CollectorConnected,
    /// Whether the agent is ready.
    Ready,
}

impl Name {
    /// Every metric.
    pub const ALL: [Self; 91] = [
        Self::FalcoVersion,
        Self::FalcoRulesFiles,
        Self::FalcoStart,
        Self::FalcoReload,
        Self::FalcoDuration,
        Self::FalcoKernelRelease,
        Self::FalcoCpus,
        Self::FalcoMatches,
        Self::FalcoRss,
        Self::FalcoQueueDrops,
        Self::ScapEngine,
        Self::ScapEvents,
        Self::ScapDrops,
        Self::ScapDropsBuffer,
        Self::ScapThreads,
        Self::Hostname,
        Self::Seen,
        Self::Filtered,
        Self::Emitted,
        Self::RingFull,
        Self::KernelErrors,
        Self::Unexplained,
        Self::Records,
        Self::RecordGaps,
        Self::DecodeErrors,
        Self::Evaluated,
        Self::Alerts,
        Self::OutputWritten,
        Self::OutputDropped,
        Self::OutputFailing,
        Self::Processes,
        Self::ProcessEvictions,
        Self::Reloads,
        Self::PolicyInfo,
        Self::PolicyRules,
        Self::ContainerLookups,
        Self::ContainerTimeouts,
        Self::ContainerRunning,
        Self::Containers,
        Self::ContainersPending,
        Self::ContainerEvictions,
        Self::Pods,
        Self::PodEvents,
        Self::PodErrors,
        Self::EventsWaiting,
        Self::EventWaits,
        Self::FalcoContainers,
        Self::PushdownGeneration,
        Self::PushdownMasks,
        Self::PushdownFull,
        Self::PushdownFreshStarts,
        Self::PushdownSamples,
        Self::PushdownDisagreements,
        Self::ServicesGeneration,
        Self::ServicePanic,
        Self::ServiceTier,
        Self::ServiceRequests,
        Self::ConnectSeconds,
        Self::BackendConnections,
        Self::BackendUp,
        Self::BackendEnds,
        Self::BackendDrained,
        Self::BreakerState,
        Self::BreakerOpens,
        Self::LimitsGeneration,
        Self::LimitsAttached,
        Self::LimitsPackets,
        Self::LimitsBytes,
        Self::LimitsDefects,
        Self::LimitsResets,
        Self::LimitsSamples,
        Self::LimitsEntries,
        Self::LimitsUsedUp,
        Self::LimitsScale,
        Self::LimitsStress,
        Self::LimitsAlertsDropped,
        Self::RateLimitExceeded,
        Self::RuleCandidates,
        Self::RuleSeconds,
        Self::RuleShed,
        Self::FamilySeconds,
        Self::Budget,
        Self::BudgetUsed,
        Self::BudgetSheds,
        Self::BudgetReturns,
        Self::SpoolAlerts,
        Self::SpoolShed,
        Self::SpoolPending,
        Self::SpoolBytes,
        Self::CollectorConnected,
        Self::Ready,
    ];

    /// Name, kind and meaning.
    pub const fn info(self) -> (&'static str, MetricType, &'static str) {
        use MetricType::{COUNTER, GAUGE, HISTOGRAM};
        match self {
            Self::FalcoVersion => ("falcosecurity_falco_version_info", GAUGE, "Version of the agent"),
            Self::FalcoRulesFiles => {
                ("falcosecurity_falco_sha256_rules_files_info", GAUGE, "Digest of each rule file in force")
            }
            Self::FalcoStart => (
                "falcosecurity_falco_start_timestamp_nanoseconds",
                GAUGE,
                "Start of the agent, since the epoch",
            ),
            Self::FalcoReload => (
                "falcosecurity_falco_reload_timestamp_nanoseconds",
                GAUGE,
                "Last load of the rules, since the epoch",
            ),
            Self::FalcoDuration => {
                ("falcosecurity_falco_duration_seconds_total", COUNTER, "Time since the start of the agent")
            }
            Self::FalcoKernelRelease => {
                ("falcosecurity_falco_kernel_release_info", GAUGE, "Release of the running kernel")
            }
            Self::FalcoCpus => ("falcosecurity_falco_host_num_cpus_total", GAUGE, "CPUs the agent may use"),
            Self::FalcoMatches => {
                ("falcosecurity_falco_rules_matches_total", COUNTER, "Events that a rule matched")
            }
            Self::FalcoRss => ("falcosecurity_falco_memory_rss_bytes", GAUGE, "Resident memory of the agent"),
            Self::FalcoQueueDrops => (
                "falcosecurity_falco_outputs_queue_num_drops_total",
                COUNTER,
                "Alerts dropped because an output's queue was full",
            ),
            Self::ScapEngine => ("falcosecurity_scap_engine_name_info", GAUGE, "Event source in use"),
            Self::ScapEvents => {
                ("falcosecurity_scap_n_evts_total", COUNTER, "Events that reached the kernel programs")
            }
            Self::ScapDrops => {
                ("falcosecurity_scap_n_drops_total", COUNTER, "Events lost in the kernel, for any reason")
            }
            Self::ScapDropsBuffer => {
                ("falcosecurity_scap_n_drops_buffer_total", COUNTER, "Events lost because the ring was full")
            }
            Self::ScapThreads => ("falcosecurity_scap_n_threads_total", GAUGE, "Processes remembered"),
            Self::Hostname => ("falcosecurity_evt_hostname_info", GAUGE, "Name of the node in alerts"),
            Self::Seen => {
                ("rampart_events_seen_total", COUNTER, "Events that reached the kernel programs, by family")
            }
            Self::Filtered => (
                "rampart_events_filtered_total",
                COUNTER,
                "Events rejected in the kernel on purpose, by family",
            ),
            Self::Emitted => {
                ("rampart_events_emitted_total", COUNTER, "Events written to the ring, by family")
            }
            Self::RingFull => (
                "rampart_events_ring_full_total",
                COUNTER,
                "Events lost because the ring was full, by family",
            ),
            Self::KernelErrors => (
                "rampart_events_error_total",
                COUNTER,
                "Events lost in the kernel for another reason, by family",
            ),
            Self::Unexplained => (
                "rampart_events_unexplained",
                GAUGE,
                "Events seen that no counter explains, by family; 0 when all is well",
            ),
            Self::Records => ("rampart_records_total", COUNTER, "Records taken from the ring"),
            Self::RecordGaps => (
                "rampart_record_gaps",
                GAUGE,
                "Sequence numbers that did not arrive; each is also counted in the kernel",
            ),
            Self::DecodeErrors => {
                ("rampart_record_decode_errors_total", COUNTER, "Records that could not be decoded")
            }
            Self::Evaluated => {
                ("rampart_events_evaluated_total", COUNTER, "Events evaluated against the rules")
            }
            Self::Alerts => ("rampart_alerts_total", COUNTER, "Alerts made"),
            Self::OutputWritten => ("rampart_output_written_total", COUNTER, "Alerts written, by output"),
            Self::OutputDropped => {
                ("rampart_output_dropped_total", COUNTER, "Alerts lost, by output and reason")
            }
            Self::OutputFailing => ("rampart_output_failing", GAUGE, "1 while writing to the output fails"),
            Self::Processes => ("rampart_processes", GAUGE, "Processes remembered"),
            Self::ProcessEvictions => {
                ("rampart_process_evictions_total", COUNTER, "Processes forgotten to make room")
            }
            Self::Reloads => ("rampart_policy_reloads_total", COUNTER, "Reloads of the rules, by outcome"),
            Self::PolicyInfo => ("rampart_policy_info", GAUGE, "Digest of the rules in force"),
            Self::PolicyRules => ("rampart_policy_rules", GAUGE, "Rules in force"),
            Self::ContainerLookups => {
                ("rampart_container_lookups_total", COUNTER, "Look-ups of containers that ended, by outcome")
            }
            Self::ContainerTimeouts => (
                "rampart_container_lookup_timeouts_total",
                COUNTER,
                "Questions to container runtimes without an answer in time",
            ),
            Self::ContainerRunning => {
                ("rampart_container_lookups_running", GAUGE, "Look-ups of containers under way")
            }
            Self::Containers => ("rampart_containers", GAUGE, "Containers remembered"),
            Self::ContainersPending => {
                ("rampart_containers_pending", GAUGE, "Containers whose metadata is awaited")
            }
            Self::ContainerEvictions => {
                ("rampart_container_evictions_total", COUNTER, "Containers and pods forgotten to make room")
            }
            Self::Pods => ("rampart_pods", GAUGE, "Pods of this node that the API server told of"),
            Self::PodEvents => {
                ("rampart_pod_watch_events_total", COUNTER, "Changes of pods that the API server told of")
            }
            Self::PodErrors => ("rampart_pod_watch_errors_total", COUNTER, "Faults of the watch of pods"),
            Self::EventsWaiting => {
                ("rampart_events_waiting", GAUGE, "Events that wait for the metadata of their container")
            }
            Self::EventWaits => (
                "rampart_event_waits_total",
                COUNTER,
                "Events that waited for the metadata of their container, by outcome",
            ),
            Self::FalcoContainers => {
                ("falcosecurity_plugins_container_n_containers_total", GAUGE, "Containers remembered")
            }
            Self::PushdownGeneration => (
                "rampart_pushdown_generation",
                GAUGE,
                "Number of the plan by which the kernel rejects events; 0 when it rejects none",
            ),
            Self::PushdownMasks => (
                "rampart_pushdown_masks_total",
                COUNTER,
                "Masks computed because the kernel did not know them, of calls and of processes",
            ),
            Self::PushdownFull => (
                "rampart_pushdown_masks_dropped_total",
                COUNTER,
                "Masks that found no room in the kernel, of calls and of processes",
            ),
            Self::PushdownFreshStarts => (
                "rampart_pushdown_fresh_starts_total",
                COUNTER,
                "Times all masks of calls were forgotten because there was no more room",
            ),
            Self::PushdownSamples => (
                "rampart_pushdown_samples_total",
                COUNTER,
                "Events judged in userspace although the kernel would have rejected them",
            ),
            Self::PushdownDisagreements => (
                "rampart_pushdown_disagreements_total",
                COUNTER,
                "Such events that a rule matched; 0 unless pushdown is wrong",
            ),
            Self::ServicesGeneration => (
                "rampart_services_generation",
                GAUGE,
                "Number of the services' tables in force; 0 when there are none",
            ),
            Self::ServicePanic => ("rampart_service_panic", GAUGE, "1 while a service uses all backends"),
            Self::ServiceTier => ("rampart_service_tier", GAUGE, "Tier of a service in use; 0 is the best"),
            Self::ServiceRequests => (
                "load_balancer_requests_total",
                COUNTER,
                "Connections and datagrams to a service, by what they got",
            ),
            Self::ConnectSeconds => {
                ("load_balancer_requests_duration_seconds", HISTOGRAM, "Time that connects to a backend took")
            }
            Self::BackendConnections => {
                ("load_balancer_backend_connections", GAUGE, "Connections of a backend now")
            }
            Self::BackendUp => (
                "load_balancer_backend_up",
                GAUGE,
                "1 while a backend is neither down by its health checks nor ejected",
            ),
            Self::BackendEnds => (
                "load_balancer_backend_connections_ended_total",
                COUNTER,
                "Connections of a backend, by how they ended",
            ),
            Self::BackendDrained => {
                ("load_balancer_backend_drained_total", COUNTER, "Connections that draining has ended")
            }
            Self::BreakerState => (
                "circuit_breaker_state",
                GAUGE,
                "State of a backend's breaker: 0 closed, 1 open, 2 half-open",
            ),
            Self::BreakerOpens => {
                ("circuit_breaker_opens_total", COUNTER, "Times that a backend's breaker opened")
            }
            Self::LimitsGeneration => (
                "rampart_limits_generation",
                GAUGE,
                "Number of the rate limits in force; 0 when there are none",
            ),
            Self::LimitsAttached => {
                ("rampart_limits_attached", GAUGE, "1 for each place where rate limits are attached, and how")
            }
            Self::LimitsPackets => (
                "rampart_limits_packets_total",
                COUNTER,
                "Packets that the rate limiter judged, each under one reason; observed: it was let pass all the same",
            ),
            Self::LimitsBytes => ("rampart_limits_bytes_total", COUNTER, "Bytes of these packets"),
            Self::LimitsDefects => (
                "rampart_limits_malformed_packets_total",
                COUNTER,
                "Malformed packets that the rate limiter saw, whatever became of them",
            ),
            Self::LimitsResets => (
                "rampart_limits_resets_total",
                COUNTER,
                "Packets over a policy that resets, answered by a reset or only dropped",
            ),
            Self::LimitsSamples => {
                ("rampart_limits_samples_total", COUNTER, "Verdicts that the rate limiter sent as samples")
            }
            Self::LimitsEntries => {
                ("rampart_limits_entries", GAUGE, "Lists and grants made while the agent runs, by kind")
            }
            Self::LimitsUsedUp => {
                ("rampart_limits_used_up_sources", GAUGE, "Sources that have used up a policy's quota")
            }
            Self::LimitsScale => (
                "rampart_limits_scale_permille",
                GAUGE,
                "What each class has of its written rate while the node is too busy",
            ),
            Self::LimitsStress => (
                "rampart_limits_stress_permille",
                GAUGE,
                "How near the node is to the nearest threshold of throttling",
            ),
            Self::LimitsAlertsDropped => (
                "rampart_limits_alerts_dropped_total",
                COUNTER,
                "Alerts about rate limits that found no room on their way",
            ),
            Self::RateLimitExceeded => {
                ("rate_limit_exceeded_total", COUNTER, "Packets over a limit, dropped or only observed")
            }
            Self::RuleCandidates => (
                "rampart_rule_candidates_total",
                COUNTER,
                "Times the agent tried a rule because the kernel left it possible; rules beyond the first 512 as `other`",
            ),
            Self::RuleSeconds => (
                "rampart_rule_evaluation_seconds_total",
                COUNTER,
                "Time that trying a rule took, estimated from one event in 64; rules beyond the first 512 as `other`",
            ),
            Self::RuleShed => (
                "rampart_rule_shed",
                GAUGE,
                "1 for each rule that is left out on the events of a family to keep its CPU budget; counted as `other` beyond the first 512",
            ),
            Self::FamilySeconds => (
                "rampart_events_evaluation_seconds_total",
                COUNTER,
                "Time that the rules took on the events of a family, estimated from one event in 64",
            ),
            Self::Budget => {
                ("rampart_budget_cores", GAUGE, "CPU time that the rules may take, by family, in cores")
            }
            Self::BudgetUsed => (
                "rampart_budget_used_cores",
                GAUGE,
                "CPU time that the rules took in the last window, by family, in cores",
            ),
            Self::BudgetSheds => (
                "rampart_budget_sheds_total",
                COUNTER,
                "Times a rule was left out to keep the CPU budget of a family",
            ),
            Self::BudgetReturns => (
                "rampart_budget_returns_total",
                COUNTER,
                "Times a rule that was left out came back, by family",
            ),
            Self::SpoolAlerts => {
                ("rampart_spool_alerts_total", COUNTER, "Alerts of the spool, by what became of them")
            }
            Self::SpoolShed => (
                "rampart_spool_shed_total",
                COUNTER,
                "Alerts dropped because the spool was full, by priority",
            ),
            Self::SpoolPending => {
                ("rampart_spool_pending", GAUGE, "Alerts that the collector has not stored yet")
            }
            Self::SpoolBytes => ("rampart_spool_bytes", GAUGE, "Size of the spool"),
            Self::CollectorConnected => {
                ("rampart_collector_connected", GAUGE, "1 while the collector is reached")
            }
            Self::Ready => ("rampart_ready", GAUGE, "1 once the agent detects"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use serde_yaml::Value;

    use super::*;

    /// Alert rules that are shipped ask about metrics that there are.
    #[test]
    fn alert_rules_know_the_metrics() {
        let names: BTreeSet<&str> = Name::ALL.iter().map(|name| name.info().0).collect();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus");
        let mut asked = BTreeSet::new();
        for entry in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let file: Value = serde_yaml::from_str(&text).unwrap();
            for group in file["groups"].as_sequence().unwrap() {
                for rule in group["rules"].as_sequence().unwrap() {
                    let expression = rule["expr"].as_str().unwrap();
                    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                    let words = expression.split(|letter| !is_of_name(letter));
                    let ours = ["circuit_breaker_", "load_balancer_", "rampart_"];
                    let metrics = words.filter(|word| ours.iter().any(|front| word.starts_with(front)));
                    asked.extend(metrics.map(|word| word.trim_end_matches("_bucket").to_owned()));
                    assert!(rule["annotations"]["summary"].is_string(), "{rule:?}");
                }
            }
        }
        assert!(asked.len() >= 5, "{asked:?}");
        for metric in &asked {
            assert!(names.contains(metric.as_str()), "there is no metric `{metric}`");
        }
    }
}
