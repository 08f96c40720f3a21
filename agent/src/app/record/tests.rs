use super::*;

#[test]
fn a_file_is_made_for_its_owner_and_replaced_only_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.rec");
    let mode = || path.metadata().unwrap().permissions().mode() & 0o7777;
    drop(create(&path, false).unwrap());
    assert_eq!(mode(), 0o600);
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(create(&path, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    drop(create(&path, true).unwrap());
    assert_eq!((mode(), std::fs::read(&path).unwrap().len()), (0o600, 0));
}

#[test]
fn a_link_or_a_device_in_the_place_of_the_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
    std::fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    assert!(create(&link, true).is_err() && create(&link, false).is_err());
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    assert!(create(Path::new("/dev/null"), true).unwrap_err().to_string().contains("regular"));
}
