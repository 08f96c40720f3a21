//! The spool against a model, stopped at any byte.

mod fake;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use self::fake::{Fake, Stop};
use super::*;

const ROOMY: u64 = 1 << 30;

fn options(sync: Sync, bytes: u64, boot: u8) -> Options {
    Options { sync, bytes, boot: [boot; 16] }
}

fn text(lane: usize, sequence: u64, length: usize) -> Vec<u8> {
    let mut text = format!("{lane}/{sequence}/").into_bytes();
    text.resize(text.len().max(length), b'.');
    text
}

/// Appends one record of that length per lane named.
fn append<D: Disk>(spool: &mut Spool<D>, from: u64, items: &[(usize, usize)]) -> Result<(), SpoolError> {
    let texts: Vec<_> = items
        .iter()
        .zip(from..)
        .map(|((lane, length), sequence)| (*lane, sequence, text(*lane, sequence, *length)))
        .collect();
    let entry = |(lane, sequence, text): &'_ (usize, u64, Vec<u8>)| (*lane, *sequence, text.clone());
    let owned: Vec<_> = texts.iter().map(entry).collect();
    let entries: Vec<Entry<'_>> = owned
        .iter()
        .map(|(lane, sequence, payload)| Entry { lane: *lane, cpu: 0, sequence: *sequence, payload })
        .collect();
    spool.append(&entries)
}

/// Everything the spool has, from the first that is not acknowledged.
fn all<D: Disk>(spool: &mut Spool<D>) -> Vec<Record> {
    spool.rewind();
    let mut records = Vec::new();
    while spool.has_unread() {
        records.extend(spool.read(100_000, 100).unwrap());
    }
    for record in &records {
        assert_eq!(record.payload, text(record.lane, record.sequence, record.payload.len()));
    }
    records
}

fn sequences(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.sequence).collect()
}

#[test]
fn urgent_lanes_come_first_and_lanes_keep_their_order() {
    let disk = Fake::default();
    let mut spool = Spool::open(disk.clone(), options(Sync::Never, ROOMY, 1)).unwrap();
    append(&mut spool, 1, &[(5, 10), (2, 10), (5, 10), (0, 10), (99, 10)]).unwrap();
    assert_eq!(sequences(&spool.read(usize::MAX, usize::MAX).unwrap()), [4, 2, 1, 3, 5]);
    assert!(spool.read(usize::MAX, usize::MAX).unwrap().is_empty() && !spool.has_unread());
    append(&mut spool, 6, &[(5, 10)]).unwrap();
    assert_eq!(sequences(&spool.read(1, 9).unwrap()), [6], "at least one record comes whatever the bound");
    spool.rewind();
    assert_eq!(sequences(&spool.read(15, 9).unwrap()), [4, 2]);
    assert_eq!(sequences(&spool.read(usize::MAX, 2).unwrap()), [1, 3]);
    assert_eq!(spool.pending(), 6);
}

#[test]
fn what_is_acknowledged_does_not_come_again_and_gives_its_room_back() {
    let disk = Fake::default();
    let mut spool = Spool::open(disk.clone(), options(Sync::Interval, ROOMY, 1)).unwrap();
    for round in 0..200 {
        append(&mut spool, round * 10, &[(3, 8000); 10]).unwrap();
    }
    assert!(disk.total() > 16_000_000 && spool.bytes() == disk.total() as u64);
    let records = all(&mut spool);
    assert_eq!(records.len(), 2000);
    spool.acknowledge(3, records[1499].number);
    assert_eq!((spool.pending(), spool.counts().acknowledged), (500, 1500));
    assert!(disk.total() < 9_000_000, "{}", disk.total());
    spool.acknowledge(3, u64::MAX);
    assert_eq!((spool.pending(), spool.counts().acknowledged), (0, 2000));
    assert_eq!((disk.total(), spool.bytes()), (0, 0), "the large open segment is ended");
    append(&mut spool, 1, &[(3, 10)]).unwrap();
    let record = &all(&mut spool)[0];
    assert_eq!(record.number, 2001, "numbers go on");
    spool.acknowledge(3, 2001);
    assert!(spool.bytes() > 0, "a small one is kept");
    drop(spool);
    let mut again = Spool::open(disk.clone(), options(Sync::Interval, ROOMY, 2)).unwrap();
    let records = all(&mut again);
    assert_eq!(
        (records.len(), records[0].boot),
        (1, [1; 16]),
        "the last segment comes once more, under its own id"
    );
    again.acknowledge(3, records[0].number);
    assert_eq!(disk.total(), 0);
}

#[test]
fn the_bound_costs_the_least_urgent_first_and_is_counted() {
    let disk = Fake::default();
    let bound = 1_900_000;
    let mut spool = Spool::open(disk.clone(), options(Sync::Never, bound, 1)).unwrap();
    let mut sequence = 1;
    let mut fill = |spool: &mut Spool<Fake>, lane, records: u64| {
        for _ in 0..records {
            append(spool, sequence, &[(lane, 1000)]).unwrap();
            sequence += 1;
            assert!(spool.bytes() <= bound && disk.total() as u64 <= bound);
        }
    };
    fill(&mut spool, 6, 1000);
    fill(&mut spool, 4, 1000);
    assert_eq!(spool.counts().shed[4], 0);
    let shed = spool.counts().shed[6];
    assert!((60..=300).contains(&shed), "one segment at a time: {shed}");
    fill(&mut spool, 0, 1500);
    let counts = *spool.counts();
    assert!(counts.shed[6] == 1000 && counts.shed[4] > 400 && counts.shed[0] == 0, "{counts:?}");
    fill(&mut spool, 0, 600);
    let before = *spool.counts();
    // Beyond the room that a dropped segment left, nothing less urgent may go for these.
    fill(&mut spool, 7, 200);
    let counts = *spool.counts();
    assert!(counts.shed[4] == 1000 && counts.shed[7] > 100, "{counts:?}");
    assert_eq!(counts.shed[0], before.shed[0], "urgent ones never go for others");
    let kept = all(&mut spool).len() as u64;
    assert_eq!(kept + counts.shed.iter().sum::<u64>(), sequence - 1);
    assert_eq!(counts.damaged + counts.failed, 0);
}

#[test]
fn damage_is_counted_and_costs_one_record_or_one_segment() {
    let disk = Fake::default();
    let mut spool = Spool::open(disk.clone(), options(Sync::Always, ROOMY, 1)).unwrap();
    append(&mut spool, 1, &[(0, 100); 10]).unwrap();
    append(&mut spool, 11, &[(1, 100); 5]).unwrap();
    disk.change("0-0000000000000001.seg", |data| data[HEAD_BYTES + 3 * 132 + 50] ^= 4);
    assert_eq!(sequences(&all(&mut spool)).len(), 14);
    assert_eq!(spool.counts().damaged, 1);
    let _ = all(&mut spool);
    assert_eq!(spool.counts().damaged, 1, "counted once");
    drop(spool);
    disk.change("1-0000000000000001.seg", |data| data[9] ^= 4);
    disk.change("0-0000000000000001.seg", |data| data.truncate(HEAD_BYTES + 9 * 132 + 20));
    let mut again = Spool::open(disk.clone(), options(Sync::Always, ROOMY, 2)).unwrap();
    assert_eq!(sequences(&all(&mut again)), [1, 2, 3, 5, 6, 7, 8, 9]);
    let counts = again.counts();
    assert_eq!((counts.damaged, counts.torn_bytes, counts.lost_segments), (1, 20, 1));
    append(&mut again, 1, &[(0, 100)]).unwrap();
    let records = all(&mut again);
    assert_eq!(records.last().map(|record| (record.boot, record.sequence)), Some(([2; 16], 1)));
    again.acknowledge(0, u64::MAX);
    assert_eq!(again.pending(), 0);
}

#[test]
fn a_missing_file_costs_its_records_and_strange_files_are_left_alone() {
    let disk = Fake::default();
    disk.create("notes.txt", b"mine").unwrap();
    let mut spool = Spool::open(disk.clone(), options(Sync::Never, ROOMY, 1)).unwrap();
    for round in 0..300 {
        append(&mut spool, round * 10, &[(3, 8000); 10]).unwrap();
    }
    drop(spool);
    let names: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name.starts_with('3')).collect();
    assert!(names.len() > 4);
    disk.remove(&names[1]).unwrap();
    let mut again = Spool::open(disk.clone(), options(Sync::Never, ROOMY, 2)).unwrap();
    let found = all(&mut again).len() as u64;
    assert!(found < 3000 && again.counts().damaged == 3000 - found, "{found} {:?}", again.counts());
    again.acknowledge(3, u64::MAX);
    assert_eq!(disk.list().unwrap(), ["notes.txt"]);
}

#[test]
fn what_a_full_disk_refused_is_not_counted_again_with_what_makes_room() {
    let disk = Fake::default();
    let mut spool = Spool::open(disk.clone(), options(Sync::Never, ROOMY, 1)).unwrap();
    disk.limit_space(Some(400_000));
    for round in 0..300 {
        // Some fail.
        let _ = append(&mut spool, round * 10 + 1, &[(3, 2000); 10]);
    }
    let found = all(&mut spool).len() as u64;
    let counts = spool.counts();
    let shed = counts.shed.iter().sum::<u64>();
    assert!(shed > 0 && counts.failed > 10, "{counts:?}");
    assert_eq!((found + shed + counts.failed, counts.damaged), (3000, 0), "{counts:?}");
}

#[test]
fn a_full_disk_costs_what_does_not_fit_and_is_survived() {
    let disk = Fake::default();
    let mut spool = Spool::open(disk.clone(), options(Sync::Always, ROOMY, 1)).unwrap();
    append(&mut spool, 1, &[(3, 100); 10]).unwrap();
    disk.limit_space(Some(disk.total() + 50));
    let error = append(&mut spool, 11, &[(2, 100), (3, 100)]).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
    assert!(spool.counts().failed > 0);
    // Room was made by dropping what is less urgent, so the next one is kept.
    append(&mut spool, 13, &[(2, 100)]).unwrap();
    disk.limit_space(None);
    append(&mut spool, 14, &[(2, 100)]).unwrap();
    let records = all(&mut spool);
    assert!(sequences(&records).starts_with(&[13, 14]), "{:?}", sequences(&records));
    let counts = spool.counts();
    assert_eq!(records.len() as u64 + counts.shed.iter().sum::<u64>() + counts.failed, 14, "{counts:?}");
    assert_eq!(counts.damaged, 0, "what was never written is not counted twice");
    assert!(
        spool.append(&[Entry { lane: 0, cpu: 0, sequence: 1, payload: &vec![0; PAYLOAD_MAX + 1] }]).is_ok()
    );
}

/// What is done to a spool.
#[derive(Clone, Debug)]
enum Op {
    Append(Vec<(usize, usize)>),
    Sync,
    Read(usize),
    Acknowledge(usize),
    Rewind,
}

fn op() -> impl Strategy<Value = Op> {
    let item = (0..LANES, prop_oneof![0_usize..300, 20_000_usize..40_000]);
    prop_oneof![
        4 => prop::collection::vec(item, 1..6).prop_map(Op::Append),
        1 => Just(Op::Sync),
        2 => (1_usize..100_000).prop_map(Op::Read),
        2 => (0_usize..10).prop_map(Op::Acknowledge),
        1 => Just(Op::Rewind),
    ]
}

/// A record's identity: start and sequence.
type Id = (u8, u64);

/// What must be true of the spool.
#[derive(Debug, Default)]
struct Model {
    /// Everything that was ever handed to it.
    appended: BTreeSet<Id>,
    /// What survives the stop that comes.
    promised: BTreeSet<Id>,
    /// What was kept, but is not promised against a power cut.
    kept: BTreeSet<Id>,
    acknowledged: BTreeSet<Id>,
    /// Read, by lane, and not acknowledged.
    read: BTreeMap<usize, Vec<(u64, Id)>>,
}

impl Model {
    /// Does it to both; errors of the disk mean that it has stopped.
    fn apply(&mut self, spool: &mut Spool<Fake>, boot: u8, sequence: &mut u64, op: &Op, sync: Sync) {
        match op {
            Op::Append(items) => {
                let ids = (*sequence..).take(items.len()).map(|sequence| (boot, sequence));
                let ids: Vec<Id> = ids.collect();
                self.appended.extend(&ids);
                if append(spool, *sequence, items).is_ok() {
                    if sync == Sync::Always { &mut self.promised } else { &mut self.kept }.extend(&ids);
                }
                *sequence += items.len() as u64;
            }
            Op::Sync => {
                if spool.sync().is_ok() {
                    self.promised.append(&mut self.kept);
                }
            }
            Op::Read(bytes) => {
                for record in spool.read(*bytes, 7).unwrap_or_default() {
                    let id = (record.boot[0], record.sequence);
                    assert!(self.appended.contains(&id), "{id:?} was never appended");
                    let lane = self.read.entry(record.lane).or_default();
                    assert!(lane.last().is_none_or(|(last, _)| *last < record.number), "out of order");
                    lane.push((record.number, id));
                }
            }
            Op::Acknowledge(upto) => {
                for (lane, read) in &mut self.read {
                    let done: Vec<_> = read.drain(..read.len().min(*upto)).collect();
                    if let Some((number, _)) = done.last() {
                        spool.acknowledge(*lane, *number);
                        self.acknowledged.extend(done.iter().map(|(_, id)| *id));
                    }
                }
            }
            Op::Rewind => {
                spool.rewind();
                self.read.clear();
            }
        }
    }

    /// What a new start finds is at least what was promised.
    fn check(&mut self, spool: &mut Spool<Fake>, stop: Stop) {
        if stop == Stop::Kill {
            self.promised.append(&mut self.kept);
        }
        let found: BTreeSet<Id> = all(spool).iter().map(|record| (record.boot[0], record.sequence)).collect();
        for id in self.promised.difference(&self.acknowledged) {
            assert!(found.contains(id), "{id:?} is lost");
        }
        for id in &found {
            assert!(self.appended.contains(id), "{id:?} was never appended");
        }
        spool.rewind();
        self.read.clear();
        // Whatever is on the disk now is there to stay.
        self.promised = found.difference(&self.acknowledged).copied().collect();
        self.kept.clear();
    }
}

/// Cases of the property tests; `RAMPART_LONG` multiplies them.
fn cases(count: u32) -> ProptestConfig {
    let times = std::env::var("RAMPART_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    ProptestConfig { cases: count * times, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn nothing_promised_is_lost_wherever_it_stops(
        starts in prop::collection::vec(
            (prop::collection::vec(op(), 1..20), prop::option::of(0_usize..200_000), any::<bool>(), any::<u64>()),
            1..5,
        ),
        sync in prop_oneof![Just(Sync::Always), Just(Sync::Interval), Just(Sync::Never)],
    ) {
        let disk = Fake::default();
        let mut model = Model::default();
        for (boot, (ops, budget, is_power_cut, mut luck)) in starts.into_iter().enumerate() {
            let (boot, mut sequence) = (boot as u8, 1);
            if let Some(budget) = budget {
                disk.stop_after(budget);
            }
            if let Ok(mut spool) = Spool::open(disk.clone(), options(sync, ROOMY, boot)) {
                for op in &ops {
                    if disk.has_stopped() {
                        break;
                    }
                    model.apply(&mut spool, boot, &mut sequence, op, sync);
                    if !disk.has_stopped() {
                        assert_eq!(spool.bytes(), disk.total() as u64);
                    }
                }
            }
            let stop = if is_power_cut { Stop::Power } else { Stop::Kill };
            disk.restart(stop, |below| {
                luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (luck >> 33) as usize % below
            });
            let mut spool = Spool::open(disk.clone(), options(sync, ROOMY, 100 + boot)).unwrap();
            model.check(&mut spool, stop);
        }
    }

    #[test]
    fn every_record_is_kept_acknowledged_or_counted(
        ops in prop::collection::vec(op(), 1..60),
        bound in 200_000_u64..1_000_000,
    ) {
        let disk = Fake::default();
        let mut spool = Spool::open(disk.clone(), options(Sync::Interval, bound, 1)).unwrap();
        let (mut model, mut sequence) = (Model::default(), 1);
        for op in &ops {
            model.apply(&mut spool, 1, &mut sequence, op, Sync::Interval);
            prop_assert!(spool.bytes() <= bound && disk.total() as u64 == spool.bytes());
        }
        let counts = *spool.counts();
        let shed: u64 = counts.shed.iter().sum();
        let kept = all(&mut spool).len() as u64;
        prop_assert_eq!((counts.damaged, counts.failed), (0, 0));
        prop_assert_eq!(kept, spool.pending());
        // Records that were read and dropped before their acknowledgement came are counted as dropped.
        prop_assert_eq!(kept + counts.acknowledged + shed, sequence - 1);
    }
}
