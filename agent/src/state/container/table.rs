//! The containers seen, what is known of each, and the pods of the node.
//!
//! Bounded; what is dropped for lack of room is counted. Owned by the detection thread.

use std::{collections::VecDeque, sync::Arc};

use rustc_hash::FxHashMap;

use super::{Metadata, News, Pod, Wanted};
use crate::{
    event::ProcessId,
    state::{cgroup::Container, users::NameTable},
};

/// Containers remembered; more than a node runs at once many times over.
const CONTAINERS_MAX: usize = 4096;
/// Pods remembered.
const PODS_MAX: usize = 4096;
/// Containers that may wait to be looked up; the newest waits for its next event when it is full.
const OUTBOX_MAX: usize = 1024;
/// How long a container that nobody knows is not looked up again, nanoseconds.
const ABSENT_NS: u64 = 30_000_000_000;
/// Longest wait for an answer; it can only be lost with the side that looks up.
const PENDING_NS: u64 = 5_000_000_000;
/// First wait before the names of a container are read again, nanoseconds; each further wait without names is twice as
/// long. The first process may have ended before its files could be read, or may still have had the host's.
const NAMES_WAIT_NS: u64 = 20_000_000;
/// How often names that are known are read again, nanoseconds, while the container is active; longest wait without.
const NAMES_EVERY_NS: u64 = 60_000_000_000;
/// When the table is full, this share of it is dropped at once.
const EVICT_SHARE: usize = 16;

/// What is known of a container.
#[derive(Clone, Copy, Debug)]
pub enum Known<'t> {
    /// Everything there is to know.
    Yes(&'t Metadata),
    /// It is being looked up.
    Pending,
    /// Nobody knows it, or nobody is asked.
    No,
}

/// Whose user and group names count in a container.
#[derive(Clone, Copy, Debug)]
pub enum KnownNames<'t> {
    /// Its own.
    Own(&'t NameTable),
    /// Its own, which are being read.
    Pending,
    /// Its own, which cannot be read.
    None,
    /// The host's, because nobody is asked.
    Host,
}

#[derive(Debug)]
enum Entry {
    Pending { since_ns: u64 },
    Known(Box<Metadata>),
    Absent { until_ns: u64 },
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    names: Option<Box<NameTable>>,
    /// Whether its names are being read.
    names_pending: bool,
    /// When its names are read next, by a process that is active then.
    names_due_ns: u64,
    /// What the wait after that is.
    names_wait_ns: u64,
    used_ns: u64,
}

/// Counters and sizes at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Containers in the table.
    pub containers: u64,
    /// Of these, containers being looked up.
    pub pending: u64,
    /// Pods in the table.
    pub pods: u64,
    /// Containers and pods dropped for lack of room so far.
    pub evictions: u64,
}

/// The table.
#[derive(Debug, Default)]
pub struct ContainerTable {
    slots: FxHashMap<Arc<str>, Slot>,
    pods: FxHashMap<String, Arc<Pod>>,
    /// Pod of a container, by the container's whole id.
    pod_of: FxHashMap<String, String>,
    outbox: VecDeque<Wanted>,
    /// Whether somebody takes the outbox.
    asking: bool,
    evictions: u64,
}

impl ContainerTable {
    /// Says that somebody takes the outbox; without it every container is unknown from the start.
    pub fn ask(&mut self) {
        self.asking = true;
    }

    /// Notes that a process of a container is active; the first time, or some time after nobody knew it, it goes to the outbox.
    pub fn touch(&mut self, container: &Arc<Container>, process: ProcessId, now_ns: u64) {
        if !self.asking {
            return;
        }
        let wanted = |names_only| Wanted { container: Arc::clone(container), process, names_only };
        if let Some(slot) = self.slots.get_mut(&container.id) {
            slot.used_ns = now_ns;
            match slot.entry {
                Entry::Pending { since_ns } if now_ns.saturating_sub(since_ns) > PENDING_NS => {
                    slot.entry = Entry::Absent { until_ns: now_ns + ABSENT_NS };
                    slot.names_pending = false;
                }
                // Looked up anew, but nothing waits for it.
                Entry::Absent { until_ns } if until_ns <= now_ns && self.outbox.len() < OUTBOX_MAX => {
                    slot.entry = Entry::Absent { until_ns: now_ns + ABSENT_NS };
                    self.outbox.push_back(wanted(false));
                }
                Entry::Known(_) | Entry::Absent { .. }
                    if slot.names_due_ns <= now_ns && self.outbox.len() < OUTBOX_MAX =>
                {
                    slot.names_due_ns = now_ns + slot.names_wait_ns;
                    slot.names_pending = true;
                    slot.names_wait_ns = (slot.names_wait_ns * 2).min(NAMES_EVERY_NS);
                    self.outbox.push_back(wanted(true));
                }
                _ => {}
            }
            return;
        }
        if self.outbox.len() >= OUTBOX_MAX {
            return;
        }
        self.make_room();
        let entry = Entry::Pending { since_ns: now_ns };
        let slot = Slot {
            entry,
            names: None,
            names_pending: true,
            names_due_ns: now_ns + NAMES_WAIT_NS,
            names_wait_ns: NAMES_WAIT_NS,
            used_ns: now_ns,
        };
        self.slots.insert(Arc::clone(&container.id), slot);
        self.outbox.push_back(wanted(false));
    }

    /// The next container to look up.
    pub fn next_request(&mut self) -> Option<Wanted> {
        self.outbox.pop_front()
    }

    /// Puts a container back that could not be handed over.
    pub fn put_back(&mut self, wanted: Wanted) {
        self.outbox.push_front(wanted);
    }

    /// Takes over what was learned.
    pub fn take(&mut self, news: News, now_ns: u64) {
        match news {
            News::Container(id, found) => {
                let Some(slot) = self.slots.get_mut(&id) else { return };
                // They come before, if they do.
                slot.names_pending = false;
                match (found, &slot.entry) {
                    (Some(metadata), _) => slot.entry = Entry::Known(metadata),
                    // What was learned once stays when the container is gone meanwhile.
                    (None, Entry::Known(_)) => {}
                    (None, _) => slot.entry = Entry::Absent { until_ns: now_ns + ABSENT_NS },
                }
            }
            News::Names(id, names) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    if slot.names.is_some() {
                        slot.names_due_ns = now_ns + NAMES_EVERY_NS;
                        slot.names_wait_ns = NAMES_EVERY_NS;
                    }
                    slot.names = Some(names);
                    slot.names_pending = false;
                }
            }
            News::NoNames(id) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.names_pending = false;
                }
            }
            News::Pod(pod) => self.insert_pod(pod),
            News::PodGone(uid) => self.remove_pod(&uid),
            News::Pods(pods) => {
                self.pods.clear();
                self.pod_of.clear();
                for pod in pods {
                    self.insert_pod(pod);
                }
            }
            // Of another table, see `State::take_news`.
            News::Digest(..) => {}
        }
    }

    /// What is known of a container.
    pub fn get(&self, container: &Container) -> Known<'_> {
        match self.slots.get(&container.id).map(|slot| &slot.entry) {
            Some(Entry::Known(metadata)) => Known::Yes(metadata),
            Some(Entry::Pending { .. }) => Known::Pending,
            Some(Entry::Absent { .. }) | None => Known::No,
        }
    }

    /// Whose user and group names count in a container.
    pub fn names(&self, container: &Container) -> KnownNames<'_> {
        if !self.asking {
            return KnownNames::Host;
        }
        match self.slots.get(&container.id) {
            Some(Slot { names: Some(names), .. }) => KnownNames::Own(names),
            Some(Slot { names_pending: true, .. }) => KnownNames::Pending,
            _ => KnownNames::None,
        }
    }

    /// The pod of a container as the API server knows it.
    pub fn pod(&self, container: &Container) -> Option<&Pod> {
        let uid =
            container.pod_uid.as_deref().or_else(|| self.pod_of.get(&*container.full_id).map(|uid| &**uid));
        self.pods.get(uid?).map(|pod| &**pod)
    }

    /// Sizes and counters.
    pub fn sizes(&self) -> Sizes {
        let pending = self.slots.values().filter(|slot| matches!(slot.entry, Entry::Pending { .. }));
        Sizes {
            containers: self.slots.len() as u64,
            pending: pending.count() as u64,
            pods: self.pods.len() as u64,
            evictions: self.evictions,
        }
    }

    fn insert_pod(&mut self, pod: Arc<Pod>) {
        self.remove_pod(&pod.uid);
        if self.pods.len() >= PODS_MAX {
            self.evictions += 1;
            return;
        }
        for id in pod.containers.keys() {
            self.pod_of.insert(id.clone(), pod.uid.clone());
        }
        self.pods.insert(pod.uid.clone(), pod);
    }

    fn remove_pod(&mut self, uid: &str) {
        for id in self.pods.remove(uid).iter().flat_map(|pod| pod.containers.keys()) {
            self.pod_of.remove(id);
        }
    }

    fn make_room(&mut self) {
        if self.slots.len() < CONTAINERS_MAX {
            return;
        }
        let mut by_use: Vec<(u64, Arc<str>)> =
            self.slots.iter().map(|(id, slot)| (slot.used_ns, Arc::clone(id))).collect();
        let count = CONTAINERS_MAX / EVICT_SHARE;
        by_use.select_nth_unstable(count);
        for (_, id) in by_use.into_iter().take(count) {
            self.slots.remove(&id);
            self.evictions += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::cgroup::{CtrTasks, container};

    const SECOND: u64 = 1_000_000_000;
    const PROCESS: ProcessId = ProcessId { pid: 1, start_ticks: 1 };

    fn of(path: &str) -> Arc<Container> {
        Arc::new(container(path.as_bytes(), &CtrTasks::Any).expect("a container"))
    }

    fn asked() -> ContainerTable {
        let mut table = ContainerTable::default();
        table.ask();
        table
    }

    #[test]
    fn a_container_is_asked_for_once_and_again_when_nobody_knew_it() {
        let web = of("/ns/web");
        let mut table = asked();
        table.touch(&web, PROCESS, SECOND);
        table.touch(&web, PROCESS, SECOND + 1);
        assert!(table.next_request().is_some() && table.next_request().is_none());
        assert!(matches!(table.get(&web), Known::Pending));
        table.take(News::Container(Arc::clone(&web.id), None), 2 * SECOND);
        assert!(matches!(table.get(&web), Known::No));
        table.touch(&web, PROCESS, 3 * SECOND);
        assert!(table.next_request().is_some_and(|wanted| wanted.names_only), "not at once");
        table.touch(&web, PROCESS, 40 * SECOND);
        assert!(table.next_request().is_some() && matches!(table.get(&web), Known::No), "without waiting");
        let metadata = Metadata { name: Some("web".into()), ..Metadata::default() };
        table.take(News::Container(Arc::clone(&web.id), Some(Box::new(metadata))), 41 * SECOND);
        table.take(News::Container(Arc::clone(&web.id), None), 42 * SECOND);
        assert!(matches!(table.get(&web), Known::Yes(known) if known.name.as_deref() == Some("web")));
    }

    #[test]
    fn names_are_read_again_later_and_later_and_then_every_minute() {
        let web = of("/ns/web");
        let mut table = asked();
        let asked_at = |table: &mut ContainerTable, range: std::ops::Range<u64>| {
            let mut at = Vec::new();
            for tenth in range {
                table.touch(&web, PROCESS, tenth * SECOND / 10);
                at.extend(table.next_request().map(|wanted| (tenth, wanted.names_only)));
            }
            at
        };
        assert_eq!(asked_at(&mut table, 10..12), [(10, false)], "not while the container is looked up");
        table.take(News::Container(Arc::clone(&of("/ns/web").id), None), SECOND);
        let at = [(12, true), (13, true), (14, true), (15, true), (17, true), (21, true), (28, true)];
        assert_eq!(asked_at(&mut table, 12..30), at);
        for _ in 0..2 {
            table.take(News::Names(Arc::clone(&of("/ns/web").id), Box::default()), 3 * SECOND);
        }
        let later = asked_at(&mut table, 31..1200);
        assert_eq!(later.iter().filter(|(_, names_only)| *names_only).collect::<Vec<_>>(), [&(630, true)]);
    }

    #[test]
    fn without_anybody_to_ask_nothing_is_pending() {
        let web = of("/ns/web");
        let mut table = ContainerTable::default();
        table.touch(&web, PROCESS, SECOND);
        assert!(matches!(table.get(&web), Known::No) && table.next_request().is_none());
    }

    #[test]
    fn an_answer_that_never_comes_is_given_up() {
        let web = of("/ns/web");
        let mut table = asked();
        table.touch(&web, PROCESS, SECOND);
        table.touch(&web, PROCESS, 7 * SECOND);
        assert!(matches!(table.get(&web), Known::No));
    }

    #[test]
    fn the_table_is_bounded_and_counts_what_it_drops() {
        let mut table = asked();
        for number in 0..CONTAINERS_MAX as u64 + 10 {
            table.touch(&of(&format!("/ns/{number}")), PROCESS, number);
            table.next_request();
        }
        let sizes = table.sizes();
        assert!(sizes.containers <= CONTAINERS_MAX as u64 && sizes.evictions > 0, "{sizes:?}");
        assert!(matches!(table.get(&of(&format!("/ns/{}", CONTAINERS_MAX + 9))), Known::Pending));
        assert!(matches!(table.get(&of("/ns/0")), Known::No), "the least recently used went");
        for number in 0..2 * OUTBOX_MAX {
            table.touch(&of(&format!("/other/x{number}")), PROCESS, SECOND);
        }
        assert_eq!(table.outbox.len(), OUTBOX_MAX);
    }

    #[test]
    fn pods_are_found_by_uid_and_by_container() {
        let id = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";
        let uid = "ac04f3f2-1f2c-11e9-b015-1ebee232acfa";
        let pod = |name: &str| {
            Arc::new(Pod {
                uid: uid.into(),
                name: name.into(),
                containers: [(id.to_owned(), super::super::PodContainer::default())].into(),
                ..Pod::default()
            })
        };
        let by_uid = of(&format!("/kubepods/pod{uid}/{}", id.replace('6', "7")));
        let by_container = of(&format!("/docker/{id}"));
        let mut table = asked();
        table.take(News::Pod(pod("a")), 0);
        assert_eq!(table.pod(&by_uid).map(|pod| &*pod.name), Some("a"));
        assert_eq!(table.pod(&by_container).map(|pod| &*pod.name), Some("a"));
        table.take(News::Pods(vec![pod("b")]), 0);
        assert_eq!(table.pod(&by_container).map(|pod| &*pod.name), Some("b"));
        table.take(News::PodGone(uid.into()), 0);
        assert!(table.pod(&by_uid).is_none() && table.pod(&by_container).is_none());
    }
}
