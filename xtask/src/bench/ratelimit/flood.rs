//! The sender, a program of the agent's package, and somebody who uses a service meanwhile.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::rig::{ADDRESS, HERE, Rig, THERE, Wire, first};
use crate::bench::example;
use crate::process;
use crate::workload::unheard;

/// Port of the service.
const SERVICE: u16 = 7;

/// The program that sends and drops.
pub(super) struct Tool {
    path: PathBuf,
}

/// What a sender did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sent {
    /// Datagrams.
    pub(super) count: f64,
    /// Millions a second at its pace.
    pub(super) mpps: f64,
}

/// What the user of a service felt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Felt {
    pub(super) answers: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// A service that ends with this value.
pub(super) struct Service {
    child: Child,
}

impl Tool {
    /// Builds it. `release`: with the agent's release build, which is there already.
    pub(super) fn build(release: bool) -> Result<Self> {
        Ok(Self { path: example::build("flood", release)? })
    }

    /// The command that drops all that comes by an interface.
    pub(super) fn dropping(&self, interface: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.args(["drop", interface]);
        command
    }

    /// Begins to send.
    pub(super) fn send(&self, rig: &Rig, sources: u32, span: Duration, cpu: usize) -> Result<Child> {
        let mut command = rig.first_outside(&self.path);
        command.args(["send", THERE, &sources.to_string(), &span.as_millis().to_string(), &cpu.to_string()]);
        command.stdout(Stdio::piped());
        command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))
    }
}

impl Sent {
    /// Waits for the sender.
    pub(super) fn of(child: Child) -> Result<Self> {
        let output = child.wait_with_output().context("cannot wait for the sender")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("the sender ended with {}", output.status);
        }
        Self::read(&text)
            .with_context(|| format!("the sender said `{}` instead of three numbers", text.trim()))
    }

    fn read(text: &str) -> Option<Self> {
        let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [count, steady, nanoseconds] = *numbers.as_slice() else { return None };
        Some(Self { count, mpps: steady / nanoseconds.max(1.0) * 1e3 })
    }
}

impl Service {
    /// Starts it on a core.
    pub(super) fn start(cpu: usize) -> Result<Self> {
        let mut command = first(&own_program()?, false);
        command.args(["workload", "echo", &format!("{ADDRESS}:{SERVICE}"), "--cpu", &cpu.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the service")?;
        let output = child.stdout.take().context("the service has no output")?;
        let service = Self { child };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() == "ready" { Ok(service) } else { bail!("the service on `{HERE}` did not come up") }
    }

    /// Uses it from the sender's namespace for a time.
    pub(super) fn talk(rig: &Rig, cpu: usize, span: Duration) -> Result<Felt> {
        let mut command = rig.first_outside(&own_program()?);
        command.args(["workload", "talk", &format!("{ADDRESS}:{SERVICE}"), "--cpu", &cpu.to_string()]);
        command.args(["--millis", &span.as_millis().to_string()]);
        let text = process::capture(&mut command)?;
        felt(&text).with_context(|| format!("the service's user said `{}`", text.trim()))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has nothing to say and ends in no other way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn felt(text: &str) -> Option<Felt> {
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [answers, p50_us, p99_us] = *numbers.as_slice() else { return None };
    Some(Felt { answers, p50_us, p99_us })
}

fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}

/// Frames that the interface took and datagrams that came through while something was done.
pub(super) fn counted<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64, f64)> {
    let (taken, passed) = (Wire::taken()?, unheard()?);
    let done = work()?;
    Ok((done, Wire::taken()? - taken, unheard()? - passed))
}

/// Begins to count what comes through, `after` from now and for `span`.
pub(super) fn counting(after: Duration, span: Duration) -> Result<Child> {
    let mut command = first(&own_program()?, true);
    command.args(["workload", "unheard", "--after", &after.as_millis().to_string()]);
    command.args(["--span", &span.as_millis().to_string()]).stdout(Stdio::piped());
    command.spawn().context("cannot start to count")
}

/// What was counted, a second.
pub(super) fn rate(counting: Child) -> Result<f64> {
    let output = counting.wait_with_output().context("cannot wait for the count")?;
    let text = String::from_utf8_lossy(&output.stdout);
    per_second(&text).with_context(|| format!("the count said `{}`", text.trim()))
}

fn per_second(text: &str) -> Option<f64> {
    let (count, seconds) = text.trim().split_once(' ')?;
    Some(count.parse::<f64>().ok()? / seconds.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_and_users_say_numbers() {
        let sent = Sent::read("1131072 1000000 250000000\n").unwrap();
        assert_eq!(sent, Sent { count: 1_131_072.0, mpps: 4.0 });
        assert_eq!(Sent::read("1 2 3 4"), None);
        assert_eq!(per_second("500 2.5\n"), Some(200.0));
        assert_eq!(felt("900 21.5 60.0\n"), Some(Felt { answers: 900.0, p50_us: 21.5, p99_us: 60.0 }));
        assert_eq!(felt("no answer"), None);
    }
}
