//! What a process of a case is told, and what it tells back: a memory file under a known descriptor, so that
//! neither arguments nor environment show it to a rule.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::{Value, json};

use crate::sys;

/// The descriptor; above those that cases name, below any limit.
pub(crate) const DESCRIPTOR: i32 = 200;
/// Name of the memory file, by which it is told from one that somebody else left open.
const NAME: &str = "rampart-triggers-script";

/// The memory file of a process.
#[derive(Debug)]
pub(crate) struct Script {
    file: File,
    /// What to do.
    pub(crate) content: Value,
}

impl Script {
    /// The script this process was started with; `None` when it was started by hand or as the server.
    pub(crate) fn inherited() -> Option<Self> {
        let link = std::fs::read_link(format!("/proc/self/fd/{DESCRIPTOR}")).ok()?;
        if !link.to_string_lossy().starts_with(&format!("/memfd:{NAME}")) {
            return None;
        }
        let mut file = sys::adopt(DESCRIPTOR);
        let content = read(&mut file).ok()?;
        Some(Self { file, content })
    }

    /// A script for a process yet to be started.
    pub(crate) fn new(content: Value) -> Result<Self> {
        let memory: OwnedFd = memfd_create(NAME, MFdFlags::MFD_CLOEXEC).context("cannot make a script")?;
        let mut file = File::from(memory);
        write(&mut file, &content)?;
        Ok(Self { file, content })
    }

    /// Its descriptor here, for a child.
    pub(crate) fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Replaces the content by a result.
    pub(crate) fn report(&self, result: &Result<Vec<String>>) {
        let content = match result {
            Ok(notes) => json!({"done": true, "notes": notes}),
            Err(error) => json!({"done": true, "error": format!("{error:#}")}),
        };
        // Who reads it says so when there is no result.
        if let Ok(mut file) = self.file.try_clone() {
            drop(write(&mut file, &content));
        }
    }

    /// The result a started process left.
    pub(crate) fn result(&self) -> Result<Value> {
        read(&mut self.file.try_clone()?)
    }
}

fn read(file: &mut File) -> Result<Value> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text).context("cannot read the script")?;
    serde_json::from_str(&text).context("the script is no JSON")
}

fn write(file: &mut File, content: &Value) -> Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(content.to_string().as_bytes()).context("cannot write the script")
}
