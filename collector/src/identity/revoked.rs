//! What is refused: certificates by number, nodes, signed tokens, what was signed for a person up to a time, and everything
//! that a key has signed.
//!
//! Read from the store every two seconds, so that what another process (the command line, another collector) takes back
//! ends here too. A node that is refused stays so until it is restored, whatever it shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::sleep};

use super::{
    IdentityError, Records,
    items::{self, Refusal},
};
use crate::store::identity::{Book, Kind};

/// Time between two looks.
pub const LOOK: Duration = Duration::from_secs(2);

/// What is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    serials: BTreeSet<String>,
    nodes: BTreeSet<String>,
    tokens: BTreeSet<String>,
    users: BTreeMap<String, u64>,
    keys: BTreeSet<String>,
}

/// Others can see it change.
pub type Watch = watch::Receiver<Arc<Revoked>>;

/// The item's name of something refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything of a node.
    Node(String),
    /// A certificate.
    Serial(String),
    /// A signed token by its `jti`.
    Jwt(String),
    /// What was signed for a person before.
    User(String),
    /// What a key of tokens has signed, by its name.
    Key(String),
}

impl What {
    /// The item's name.
    pub fn name(&self) -> String {
        match self {
            Self::Node(name) => format!("node {name}"),
            Self::Serial(serial) => format!("serial {serial}"),
            Self::Jwt(id) => format!("jwt {id}"),
            Self::User(name) => format!("user {name}"),
            Self::Key(name) => format!("key {name}"),
        }
    }
}

impl Revoked {
    /// What the book says.
    pub fn load(book: &mut dyn Book) -> Result<Self, IdentityError> {
        let mut revoked = Self::default();
        for (name, refusal) in items::list::<Refusal>(book, Kind::Revoked)? {
            match name.split_once(' ') {
                Some(("node", node)) => drop(revoked.nodes.insert(node.to_owned())),
                Some(("serial", serial)) => drop(revoked.serials.insert(serial.to_owned())),
                Some(("jwt", id)) => drop(revoked.tokens.insert(id.to_owned())),
                Some(("user", user)) => drop(revoked.users.insert(user.to_owned(), refusal.since_ns)),
                Some(("key", key)) => drop(revoked.keys.insert(key.to_owned())),
                // Of a later version.
                _ => {}
            }
        }
        Ok(revoked)
    }

    /// Whether a node is refused.
    pub fn has_node(&self, node: &str) -> bool {
        self.nodes.contains(node)
    }

    /// Whether a certificate is refused.
    pub fn has_serial(&self, serial: &str) -> bool {
        self.serials.contains(serial)
    }

    /// Whether everything that a key has signed is refused.
    pub fn has_key(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Whether a signed token is refused: itself, or all that were signed for this person up to then.
    pub fn has_token(&self, id: &str, user: &str, signed_ns: u64) -> bool {
        self.tokens.contains(id) || self.users.get(user).is_some_and(|until| signed_ns <= *until)
    }
}

/// Reads what is refused, again and again. What cannot be read leaves it as it was.
pub async fn follow(records: Records, sender: watch::Sender<Arc<Revoked>>, mut stop: watch::Receiver<bool>) {
    let mut is_failing = false;
    loop {
        match records.run(|book| Revoked::load(book)).await {
            Ok(found) => {
                is_failing = false;
                sender.send_if_modified(|kept| {
                    let is_new = **kept != found;
                    if is_new {
                        *kept = Arc::new(found);
                    }
                    is_new
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::error!("What is revoked cannot be read, what was known holds: {error}");
                }
            }
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Note,
        store::{
            identity::{Change, Expect},
            sqlite,
        },
    };

    #[test]
    fn what_is_refused_is_read_from_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = sqlite::identity::book(&dir.path().join("db")).unwrap();
        for what in [
            What::Node("n1".to_owned()),
            What::Serial("40aa".to_owned()),
            What::Jwt("j".to_owned()),
            What::User("ann b".to_owned()),
            What::Key("5-aa".to_owned()),
        ] {
            let value = items::write(&Refusal { since_ns: 100 }).unwrap();
            let change = Change::put(Kind::Revoked, what.name(), Expect::Anything, value);
            assert!(book.change(&[change], &Note::default(), 0).unwrap());
        }
        let revoked = Revoked::load(&mut book).unwrap();
        assert!(revoked.has_node("n1") && !revoked.has_node("n2"));
        assert!(revoked.has_serial("40aa") && !revoked.has_serial("40ab"));
        assert!(revoked.has_key("5-aa") && !revoked.has_key("5-ab"));
        assert!(revoked.has_token("j", "bob", 500) && !revoked.has_token("k", "bob", 5));
        assert!(revoked.has_token("k", "ann b", 100) && !revoked.has_token("k", "ann b", 101));
    }
}
