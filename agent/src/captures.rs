//! Recordings that the agent keeps: their directory, their names, and the room they have.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

/// Directory in `node.state_dir`.
pub const DIRECTORY: &str = "captures";
/// How their names end.
pub const EXTENSION: &str = "rec";

/// The beginning of a name: names sort by time.
pub fn stamp(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%S%.3fZ").to_string()
}

/// Makes the directory, and removes the oldest recordings until the rest has room.
pub fn make_room(directory: &Path, room: u64) -> Result<(), String> {
    // Recordings hold what processes read and wrote.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| format!("cannot make the directory of captures: {error}"))?;
    let mut files: Vec<(PathBuf, u64)> = recordings(directory)
        .map_err(|error| format!("cannot list the directory of captures: {error}"))?
        .into_iter()
        .filter_map(|path| fs::metadata(&path).ok().map(|meta| (path, meta.len())))
        .collect();
    files.sort();
    let mut total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    for (path, bytes) in files {
        if total <= room {
            break;
        }
        match fs::remove_file(&path) {
            Ok(()) => total -= bytes,
            Err(error) => tracing::warn!(path = %path.display(), "An old capture is not removed: {error}"),
        }
    }
    Ok(())
}

/// The recording of a job.
pub fn of(directory: &Path, id: &str) -> Option<PathBuf> {
    let end = format!("-{id}.{EXTENSION}");
    let mut files = recordings(directory).ok()?;
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&end)));
    files.into_iter().max()
}

fn recordings(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.filter_map(Result::ok).map(|entry| entry.path());
    Ok(entries.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_recordings_make_room_and_jobs_find_theirs() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["20260101T000000.000Z.rec", "20260201T000000.000Z-ab.rec", "20260301T000000.000Z.rec"] {
            fs::write(dir.path().join(name), [0; 100]).unwrap();
        }
        fs::write(dir.path().join("note.txt"), [0; 1000]).unwrap();
        make_room(dir.path(), 250).unwrap();
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["20260201T000000.000Z-ab.rec", "20260301T000000.000Z.rec", "note.txt"]);
        assert_eq!(of(dir.path(), "ab"), Some(dir.path().join("20260201T000000.000Z-ab.rec")));
        assert_eq!(of(dir.path(), "b"), None);
        make_room(dir.path(), 0).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
