//! Says of each kernel program whether this kernel loads and attaches it, and of how many instructions the verifier
//! looked at it; for `cargo xtask vm-test`, which reads the lines.
//!
//! `rampart-hooks VETH`: one end of a pair of interfaces. A line is `HOOK`, the set of programs, the program, `loads` or
//! `refused`, how it is attached, the instructions that the verifier went through (`-` where the kernel does not tell)
//! and those that it kept, with tabs between. `FACT` lines are about the kernel, `WHY` lines say why something is
//! refused. Everything is gone when it ends.

#![expect(clippy::expect_used, reason = "a panic ends the run that started it")]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{collections::BTreeMap, collections::BTreeSet, env, error::Error, fs, path::PathBuf};

use aya::programs::loaded_programs;
use rampart_agent::{
    engine::clock::boot_now_ns,
    kernel::{
        Kernel, KernelConfig, KernelError,
        deny::{Deny, Hooks},
        limiter::{Interface, Limiter, LimiterConfig, Rung, Wish},
        services::{Services, ServicesConfig},
    },
};
use rampart_common::{
    abi, deny,
    limit::{abi as limit, verdict::Direction},
    service::abi as service,
    wake::CPU_WORDS,
};

/// Bytes of a program's name that the kernel keeps.
const NAME_MAX: usize = 15;
/// Last lines of a verifier's log that are shown.
const LOG_LINES: usize = 8;

/// Instructions that the verifier went through, and those that the program has.
type Sizes = BTreeMap<String, (Option<u32>, u32)>;

fn main() {
    let veth = env::args().nth(1).expect("VETH");
    for (name, file) in [
        ("release", "/proc/sys/kernel/osrelease"),
        ("lsm", "/sys/kernel/security/lsm"),
        ("lockdown", "/sys/kernel/security/lockdown"),
    ] {
        println!("FACT\t{name}\t{}", fs::read_to_string(file).unwrap_or_default().trim());
    }
    events("events", Kernel::load);
    events("events, untyped", Kernel::load_untyped);
    limits(&veth);
    services();
    deny();
}

fn deny() {
    let set = "deny";
    let before = known();
    if let Some(reason) = Hooks::look().fault() {
        println!("FACT\tdeny\t{reason}");
    }
    let deny = match Deny::start(&[0; CPU_WORDS]) {
        Ok(deny) => deny,
        Err(error) => return refused(set, &error, error.verifier_log()),
    };
    let sizes = sizes(&before);
    for (name, _) in deny::FOLLOWERS {
        loads(set, name, "tp_btf", &sizes);
    }
    for (name, _) in deny::HOOKS {
        loads(set, name, "lsm", &sizes);
    }
    drop(deny);
}

fn events(set: &str, load: fn(&KernelConfig) -> Result<Kernel, KernelError>) {
    let before = known();
    let mut kernel = match load(&KernelConfig { ring_bytes: 1 << 20, own_pid: 0, isolated: [0; CPU_WORDS] }) {
        Ok(kernel) => kernel,
        Err(error) => return refused(set, &error, error.verifier_log()),
    };
    let attached = kernel.attach();
    let names = kernel.see_names(true);
    let sizes = sizes(&before);
    let hooks = [abi::PROG_DISPATCH, abi::PROG_EXEC, abi::PROG_FORK, abi::PROG_EXIT, abi::PROG_SOCKET];
    for name in hooks {
        loads(set, name, &how(&attached, "tp_btf"), &sizes);
    }
    for (name, _) in abi::FAMILY_PROGRAMS {
        loads(set, name, "tail call", &sizes);
    }
    loads(set, abi::PROG_ANSWERS, &how(&names, "cgroup"), &sizes);
}

fn limits(veth: &str) {
    let set = "limits";
    let before = known();
    let mut limiter = match Limiter::load(&LimiterConfig { entries: 1 << 12, pins: None }) {
        Ok(limiter) => limiter,
        Err(error) => {
            use rampart_agent::kernel::limiter::LimiterError;
            let log = match &error {
                LimiterError::Refused { log, .. } => Some(log.as_str()),
                _ => None,
            };
            return refused(set, &error, log);
        }
    };
    let sizes = sizes(&before);
    let mut attach = |interface: &str, direction, wish| match Interface::find(interface) {
        Ok(interface) => match limiter.attach(&interface, direction, wish) {
            Ok(attached) => Some(attached.rung.name()),
            Err(error) => {
                why(set, &error);
                None
            }
        },
        Err(error) => {
            why(set, &error);
            None
        }
    };
    let mut ingress = Vec::new();
    let mut egress = Vec::new();
    let native = attach(veth, Direction::Ingress, Wish::Force(Rung::Native));
    let generic = attach("lo", Direction::Ingress, Wish::Force(Rung::Generic));
    for rung in [Rung::Tcx, Rung::Clsact] {
        ingress.extend(attach("lo", Direction::Ingress, Wish::Force(rung)));
        egress.extend(attach("lo", Direction::Egress, Wish::Force(rung)));
    }
    let list = |rungs: &[&str]| if rungs.is_empty() { "no".to_owned() } else { rungs.join(", ") };
    let xdp: Vec<&str> = [native, generic].into_iter().flatten().collect();
    for name in [limit::PROG_XDP_FRAGS, limit::PROG_XDP] {
        if sizes.contains_key(name) {
            loads(set, name, &list(&xdp), &sizes);
        }
    }
    loads(set, limit::PROG_INGRESS, &list(&ingress), &sizes);
    loads(set, limit::PROG_EGRESS, &list(&egress), &sizes);
}

fn services() {
    let set = "services";
    let before = known();
    let cgroup = PathBuf::from("/sys/fs/cgroup");
    let mut services = match Services::load(ServicesConfig { cgroup, pins: None, probe_mark: 0 }) {
        Ok(services) => services,
        Err(error) => {
            use rampart_agent::kernel::services::ServicesError;
            let log = match &error {
                ServicesError::Refused { log, .. } => Some(log.as_str()),
                _ => None,
            };
            return refused(set, &error, log);
        }
    };
    let attached = services.attach(boot_now_ns());
    let sizes = sizes(&before);
    let groups =
        service::SOCK_ADDR_PROGRAMS.into_iter().chain([service::PROG_RELEASE, service::PROG_SOCK_OPS]);
    for name in groups {
        loads(set, name, &how(&attached, "cgroup"), &sizes);
    }
    for (name, _) in service::TRACEPOINT_PROGRAMS {
        loads(set, name, &how(&attached, "tp_btf"), &sizes);
    }
}

/// Ids of the programs that are there already.
fn known() -> BTreeSet<u32> {
    loaded_programs().filter_map(Result::ok).map(|info| info.id()).collect()
}

/// The programs that came since, by the names that the kernel keeps.
fn sizes(before: &BTreeSet<u32>) -> Sizes {
    let fresh = loaded_programs().filter_map(Result::ok).filter(|info| !before.contains(&info.id()));
    fresh
        .filter_map(|info| {
            let kept = info.size_translated().unwrap_or(0) / 8;
            Some((info.name_as_str()?.to_owned(), (info.verified_instruction_count(), kept)))
        })
        .collect()
}

fn loads(set: &str, name: &str, attached: &str, sizes: &Sizes) {
    let kept = name.get(..NAME_MAX).unwrap_or(name);
    let (state, verified, size) = match sizes.get(kept) {
        Some((verified, size)) => {
            ("loads", verified.map_or_else(|| "-".to_owned(), |count| count.to_string()), *size)
        }
        None => ("refused", "-".to_owned(), 0),
    };
    println!("HOOK\t{set}\t{name}\t{state}\t{attached}\t{verified}\t{size}");
}

/// `way` when it worked; else the reason goes into a line of its own.
fn how<T, E: Error>(attached: &Result<T, E>, way: &str) -> String {
    match attached {
        Ok(_) => way.to_owned(),
        Err(error) => {
            why("attach", error);
            "no".to_owned()
        }
    }
}

fn refused(set: &str, error: &dyn Error, log: Option<&str>) {
    println!("HOOK\t{set}\t*\trefused\tno\t-\t0");
    why(set, error);
    let lines: Vec<&str> = log.unwrap_or_default().lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
        println!("LOG\t{set}\t{line}");
    }
}

fn why(set: &str, error: &dyn Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    println!("WHY\t{set}\t{}", text.replace(['\n', '\t'], " "));
}
