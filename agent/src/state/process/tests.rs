//! Links, exits and limits of the table; invariants under random histories.

use std::{collections::HashSet, sync::Arc};

use proptest::prelude::*;
use rampart_common::event::TaskFacts;

use super::{ANCESTORS_MAX, EXIT_GRACE_NS, Evictions, Image, Process, ProcessId, ProcessTable};

fn id(pid: u32) -> ProcessId {
    ProcessId { pid, start_ticks: u64::from(pid) }
}

fn process(pid: u32, parent: Option<ProcessId>) -> Process {
    let task = TaskFacts { pid, vpid: pid, pid_ns: 1, ..TaskFacts::default() };
    let mut process = Process::new(id(pid), task, Arc::new(Image::default()), 0);
    process.parent = parent;
    process
}

fn table(limit: usize, chain: &[u32]) -> ProcessTable {
    let mut table = ProcessTable::new(limit);
    let mut parent = None;
    for pid in chain {
        table.insert(process(*pid, parent), 0);
        parent = Some(id(*pid));
    }
    table
}

fn ancestors(table: &ProcessTable, pid: u32) -> Vec<u32> {
    table.ancestors(table.get(id(pid)).expect("in the table")).map(|at| at.id.pid).collect()
}

#[test]
fn ancestors_follow_links_and_end() {
    let mut table = table(10, &[1, 2, 3, 4]);
    assert_eq!(ancestors(&table, 4), [3, 2, 1]);
    table.link(id(2), Some(id(4)));
    assert_eq!(ancestors(&table, 4), [3, 2]);
    assert_eq!(ancestors(&table, 1), [0u32; 0]);
    // A loop that the start is not part of is cut by the bound.
    table.insert(process(9, Some(id(4))), 0);
    assert_eq!(ancestors(&table, 9).len(), ANCESTORS_MAX);
    table.link(id(9), Some(id(9)));
    assert_eq!(table.get(id(9)).and_then(|at| at.parent), None, "no process is its own parent");
}

#[test]
fn orphans_go_to_the_first_process_or_a_known_reaper() {
    let mut table = table(10, &[1, 2, 3, 4]);
    table.exit(id(3), 10);
    assert_eq!(ancestors(&table, 4), [1]);
    // A record shows that 2 took the orphan: it is a sub-reaper.
    table.link(id(4), Some(id(2)));
    assert!(!table.get(id(2)).expect("there").reaper, "1 lives, so this was no adoption");
    table.insert(process(5, Some(id(4))), 11);
    table.insert(process(6, Some(id(5))), 11);
    table.exit(id(5), 12);
    assert_eq!(ancestors(&table, 6), [1]);
    table.entries.get_mut(&id(2)).expect("there").reaper = true;
    table.insert(process(7, Some(id(4))), 13);
    table.insert(process(8, Some(id(7))), 13);
    table.exit(id(7), 14);
    assert_eq!(ancestors(&table, 8), [2, 1]);
}

#[test]
fn a_new_parent_after_the_old_one_exited_is_learnt_as_reaper() {
    let mut table = ProcessTable::new(10);
    table.insert(process(20, None), 0);
    table.insert(process(30, Some(id(20))), 0);
    table.insert(process(31, Some(id(30))), 0);
    // No first process is known, so the orphan keeps its old link until a record tells better.
    table.exit(id(30), 1);
    assert_eq!(table.get(id(31)).and_then(|at| at.parent), None);
    let mut late = process(32, Some(id(30)));
    late.parent = Some(id(30));
    table.insert(late, 1);
    table.link(id(32), Some(id(20)));
    assert!(table.get(id(20)).expect("there").reaper);
}

#[test]
fn exited_processes_stay_for_the_grace_period() {
    let mut table = table(10, &[1, 2]);
    table.exit(id(2), 100);
    assert!(table.by_pid(2).is_none());
    table.expire(100 + EXIT_GRACE_NS - 1);
    assert!(table.get(id(2)).is_some_and(|at| at.exited_ns == Some(100)));
    table.exit(id(2), 200);
    table.expire(100 + EXIT_GRACE_NS);
    assert!(table.get(id(2)).is_none());
    assert_eq!(table.evictions(), Evictions::default());
}

#[test]
fn a_reused_number_is_another_process() {
    let mut table = table(10, &[1, 2]);
    let reused = ProcessId { pid: 2, start_ticks: 99 };
    let mut newer = process(2, Some(id(1)));
    newer.id = reused;
    table.insert(newer, 50);
    assert_eq!(table.by_pid(2).map(|at| at.id), Some(reused));
    assert_eq!(table.get(id(2)).and_then(|at| at.exited_ns), Some(50));
    table.exit(id(2), 60);
    assert_eq!(table.by_pid(2).map(|at| at.id), Some(reused));
}

#[test]
fn room_is_made_from_exited_then_from_least_used() {
    let mut table = table(3, &[1, 2, 3]);
    table.exit(id(2), 10);
    table.insert(process(4, None), 11);
    assert_eq!((table.len(), table.evictions()), (3, Evictions { exited: 1, living: 0 }));
    table.get_mut(id(1), 20);
    table.get_mut(id(3), 21);
    table.insert(process(5, None), 22);
    assert!(table.get(id(4)).is_none(), "least recently used");
    assert_eq!((table.len(), table.evictions()), (3, Evictions { exited: 1, living: 1 }));
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u32),
    Exit(u32),
    Link(u32, u32),
    Use(u32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let pid = 1u32..12;
    prop_oneof![
        (pid.clone(), pid.clone()).prop_map(|(child, parent)| Step::Insert(child, parent)),
        pid.clone().prop_map(Step::Exit),
        (pid.clone(), pid.clone()).prop_map(|(child, parent)| Step::Link(child, parent)),
        pid.prop_map(Step::Use),
        (0..EXIT_GRACE_NS).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn invariants_hold_under_any_history(steps in prop::collection::vec(step(), 0..80), limit in 1usize..9) {
        let mut table = ProcessTable::new(limit);
        let mut now = 1;
        // Children that were there before their parent: it cannot know them until their next record.
        let mut early = HashSet::new();
        for step in steps {
            match step {
                Step::Insert(child, parent) => {
                    if table.get(id(child)).is_none_or(|at| at.exited_ns.is_some()) {
                        let older = table.iter().filter(|at| at.parent == Some(id(child)));
                        early.extend(older.map(|at| (at.id, id(child))));
                    }
                    early.remove(&(id(child), id(parent)));
                    table.insert(process(child, Some(id(parent))), now);
                }
                Step::Exit(pid) => table.exit(id(pid), now),
                Step::Link(child, parent) => table.link(id(child), Some(id(parent))),
                Step::Use(pid) => { table.get_mut(id(pid), now); }
                Step::Wait(ns) => { now += ns; table.expire(now); }
            }
            prop_assert!(table.len() <= limit);
            let queued: HashSet<(u64, ProcessId)> = table.exited.iter().copied().collect();
            for process in table.iter() {
                prop_assert!(table.ancestors(process).count() <= ANCESTORS_MAX);
                prop_assert!(process.parent != Some(process.id));
                if let Some(at) = process.exited_ns {
                    prop_assert!(queued.contains(&(at, process.id)), "an exit without a date of removal");
                    prop_assert!(process.children.is_empty());
                }
                if let Some(parent) = table.parent(process) {
                    prop_assert!(
                        parent.exited_ns.is_some()
                            || parent.children.contains(&process.id)
                            || early.contains(&(process.id, parent.id)),
                        "a living parent must know its child"
                    );
                }
            }
            for (pid, found) in &table.by_pid {
                prop_assert!(table.get(*found).is_some() && found.pid == *pid);
            }
            for found in table.inits.values() {
                prop_assert!(table.get(*found).is_some());
            }
        }
    }
}
