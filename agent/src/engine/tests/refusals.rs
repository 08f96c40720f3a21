//! Operations that the kernel refused: one alert for each try, however it is told.

use rampart_common::event::AttrTag;
use rampart_rules::rule::Matching;

use super::{Detector, SECOND, by, feed, open, options, rules, with_cat};
use crate::{
    alert::{Alert, order::Operation},
    event::build::RecordBuilder,
};

const RULES: &str = "- rule: secret\n  desc: d\n  priority: INFO\n  condition: evt.type = openat and fd.name = /secret\n  \
                     output: '%proc.name %fd.name %evt.res'\n  response: deny\n";

fn refused() -> RecordBuilder {
    let mut record = by(open("/secret", libc::O_RDONLY), 30, 20, "cat").path(AttrTag::RealPath, "/secret");
    record.header.ret = -1;
    record
}

fn refuse(detector: &mut Detector, record: &RecordBuilder) -> Vec<Alert> {
    let mut alerts = Vec::new();
    detector.on_refusal(&record.build(), "open /secret", "secret", &mut |alert| alerts.push(alert));
    alerts
}

#[test]
fn a_refusal_is_told_and_the_call_that_failed_by_it_is_not() {
    let mut detector = with_cat(rules(RULES, Matching::All), options());
    let alerts = refuse(&mut detector, &refused());
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].fields["response.denied"], "open /secret");
    assert_eq!(
        (&alerts[0].fields["evt.res"], &alerts[0].fields["proc.name"]),
        (&"EPERM".into(), &"cat".into())
    );
    let order = alerts[0].order.as_ref().expect("an order");
    assert_eq!(order.operation, Operation::Refused("open /secret".to_owned()));
    assert!(feed(&mut detector, &refused()).is_empty(), "it is the same try");
    let alerts = feed(&mut detector, &refused());
    assert_eq!(alerts.len(), 1, "this one nobody has refused");
    assert_eq!(alerts[0].order.as_ref().expect("an order").operation, Operation::Failed);
}

#[test]
fn what_is_another_call_is_told() {
    let others: [fn(&mut RecordBuilder); 3] = [
        |record| record.header.task.tid += 1,
        |record| record.header.ret = -13,
        |record| record.header.time_ns += 2 * SECOND,
    ];
    for change in others {
        let mut detector = with_cat(rules(RULES, Matching::All), options());
        assert_eq!(refuse(&mut detector, &refused()).len(), 1);
        let mut other = refused();
        change(&mut other);
        assert_eq!(feed(&mut detector, &other).len(), 1);
    }
    let mut detector = with_cat(rules(RULES, Matching::All), options());
    let mut alerts = Vec::new();
    detector.on_refusal(&refused().build(), "open", "a rule of before", &mut |alert| alerts.push(alert));
    assert!(alerts.is_empty(), "the rule is gone");
}
