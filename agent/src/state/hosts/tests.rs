use proptest::prelude::*;
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, Question, ResourceRecord,
    rdata::{A, CNAME},
};

use super::{ADDRESSES_MAX, Hosts, KEEP_SECS, NAMES_MAX, QTYPE, RData, SECOND_NS, TYPE};

fn name(text: &str) -> Name<'_> {
    Name::new(text).expect("a name")
}

/// An answer to a question for an address.
fn answer(asked: &str, records: &[(&str, RData<'static>, u32)]) -> Vec<u8> {
    let mut packet = Packet::new_reply(7);
    packet.set_flags(PacketFlag::RESPONSE);
    packet.questions.push(Question::new(name(asked), QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
    for (owner, data, ttl) in records {
        packet.answers.push(ResourceRecord::new(name(owner), CLASS::IN, *ttl, data.clone()));
    }
    packet.build_bytes_vec_compressed().expect("it can be written")
}

fn a(last: u8) -> RData<'static> {
    RData::A(A { address: u32::from_be_bytes([10, 0, 0, last]) })
}

fn alias(target: &'static str) -> RData<'static> {
    RData::CNAME(CNAME(name(target)))
}

fn names(hosts: &Hosts, last: u8) -> Vec<String> {
    hosts.names([10, 0, 0, last].into()).iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_has_the_name_asked_for_and_its_aliases() {
    let mut hosts = Hosts::default();
    hosts.learn(
        &answer(
            "Broker.example.com",
            &[
                ("broker.example.com", alias("edge.example.net"), 30),
                ("edge.example.net", a(1), 30),
                ("edge.example.net", a(2), 30),
                // Nobody asked for this one.
                ("bank.example.org", a(3), 30),
            ],
        ),
        1,
    );
    assert_eq!(names(&hosts, 1), ["broker.example.com", "edge.example.net"]);
    assert_eq!(names(&hosts, 2), names(&hosts, 1));
    assert!(names(&hosts, 3).is_empty());
    assert_eq!(hosts.counts().used, 1);
}

#[test]
fn newer_names_come_first_and_expired_ones_go() {
    let mut hosts = Hosts::default();
    for index in 0..NAMES_MAX + 2 {
        let text = format!("n{index}.example");
        hosts.learn(&answer(&text, &[(&text, a(1), 1)]), 1);
    }
    let seen = names(&hosts, 1);
    assert_eq!((seen.len(), seen[0].as_str()), (NAMES_MAX, "n9.example"));
    let later = (KEEP_SECS.0 + 1) * SECOND_NS + 2;
    hosts.learn(&answer("new.example", &[("new.example", a(1), 1)]), later);
    assert_eq!(names(&hosts, 1), ["new.example"]);
}

#[test]
fn questions_errors_and_noise_name_nothing() {
    let mut hosts = Hosts::default();
    let whole = answer("x.example", &[("x.example", a(1), 1)]);
    let mut question = whole.clone();
    question[2] &= 0x7f;
    hosts.learn(&question, 1);
    let mut failed = whole.clone();
    failed[3] |= 3;
    hosts.learn(&failed, 1);
    hosts.learn(&whole[..whole.len() - 2], 1);
    hosts.learn(b"", 1);
    assert!(hosts.is_empty());
    assert_eq!((hosts.counts().other, hosts.counts().malformed), (2, 2));
}

#[test]
fn a_loop_of_aliases_ends() {
    let mut hosts = Hosts::default();
    let records = [("a.example", alias("b.example"), 1), ("b.example", alias("a.example"), 1)];
    hosts.learn(&answer("a.example", &records), 1);
    assert_eq!(hosts.counts().other, 1);
}

#[test]
fn room_is_bounded_and_what_expires_first_goes_first() {
    let mut hosts = Hosts::default();
    for index in 0..ADDRESSES_MAX as u32 + 100 {
        let data = RData::A(A { address: 0x0a00_0000 + index });
        hosts.learn(&answer("x.example", &[("x.example", data, 1)]), u64::from(index) * SECOND_NS);
    }
    assert!(hosts.len() <= ADDRESSES_MAX);
    assert!(hosts.counts().evicted > 0);
    let newest = (0x0a00_0000 + ADDRESSES_MAX as u32 + 99).to_be_bytes();
    assert_eq!(hosts.names(newest.into()).len(), 1);
}

proptest! {
    #[test]
    fn no_datagram_breaks_it(mut bytes in prop::collection::vec(any::<u8>(), 0..512), start in any::<bool>()) {
        if start && bytes.len() > 12 {
            // More often past the header.
            bytes[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]);
        }
        Hosts::default().learn(&bytes, 1);
    }
}
