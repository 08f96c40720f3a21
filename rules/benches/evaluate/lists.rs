//! A list of very many addresses: kept elsewhere, beside a short one, and beside the same one written in the rule file.

use std::{
    fmt::Write as _,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use rampart_rules::{
    catalog::{FieldId, event_ids, ids},
    load::{LoadOptions, Source, load},
    rule::RuleSet,
    set::{Set, Sets},
    value::{FieldArg, FieldSource, Value},
};

use super::{milliseconds, timed};

/// Members of the long list, and of the short one.
const MANY: u32 = 100_000;
const FEW: u32 = 10;
/// Connections of a round.
const CONNECTIONS: u32 = 200_000;

/// A connection to an address.
struct Connection(IpAddr);

impl FieldSource for Connection {
    fn field<'a>(&'a self, field: FieldId, _: FieldArg<'_>) -> Value<'a> {
        if field == ids::FD_RIP { Value::Ip(self.0) } else { Value::Null }
    }
}

/// The member at a place; every eighth is a network.
fn member(at: u32) -> (IpAddr, u8) {
    let length = if at.is_multiple_of(8) { 24 } else { 32 };
    let bits = 0x0b00_0000_u32.wrapping_add(at.wrapping_mul(0x0001_0107)) & (u32::MAX << (32 - length));
    (Ipv4Addr::from_bits(bits).into(), length)
}

fn rules(list: &str, sets: Sets) -> Option<RuleSet> {
    let text = format!(
        "{list}- rule: r\n  desc: d\n  condition: evt.type = connect and fd.rnet in (bad)\n  output: o\n  priority: INFO\n"
    );
    let text = if list.is_empty() { text.replace("fd.rnet", "fd.rip") } else { text };
    let source = Source { name: "list.yaml".to_owned(), text: text.into() };
    load(&[source], &LoadOptions { sets, ..LoadOptions::default() }).rules
}

fn kept_elsewhere(count: u32) -> Option<RuleSet> {
    rules("", Sets::new([Arc::new(Set::networks("bad", 1, (0..count).map(member)))]))
}

fn written(count: u32) -> Option<RuleSet> {
    let mut list = "- list: bad\n  items:\n".to_owned();
    for (address, length) in (0..count).map(member) {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "    - {address}/{length}");
    }
    rules(&list, Sets::default())
}

fn connect(rules: &RuleSet) -> f64 {
    let time = timed(|| {
        for at in 0..CONNECTIONS {
            let to = Connection(Ipv4Addr::from_bits(at.wrapping_mul(0x9e37_79b1)).into());
            rules.evaluate(event_ids::CONNECT, &to, |rule| {
                black_box(rule);
            });
        }
    });
    time.as_secs_f64()
}

/// One round: time of look-ups in the long list as a multiple of those in the short one, and time of a load with the long list
/// as a multiple of one with the same list in the rule file.
pub(super) fn round() -> Option<(f64, f64)> {
    let (many, few) = (kept_elsewhere(MANY)?, kept_elsewhere(FEW)?);
    let look_up = connect(&many) / connect(&few);
    let elsewhere = milliseconds(|| drop(black_box(kept_elsewhere(MANY))));
    let in_file = milliseconds(|| drop(black_box(written(MANY))));
    Some((look_up, elsewhere / in_file))
}
