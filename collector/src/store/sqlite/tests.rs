//! What is this store's own; what all stores do is tested in `tests/shared`.

use super::*;

#[test]
fn a_store_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    drop(writer(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(writer(&path), Err(StoreError::TooNew { found: 99, .. })));
}
