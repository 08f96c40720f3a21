//! The directory of pins: maps below a directory that names their layout, links in one beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use rampart_common::service::abi;

use super::ServicesError;

/// Beginning of the names of directories of maps.
const MAPS: &str = "services-";
/// Name of the directory of links.
const LINKS: &str = "services-links";

/// Makes the directories. Gives that of maps.
pub(super) fn prepare(pins: &Path) -> Result<PathBuf, ServicesError> {
    let maps = pins.join(format!("{MAPS}{}", abi::VERSION));
    for directory in [&maps, &links(pins)] {
        fs::create_dir_all(directory).map_err(fault("make", directory))?;
    }
    let kind = statfs(&maps).map_err(|error| fault("look at", &maps)(error.into()))?.filesystem_type();
    if kind == BPF_FS_MAGIC { Ok(maps) } else { Err(ServicesError::NotBpffs { path: pins.to_owned() }) }
}

/// The directory of links, which is the same for all layouts.
pub(super) fn links(pins: &Path) -> PathBuf {
    pins.join(LINKS)
}

/// Takes away the links of other loadings. Gives how many there were.
pub(super) fn remove_other_links(pins: &Path, instance: u64) -> Result<usize, ServicesError> {
    let own = prefix(instance);
    let directory = links(pins);
    let mut gone = 0;
    for entry in fs::read_dir(&directory).map_err(fault("read", &directory))? {
        let path = entry.map_err(fault("read", &directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with(&own) {
            fs::remove_file(&path).map_err(fault("remove", &path))?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// How names of a loading's links begin.
pub(super) fn prefix(instance: u64) -> String {
    format!("{instance:016x}-")
}

/// Takes away every pin of services below a directory: programs are detached, state is gone. Says whether there was any.
pub fn remove(pins: &Path) -> Result<bool, ServicesError> {
    let directories = match fs::read_dir(pins) {
        Ok(directories) => directories,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(fault("read", pins)(error)),
    };
    let mut ours: Vec<PathBuf> = directories
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(MAPS))
        })
        .collect();
    // Links first, so that no program runs on maps that are on their way out.
    ours.sort_by_key(|path| !path.ends_with(LINKS));
    let mut found = false;
    for directory in ours {
        for entry in fs::read_dir(&directory).map_err(fault("read", &directory))? {
            let path = entry.map_err(fault("read", &directory))?.path();
            fs::remove_file(&path).map_err(fault("remove", &path))?;
            found = true;
        }
        fs::remove_dir(&directory).map_err(fault("remove", &directory))?;
    }
    Ok(found)
}

pub(super) fn fault(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ServicesError {
    let path = path.to_owned();
    move |source| ServicesError::File { operation, path, source }
}
