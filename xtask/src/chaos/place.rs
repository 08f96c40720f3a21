//! Where faults happen: a small file system, and two network namespaces joined by a cable that can be pulled.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::programs::until;
use crate::process;

/// The range is reserved for measurements between networks.
pub(super) const COLLECTOR: Ipv4Addr = Ipv4Addr::new(198, 18, 93, 1);
const COURIER: &str = "198.18.93.2";

/// A file system in memory.
pub(super) struct Small {
    path: PathBuf,
}

/// Two namespaces.
pub(super) struct Cable {
    /// They keep the namespaces; they end when their input does, also when this process is killed.
    ends: [Child; 2],
}

impl Small {
    /// Mounts one of this size, in KiB.
    pub(super) fn mount(path: &Path, kib: u32) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create `{}`", path.display()))?;
        let options = format!("size={kib}k,mode=0700");
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .context("cannot mount a small file system")?;
        Ok(Self { path: path.to_owned() })
    }

    /// Takes all that is free; gives the file that has it.
    pub(super) fn fill(&self) -> Result<PathBuf> {
        let ballast = self.path.join("ballast");
        let mut block = 1 << 20;
        let mut file = fs::File::create(&ballast).context("cannot create the ballast")?;
        while block > 0 {
            if std::io::Write::write(&mut file, &vec![b'x'; block]).is_err() {
                block /= 2;
            }
        }
        Ok(ballast)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

impl Cable {
    /// Makes the namespaces and the cable.
    pub(super) fn lay() -> Result<Self> {
        let keeper = || {
            let mut keeper = Command::new("unshare");
            keeper.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
            keeper.spawn().context("cannot run `unshare`")
        };
        let cable = Self { ends: [keeper()?, keeper()?] };
        let own = fs::read_link("/proc/self/ns/net").context("cannot read this namespace's name")?;
        for end in &cable.ends {
            let theirs = format!("/proc/{}/ns/net", end.id());
            until("the namespace does not come up", || {
                Ok(fs::read_link(&theirs).is_ok_and(|name| name != own))
            })?;
        }
        let [collector, courier] = cable.ends.each_ref().map(|end| end.id().to_string());
        cable.inside(
            0,
            &["ip", "link", "add", "here", "type", "veth", "peer", "name", "there", "netns", &courier],
        )?;
        drop(collector);
        let address = format!("{COLLECTOR}/24");
        cable.inside(0, &["ip", "addr", "add", &address, "dev", "here"])?;
        cable.inside(1, &["ip", "addr", "add", &format!("{COURIER}/24"), "dev", "there"])?;
        for (end, device) in [(0, "here"), (0, "lo"), (1, "there"), (1, "lo")] {
            cable.inside(end, &["ip", "link", "set", device, "up"])?;
        }
        Ok(cable)
    }

    /// What to put before a command so that it runs at the collector's end, 0, or the courier's, 1.
    pub(super) fn prefix(&self, end: usize) -> Vec<String> {
        let pid = self.ends.get(end).map_or(0, Child::id);
        vec!["nsenter".to_owned(), format!("--net=/proc/{pid}/ns/net"), "--".to_owned()]
    }

    /// Pulls it, or puts it in again.
    pub(super) fn plug(&self, is_in: bool) -> Result<()> {
        self.inside(0, &["ip", "link", "set", "here", if is_in { "up" } else { "down" }]).map(drop)
    }

    fn inside(&self, end: usize, words: &[&str]) -> Result<String> {
        let prefix = self.prefix(end);
        let mut words = prefix.iter().map(String::as_str).chain(words.iter().copied());
        process::capture(Command::new(words.next().context("no command")?).args(words))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in &mut self.ends {
            drop(end.stdin.take());
            // It ends by itself now, and its namespace and device with it.
            let _ = end.wait();
        }
    }
}

/// Certificates of a collector at [`COLLECTOR`] and of the courier, in a folder.
pub(super) fn certificates(folder: &Path) -> Result<()> {
    const CURVE: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let openssl = |line: &str| {
        process::capture(Command::new("openssl").args(line.split(' ')).current_dir(folder)).map(drop)
    };
    openssl(&format!("req -x509 {CURVE} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"))?;
    for (file, name) in [("server", format!("IP:{COLLECTOR}")), ("agent", "DNS:courier".to_owned())] {
        fs::write(folder.join("names"), format!("subjectAltName={name}\nbasicConstraints=CA:FALSE\n"))?;
        openssl(&format!("req -new {CURVE} -keyout {file}.key -out {file}.csr -subj /CN=x"))?;
        let signed = format!(
            "x509 -req -in {file}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {file}.pem"
        );
        openssl(&signed)?;
    }
    Ok(())
}
