//! The steps of the intrusion and the alerts each must cause.

use super::alert::Alert;
use super::program_name;
use super::scene::{DECOY_RULE, Scene};

/// An address of the documentation range; it exists only in the step's own network namespace.
const ATTACKER: &str = "203.0.113.10";
const ATTACKER_PORT: u16 = 4444;

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Pack {
    Base,
    /// Falco's own file, shown when it is there.
    Upstream,
    /// The demo's rule file.
    Own,
}

/// What an alert's `fd.name` must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum File {
    /// The event has no descriptor.
    None,
    Is(String),
    /// The port on this side is chosen by the kernel.
    EndsWith(String),
}

/// One alert that must come.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) rule: &'static str,
    pub(super) pack: Pack,
    pub(super) proc_name: String,
    pub(super) proc_pname: String,
    pub(super) fd_name: File,
}

/// One thing the intruder does.
pub(super) struct Step {
    pub(super) title: &'static str,
    /// For `/bin/sh -c`; a trailing `:` keeps the shell from replacing itself with its last command.
    pub(super) script: String,
    pub(super) expected: Vec<Expected>,
}

impl Expected {
    /// Whether this is the alert, with all facts right.
    pub(super) fn is(&self, alert: &Alert) -> bool {
        let file = match &self.fd_name {
            File::None => alert.fd_name.as_deref().is_none_or(|name| matches!(name, "" | "<NA>")),
            File::Is(name) => alert.fd_name.as_ref() == Some(name),
            File::EndsWith(end) => alert.fd_name.as_ref().is_some_and(|name| name.ends_with(end.as_str())),
        };
        alert.rule == self.rule
            && alert.proc_name.as_ref() == Some(&self.proc_name)
            && alert.proc_pname.as_ref() == Some(&self.proc_pname)
            && file
    }
}

/// Expects the same facts of several rules.
fn expect(rules: &[(&'static str, Pack)], name: &str, parent: &str, file: &File) -> Vec<Expected> {
    let one = |(rule, pack): &(&'static str, Pack)| Expected {
        rule,
        pack: *pack,
        proc_name: name.to_owned(),
        proc_pname: parent.to_owned(),
        fd_name: file.clone(),
    };
    rules.iter().map(one).collect()
}

/// The whole intrusion, in order.
pub(super) fn all(scene: &Scene) -> Vec<Step> {
    let path = |name: &str| scene.path(name).display().to_string();
    let (implant, python) = (path("implant"), scene.python.display());
    let payload = scene.memory().join("payload").display().to_string();
    let decoy = scene.decoy().display().to_string();
    let interpreter = program_name(&scene.python);
    let credentials = [
        ("Credential file read by unexpected program", Pack::Base),
        ("Read sensitive file untrusted", Pack::Upstream),
    ];
    let shadow = File::Is("/etc/shadow".to_owned());
    vec![
        Step {
            title: "read the password hashes",
            script: "cat /etc/shadow >/dev/null; :".to_owned(),
            expected: expect(&credentials, "cat", "sh", &shadow),
        },
        Step {
            title: "read them again through a harmless looking link",
            script: format!("cat {} >/dev/null; :", path("notes.txt")),
            // The rule sees the file behind the link, and so does the reader of its alert.
            expected: expect(&credentials, "cat", "sh", &shadow),
        },
        Step {
            title: "and once more by a roundabout relative path",
            script: "cd /usr/bin; head -c 1 ../../etc/shadow >/dev/null; :".to_owned(),
            expected: expect(&credentials, "head", "sh", &shadow),
        },
        Step {
            title: "read a file that looks like password hashes but is a decoy",
            script: format!("cat {decoy} >/dev/null; :"),
            expected: expect(&[(DECOY_RULE, Pack::Own)], "cat", "sh", &File::Is(decoy)),
        },
        Step {
            title: "start a shell through a hole in a web server",
            script: format!("{} -c '/bin/sh -c \"id >/dev/null; :\"; :'; :", path("nginx")),
            expected: expect(
                &[("Shell started by server", Pack::Base), ("Run shell untrusted", Pack::Upstream)],
                "sh",
                "nginx",
                &File::None,
            ),
        },
        Step {
            title: "drop a program into shared memory and run it",
            script: format!("cp /bin/true {payload}; {payload}; :"),
            expected: expect(
                &[
                    ("Program run from shared memory", Pack::Base),
                    ("Execution from /dev/shm", Pack::Upstream),
                ],
                "payload",
                "sh",
                &File::None,
            ),
        },
        Step {
            title: "run a program that never touches a disk",
            script: format!("{implant} workload memfd {} /bin/true; :", path("ghost")),
            expected: expect(
                &[
                    ("Program run from anonymous memory", Pack::Base),
                    ("Fileless execution via memfd_create", Pack::Upstream),
                ],
                "ghost",
                "implant",
                &File::None,
            ),
        },
        Step {
            title: "call home from an interpreter",
            script: format!(
                "unshare --net -- /bin/sh -c 'ip link set lo up; ip addr add {ATTACKER}/32 dev lo; \
                 {implant} workload serve {ATTACKER}:{ATTACKER_PORT} {python} -c \
                 \"import socket; socket.create_connection((\\\"{ATTACKER}\\\", {ATTACKER_PORT}))\"; :'; :"
            ),
            expected: expect(
                &[("Outbound connection by inline code", Pack::Base)],
                &interpreter,
                "implant",
                &File::EndsWith(format!("->{ATTACKER}:{ATTACKER_PORT}")),
            ),
        },
        Step {
            title: "link a password file to a name of one's own",
            script: format!("ln -s /etc/shadow {}; :", path("backup.txt")),
            expected: expect(
                &[
                    ("Link to credential file", Pack::Base),
                    ("Create Symlink Over Sensitive Files", Pack::Upstream),
                ],
                "ln",
                "sh",
                &File::None,
            ),
        },
        Step {
            title: "take control of another process",
            script: format!("sleep 20 & {implant} workload attach $!; kill $!; :"),
            expected: expect(
                &[
                    ("Process attached for tracing", Pack::Base),
                    ("PTRACE attached to process", Pack::Upstream),
                ],
                "implant",
                "sh",
                &File::None,
            ),
        },
        Step {
            title: "empty a log to cover the tracks (in a mount namespace)",
            script: "unshare --mount -- /bin/sh -c 'mount -t tmpfs tmpfs /var/log; touch /var/log/auth.log; \
                     cp /dev/null /var/log/auth.log; :'; :"
                .to_owned(),
            expected: expect(
                &[("Log file emptied", Pack::Base), ("Clear Log Activities", Pack::Upstream)],
                "cp",
                "sh",
                &File::Is("/var/log/auth.log".to_owned()),
            ),
        },
        Step {
            title: "listen to all traffic (in a network namespace)",
            script: format!("unshare --net -- {implant} workload sniff; :"),
            expected: expect(&[("Packet socket opened", Pack::Base)], "implant", "sh", &File::None),
        },
    ]
}
