//! The rungs of the ladder, on a veth pair.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use rampart_agent::kernel::limiter::{
    Attached, Interface, Limiter, LimiterConfig, LimiterError, Rung, Tables, Wish,
};
use rampart_common::limit::verdict::{Direction, Reason};
use rampart_tests::{
    netns::{Bpffs, Namespace},
    require_root,
};

/// Longest wait for the kernel to let go of a program.
const PATIENCE: Duration = Duration::from_secs(10);

fn limiter(bpffs: Option<&Bpffs>) -> Limiter {
    Limiter::load(&LimiterConfig { entries: 1 << 14, pins: bpffs.map(Bpffs::pins) })
        .expect("the limiter loads")
}

fn packets(limiter: &Limiter, direction: Direction) -> u64 {
    let counted = limiter.tallies().expect("tallies are read");
    counted.iter().filter(|one| one.direction == direction).map(|one| one.tally.packets).sum()
}

#[test]
fn each_rung_sees_packets_and_says_why_it_was_not_taken() {
    require_root!("each_rung_sees_packets_and_says_why_it_was_not_taken");
    let space = Namespace::new("rphook", &["198.18.78.1/24"], &["198.18.78.2/24"]);
    let interface = Interface::find(space.interface()).expect("the interface is there");
    assert!(!interface.is_device && interface.has_ethernet);
    let talk = || {
        let here = UdpSocket::bind("198.18.78.1:47779").expect("a socket here");
        space.inside(|| {
            let socket = UdpSocket::bind("198.18.78.2:0").expect("a socket inside");
            socket.send_to(&[1; 10], "198.18.78.1:47779").expect("a datagram is sent");
        });
        let mut buffer = [0; 16];
        let (_, peer) = here.recv_from(&mut buffer).expect("it arrives");
        here.send_to(&[2; 10], peer).expect("an answer is sent");
    };
    let mut limiter = limiter(None);
    for (wish, rung) in [
        (Wish::Auto, Rung::Tcx),
        (Wish::Tc, Rung::Tcx),
        (Wish::Only(Rung::Clsact), Rung::Clsact),
        (Wish::Only(Rung::Generic), Rung::Generic),
        (Wish::Force(Rung::Native), Rung::Native),
    ] {
        let attached = limiter.attach(&interface, Direction::Ingress, wish).expect("it attaches");
        assert_eq!(attached.rung, rung);
        let before = [Direction::Ingress, Direction::Egress].map(|way| packets(&limiter, way));
        talk();
        assert!(packets(&limiter, Direction::Ingress) > before[0], "{rung:?} sees packets that come");
        assert_eq!(packets(&limiter, Direction::Egress), before[1]);
        if wish == Wish::Auto {
            let [refused] = attached.refused.as_slice() else { panic!("{:?}", attached.refused) };
            assert_eq!(refused.rung, Rung::Native);
            assert!(refused.reason.contains("virtual interface"), "{}", refused.reason);
            limiter.attach(&interface, Direction::Egress, wish).expect("it attaches");
            talk();
            assert!(packets(&limiter, Direction::Egress) > before[1], "tcx sees packets that leave");
            assert_eq!(limiter.tallies().expect("tallies").first().map(|one| one.reason), Some(Reason::Off));
        }
        limiter.detach_except(&BTreeSet::new()).expect("it detaches");
        let before = packets(&limiter, Direction::Ingress);
        talk();
        assert_eq!(packets(&limiter, Direction::Ingress), before, "{rung:?} is detached");
    }
    let refused = limiter.attach(&interface, Direction::Ingress, Wish::Only(Rung::Native));
    assert!(matches!(refused, Err(LimiterError::NoRung { .. })), "{refused:?}");
    let refused = limiter.attach(&interface, Direction::Egress, Wish::Only(Rung::Generic));
    assert!(refused.is_err_and(|error| error.to_string().contains("XDP sees no packets that leave")));
}

#[test]
fn another_xdp_program_is_respected() {
    require_root!("another_xdp_program_is_respected");
    let space = Namespace::new("rpxdp", &["198.18.79.1/24"], &["198.18.79.2/24"]);
    let interface = Interface::find(space.interface()).expect("the interface is there");
    let mut first = limiter(None);
    first.attach(&interface, Direction::Ingress, Wish::Force(Rung::Native)).expect("it attaches");
    let mut second = limiter(None);
    let refused = second.attach(&interface, Direction::Ingress, Wish::Force(Rung::Native));
    let text = refused.expect_err("the place is taken").to_string();
    assert!(text.contains("another XDP program is attached"), "{text}");
    // Below it on the ladder there is room for both.
    second.attach(&interface, Direction::Ingress, Wish::Tc).expect("it attaches");
}

/// Attaches; the kernel may let go of what was there before a moment after its pin is gone.
fn attached_once_free(limiter: &mut Limiter, interface: &Interface, rung: Rung) -> Attached {
    let end = Instant::now() + PATIENCE;
    loop {
        match limiter.attach(interface, Direction::Ingress, Wish::Force(rung)) {
            Err(error)
                if error.to_string().contains("another XDP program is attached") && Instant::now() < end =>
            {
                thread::sleep(Duration::from_millis(20));
            }
            attached => return attached.expect("it attaches"),
        }
    }
}

#[test]
fn pins_are_taken_over_and_need_their_file_system() {
    require_root!("pins_are_taken_over_and_need_their_file_system");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let elsewhere = LimiterConfig { entries: 1 << 14, pins: Some(scratch.path().join("pins")) };
    let Err(refused) = Limiter::load(&elsewhere) else { panic!("pins lie on no BPF file system") };
    assert!(matches!(refused, LimiterError::NotBpffs { .. }), "{refused:?}");

    let bpffs = Bpffs::mount().expect("a BPF file system is mounted");
    let space = Namespace::new("rppin", &["198.18.80.1/24"], &["198.18.80.2/24"]);
    let interface = Interface::find(space.interface()).expect("the interface is there");
    let mut first = limiter(Some(&bpffs));
    for rung in [Rung::Tcx, Rung::Generic, Rung::Native, Rung::Clsact] {
        let attached = attached_once_free(&mut first, &interface, rung);
        assert!(!attached.is_taken_over, "{rung:?}");
        drop(first);
        let mut second = limiter(Some(&bpffs));
        let attached = second.attach(&interface, Direction::Ingress, Wish::Force(rung)).expect("it attaches");
        assert!(attached.is_taken_over, "{rung:?}");
        let wanted = BTreeSet::from([(interface.index, Direction::Ingress)]);
        assert_eq!(second.detach_except(&wanted).expect("nothing else is attached"), 0);
        assert_eq!(second.detach_except(&BTreeSet::new()).expect("it detaches"), 1, "{rung:?}");
        first = second;
    }
    drop(first);
    // A map of another size cannot be taken over.
    let mut other =
        Limiter::load(&LimiterConfig { entries: 1 << 15, pins: Some(bpffs.pins()) }).expect("it loads");
    other.switch_off().expect("it is switched off");
    assert_eq!(other.generation().expect("the generation is read"), 0);
    drop(other);
    // A filter goes on without pins, and lets everything pass.
    let mut filter =
        Limiter::load(&LimiterConfig { entries: 1 << 15, pins: Some(bpffs.pins()) }).expect("it loads");
    filter.publish(&Tables::default()).expect("the tables are written");
    filter.attach(&interface, Direction::Ingress, Wish::Only(Rung::Clsact)).expect("it attaches");
    assert!(rampart_agent::kernel::limiter::remove(&bpffs.pins()).expect("pins are removed"));
    assert_eq!(filter.generation().expect("the generation is read"), 0);
    assert!(!rampart_agent::kernel::limiter::remove(&bpffs.pins()).expect("nothing is left"));
}
