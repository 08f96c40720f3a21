//! One test per row of what was measured.

use super::*;

fn signals(old: u32, new: u32) -> Signals {
    Signals { old, new, seen: SENT, ..Signals::default() }
}

fn stood(new: u32) -> Signals {
    Signals { seen: SENT | STOOD, ..signals(ESTABLISHED, new) }
}

#[test]
fn a_reset_to_the_syn_is_a_refusal() {
    let case = Signals { error: ECONNREFUSED, seen: SENT | RESET, ..signals(SYN_SENT, CLOSE) };
    assert_eq!(classify(&case), Some(Outcome::Refused));
}

#[test]
fn a_syn_without_answer_is_a_timeout() {
    let case = Signals { error: ETIMEDOUT, seen: SENT | SENT_AGAIN, ..signals(SYN_SENT, CLOSE) };
    assert_eq!(classify(&case), Some(Outcome::TimedOut));
}

#[test]
fn a_client_that_gives_up_at_once_says_nothing() {
    let case = Signals { seen: SENT | GAVE_UP, age_ns: 5_000_000, ..signals(SYN_SENT, CLOSE) };
    assert_eq!(classify(&case), Some(Outcome::Neutral));
    let late = Signals { slow_ns: 1_000_000, ..case };
    assert_eq!(classify(&late), Some(Outcome::Abandoned));
    let lost = Signals { seen: case.seen | SENT_AGAIN, ..case };
    assert_eq!(classify(&lost), Some(Outcome::Abandoned));
}

#[test]
fn an_icmp_error_is_seen_in_each_of_its_forms() {
    let hard = Signals { error: EHOSTUNREACH, ..signals(SYN_SENT, CLOSE) };
    assert_eq!(classify(&hard), Some(Outcome::Unreachable));
    let soft = Signals { soft_error: EHOSTUNREACH, ..signals(SYN_SENT, CLOSE) };
    assert_eq!(classify(&soft), Some(Outcome::Unreachable));
    let reported = Signals { seen: SENT | REPORTED, ..signals(SYN_SENT, CLOSE) };
    assert_eq!(classify(&reported), Some(Outcome::Unreachable));
}

#[test]
fn a_reset_counts_before_the_first_byte_only() {
    let early = Signals { error: ECONNRESET, acked: 101, ..stood(CLOSE) };
    assert_eq!(classify(&early), Some(Outcome::Reset));
    let late = Signals { error: ECONNRESET, acked: 101, received: 10, ..stood(CLOSE) };
    assert_eq!(classify(&late), Some(Outcome::Neutral));
}

#[test]
fn a_close_without_an_answer_is_an_empty_reply() {
    let empty = Signals { received: 1, acked: 101, ..stood(CLOSE_WAIT) };
    assert_eq!(classify(&empty), Some(Outcome::Empty));
    let unasked = Signals { received: 1, acked: 1, ..stood(CLOSE_WAIT) };
    assert_eq!(classify(&unasked), Some(Outcome::Neutral));
    let answered = Signals { received: 200, acked: 101, ..stood(CLOSE_WAIT) };
    assert_eq!(classify(&answered), Some(Outcome::Success));
}

#[test]
fn a_normal_close_by_the_client_is_a_success() {
    let answered = Signals { received: 200, acked: 101, ..stood(FIN_WAIT1) };
    assert_eq!(classify(&answered), Some(Outcome::Success));
    // Nothing was sent either way: the SYN and the FIN are acknowledged, and the other FIN came.
    let bare = Signals { old: 5, received: 1, acked: 2, seen: SENT | STOOD | CLOSED_FIRST, ..stood(CLOSE) };
    assert_eq!(classify(&bare), Some(Outcome::Success));
    let impatient = Signals { acked: 102, ..bare };
    assert_eq!(classify(&impatient), Some(Outcome::Neutral), "asked, and gone before the answer");
}

#[test]
fn what_we_destroy_is_left_out() {
    let case = Signals { error: ECONNABORTED, acked: 101, ..stood(CLOSE) };
    assert_eq!(classify(&case), Some(Outcome::Neutral));
}

#[test]
fn a_standing_connection_into_a_black_hole_is_a_timeout() {
    let case = Signals { error: ETIMEDOUT, acked: 101, received: 5, ..stood(CLOSE) };
    assert_eq!(classify(&case), Some(Outcome::TimedOut));
}

#[test]
fn standing_is_enough_where_it_is_said_so() {
    assert_eq!(classify(&signals(SYN_SENT, ESTABLISHED)), None);
    let enough = Signals { is_established_enough: true, ..signals(SYN_SENT, ESTABLISHED) };
    assert_eq!(classify(&enough), Some(Outcome::Success));
}

#[test]
fn what_may_not_tell_does_not() {
    for old in 0..16 {
        for new in 0..16 {
            for bits in 0..1024_u32 {
                let case = Signals {
                    old,
                    new,
                    seen: if bits & 1 == 0 { SENT } else { SENT | STOOD | REPORTED },
                    error: [0, ECONNRESET, ETIMEDOUT, EPIPE][bits as usize >> 1 & 3],
                    soft_error: bits >> 3 & 1,
                    received: u64::from(bits >> 4 & 3),
                    acked: u64::from(bits >> 6 & 3),
                    age_ns: u64::from(bits >> 8 & 1),
                    slow_ns: 0,
                    is_established_enough: bits >> 9 & 1 != 0,
                };
                if classify(&case).is_some() {
                    assert!(may_tell(old, new, case.is_established_enough), "{case:?}");
                }
            }
        }
    }
}

#[test]
fn outcomes_are_their_numbers() {
    for (number, outcome) in (0_u8..).zip(Outcome::ALL) {
        assert_eq!(outcome as u8, number);
    }
}
