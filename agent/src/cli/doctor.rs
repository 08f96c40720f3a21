//! `rampart doctor`: can this machine run the agent, and if not, what to do.

mod bundle;
mod redact;

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Outcome, PolicyArgs, print};
use crate::{
    admin::Admin,
    app::VERIFIER_LOG,
    config::{Config, WatchMode},
    container::kubernetes,
    cores::Cores,
    kernel::{RING_POLL, caps},
    policy,
    privilege::lock,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart doctor                    this machine, with the configuration the agent would use
  rampart doctor -c rampart.yaml
  rampart doctor --bundle help.tar --log agent.log
                                    the same, packed with settings, facts and logs for whoever helps

Nothing is changed; a bundle has no secrets in it, but names of files, programs and hosts. Exit codes: 0 the agent can run, 1 something needs a fix.";

/// Lines of a kept verifier log that are shown; the last ones name the refused instruction.
const LOG_LINES: usize = 30;

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Write an archive for whoever helps, without secrets; the file must not be there
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// A log whose last lines go into the bundle, such as what `journalctl -u rampart` prints
    #[arg(long, value_name = "FILE", requires = "bundle")]
    log: Vec<PathBuf>,
}

/// One line of the answer.
struct Line {
    mark: Mark,
    name: String,
    detail: String,
    fix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Ok,
    Less,
    Fail,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let mut lines: Vec<Line> = caps::probe()
        .into_iter()
        .map(|check| Line {
            mark: match (check.ok, check.required) {
                (true, _) => Mark::Ok,
                (false, true) => Mark::Fail,
                (false, false) => Mark::Less,
            },
            name: check.name.to_owned(),
            detail: check.detail,
            fix: check.fix,
        })
        .collect();
    let mut kept = None;
    match arguments.policy.sources().load() {
        Ok(config) => {
            lines.push(line(Mark::Ok, "configuration", "valid", ""));
            lines.push(rules(&config));
            lines.extend(node(&config));
            lines.extend(isolated_lines(&Cores::find(&config.node.isolated_cpus)));
            lines.extend(runtimes(&config));
            kept = kept_log(&config.node.state_dir).or_else(|| kept_log(&config.node.runtime_dir));
        }
        Err(faults) => {
            for fault in &faults.0 {
                lines.push(line(Mark::Fail, "configuration", &fault.to_string(), "correct it"));
            }
        }
    }
    let failed = lines.iter().filter(|line| line.mark == Mark::Fail).count();
    let page = page(&lines, kept.as_ref());
    print::data(&page)?;
    if let Some(file) = &arguments.bundle {
        let written = bundle::write(file, &page, &arguments.policy.sources(), &arguments.log);
        written.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write the bundle `{}`: {error}", file.display()))
        })?;
        print::data(&format!("The bundle is in {}: look at it before you give it away.\n", file.display()))?;
    }
    Ok(if failed == 0 && kept.is_none() { Outcome::Clean } else { Outcome::Findings })
}

fn line(mark: Mark, name: &str, detail: &str, fix: &str) -> Line {
    Line { mark, name: name.to_owned(), detail: detail.to_owned(), fix: fix.to_owned() }
}

fn rules(config: &Config) -> Line {
    let report = policy::load(&config.rules, &config.trading);
    if let Some(bundle) = &report.bundle {
        let detail = format!("{} rules, {} findings", bundle.rules.rules().len(), report.findings.len());
        return line(Mark::Ok, "rules", &detail, "");
    }
    let count = report.unreadable.len() + report.findings.len();
    line(Mark::Fail, "rules", &format!("{count} findings"), "see `rampart check` with the same options")
}

fn node(config: &Config) -> Vec<Line> {
    let mut lines = Vec::new();
    let running = lock::holder(&config.node.runtime_dir);
    match running {
        Some(pid) => lines.push(line(
            Mark::Less,
            "other agent",
            &format!("process {pid} runs on this node"),
            "a second one is refused: stop that one first",
        )),
        None => lines.push(line(Mark::Ok, "other agent", "none runs", "")),
    }
    if config.admin.enabled && running.is_none() {
        lines.push(match Admin::bind(config.admin.listen) {
            Ok(_) => line(Mark::Ok, "http port", &format!("{} is free", config.admin.listen), ""),
            Err(error) => {
                line(Mark::Fail, "http port", &super::in_full(&error), "set `admin.listen` to a free address")
            }
        });
    }
    for (name, dir) in
        [("runtime directory", &config.node.runtime_dir), ("state directory", &config.node.state_dir)]
    {
        lines.push(match writable(dir) {
            Ok(()) => line(Mark::Ok, name, &dir.display().to_string(), ""),
            Err(error) => line(
                Mark::Less,
                name,
                &format!("{}: {error}", dir.display()),
                "make it writable; without it the agent runs and keeps less",
            ),
        });
    }
    lines
}

/// Isolated CPUs, and what the agent does about them.
fn isolated_lines(cores: &Cores) -> Vec<Line> {
    let name = "isolated CPUs";
    let fix = "name them with `node.isolated_cpus`";
    let mut lines: Vec<Line> = cores.faults.iter().map(|fault| line(Mark::Less, name, fault, fix)).collect();
    let list = &cores.isolated;
    let quiet = format!("no event there wakes it, it looks every {} ms", RING_POLL.as_millis());
    lines.push(if list.is_empty() {
        line(Mark::Ok, name, "none", "")
    } else if cores.has_no_other() {
        let detail = format!("{list}, all there are: the agent's threads run on them all the same; {quiet}");
        line(Mark::Less, name, &detail, "leave it a CPU, or set `node.isolated_cpus: none`")
    } else {
        let threads = cores.allowed.without(list);
        line(Mark::Ok, name, &format!("{list}; the agent's threads run on {threads}; {quiet}"), "")
    });
    lines
}

/// Container runtimes that can be asked, and how pods are learned of.
fn runtimes(config: &Config) -> Vec<Line> {
    if !config.containers.enabled {
        let fix = "set `containers.enabled: true` for names and images of containers";
        return vec![line(Mark::Less, "container runtimes", "not asked", fix)];
    }
    let mut lines: Vec<Line> = config
        .containers
        .sockets
        .present()
        .into_iter()
        .map(|(interface, socket)| {
            let name = format!("{} socket", interface.name());
            match UnixStream::connect(&socket) {
                Ok(_) => line(Mark::Ok, &name, &format!("{} answers", socket.display()), ""),
                Err(error) => line(
                    Mark::Less,
                    &name,
                    &format!("{}: {error}", socket.display()),
                    "start the runtime, or let the agent reach its socket",
                ),
            }
        })
        .collect();
    if lines.is_empty() {
        // A node without containers is no fault.
        lines.push(line(
            Mark::Less,
            "container runtimes",
            "no socket found",
            "for names and images of containers, name the sockets under `containers`",
        ));
    }
    let how = match (config.kubernetes.watch, &config.kubernetes.kubeconfig) {
        (WatchMode::Off, _) => return lines,
        (_, Some(path)) => format!("watched through `{}`", path.display()),
        (_, None) if kubernetes::in_cluster() => "watched with the pod's service account".to_owned(),
        (WatchMode::Auto, None) => return lines,
        (WatchMode::On, None) => {
            let fix = "name a `kubernetes.kubeconfig`, or run the agent in the cluster";
            lines.push(line(Mark::Fail, "pods", "to be watched, but this is no cluster", fix));
            return lines;
        }
    };
    lines.push(line(Mark::Ok, "pods", &format!("of `{}`, {how}", config.kubernetes.node_name), ""));
    lines
}

/// Whether a directory, or the nearest one above it that exists, may be written; asked, not tried.
fn writable(dir: &Path) -> io::Result<()> {
    let existing = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    nix::unistd::access(existing, nix::unistd::AccessFlags::W_OK).map_err(io::Error::from)
}

/// The path and the last lines of a refused program's log.
fn kept_log(dir: &Path) -> Option<(String, Vec<String>)> {
    let path = dir.join(VERIFIER_LOG);
    let bytes = fs::read(&path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    let tail = lines.iter().skip(from).map(|line| (*line).to_owned()).collect();
    Some((path.display().to_string(), tail))
}

fn page(lines: &[Line], kept: Option<&(String, Vec<String>)>) -> String {
    let mut rows = Vec::new();
    for line in lines {
        let mark = match line.mark {
            Mark::Ok => "ok",
            Mark::Less => "less",
            Mark::Fail => "FAIL",
        };
        rows.push(vec![mark.to_owned(), line.name.clone(), line.detail.clone()]);
        if line.mark != Mark::Ok && !line.fix.is_empty() {
            rows.push(vec![String::new(), String::new(), format!("fix: {}", line.fix)]);
        }
    }
    let mut text = print::table(&rows);
    if let Some((path, tail)) = kept {
        text.push_str("\nThe kernel refused a program at the last start. The end of its log, whole in ");
        text.push_str(path);
        text.push_str(":\n");
        for line in tail {
            text.extend(["  ", line, "\n"]);
        }
    }
    let failed = lines.iter().filter(|line| line.mark == Mark::Fail).count();
    text.push('\n');
    let verdict = match (failed, kept) {
        (0, None) => "The agent can run on this machine.".to_owned(),
        (0, Some(_)) => {
            "Every check passed; a start removes the log once the kernel accepts the programs.".to_owned()
        }
        (1, _) => "1 check failed.".to_owned(),
        (count, _) => format!("{count} checks failed."),
    };
    text.push_str(&verdict);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn failed_checks_show_their_fix_and_the_kept_log_its_end() {
        let dir = tempfile::tempdir().unwrap();
        assert!(kept_log(dir.path()).is_none());
        let log: Vec<String> = (0..40).map(|number| format!("insn {number}")).collect();
        fs::write(dir.path().join(VERIFIER_LOG), log.join("\n")).unwrap();
        let kept = kept_log(dir.path()).unwrap();
        assert_eq!((kept.1.len(), kept.1[0].as_str()), (30, "insn 10"));
        let lines = [line(Mark::Ok, "a", "fine", ""), line(Mark::Fail, "b", "bad", "do this")];
        let page = page(&lines, Some(&kept));
        assert!(page.starts_with("ok    a  fine\nFAIL  b  bad\n         fix: do this\n"), "{page}");
        assert!(page.contains("  insn 39\n") && page.ends_with("1 check failed.\n"), "{page}");
    }

    #[test]
    fn runtimes_that_answer_are_told_from_those_that_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        let file = dir.path().join("rampart.yaml");
        let load = |text: &str| {
            fs::write(&file, text).unwrap();
            Sources { file: Some(file.clone()), ..Sources::default() }.load().unwrap()
        };
        let config = load(&format!(
            "containers: {{host_root: {root}, cri_sockets: [], docker_sockets: [/d], podman_sockets: /p}}"
        ));
        assert_eq!(runtimes(&config)[0].detail, "no socket found");
        let _docker = std::os::unix::net::UnixListener::bind(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("p"), "").unwrap();
        let lines = runtimes(&config);
        let shown: Vec<(&str, Mark)> = lines.iter().map(|line| (line.name.as_str(), line.mark)).collect();
        assert_eq!(shown, [("docker socket", Mark::Ok), ("podman socket", Mark::Less)]);
        let config = load("containers: {enabled: false}\nkubernetes: {watch: on}\n");
        assert_eq!(runtimes(&config)[0].detail, "not asked");
    }

    #[test]
    fn isolated_cpus_are_told_with_what_is_done() {
        let cores = |isolated: &str| Cores {
            isolated: isolated.parse().unwrap(),
            allowed: "0-3".parse().unwrap(),
            faults: Vec::new(),
        };
        let shown = |isolated: &str| {
            let lines = isolated_lines(&cores(isolated));
            (lines[0].mark, lines[0].detail.clone())
        };
        assert_eq!(shown(""), (Mark::Ok, "none".to_owned()));
        let some = "2-3; the agent's threads run on 0-1; no event there wakes it, it looks every 10 ms";
        assert_eq!(shown("2-3"), (Mark::Ok, some.to_owned()));
        assert_eq!(shown("0-3").0, Mark::Less);
        let faulty = Cores { faults: vec!["x".to_owned()], ..cores("") };
        assert_eq!(isolated_lines(&faulty).len(), 2);
    }

    #[test]
    fn directories_that_do_not_exist_yet_are_judged_by_their_parent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(writable(&dir.path().join("a/b")).is_ok());
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(writable(&file).is_err());
    }
}
