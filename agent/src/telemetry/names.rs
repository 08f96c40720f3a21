//! Every metric in one place: its name, its kind and its one-line meaning.
//!
//! Names that Falco has are Falco's, so that dashboards made for it work; the rest start with `rampart_`.

use prometheus::proto::MetricType;

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $kind:ident $name:literal: $meaning:literal,)*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Name {
            $($(#[$doc])* $variant,)*
        }

        impl Name {
            /// Every metric.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name, kind and meaning.
            pub const fn info(self) -> (&'static str, MetricType, &'static str) {
                match self {
                    $(Self::$variant => ($name, MetricType::$kind, $meaning),)*
                }
            }
        }
    };
}

names! {
    /// Version of the agent.
    FalcoVersion = GAUGE "falcosecurity_falco_version_info": "Version of the agent",
    /// Digest of each rule file.
    FalcoRulesFiles = GAUGE "falcosecurity_falco_sha256_rules_files_info": "Digest of each rule file in force",
    /// When the agent started.
    FalcoStart = GAUGE "falcosecurity_falco_start_timestamp_nanoseconds": "Start of the agent, since the epoch",
    /// When the rules were loaded last.
    FalcoReload = GAUGE "falcosecurity_falco_reload_timestamp_nanoseconds": "Last load of the rules, since the epoch",
    /// How long the agent has been running.
    FalcoDuration = COUNTER "falcosecurity_falco_duration_seconds_total": "Time since the start of the agent",
    /// Kernel release.
    FalcoKernelRelease = GAUGE "falcosecurity_falco_kernel_release_info": "Release of the running kernel",
    /// CPUs of the machine.
    FalcoCpus = GAUGE "falcosecurity_falco_host_num_cpus_total": "CPUs the agent may use",
    /// Matches by rule.
    FalcoMatches = COUNTER "falcosecurity_falco_rules_matches_total": "Events that a rule matched",
    /// Resident memory.
    FalcoRss = GAUGE "falcosecurity_falco_memory_rss_bytes": "Resident memory of the agent",
    /// Alerts lost in full queues.
    FalcoQueueDrops = COUNTER "falcosecurity_falco_outputs_queue_num_drops_total": "Alerts dropped because an output's queue was full",
    /// Engine in use.
    ScapEngine = GAUGE "falcosecurity_scap_engine_name_info": "Event source in use",
    /// Events that the programs saw and wanted.
    ScapEvents = COUNTER "falcosecurity_scap_n_evts_total": "Events that reached the kernel programs",
    /// Events lost.
    ScapDrops = COUNTER "falcosecurity_scap_n_drops_total": "Events lost in the kernel, for any reason",
    /// Events lost because the ring was full.
    ScapDropsBuffer = COUNTER "falcosecurity_scap_n_drops_buffer_total": "Events lost because the ring was full",
    /// Threads known.
    ScapThreads = GAUGE "falcosecurity_scap_n_threads_total": "Processes remembered",
    /// Name of the machine.
    Hostname = GAUGE "falcosecurity_evt_hostname_info": "Name of the node in alerts",
    /// Events seen, by family.
    Seen = COUNTER "rampart_events_seen_total": "Events that reached the kernel programs, by family",
    /// Events rejected in the kernel, by family.
    Filtered = COUNTER "rampart_events_filtered_total": "Events rejected in the kernel on purpose, by family",
    /// Events counted for thresholds, by family.
    Counted = COUNTER "rampart_events_counted_total": "Of the rejected events, those that the kernel counted for rules with a threshold, by family",
    /// Events written to the ring, by family.
    Emitted = COUNTER "rampart_events_emitted_total": "Events written to the ring, by family",
    /// Events lost to a full ring, by family.
    RingFull = COUNTER "rampart_events_ring_full_total": "Events lost because the ring was full, by family",
    /// Events lost for other reasons, by family.
    KernelErrors = COUNTER "rampart_events_error_total": "Events lost in the kernel for another reason, by family",
    /// What the accounting equation leaves open, by family.
    Unexplained = GAUGE "rampart_events_unexplained": "Events seen that no counter explains, by family; 0 when all is well",
    /// Records received.
    Records = COUNTER "rampart_records_total": "Records taken from the ring",
    /// Sequence numbers that did not arrive.
    RecordGaps = GAUGE "rampart_record_gaps": "Sequence numbers that did not arrive; each is also counted in the kernel",
    /// Records that could not be decoded.
    DecodeErrors = COUNTER "rampart_record_decode_errors_total": "Records that could not be decoded",
    /// Events evaluated against the rules.
    Evaluated = COUNTER "rampart_events_evaluated_total": "Events evaluated against the rules",
    /// Alerts made.
    Alerts = COUNTER "rampart_alerts_total": "Alerts made",
    /// Alerts written, by output.
    OutputWritten = COUNTER "rampart_output_written_total": "Alerts written, by output",
    /// Alerts lost, by output and reason.
    OutputDropped = COUNTER "rampart_output_dropped_total": "Alerts lost, by output and reason",
    /// Whether an output fails now.
    OutputFailing = GAUGE "rampart_output_failing": "1 while writing to the output fails",
    /// Processes remembered.
    Processes = GAUGE "rampart_processes": "Processes remembered",
    /// Processes forgotten for want of room.
    ProcessEvictions = COUNTER "rampart_process_evictions_total": "Processes forgotten to make room",
    /// Reloads, by outcome.
    Reloads = COUNTER "rampart_policy_reloads_total": "Reloads of the rules, by outcome",
    /// The policy in force.
    PolicyInfo = GAUGE "rampart_policy_info": "Digest of the rules in force",
    /// Rules in force.
    PolicyRules = GAUGE "rampart_policy_rules": "Rules in force",
    /// Look-ups of containers, by outcome.
    ContainerLookups = COUNTER "rampart_container_lookups_total": "Look-ups of containers that ended, by outcome",
    /// Questions to container runtimes without an answer.
    ContainerTimeouts = COUNTER "rampart_container_lookup_timeouts_total": "Questions to container runtimes without an answer in time",
    /// Look-ups under way.
    ContainerRunning = GAUGE "rampart_container_lookups_running": "Look-ups of containers under way",
    /// Containers remembered.
    Containers = GAUGE "rampart_containers": "Containers remembered",
    /// Containers whose metadata is awaited.
    ContainersPending = GAUGE "rampart_containers_pending": "Containers whose metadata is awaited",
    /// Containers and pods forgotten.
    ContainerEvictions = COUNTER "rampart_container_evictions_total": "Containers and pods forgotten to make room",
    /// Pods of the node.
    Pods = GAUGE "rampart_pods": "Pods of this node that the API server told of",
    /// Changes of pods.
    PodEvents = COUNTER "rampart_pod_watch_events_total": "Changes of pods that the API server told of",
    /// Faults of the watch.
    PodErrors = COUNTER "rampart_pod_watch_errors_total": "Faults of the watch of pods",
    /// Events that wait for metadata.
    EventsWaiting = GAUGE "rampart_events_waiting": "Events that wait for the metadata of their container",
    /// Waits for metadata, by outcome.
    EventWaits = COUNTER "rampart_event_waits_total": "Events that waited for the metadata of their container, by outcome",
    /// Containers, under Falco's name.
    FalcoContainers = GAUGE "falcosecurity_plugins_container_n_containers_total": "Containers remembered",
    /// Number of the plan in force.
    PushdownGeneration = GAUGE "rampart_pushdown_generation": "Number of the plan by which the kernel rejects events; 0 when it rejects none",
    /// Streams that the kernel counts.
    PushdownStreams = GAUGE "rampart_pushdown_streams": "Connections of processes whose events the kernel counts for rules with a threshold",
    /// Masks computed for the kernel.
    PushdownMasks = COUNTER "rampart_pushdown_masks_total": "Masks computed because the kernel did not know them, of calls and of processes",
    /// Masks without room.
    PushdownFull = COUNTER "rampart_pushdown_masks_dropped_total": "Masks that found no room in the kernel, of calls and of processes",
    /// Fresh starts for lack of room.
    PushdownFreshStarts = COUNTER "rampart_pushdown_fresh_starts_total": "Times all masks of calls were forgotten because there was no more room",
    /// Rejected events judged as samples.
    PushdownSamples = COUNTER "rampart_pushdown_samples_total": "Events judged in userspace although the kernel would have rejected them",
    /// Samples that a rule matched.
    PushdownDisagreements = COUNTER "rampart_pushdown_disagreements_total": "Such events that a rule matched; 0 unless pushdown is wrong",
    /// Keys of windows.
    WindowKeys = GAUGE "rampart_window_keys": "Keys that rules with `threshold`, `throttle` or `sequence` remember",
    /// Memory of windows.
    WindowBytes = GAUGE "rampart_window_bytes": "Memory of these keys, about",
    /// Keys of windows that had to go.
    WindowEvictions = COUNTER "rampart_window_evictions_total": "Keys forgotten before their time to make room",
    /// Events that were no match because of a window.
    WindowWithheld = COUNTER "rampart_window_withheld_total": "Events that a rule's condition holds for and that are no match yet, or are not told, by reason",
    /// Responses, by what became of them.
    Responses = COUNTER "rampart_responses_total": "What rules asked to be done, by action and by what became of it",
    /// Responses without room.
    ResponsesDropped = COUNTER "rampart_responses_dropped_total": "Matches whose responses found no room on the way to the thread that does them",
    /// Responses in force.
    ResponsesInForce = GAUGE "rampart_responses_in_force": "What is in force by responses, by action",
    /// Whether the kernel refuses.
    DenyActive = GAUGE "rampart_deny_active": "1 while the kernel refuses operations for rules with deny, 0 when it should and cannot",
    /// What it refused.
    DenyOperations = COUNTER "rampart_deny_operations_total": "Operations that the kernel refused or would have, and those of them that were not told one by one, by outcome",
    /// What it could not decide.
    DenyUndecided = COUNTER "rampart_deny_undecided_total": "Operations that went on because the kernel did not know all that a rule with deny needs, by reason",
    /// Number of the services' tables in force.
    ServicesGeneration = GAUGE "rampart_services_generation": "Number of the services' tables in force; 0 when there are none",
    /// Services in panic.
    ServicePanic = GAUGE "rampart_service_panic": "1 while what is known of a service's backends counts for nothing",
    /// Tier in use of a service.
    ServiceTier = GAUGE "rampart_service_tier": "Tier of a service that is in use; 0 is the best",
    /// Connections and datagrams to services.
    ServiceRequests = COUNTER "load_balancer_requests_total": "Connections and datagrams to a service, by what they got",
    /// Connect latencies of backends.
    ConnectSeconds = HISTOGRAM "load_balancer_requests_duration_seconds": "Time that connects to a backend took",
    /// Connections of a backend.
    BackendConnections = GAUGE "load_balancer_backend_connections": "Connections of a backend now",
    /// Backends that are up.
    BackendUp = GAUGE "load_balancer_backend_up": "1 while a backend is neither down by its health checks nor ejected",
    /// Ends of connections of a backend.
    BackendEnds = COUNTER "load_balancer_backend_connections_ended_total": "Connections of a backend, by how they ended",
    /// Connections to a backend that were ended because it is left out.
    BackendDrained = COUNTER "load_balancer_backend_drained_total": "Connections that draining has ended",
    /// State of a breaker.
    BreakerState = GAUGE "circuit_breaker_state": "State of a backend's breaker: 0 closed, 1 open, 2 half-open",
    /// Times that a breaker opened.
    BreakerOpens = COUNTER "circuit_breaker_opens_total": "Times that a backend's breaker opened",
    /// Number of the rate limits in force.
    LimitsGeneration = GAUGE "rampart_limits_generation": "Number of the rate limits in force; 0 when there are none",
    /// Places where rate limits are attached.
    LimitsAttached = GAUGE "rampart_limits_attached": "1 for each place where rate limits are attached, and how",
    /// Packets that the rate limiter judged.
    LimitsPackets = COUNTER "rampart_limits_packets_total": "Packets that the rate limiter judged, each under one reason; observed: it was let pass all the same",
    /// Their bytes.
    LimitsBytes = COUNTER "rampart_limits_bytes_total": "Bytes of these packets",
    /// Malformed packets that the rate limiter saw.
    LimitsDefects = COUNTER "rampart_limits_malformed_packets_total": "Malformed packets that the rate limiter saw, whatever became of them",
    /// Packets that the rate limiter was to answer by a reset.
    LimitsResets = COUNTER "rampart_limits_resets_total": "Packets over a policy that resets, answered by a reset or only dropped",
    /// Verdicts that the rate limiter sent as samples.
    LimitsSamples = COUNTER "rampart_limits_samples_total": "Verdicts that the rate limiter sent as samples",
    /// Changes of the seed of the rate limiter's hashes.
    LimitsSeedChanges = COUNTER "rampart_limits_seed_changes_total": "Changes of the seed of the rate limiter's hashes",
    /// Lists and grants made while the agent runs.
    LimitsEntries = GAUGE "rampart_limits_entries": "Lists and grants made while the agent runs, by kind",
    /// Sources that have used up a quota.
    LimitsUsedUp = GAUGE "rampart_limits_used_up_sources": "Sources that have used up a policy's quota",
    /// What each class has of its rate.
    LimitsScale = GAUGE "rampart_limits_scale_permille": "What each class has of its written rate while the node is too busy",
    /// How near the node is to the nearest threshold.
    LimitsStress = GAUGE "rampart_limits_stress_permille": "How near the node is to the nearest threshold of throttling",
    /// Alerts of the rate limiter that found no room.
    LimitsAlertsDropped = COUNTER "rampart_limits_alerts_dropped_total": "Alerts about rate limits that found no room on their way",
    /// Packets over a limit.
    RateLimitExceeded = COUNTER "rate_limit_exceeded_total": "Packets over a limit, dropped or only observed",
    /// Executed files that were read.
    DigestsMade = COUNTER "rampart_digests_made_total": "Executed files of which a SHA-256 was made",
    /// Bytes read for that.
    DigestsBytes = COUNTER "rampart_digests_read_bytes_total": "Bytes read for digests of executed files",
    /// Executed files without a digest.
    DigestsLeftOut = COUNTER "rampart_digests_left_out_total": "Executed files without a SHA-256, by cause: too large, over the budget, changed, gone, failed",
    /// Looks at the sources of lists.
    ListRefreshes = COUNTER "rampart_list_refreshes_total": "Looks at the source of a list that rules name, by what came of them",
    /// Members of a list.
    ListEntries = GAUGE "rampart_list_entries": "Members of a list that rules name, as they count now",
    /// Members of a list that must not be.
    ListRefused = GAUGE "rampart_list_refused_entries": "Members of a list that are left out because they are too wide, private or the node's own",
    /// Lines of a list that are no members.
    ListWrong = GAUGE "rampart_list_wrong_lines": "Lines of a list that are no members",
    /// Whether a list is stale.
    ListStale = GAUGE "rampart_list_stale": "1 while nobody has confirmed a list for too long",
    /// Age of a list.
    ListAge = GAUGE "rampart_list_age_seconds": "Time since the source of a list last confirmed it",
    /// Trials of a rule.
    RuleCandidates = COUNTER "rampart_rule_candidates_total": "Times the agent tried a rule because the kernel left it possible; rules beyond the first 512 as `other`",
    /// Time that a rule took.
    RuleSeconds = COUNTER "rampart_rule_evaluation_seconds_total": "Time that trying a rule took, estimated from one event in 64; rules beyond the first 512 as `other`",
    /// Rules left out.
    RuleShed = GAUGE "rampart_rule_shed": "1 for each rule that is left out on the events of a family to keep its CPU budget; counted as `other` beyond the first 512",
    /// Time that the rules took, by family.
    FamilySeconds = COUNTER "rampart_events_evaluation_seconds_total": "Time that the rules took on the events of a family, estimated from one event in 64",
    /// CPU budget of a family.
    Budget = GAUGE "rampart_budget_cores": "CPU time that the rules may take, by family, in cores",
    /// What a family took of it.
    BudgetUsed = GAUGE "rampart_budget_used_cores": "CPU time that the rules took in the last window, by family, in cores",
    /// Times a rule was left out.
    BudgetSheds = COUNTER "rampart_budget_sheds_total": "Times a rule was left out to keep the CPU budget of a family",
    /// Times a rule came back.
    BudgetReturns = COUNTER "rampart_budget_returns_total": "Times a rule that was left out came back, by family",
    /// Alerts in the spool, by what became of them.
    SpoolAlerts = COUNTER "rampart_spool_alerts_total": "Alerts of the spool, by what became of them",
    /// Alerts dropped from the spool, by priority.
    SpoolShed = COUNTER "rampart_spool_shed_total": "Alerts dropped because the spool was full, by priority",
    /// Alerts that wait in the spool.
    SpoolPending = GAUGE "rampart_spool_pending": "Alerts that the collector has not stored yet",
    /// Size of the spool.
    SpoolBytes = GAUGE "rampart_spool_bytes": "Size of the spool",
    /// Whether the collector is reached.
    CollectorConnected = GAUGE "rampart_collector_connected": "1 while the collector is reached",
    /// When the certificate ends.
    CertificateExpiry = GAUGE "rampart_certificate_expiry_timestamp_seconds": "When the certificate that the collector gave ends, seconds since the epoch",
    /// How long it is good.
    CertificateLifetime = GAUGE "rampart_certificate_lifetime_seconds": "For how long the collector gave the certificate",
    /// Whether the agent is ready.
    Ready = GAUGE "rampart_ready": "1 once the agent detects",
}
