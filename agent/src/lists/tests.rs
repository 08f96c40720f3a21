use std::{fs, time::Duration};

use super::{parse::tests::list, *};
use crate::{config::ListSource, fetch::Version};

#[test]
fn a_file_that_is_no_list_leaves_its_last_good_copy_and_age_counts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ips");
    let mut list =
        RuleList { source: ListSource::File(file.clone()), copy: dir.path().join("copy"), ..list("ip") };
    let fence = Fence::new(Vec::new());
    let size = |list: &RuleList| {
        let opened = open("bad", list, &fence);
        (opened.kept.map(|kept| kept.parsed.set.len()), opened.fault.is_some())
    };
    assert_eq!(size(&list), (None, true), "there is nothing");
    fs::write(&file, "198.51.100.1\n198.51.100.2\n").unwrap();
    assert_eq!(size(&list), (Some(2), false));
    copy::keep(&list, &Version::default(), b"198.51.100.9\n").unwrap();
    for broken in ["", " \n", "<html>\n"] {
        fs::write(&file, broken).unwrap();
        assert_eq!(size(&list), (Some(1), true), "{broken}");
    }
    fs::write(&file, "# nobody any more\n").unwrap();
    assert_eq!(size(&list), (Some(0), false), "emptied on purpose");

    fs::write(&file, "198.51.100.1\n").unwrap();
    let old = SystemTime::now() - Duration::from_secs(5000);
    fs::File::options().append(true).open(&file).unwrap().set_modified(old).unwrap();
    let counts = |list: &RuleList| {
        let all = standing(&BTreeMap::from([("bad".to_owned(), list.clone())]));
        (all["bad"].is_stale, sets(&all).get("bad").unwrap().len())
    };
    assert_eq!(counts(&list), (false, 1));
    list.max_age = Duration::from_secs(4000);
    assert_eq!(counts(&list), (true, 1));
    list.drops_stale = true;
    assert_eq!(counts(&list), (true, 0));
}
