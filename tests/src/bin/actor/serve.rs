//! The server of a stage: reads cases as JSON lines, performs each on a thread of its own, writes results as JSON
//! lines. Ends with its standard input, and takes everything it started along.

use std::{
    fs,
    io::{Write, stdin, stdout},
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::{
    act::{self, Case},
    resource::Resource,
    sys,
};

/// Where the cases' folders are; every user may go there.
const FOLDERS: &str = "/tmp";

/// Keeps result lines whole.
static OUTPUT: Mutex<()> = Mutex::new(());

/// Serves until standard input ends. The arguments are addresses this machine shall have.
pub(crate) fn run(addresses: &[String]) -> Result<()> {
    network(addresses)?;
    // Containers forbid programs there; cases have them.
    let none: Option<&str> = None;
    mount(none, "/dev/shm", none, MsFlags::MS_REMOUNT, none)
        .context("cannot allow programs in `/dev/shm`")?;
    say(&json!({"ready": true}));
    let mut threads = Vec::new();
    for line in stdin().lines() {
        let line = line.context("cannot read orders")?;
        let order: Value = serde_json::from_str(&line).context("an order is no JSON")?;
        threads.push(thread::spawn(move || answer(&order)));
        threads.retain(|thread| !thread.is_finished());
    }
    Ok(())
}

fn answer(order: &Value) {
    let id = order.get("id").and_then(Value::as_str).unwrap_or_default();
    let result = perform(id, order);
    act::mark(id, "end");
    let mut line = match result {
        Ok(result) => result,
        Err(error) => json!({"error": format!("{error:#}")}),
    };
    if let Some(map) = line.as_object_mut() {
        map.insert("id".to_owned(), id.into());
    }
    say(&line);
}

fn perform(id: &str, order: &Value) -> Result<Value> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        bail!("the order has no usable id");
    }
    let folder = PathBuf::from(FOLDERS).join(format!("eg{id}"));
    let mut order = order.clone();
    if let Some(map) = order.as_object_mut() {
        map.insert("folder".to_owned(), folder.to_string_lossy().into_owned().into());
    }
    let case = Case::read(&order)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    // Its processes may be any user.
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    if case.container_start {
        act::mark(id, "process");
    }
    let result = on_stage(&case, &folder, &order);
    drop(fs::remove_dir_all(&folder));
    result
}

fn on_stage(case: &Case, folder: &Path, order: &Value) -> Result<Value> {
    let chain = case.chain.iter().enumerate().map(|(at, program)| (at.to_string(), program));
    let resources = case.resources.iter().enumerate();
    let resources =
        resources.filter_map(|(at, resource)| Some((Resource::program_index(at), resource.program()?)));
    let programs: Vec<_> = chain.chain(resources).collect();
    for (index, program) in &programs {
        program.install(folder, index)?;
    }
    let first = case.chain.first().context("the case has no process")?;
    let result = act::start(first, case, 0, order);
    for (index, program) in &programs {
        program.remove(folder, index);
    }
    result
}

/// Brings the loopback device up and gives it the addresses that cases connect to.
fn network(addresses: &[String]) -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    for address in addresses {
        let (family, bits) = if address.contains(':') { ("-6", 128) } else { ("-4", 32) };
        ip(&[family, "address", "add", &format!("{address}/{bits}"), "dev", "lo"])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run `ip`")?;
    if !output.status.success() {
        bail!("`ip {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn say(line: &Value) {
    let _whole = OUTPUT.lock();
    let mut output = stdout().lock();
    // Nobody listens any more when this fails; standard input ends then, too.
    if let Err(error) = writeln!(output, "{line}").and_then(|()| output.flush()) {
        sys::complain(&format!("actor: cannot report: {error}"));
    }
}
