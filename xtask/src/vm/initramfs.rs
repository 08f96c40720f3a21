//! The archive that the kernel unpacks as its first file system (`newc` format of cpio), with the modules it needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::Kernel;
use super::guest::Guest;

/// Modules for the hooks and the tests. One that a kernel has built in is in no file, which is as good.
const MODULES: [&str; 5] = ["veth", "sch_ingress", "cls_bpf", "overlay", "dummy"];

/// An archive that grows.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

/// Writes the archive of a machine.
///
/// `list` is what is run in it.
pub(super) fn write(path: &Path, guest: &Guest, list: &str, kernel: &Kernel) -> Result<()> {
    let mut cpio = Cpio::default();
    cpio.folder("dev");
    // What the first process speaks to before there is a `/dev`.
    cpio.add("dev/console", 0o020_600, &[], (5, 1));
    for file in &guest.files {
        cpio.file(&file.to, &file.content, file.is_program);
    }
    cpio.file("run-list", list.as_bytes(), false);
    let mut order = Vec::new();
    for name in MODULES {
        resolve(name, kernel, &mut order)?;
    }
    let list: Vec<String> = order.iter().map(|(name, _)| format!("{name}.ko")).collect();
    cpio.file("modules/order", (list.join("\n") + "\n").as_bytes(), false);
    for (name, content) in &order {
        cpio.file(&format!("modules/{name}.ko"), content, false);
    }
    fs::write(path, cpio.finish()).with_context(|| format!("cannot write `{}`", path.display()))
}

/// A module and what it depends on, the latter first.
fn resolve(name: &str, kernel: &Kernel, order: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let name = name.replace('-', "_");
    if order.iter().any(|(known, _)| *known == name) {
        return Ok(());
    }
    let Some(path) = kernel.modules.get(&name) else { return Ok(()) };
    let content = unpacked(path)?;
    for dependency in depends(&content) {
        resolve(&dependency, kernel, order)?;
    }
    order.push((name, content));
    Ok(())
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|end| end == "xz") {
        let output = Command::new("xz").arg("-dc").arg(path).output().context("cannot run `xz`")?;
        if !output.status.success() {
            bail!("`xz` cannot unpack `{}`", path.display());
        }
        return Ok(output.stdout);
    }
    fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Names in the entry `depends=` of a module's information.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module.get(start + KEY.len()..).unwrap_or_default();
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(value);
    text.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

impl Cpio {
    fn file(&mut self, to: &str, content: &[u8], is_program: bool) {
        if let Some((folder, _)) = to.rsplit_once('/') {
            self.folder(folder);
        }
        self.add(to, if is_program { 0o100_755 } else { 0o100_644 }, content, (0, 0));
    }

    /// A folder and those above it, each once.
    fn folder(&mut self, path: &str) {
        if self.folders.contains(path) {
            return;
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        self.folders.insert(path.to_owned());
        self.add(path, 0o040_755, &[], (0, 0));
    }

    fn add(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let name = format!("{name}\0");
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_one_that_cpio_reads() {
        let mut cpio = Cpio::default();
        cpio.file("a/b/c", b"content", true);
        cpio.file("a/d", b"", false);
        let bytes = cpio.finish();
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.cpio");
        fs::write(&archive, bytes).unwrap();
        let Some(busybox) = crate::workspace::program("busybox") else {
            println!("SKIP: the_archive_is_one_that_cpio_reads: `busybox` is not installed");
            return;
        };
        let status = Command::new(busybox)
            .args(["cpio", "-idF", "a.cpio"])
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(fs::read_to_string(folder.path().join("a/b/c")).unwrap(), "content");
        assert_eq!(fs::read_to_string(folder.path().join("a/d")).unwrap(), "");
    }

    #[test]
    fn dependencies_are_read_from_the_module() {
        assert_eq!(depends(b"x\0license=GPL\0depends=a-b,c\0name=d\0"), ["a_b", "c"]);
        assert_eq!(depends(b"x\0depends=\0name=d\0"), Vec::<String>::new());
        assert_eq!(depends(b"nothing"), Vec::<String>::new());
    }
}
