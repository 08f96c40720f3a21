//! Which policy bundle an agent is offered.

use std::{collections::BTreeMap, sync::Arc};

use rampart_proto::v1::BundleOffer;
use tokio::sync::watch;

use crate::{
    identity::unhex,
    registry::Bundle,
    rollout::{plan::Plan, shelf::Shelf},
};

/// What one agent was offered.
#[derive(Debug)]
pub(super) struct Offers {
    /// Which node is to have which bundle.
    pub(super) plan: watch::Receiver<Arc<Plan>>,
    pub(super) shelf: Arc<Shelf>,
    /// Labels of the node.
    pub(super) labels: BTreeMap<String, String>,
    /// Digest of what was offered last on this stream; empty for none.
    pub(super) offered: Option<String>,
}

impl Offers {
    /// What the node is to have and was not offered yet, by the plan of now.
    pub(super) async fn next(&mut self, node: &str, has: &Bundle) -> Option<BundleOffer> {
        let plan = Arc::clone(&self.plan.borrow_and_update());
        if !has.is_accepting {
            return None;
        }
        let wanted = plan.target(node, &self.labels)?.unwrap_or_default();
        // Once a stream is enough: what an agent has refused it would refuse again, until something changes.
        let is_there = match &self.offered {
            Some(offered) => offered == wanted,
            // One that still complains of another bundle is told that nobody wants that any more.
            None => {
                has.digest == wanted
                    && (has.fault.is_empty() || has.fault_digest == wanted && !wanted.is_empty())
            }
        };
        if is_there {
            return None;
        }
        let content = match wanted {
            "" => None,
            digest => match self.shelf.get(digest).await {
                Ok(Some(bytes)) => Some(bytes),
                Ok(None) => {
                    tracing::error!(
                        node,
                        digest,
                        "A bundle is not in the store any more, the node keeps what it has"
                    );
                    return None;
                }
                Err(error) => {
                    tracing::error!(
                        node,
                        digest,
                        "A bundle cannot be read, the node keeps what it has: {error}"
                    );
                    self.plan.mark_changed();
                    // Not at once again: the store may be down for a while.
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    return None;
                }
            },
        };
        self.offered = Some(wanted.to_owned());
        let digest = unhex(wanted).unwrap_or_default();
        Some(BundleOffer { digest, content: content.map_or_else(Vec::new, |bytes| bytes.to_vec()) })
    }
}
