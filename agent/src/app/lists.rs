//! Keeps the lists that rules name current: gets them, keeps the last good text, hands their sets to the supervisor.
//!
//! One task for each list, on the runtime; texts are read on threads that may block. A list that cannot be got, is too
//! large, is no list or has lost all of its members stays as it was: that is counted, logged, shown and alerted.

mod keeper;
mod notices;

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc::SyncSender},
};

use rampart_rules::set::Sets;
use tokio::{sync::watch, task::JoinSet};

use self::keeper::Keeper;
use super::tasks::Tasks;
use crate::{
    alert::build::Internal, config::RuleList, fetch::Fetcher, retry::Budget, telemetry::status::Status,
};

/// Name of the task.
const LISTS: &str = "lists";

/// The supervisor's ends of the channels.
pub(super) struct Lists {
    wanted: watch::Sender<BTreeMap<String, RuleList>>,
    sets: watch::Receiver<Sets>,
}

impl Lists {
    /// Starts the task.
    pub(super) fn start(
        lists: &BTreeMap<String, RuleList>,
        notices: SyncSender<Internal>,
        tasks: &mut Tasks,
        status: &Arc<Status>,
    ) -> Self {
        let (wanted, asked) = watch::channel(lists.clone());
        let (publish, sets) = watch::channel(Sets::default());
        let desk = Desk { publish, notices, status: Arc::clone(status) };
        tasks.task(LISTS, async move {
            run(asked, desk).await;
            Ok(())
        });
        Self { wanted, sets }
    }

    /// Keeps these lists from now on.
    pub(super) fn set(&self, lists: &BTreeMap<String, RuleList>) {
        self.wanted.send_if_modified(|known| {
            let is_new = known != lists;
            if is_new {
                known.clone_from(lists);
            }
            is_new
        });
    }

    /// The sets, when one has changed. Cancel safe. Waits for ever when the task is gone, whose end the supervisor sees.
    pub(super) async fn changed(&mut self) -> Sets {
        match self.sets.changed().await {
            Ok(()) => self.sets.borrow_and_update().clone(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Where keepers of lists tell what they found.
#[derive(Clone)]
struct Desk {
    publish: watch::Sender<Sets>,
    notices: SyncSender<Internal>,
    status: Arc<Status>,
}

/// Keeps what is wanted, until nobody wants anything any more.
async fn run(mut asked: watch::Receiver<BTreeMap<String, RuleList>>, desk: Desk) {
    loop {
        let lists = asked.borrow_and_update().clone();
        desk.status.update_lists(|status| status.keep_only(&lists));
        let mut keepers = JoinSet::new();
        // Many that fail at once wait for each other.
        let budget = Arc::new(Budget::default());
        let fetcher =
            Fetcher::new().map_err(|error| format!("the node's certificates cannot be read: {error}"));
        for (name, list) in lists {
            let keeper = Keeper::new(name, list, desk.clone(), fetcher.clone(), Arc::clone(&budget));
            keepers.spawn(keeper.run());
        }
        // Dropped, the keepers end.
        if asked.changed().await.is_err() {
            return;
        }
    }
}

impl Desk {
    /// Hands the sets of all lists to the supervisor, if one has changed. They are known only together: a list that has
    /// not been opened yet must not look empty.
    fn publish(&self) {
        let Some(sets) = self.status.lists().sets() else { return };
        self.publish.send_if_modified(|known| {
            let is_new = *known != sets;
            if is_new {
                *known = sets;
            }
            is_new
        });
    }
}
