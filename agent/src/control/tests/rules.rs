//! The texts of rules for a collector that does not know them.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    config::{self, Sources},
    policy,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_asks_gets_the_texts_behind_the_digest() {
    let config = Sources { file: Some("/dev/null".into()), ..Sources::default() }.load().unwrap();
    let bundle = policy::load(&config.rules, &config::Trading::default()).bundle.unwrap();
    let store = Arc::new(Store::default());
    let (address, server) = serve(&store, "127.0.0.1:0").await;
    let bench = start(tempfile::tempdir().unwrap(), address);
    bench.status.update_policy(|policy| {
        policy.digest = bundle.digest.to_string();
        policy.texts = Arc::clone(&bundle.texts);
    });
    // Other rules than those in force are not told, and nobody waits for them.
    for digest in [&*bundle.digest, "other"] {
        let wanted = v1::RulesWanted { policy_digest: digest.to_owned() };
        store.orders.lock().unwrap().push(collector_message::Kind::Rules(wanted));
    }
    until("the texts", || !store.rules.lock().unwrap().is_empty()).await;
    let told = store.rules.lock().unwrap().clone();
    let [told] = &told[..] else { panic!("{} answers", told.len()) };
    let mut hash = Sha256::new();
    for text in &told.texts {
        hash.update((text.text.len() as u64).to_be_bytes());
        hash.update(&text.text);
    }
    let hash = hash.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!((told.policy_digest.as_str(), hash.as_str()), (&*bundle.digest, &*bundle.digest));
    bench.end().await;
    server.abort();
}
