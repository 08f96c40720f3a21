//! The directory of pins: maps below a directory that names their layout, links beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{Array, Map, MapData, MapError};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use rampart_common::limit::abi;

use super::LimiterError;

/// Makes the directories, and takes away maps that no longer fit. Gives the directory of maps.
pub(super) fn prepare(pins: &Path, entries: u32) -> Result<PathBuf, LimiterError> {
    let maps = pins.join(format!("limits-{}", abi::VERSION));
    for directory in [&maps, &links(pins)] {
        fs::create_dir_all(directory).map_err(fault("make", directory))?;
    }
    let kind = statfs(&maps).map_err(|error| fault("look at", &maps)(error.into()))?.filesystem_type();
    if kind != BPF_FS_MAGIC {
        return Err(LimiterError::NotBpffs { path: pins.to_owned() });
    }
    // The size of a map cannot be changed: keys of another number start anew.
    let pinned = maps.join(abi::MAP_ENTRIES);
    match MapData::from_pin(&pinned).and_then(|data| data.info()) {
        Ok(info) if info.max_entries() != entries => {
            tracing::warn!(
                was = info.max_entries(),
                is = entries,
                "Known keys are forgotten, their map has a new size"
            );
            fs::remove_file(&pinned).map_err(fault("remove", &pinned))?;
        }
        Ok(_) => {}
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(LimiterError::Map { map: abi::MAP_ENTRIES, source }),
    }
    Ok(maps)
}

/// The directory of links, which is the same for all layouts: a newer agent finds the links of an older one.
pub(super) fn links(pins: &Path) -> PathBuf {
    pins.join("links")
}

/// Takes away every pin of the limiter below a directory: its programs are detached, its state is gone. Says whether
/// there was any.
pub fn remove(pins: &Path) -> Result<bool, LimiterError> {
    let mut found = false;
    let directories = match fs::read_dir(pins) {
        Ok(directories) => directories,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(fault("read", pins)(error)),
    };
    // Links first, so that no program runs on maps that are on their way out.
    let mut ours: Vec<PathBuf> = directories
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name == "links" || name.starts_with("limits-")
        })
        .collect();
    ours.sort_by_key(|path| !path.ends_with("links"));
    for directory in ours {
        switch_off(&directory.join(abi::MAP_GENERATION));
        for entry in fs::read_dir(&directory).map_err(fault("read", &directory))? {
            let path = entry.map_err(fault("read", &directory))?.path();
            fs::remove_file(&path).map_err(fault("remove", &path))?;
            found = true;
        }
        fs::remove_dir(&directory).map_err(fault("remove", &directory))?;
    }
    Ok(found)
}

/// Switches off what runs on the maps of a directory. Filters are not pinned, go on when all pins are gone, and let
/// everything pass then.
fn switch_off(generation: &Path) {
    let Ok(data) = MapData::from_pin(generation) else { return };
    let off = Map::from_map_data(data).and_then(|map| Array::<_, u32>::try_from(map)?.set(0, 0, 0));
    if let Err(error) = off {
        tracing::warn!(path = %generation.display(), "Rate limits may still be in force: {error}");
    }
}

pub(super) fn fault(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LimiterError {
    let path = path.to_owned();
    move |source| LimiterError::Pins { operation, path, source }
}
