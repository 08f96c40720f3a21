//! What collectors that share a store tell each other of the nodes that are connected to them.
//!
//! Owns one item of the book for each collector, which ends soon after the collector does. `/nodes` of any of them then
//! shows every node with its heartbeat; what is decided about a node is decided where it is connected.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    identity::{IdentityError, Records, hex, items, random},
    ingest::now_ns,
    registry::{Node, Registry},
    store::identity::{Book, Change, Expect, Kind},
};

/// Time between two times of telling.
const TELL: Duration = Duration::from_secs(10);
/// After this, a collector that tells nothing is gone.
const GONE: Duration = Duration::from_mins(1);

/// Tells and listens until the collector ends.
pub async fn run(records: Records, registry: Arc<Registry>, mut stop: watch::Receiver<bool>) {
    let Ok(me) = random::<8>().map(|bytes| hex(&bytes)) else {
        return tracing::error!(
            "Other collectors do not hear of the nodes here: there are no random numbers"
        );
    };
    let mut was_well = true;
    loop {
        let next = Instant::now() + TELL;
        let (nodes, name) = (registry.nodes(), me.clone());
        match records.run(move |book| tell(book, &name, nodes, now_ns())).await {
            Ok(others) => {
                registry.set_others(others);
                was_well = true;
            }
            Err(error) => {
                if std::mem::take(&mut was_well) {
                    tracing::error!("Collectors cannot tell each other of their nodes: {error}");
                }
            }
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = sleep_until(next) => {}
        }
    }
    // Its nodes go to others now; what is left ends by itself.
    let gone = records.run(move |book| Ok(book.keep(&[Change::remove(Kind::Census, me)], now_ns())?));
    if let Err(error) = gone.await {
        tracing::warn!("Other collectors do not hear that this one ends: {error}");
    }
}

/// Says which nodes are here; gives those that are elsewhere.
fn tell(
    book: &mut dyn Book,
    me: &str,
    mut nodes: BTreeMap<String, Node>,
    now_ns: u64,
) -> Result<BTreeMap<String, Node>, IdentityError> {
    nodes.retain(|_, node| node.is_active(now_ns));
    let ends = now_ns + GONE.as_nanos() as u64;
    let change = Change::put(Kind::Census, me, Expect::Anything, items::write(&nodes)?).until(ends);
    book.keep(&[change], now_ns)?;
    let mut others: BTreeMap<String, Node> = BTreeMap::new();
    for (name, told) in items::list::<BTreeMap<String, Node>>(book, Kind::Census)? {
        if name == me {
            continue;
        }
        for (name, node) in told {
            let is_newer = others.get(&name).is_none_or(|known| known.seen_ns < node.seen_ns);
            if is_newer {
                others.insert(name, node);
            }
        }
    }
    Ok(others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::Beat, store::Place};

    const SECOND: u64 = 1_000_000_000;

    fn node(seen: u64, alerts: u64) -> Node {
        let beat = Beat { alerts, losses: [("ring_full".to_owned(), 3)].into(), ..Beat::default() };
        Node { seen_ns: seen * SECOND, sessions: 1, beat: Some(beat), ..Node::default() }
    }

    #[test]
    fn each_hears_of_the_nodes_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::File(dir.path().join("c.db"));
        drop(place.writer().unwrap());
        let mut book = place.book().unwrap();
        let mut told = |me: &str, nodes: &[(&str, Node)], now: u64| {
            let nodes = nodes.iter().map(|(name, node)| ((*name).to_owned(), node.clone())).collect();
            tell(&mut *book, me, nodes, now * SECOND).unwrap()
        };
        assert!(told("a", &[("n1", node(99, 1)), ("gone", node(5, 9))], 100).is_empty());
        let heard = told("b", &[("n1", node(80, 0)), ("n2", node(100, 2))], 100);
        assert_eq!(heard, [("n1".to_owned(), node(99, 1))].into());
        // The one that heard of it last knows best.
        let heard = told("c", &[], 101);
        assert_eq!(heard, [("n1".to_owned(), node(99, 1)), ("n2".to_owned(), node(100, 2))].into());
        let registry = Registry::default();
        registry.update("n2", 90 * SECOND, |node| node.version = "here".to_owned());
        registry.update("n3", 90 * SECOND, |_| ());
        registry.set_others(heard);
        let all = registry.all();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["n1", "n2", "n3"]);
        assert_eq!((&all["n2"], registry.nodes().len()), (&node(100, 2), 2));
        registry.update("n2", 101 * SECOND, |_| ());
        assert_eq!(registry.all()["n2"].version, "here");
    }
}
