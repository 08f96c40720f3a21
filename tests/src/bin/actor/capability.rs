//! Capability sets in the notation of `cap_from_text(3)`, and those of this process.

use anyhow::{Context, Result, bail};

/// Names in the order of their numbers.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Effective, inheritable and permitted capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) effective: u64,
    pub(crate) inheritable: u64,
    pub(crate) permitted: u64,
}

/// Reads the notation. `all` is what this process may hold.
pub(crate) fn parse(text: &str, all: u64) -> Result<Sets> {
    let mut sets = Sets::default();
    for clause in text.split_whitespace() {
        let at =
            clause.find(['=', '+', '-']).with_context(|| format!("`{clause}` has no `=`, `+` or `-`"))?;
        let (names, mut actions) = clause.split_at(at);
        let chosen = choose(names, all)?;
        while let Some(operator) = actions.chars().next() {
            let rest = actions.get(1..).unwrap_or_default();
            let end = rest.find(['=', '+', '-']).unwrap_or(rest.len());
            let (flags, further) = rest.split_at(end);
            act(&mut sets, operator, flags, chosen)?;
            actions = further;
        }
    }
    Ok(Sets {
        effective: sets.effective & all,
        inheritable: sets.inheritable & all,
        permitted: sets.permitted & all,
    })
}

/// The permitted capabilities of this process.
pub(crate) fn own() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read own capabilities")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap_or_default();
    u64::from_str_radix(line.trim(), 16).context("own capabilities are no number")
}

fn choose(names: &str, all: u64) -> Result<u64> {
    if names.is_empty() || names.eq_ignore_ascii_case("all") {
        return Ok(all);
    }
    names.split(',').try_fold(0, |sum, name| {
        let lower = name.to_lowercase();
        let bare = lower.strip_prefix("cap_").unwrap_or(&lower);
        let number = NAMES.iter().position(|known| *known == bare);
        Ok(sum | 1 << number.with_context(|| format!("unknown capability `{name}`"))?)
    })
}

fn act(sets: &mut Sets, operator: char, flags: &str, chosen: u64) -> Result<()> {
    if operator == '=' {
        for set in [&mut sets.effective, &mut sets.inheritable, &mut sets.permitted] {
            *set &= !chosen;
        }
    }
    for flag in flags.chars() {
        let set = match flag {
            'e' => &mut sets.effective,
            'i' => &mut sets.inheritable,
            'p' => &mut sets.permitted,
            other => bail!("unknown capability flag `{other}`"),
        };
        if operator == '-' {
            *set &= !chosen;
        } else {
            *set |= chosen;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_is_read() {
        let all = (1 << 41) - 1;
        let sets = parse("all=iep", all).unwrap();
        assert_eq!(sets, Sets { effective: all, inheritable: all, permitted: all });
        let sets = parse("cap_sys_admin,net_raw=ep cap_net_raw-e", all).unwrap();
        assert_eq!((sets.effective, sets.permitted), (1 << 21, 1 << 21 | 1 << 13));
        let sets = parse("= CAP_KILL+p", all).unwrap();
        assert_eq!(sets, Sets { permitted: 1 << 5, ..Sets::default() });
        for wrong in ["all", "cap_x=e", "all=z"] {
            assert!(parse(wrong, all).is_err(), "{wrong}");
        }
    }
}
