//! What this kernel and this process can do, as plain data. Probes only; changes nothing.

use std::fs;

use aya::{maps::MapType, sys};

use super::{
    ATTACHED, BTF_PATH,
    btf::Btf,
    deny::{FIX, Hooks},
    layout,
};

/// One checked condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked, a short noun phrase.
    pub name: &'static str,
    /// Whether the agent can work with what was found.
    pub ok: bool,
    /// Whether the agent cannot start without it.
    pub required: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when `ok`.
    pub fix: String,
}

/// Capabilities the agent needs, with their bit and what for.
const NEEDED: [(&str, u32, &str); 4] = [
    ("CAP_BPF", 39, "load programs and maps"),
    ("CAP_PERFMON", 38, "attach tracing programs"),
    ("CAP_SYS_PTRACE", 19, "read `/proc` of other users' processes"),
    ("CAP_DAC_READ_SEARCH", 2, "read `/proc/PID` files whatever their mode"),
];
/// Stands in for `CAP_BPF` and `CAP_PERFMON`.
const CAP_SYS_ADMIN: u32 = 21;

/// All conditions, in the order a person would fix them.
pub fn probe() -> Vec<Check> {
    let mut checks = capabilities();
    checks.extend([btf(), ring_buffer(), lockdown(), hooks()]);
    checks
}

fn capabilities() -> Vec<Check> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    check_capabilities(effective)
}

fn check_capabilities(effective: u64) -> Vec<Check> {
    let held = |bit: u32| effective & (1 << bit) != 0;
    NEEDED
        .into_iter()
        .map(|(name, bit, purpose)| {
            let by_admin = (bit == 39 || bit == 38) && held(CAP_SYS_ADMIN);
            let ok = held(bit) || by_admin;
            Check {
                name,
                ok,
                required: bit == 39 || bit == 38,
                detail: match (ok, held(bit)) {
                    (true, true) => "held".to_owned(),
                    (true, false) => "covered by CAP_SYS_ADMIN".to_owned(),
                    (false, _) => format!("not held; needed to {purpose}"),
                },
                fix: if ok {
                    String::new()
                } else {
                    format!("run as root, or add {name} to the container's securityContext.capabilities")
                },
            }
        })
        .collect()
}

fn btf() -> Check {
    let name = "kernel type information (BTF)";
    let fix = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (5.10 or newer)".to_owned();
    match describe_btf() {
        Ok(detail) => Check { name, ok: true, required: true, detail, fix: String::new() },
        Err(detail) => Check { name, ok: false, required: true, detail, fix },
    }
}

/// What the type information has, or lacks, of what the programs need.
fn describe_btf() -> Result<String, String> {
    let bytes = fs::read(BTF_PATH).map_err(|error| format!("{BTF_PATH}: {error}"))?;
    let btf = Btf::parse(&bytes).map_err(|error| error.to_string())?;
    layout::resolve(&btf).map_err(|faults| format!("missing {}", super::list(&faults)))?;
    for (_, tracepoint) in ATTACHED {
        // The type that the kernel emits for each tracepoint a program can attach to.
        if !btf.has_typedef(&format!("btf_trace_{tracepoint}")) {
            return Err(format!("missing tracepoint `{tracepoint}`"));
        }
    }
    Ok(format!("{} types; all members and tracepoints found", btf.type_count()))
}

fn ring_buffer() -> Check {
    supported("BPF ring buffer", sys::is_map_supported(MapType::RingBuf).map_err(|error| error.to_string()))
}

fn supported(name: &'static str, probed: Result<bool, String>) -> Check {
    let (ok, detail) = match probed {
        Ok(true) => (true, "supported".to_owned()),
        Ok(false) => (false, "not supported by this kernel".to_owned()),
        // A refused probe proves nothing; the load will tell.
        Err(error) => (true, format!("not known, the probe failed: {error}")),
    };
    let fix = if ok { String::new() } else { "use kernel 5.10 or newer, and run as root".to_owned() };
    Check { name, ok, required: true, detail, fix }
}

fn lockdown() -> Check {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    check_lockdown(&text)
}

/// The file lists the levels and puts the active one in brackets.
fn check_lockdown(text: &str) -> Check {
    let active =
        text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("none", |(mode, _)| mode);
    // Confidentiality forbids programs to read kernel memory; integrity does not.
    let ok = active != "confidentiality";
    let fix = if ok {
        ""
    } else {
        "boot without lockdown=confidentiality; BPF may not read kernel memory under it"
    };
    Check { name: "kernel lockdown", ok, required: true, detail: active.to_owned(), fix: fix.to_owned() }
}

/// Only rules with `deny` need it.
fn hooks() -> Check {
    let hooks = Hooks::look();
    let detail = match &hooks {
        Hooks::There => "programs are asked; rules may `deny`".to_owned(),
        Hooks::Absent(list) => format!("programs are not asked ({list}); rules with `deny` only alert"),
        Hooks::Unknown(why) => format!("not known ({why}); the agent tries when a rule has `deny`"),
    };
    let ok = hooks == Hooks::There;
    let fix = if ok { "" } else { FIX };
    Check { name: "security hooks (BPF LSM)", ok, required: false, detail, fix: fix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{check_capabilities, check_lockdown, supported};

    #[test]
    fn admin_covers_bpf_and_perfmon_but_not_ptrace() {
        let checks = check_capabilities(1 << 21);
        let ok: Vec<bool> = checks.iter().map(|check| check.ok).collect();
        assert_eq!(ok, [true, true, false, false]);
        assert!(checks[2].fix.contains("CAP_SYS_PTRACE"));
    }

    #[test]
    fn a_refused_probe_does_not_refuse_the_start() {
        assert!(!supported("x", Ok(false)).ok);
        let unknown = supported("x", Err("refused".to_owned()));
        assert!(unknown.ok && unknown.detail.contains("refused"));
    }

    #[test]
    fn only_confidentiality_stops_the_agent() {
        assert!(check_lockdown("").ok);
        assert!(check_lockdown("none [integrity] confidentiality\n").ok);
        let refused = check_lockdown("none integrity [confidentiality]\n");
        assert!(!refused.ok && refused.detail == "confidentiality");
    }
}
