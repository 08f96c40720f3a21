//! No record, however odd, makes the detector panic or an alert that is not JSON.

use std::{fmt::Write as _, sync::Arc};

use proptest::prelude::*;
use rampart_common::event::{AttrTag, EventKind, Family};
use rampart_rules::{
    catalog::{ArgForm, ArgKind, FIELDS},
    rule::{Matching, RuleSet},
};

use super::{Alert, Detector, JsonOptions, RecordBuilder, options, rules};
use crate::event::syscall::rows;

/// Rules that match every event and shows every field that can be shown.
fn everything() -> Arc<RuleSet> {
    let events: Vec<String> = rows().map(|row| row.event.to_string()).collect();
    let mut output = String::new();
    for field in FIELDS.iter().filter(|field| !field.filter_only && !field.deprecated) {
        let form = match field.arg {
            ArgKind::None => None,
            ArgKind::Optional(form) | ArgKind::Required(form) => Some(form),
        };
        let argument = match (field.name, form) {
            ("evt.arg" | "evt.rawarg", _) => ".res",
            ("evt.type.is", _) => "[openat]",
            (_, None) => "",
            (_, Some(ArgForm::Index | ArgForm::Any)) => "[1]",
            (_, Some(ArgForm::Key)) => "[path]",
        };
        let _ = write!(output, " %{}{argument}", field.name);
        if matches!(field.arg, ArgKind::Optional(_)) {
            let _ = write!(output, " %{}", field.name);
        }
    }
    let mut text = String::new();
    // A rule on more event types than this is warned about.
    for (index, events) in events.chunks(90).enumerate() {
        let _ = writeln!(
            text,
            "- rule: all {index}\n  desc: d\n  priority: INFO\n  condition: evt.type in ({})\n  output: \"{output}\"",
            events.join(", ")
        );
    }
    // The comparisons that only exist in conditions.
    text.push_str(
        "- rule: sides\n  desc: d\n  priority: INFO\n  output: o\n  condition: evt.type=connect and \
         (fd.ip=1.2.3.4 or fd.net=10.0.0.0/8 or fd.port=1 or fd.snet in (10.0.0.0/8) or fd.rnet=::/1)\n",
    );
    rules(&text, Matching::All)
}

fn attribute() -> impl Strategy<Value = (AttrTag, u16, Vec<u8>)> {
    let tag = (1u16..22).prop_filter_map("a tag", |raw| AttrTag::try_from(raw).ok());
    let path = prop::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), Just(0u8), any::<u8>()], 0..48);
    (tag, any::<u16>(), path)
}

fn record() -> impl Strategy<Value = RecordBuilder> {
    let number = prop_oneof![
        prop::sample::select(rows().filter_map(|row| row.number).collect::<Vec<_>>()),
        any::<u32>(),
    ];
    let kind = prop_oneof![
        4 => Just(EventKind::Syscall), 2 => Just(EventKind::Exec), 1 => Just(EventKind::Fork), 1 => Just(EventKind::Exit)
    ];
    let numbers = (prop_oneof![-200i64..200, any::<i64>()], any::<[u64; 6]>(), any::<[u8; 16]>());
    let ids = (1u32..6, 1u32..6, any::<u64>(), any::<u64>());
    (number, kind, numbers, ids, prop::collection::vec(attribute(), 0..8)).prop_map(
        |(number, kind, (ret, args, comm), (pid, ppid, time, group), attributes)| {
            let mut record = RecordBuilder::new(kind, Family::Open)
                .process(pid, u64::from(pid), "x")
                .parent(ppid, u64::from(ppid))
                .at(time);
            record.header.syscall = number;
            (record.header.ret, record.header.args) = (ret, args);
            record.header.task.comm = comm;
            record.header.task.cgroup_id = group % 3;
            (record.header.task.euid, record.header.task.cap_effective) = (args[0] as u32, args[1]);
            (record.header.task.vpid, record.header.task.pid_ns) = (ppid, pid % 2);
            (record.header.seq, record.header.cpu) = (args[2], args[3] as u32);
            attributes
                .into_iter()
                .fold(record, |record, (tag, flags, bytes)| record.attr_flags(tag, flags, &bytes))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_record_breaks_the_detector(records in prop::collection::vec(record(), 1..24)) {
        thread_local! {
            static POLICY: Arc<RuleSet> = everything();
        }
        let mut detector = Detector::new(POLICY.with(Arc::clone), options());
        let mut alerts: Vec<Alert> = Vec::new();
        for record in &records {
            detector.on_record(&record.build(), &mut |alert| alerts.push(alert));
        }
        for alert in &alerts {
            let json = alert.json(JsonOptions { message: true, ..JsonOptions::default() });
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&json);
            prop_assert!(parsed.is_ok() && !json.contains('\n'));
            prop_assert!(!alert.text().contains(['\n', '\u{1b}']), "{}", alert.text());
        }
        let silent = records.iter().filter(|record| record.header.kind == EventKind::Fork as u16).count() as u64;
        let known = detector.stats().received - detector.stats().unknown - silent;
        prop_assert!(alerts.iter().filter(|alert| alert.rule.starts_with("all ")).count() as u64 == known);
    }
}
