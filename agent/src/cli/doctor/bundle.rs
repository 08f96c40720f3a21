//! `rampart doctor --bundle FILE`: an archive for whoever helps, with what they would ask for: versions, the checks, facts of
//! the kernel, the settings, the rules in force, what the running agent says of itself, and the end of its logs.
//!
//! No secret goes in: settings and logs pass `redact`, and a configuration that cannot be read as YAML stays out. Nobody but
//! its owner may read the file, as names of files, programs and hosts are in it.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::redact;
use crate::{
    admin::client,
    app::VERIFIER_LOG,
    config::{Config, DEFAULT_FILE, Sources},
    policy,
};

/// Facts about the machine, by their files.
const FACTS: [&str; 12] = [
    "/proc/version",
    "/etc/os-release",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/self/status",
    "/proc/self/cgroup",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/proc/sys/kernel/perf_event_paranoid",
    "/proc/sys/kernel/io_uring_disabled",
    "/sys/kernel/security/lsm",
    "/sys/kernel/security/lockdown",
];
/// Pages of the running agent, with the names they get.
const PAGES: [(&str, &str); 7] = [
    ("/health/detailed", "agent/health.json"),
    ("/versions", "agent/versions.json"),
    ("/metrics", "agent/metrics.txt"),
    ("/top", "agent/top.json"),
    ("/services", "agent/services.json"),
    ("/circuit-breakers", "agent/circuit-breakers.json"),
    ("/limits", "agent/limits.json"),
];
/// Lines of a log that are taken, the last ones.
const LINES: usize = 2000;
/// Bytes of a log that are looked at for these.
const BYTES: u64 = 4 << 20;

/// Text files by their names in the archive.
type Files = Vec<(String, String)>;

/// Writes the archive; `page` is what `rampart doctor` prints.
pub(super) fn write(to: &Path, page: &str, sources: &Sources, logs: &[PathBuf]) -> io::Result<()> {
    let mut files: Files =
        vec![("doctor.txt".to_owned(), redact::line(page)), versions(), facts(), settings(sources)];
    files.push(("environment.txt".to_owned(), environment(&sources.env)));
    let mut state = None;
    if let Ok(config) = sources.load() {
        files.push(("rules.txt".to_owned(), rules(&config)));
        files.extend(agent(&config));
        state = Some(config.node.state_dir);
    }
    let kept = state.iter().flat_map(|dir| [dir.join(VERIFIER_LOG), dir.join("audit.jsonl")]);
    for path in kept.filter(|path| path.is_file()).chain(logs.iter().cloned()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((format!("logs/{name}"), tail(&path)?));
    }
    archive(to, &files)
}

/// Packs the files; one that is there already is not overwritten.
fn archive(to: &Path, files: &Files) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut archive = tar::Builder::new(file);
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("rampart-bundle/{name}"), text.as_bytes())?;
    }
    let mut file = archive.into_inner()?;
    file.flush()?;
    file.sync_all()
}

fn versions() -> (String, String) {
    let mut text = format!("rampart {}\n", env!("CARGO_PKG_VERSION"));
    if let Ok(name) = nix::sys::utsname::uname() {
        for part in [name.sysname(), name.release(), name.version(), name.machine()] {
            text.push_str(&part.to_string_lossy());
            text.push('\n');
        }
    }
    ("versions.txt".to_owned(), text)
}

fn facts() -> (String, String) {
    let mut text = String::new();
    for path in FACTS {
        let content = fs::read_to_string(path).unwrap_or_else(|error| format!("({error})"));
        text.extend(["--- ", path, "\n", content.trim_end(), "\n"]);
    }
    let btf = fs::metadata("/sys/kernel/btf/vmlinux").map(|file| file.len());
    let size = btf.map_or_else(|error| format!("({error})"), |size| format!("{size} bytes"));
    text.extend(["--- /sys/kernel/btf/vmlinux\n", &size, "\n"]);
    ("kernel.txt".to_owned(), text)
}

fn settings(sources: &Sources) -> (String, String) {
    let path = sources.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    let text = match fs::read_to_string(path) {
        Err(error) => format!("# `{}`: {error}\n", path.display()),
        Ok(text) => redact::settings(&text).unwrap_or_else(|| {
            format!(
                "# `{}` is no YAML; it was left out, as nobody can tell what in it is secret\n",
                path.display()
            )
        }),
    };
    ("config.yaml".to_owned(), text)
}

/// What the environment sets, of ours only.
fn environment(env: &[(String, String)]) -> String {
    let ours = env.iter().filter(|(name, _)| name.starts_with("RAMPART_"));
    let mut lines: Vec<String> =
        ours.map(|(name, value)| format!("{name}={}\n", redact::named(name, value))).collect();
    lines.sort_unstable();
    lines.concat()
}

/// Every rule, in the order in which they are tried, and what is wrong with the files.
fn rules(config: &Config) -> String {
    let report = policy::load(&config.rules, &config.trading);
    let mut text =
        format!("{} findings, {} unreadable files\n", report.findings.len(), report.unreadable.len());
    for rule in report.bundle.iter().flat_map(|bundle| bundle.rules.rules()) {
        let state = if rule.enabled { "on " } else { "off" };
        // Writing to text cannot fail.
        let _ = writeln!(text, "{state} {:<13} {}", rule.priority.to_string(), rule.name);
    }
    text
}

/// What the agent says that runs here; without one, why not.
fn agent(config: &Config) -> Files {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![("agent/error.txt".to_owned(), format!("{error}\n"))],
    };
    let mut files = Files::new();
    for (page, name) in PAGES {
        match runtime.block_on(client::get(config.admin.listen, page)) {
            Ok(answer) => {
                files.push((name.to_owned(), redact::line(&String::from_utf8_lossy(&answer.body))));
            }
            Err(error) => {
                files.push(("agent/error.txt".to_owned(), format!("{}\n", crate::cli::in_full(&error))));
                break;
            }
        }
    }
    files
}

/// The last lines of a file.
fn tail(path: &Path) -> io::Result<String> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
    let mut file = fs::File::open(path).map_err(named)?;
    let size = file.metadata().map_err(named)?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(BYTES))).map_err(named)?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes).map_err(named)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    Ok(last.iter().map(|line| redact::line(line) + "\n").collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_archive_has_what_is_asked_for_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let (config, log, to) =
            (dir.path().join("rampart.yaml"), dir.path().join("agent.log"), dir.path().join("bundle.tar"));
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::write(state.join("audit.jsonl"), "{\"by\":\"root\"}\n").unwrap();
        // Port 9 has no agent.
        let text = format!(
            "# SECRET-0\nadmin: {{listen: \"127.0.0.1:9\", token_file: /etc/rampart/admin-token}}\n\
             output: {{collector: {{url: \"https://user:SECRET-1@collector.example:7443\", token: SECRET-2}}}}\n\
             node: {{state_dir: {}}}\nlimits: {{deny_feeds: {{bad: {{url: \"https://feed.example/list?key=SECRET-3\"}}}}}}\n",
            state.display()
        );
        fs::write(&config, text).unwrap();
        fs::write(&log, "before\nfetch https://u:SECRET-4@h/ token=SECRET-5 Bearer SECRET-6\n").unwrap();
        let sources = Sources {
            file: Some(config),
            env: vec![
                ("RAMPART_OUTPUT__COLLECTOR__TOKEN".into(), "SECRET-7".into()),
                ("RAMPART_LOG__LEVEL".into(), "debug".into()),
                ("HOME".into(), "SECRET-8".into()),
            ],
            ..Sources::default()
        };
        write(&to, "ok    a\n", &sources, std::slice::from_ref(&log)).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write(&to, "", &sources, &[]).is_err(), "what is there is kept");
        let (mut names, mut whole) = (Vec::new(), String::new());
        for entry in tar::Archive::new(fs::File::open(&to).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            names.push(entry.path().unwrap().display().to_string());
            entry.read_to_string(&mut whole).unwrap();
        }
        for name in
            ["doctor.txt", "versions.txt", "kernel.txt", "config.yaml", "environment.txt", "logs/agent.log"]
        {
            assert!(names.contains(&format!("rampart-bundle/{name}")), "no {name} in {names:?}");
        }
        assert!(!whole.contains("SECRET"), "{whole}");
        for kept in [
            "/etc/rampart/admin-token",
            "collector.example:7443",
            "feed.example/list",
            "RAMPART_LOG__LEVEL=debug",
            "before",
        ] {
            assert!(whole.contains(kept), "no {kept} in {whole}");
        }
    }

    #[test]
    fn rules_are_listed_and_the_absent_agent_is_told() {
        let sources = Sources::default();
        let mut config = sources.load().unwrap();
        config.admin.listen = "127.0.0.1:9".parse().unwrap();
        assert!(rules(&config).lines().count() > 50);
        let files = agent(&config);
        assert_eq!(files.len(), 1);
        assert!(files[0].0 == "agent/error.txt" && files[0].1.contains("127.0.0.1:9"), "{files:?}");
    }

    #[test]
    fn only_the_end_of_a_log_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let lines: Vec<String> = (0..5000).map(|line| format!("line {line}\n")).collect();
        fs::write(&path, lines.concat()).unwrap();
        let text = tail(&path).unwrap();
        assert!(text.starts_with("line 3000\n") && text.ends_with("line 4999\n"));
        assert!(tail(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
