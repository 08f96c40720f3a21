//! Files that the chart has copies of: Helm reads nothing outside of a chart, and links do not survive every transport.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Folder of the workspace, how names end there, and the folder of the chart.
const COPIES: [(&str, &str, &str); 2] = [
    ("deploy/prometheus", ".rules.yaml", "files/prometheus"),
    ("deploy/grafana", ".json", "files/dashboards"),
];

/// Compares the copies in the chart, or makes them anew.
pub(super) fn check(chart: &Path, is_update: bool) -> Result<()> {
    for (from, end, to) in COPIES {
        let (originals, to) = (files(&workspace::root().join(from), end)?, chart.join(to));
        if is_update {
            // Also those whose original is gone.
            let _absent = fs::remove_dir_all(&to);
            fs::create_dir_all(&to).with_context(|| format!("cannot create `{}`", to.display()))?;
            for (name, text) in &originals {
                fs::write(to.join(name), text).with_context(|| format!("cannot write `{name}`"))?;
            }
        } else if files(&to, "").unwrap_or_default() != originals {
            bail!(
                "`{}` differs from `{from}`; `RAMPART_UPDATE=1 cargo xtask chart test` copies it",
                to.display()
            );
        }
    }
    Ok(())
}

fn files(folder: &Path, end: &str) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && name.ends_with(end) {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            files.insert(name, text);
        }
    }
    if files.is_empty() {
        bail!("`{}` has no file `*{end}`", folder.display());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_another_is_told() {
        let chart = tempfile::tempdir().unwrap();
        assert!(check(chart.path(), false).is_err());
        check(chart.path(), true).unwrap();
        check(chart.path(), false).unwrap();
        let copy = chart.path().join("files/prometheus/agent.rules.yaml");
        fs::write(&copy, "groups: []\n").unwrap();
        assert!(check(chart.path(), false).unwrap_err().to_string().contains("files/prometheus"));
        fs::remove_file(copy).unwrap();
        assert!(check(chart.path(), false).is_err());
    }
}
