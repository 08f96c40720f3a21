//! Bringing the write-ahead log into the file, beside the writer.
//!
//! A checkpoint writes pages all over the file and waits for the disk, some 50 ms: a thread with a connection of its own
//! does it, so no commit waits for one. The log starts anew when everything of it is in the file at a commit; when commits
//! come so close that it never is, the writer does it itself at [`BOUND`], which is what limits the log's size.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, hooks::Wal};

/// Pages in the log at which the thread begins, 4 MiB.
const BEGIN: i32 = 1000;
/// Pages in the log at which the writer does not leave it to the thread any more, 128 MiB.
const BOUND: i32 = 32_000;
/// Time that another checkpoint, such as a backup's, may take.
const BUSY: Duration = Duration::from_secs(10);

/// The thread. Ends when this is dropped.
#[derive(Debug)]
pub(super) struct Checkpoints {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Signal {
    is_due: AtomicBool,
    is_over: AtomicBool,
}

impl Checkpoints {
    /// Starts the thread for a file and has its writer wake it.
    pub(super) fn of(writer: &mut Connection, path: &Path) -> rusqlite::Result<Self> {
        let db = Connection::open(path)?;
        db.busy_timeout(BUSY)?;
        let signal = Arc::<Signal>::default();
        let seen = Arc::clone(&signal);
        let thread = thread::Builder::new().name("checkpoint".to_owned()).spawn(move || run(&db, &seen));
        // Without a thread the writer does it all.
        let thread = thread
            .inspect_err(|error| tracing::warn!("No thread for checkpoints, the writer does them: {error}"))
            .ok();
        let begin = if thread.is_some() { BOUND } else { BEGIN };
        let (waker, flag) = (thread.as_ref().map(|thread| thread.thread().clone()), Arc::clone(&signal));
        writer.wal_hook(Some(move |wal: &mut Wal, pages| {
            if pages >= begin {
                // What fails now is tried again at the next commit, which is what this one is for.
                let _ = wal.checkpoint();
            } else if let Some(thread) = &waker
                && pages >= BEGIN
                && !flag.is_due.swap(true, Ordering::Release)
            {
                thread.unpark();
            }
            Ok(())
        }))?;
        Ok(Self { signal, thread })
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.signal.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was printed, and took nothing along.
            let _ = thread.join();
        }
    }
}

fn run(db: &Connection, signal: &Signal) {
    while !signal.is_over.load(Ordering::Acquire) {
        if !signal.is_due.swap(false, Ordering::Acquire) {
            thread::park();
            continue;
        }
        if let Err(error) = checkpoint(db) {
            tracing::warn!("The write-ahead log stays as it is for now: {error}");
        }
    }
}

/// As much as can be without anybody waiting. Gives pages in the log and those of them that are in the file.
fn checkpoint(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_log_goes_into_the_file_without_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch("CREATE TABLE t (v BLOB)").unwrap();
        let checkpoints = Checkpoints::of(&mut writer, &path).unwrap();
        let before = fs::metadata(&path).unwrap().len();
        writer.execute("INSERT INTO t VALUES (zeroblob(8 << 20))", []).unwrap();
        let started = std::time::Instant::now();
        while fs::metadata(&path).unwrap().len() < before + (8 << 20) {
            assert!(started.elapsed() < Duration::from_mins(1), "nobody did it");
            thread::sleep(Duration::from_millis(10));
        }
        drop(writer);
        drop(checkpoints);
        assert!(!dir.path().join("db-wal").exists(), "the last connection removes the log");
    }

    #[test]
    fn the_log_is_bounded_when_the_thread_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch("CREATE TABLE t (v BLOB)").unwrap();
        drop(Checkpoints::of(&mut writer, &path).unwrap());
        for _ in 0..20 {
            writer.execute("INSERT INTO t VALUES (zeroblob(16 << 20))", []).unwrap();
        }
        let log = fs::metadata(dir.path().join("db-wal")).unwrap().len();
        assert!(log < 200 << 20, "{log} bytes");
    }
}
