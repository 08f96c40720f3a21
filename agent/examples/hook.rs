//! Attaches a program that does nothing at the end of every system call, for `cargo xtask bench`.
//!
//! Says `ready`, and takes it away when its input ends.

#![expect(clippy::print_stdout, reason = "whoever started it waits for the word")]

use std::{
    error::Error,
    io::{self, Read as _},
};

use aya::{Btf, EbpfLoader, include_bytes_aligned, programs::BtfTracePoint};

static OBJECT: &[u8] = include_bytes_aligned!(env!("RAMPART_HOOK_OBJECT"));

fn main() -> Result<(), Box<dyn Error>> {
    let mut loaded = EbpfLoader::new().load(OBJECT)?;
    let program: &mut BtfTracePoint =
        loaded.program_mut("nothing").ok_or("the object has no such program")?.try_into()?;
    program.load("sys_exit", &Btf::from_sys_fs()?)?;
    program.attach()?;
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
