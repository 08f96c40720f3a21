//! The programs. Each parses, judges, counts, and says the verdict in its hook's words.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use rampart_common::limit::{
    abi::{Sample, defect_index, tally_index},
    gcra::{Mode, Outcome, STRETCH_ONE},
    packet::{Frame, Packet},
    pipeline::{Judgement, Place, World, judge},
    verdict::{Defect, Direction, Verdict},
};

use crate::{
    frame::{Notebook, Skb, Xdp},
    maps::{L_DEFECTS, L_LOCAL, L_SAMPLES, L_TALLIES},
    reset,
    word::Own,
    world::Maps,
};

/// The loopback device has this index in every network namespace.
const LOOPBACK: u32 = 1;
/// Notes of XDP programs; those of tc have the number of their direction.
pub(crate) const NOTES_XDP: u32 = 2;

/// XDP of drivers that hand over large packets in several buffers.
///
/// Minimum kernel 5.18; where it does not load, the loader takes [`limit_xdp`].
#[xdp(frags)]
fn limit_xdp_frags(ctx: XdpContext) -> u32 {
    let Some(notes) = Notebook::of(NOTES_XDP) else { return xdp_action::XDP_PASS };
    xdp_verdict(&Xdp::frags(ctx.ctx, notes), notes, ctx.ingress_ifindex() as u32)
}

/// XDP.
///
/// Minimum kernel 5.12, for the compare-exchange.
#[xdp]
fn limit_xdp(ctx: XdpContext) -> u32 {
    let Some(notes) = Notebook::of(NOTES_XDP) else { return xdp_action::XDP_PASS };
    xdp_verdict(&Xdp::single(ctx.ctx, notes), notes, ctx.ingress_ifindex() as u32)
}

/// tc, ingress: tcx from 6.6 on, clsact before. On the node's side of a pod's veth this is what the pod sends.
#[classifier]
fn limit_ingress(ctx: TcContext) -> i32 {
    tc_verdict(&ctx, Direction::Ingress)
}

/// tc, egress.
#[classifier]
fn limit_egress(ctx: TcContext) -> i32 {
    tc_verdict(&ctx, Direction::Egress)
}

#[inline(always)]
fn xdp_verdict(frame: &Xdp, notes: Notebook, interface: u32) -> u32 {
    let place = Place { direction: Direction::Ingress, interface, segments: 1 };
    match verdict(frame, notes, &place) {
        Verdict::Reset if reset::answer_xdp(frame.context, frame.length as u32) => xdp_action::XDP_TX,
        Verdict::Drop | Verdict::Reset => xdp_action::XDP_DROP,
        // There is no packet metadata yet that could carry a mark.
        Verdict::Pass | Verdict::Mark(_) => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn tc_verdict(ctx: &TcContext, direction: Direction) -> i32 {
    let Some(notes) = Notebook::of(direction as u32) else { return TC_ACT_UNSPEC };
    let skb = ctx.skb.skb;
    // SAFETY: the program's own context.
    let fields = unsafe { &*skb };
    let (interface, segments) = (fields.ifindex, fields.gso_segs);
    let segments = if segments == 0 { 1 } else { segments };
    match verdict(&Skb::new(skb, notes), notes, &Place { direction, interface, segments }) {
        Verdict::Drop => TC_ACT_SHOT,
        Verdict::Reset => reset::answer_tc(skb, direction as u32),
        Verdict::Mark(mark) => {
            // SAFETY: as above; programs may write the mark.
            unsafe { (*skb).mark = mark };
            TC_ACT_UNSPEC
        }
        // Other programs and filters have their say.
        Verdict::Pass => TC_ACT_UNSPEC,
    }
}

#[inline(always)]
fn verdict<F: Frame>(frame: &F, notes: Notebook, place: &Place) -> Verdict {
    let packet = notes.parse(frame, place.interface == LOOPBACK);
    let judgement = judge(&Maps, packet, place);
    count(packet, place, &judgement);
    judgement.verdict
}

#[inline(always)]
fn count(packet: &Packet, place: &Place, judgement: &Judgement) {
    let index =
        tally_index(judgement.policy, judgement.reason as u8, place.direction as u8, judgement.is_observed);
    if let Some(tally) = L_TALLIES.get_ptr_mut(index) {
        // SAFETY: this CPU's map value.
        let tally = unsafe { &mut *tally };
        tally.packets += u64::from(place.segments);
        tally.bytes += u64::from(packet.bytes);
    }
    if !matches!(packet.defect, Defect::None)
        && let Some(counter) = L_DEFECTS.get_ptr_mut(defect_index(packet.defect as u8, place.direction as u8))
    {
        // SAFETY: this CPU's map value.
        unsafe { *counter += 1 };
    }
    if judgement.reason.rejects() {
        sample(packet, place, judgement);
    }
}

/// Sends a sample, as far as the CPU's budget goes; a full ring costs the sample only.
#[inline(always)]
fn sample(packet: &Packet, place: &Place, judgement: &Judgement) {
    let Some(config) = Maps.config(Maps.generation() & 1) else { return };
    let Some(local) = L_LOCAL.get_ptr_mut(0) else { return };
    // SAFETY: a member of this CPU's map value.
    let word = Own(unsafe { &raw mut (*local).sample_tat });
    let now = judgement.now_ns;
    let step = config.samples.step_ns(1, STRETCH_ONE);
    if config.samples.charge(&word, now, step, Mode::Throttle) != Outcome::Admitted {
        return;
    }
    let sample = Sample {
        time_ns: now,
        excess_ns: judgement.excess_ns,
        allowed_ns: judgement.allowed_ns,
        source: packet.source.words(),
        destination: packet.destination.words(),
        interface: place.interface,
        bytes: packet.bytes,
        policy: judgement.policy as u16,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        protocol: packet.protocol,
        reason: judgement.reason as u8,
        direction: place.direction as u8,
        is_observed: u8::from(judgement.is_observed),
        pad: [0; 3],
    };
    let _ = L_SAMPLES.output::<Sample>(&sample, 0);
}
