//! An image made here from a static busybox, so that nothing is pulled.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use sha2::{Digest, Sha256};

/// Programs of the image.
const PROGRAMS: [&str; 4] = ["sh", "cat", "sleep", "true"];

/// The files of an image.
pub struct Image {
    /// The only layer, a tar of the whole tree; what `podman import` takes.
    pub layer: PathBuf,
    /// An archive with the names `localhost/test:1` and `localhost/pause:1`; what `ctr images import` takes.
    pub archive: PathBuf,
}

impl Image {
    /// Makes the image below `dir`; `None` without a busybox.
    pub fn make(dir: &Path) -> Option<Self> {
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|path| path.exists())?;
        let (root, parts) = (dir.join("rootfs"), dir.join("parts"));
        fs::create_dir_all(root.join("bin")).expect("a directory");
        fs::create_dir_all(root.join("etc")).expect("a directory");
        fs::create_dir_all(&parts).expect("a directory");
        fs::write(root.join("etc/secret"), "secret\n").expect("a file");
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\ninside:x:4711:4711::/:/bin/sh\n")
            .expect("a file");
        fs::copy(busybox, root.join("bin/busybox")).expect("busybox is copied");
        for program in PROGRAMS {
            symlink("busybox", root.join("bin").join(program)).expect("a link");
        }
        let layer = parts.join("layer.tar");
        tar(&root, &layer, &["."]);
        let digest = Sha256::digest(fs::read(&layer).expect("the layer is read"));
        let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = digest.concat();
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": arch,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "1000"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        fs::write(parts.join("test.json"), config.to_string()).expect("a file");
        // Something must differ, or both names would be those of one image.
        let pause = config.to_string().replace("1000", "1001");
        fs::write(parts.join("pause.json"), pause).expect("a file");
        let image = |name: &str| {
            json!({
                "Config": format!("{name}.json"),
                "RepoTags": [format!("localhost/{name}:1")],
                "Layers": ["layer.tar"],
            })
        };
        let manifest = json!([image("test"), image("pause")]);
        fs::write(parts.join("manifest.json"), manifest.to_string()).expect("a file");
        let archive = dir.join("image.tar");
        tar(&parts, &archive, &["manifest.json", "test.json", "pause.json", "layer.tar"]);
        Some(Self { layer, archive })
    }
}

fn tar(dir: &Path, to: &Path, members: &[&str]) {
    let status = Command::new("tar").arg("-C").arg(dir).arg("-cf").arg(to).args(members).status();
    assert!(status.expect("tar runs").success());
}
