//! Rules like those people write, as many as wanted.

use std::fmt::Write as _;

/// The text of a rule file with that many rules, and a list and a macro for every ten of them.
pub(crate) fn rules(count: usize) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    for group in 0..count.div_ceil(10) {
        let _ = write!(
            out,
            "- list: programs_{group}\n  items: [tool{group}, helper{group}, agent{group}, python{group}, bash, sh]\n\n\
             - macro: below_{group}\n  condition: (fd.name startswith /srv/app{group}/ or fd.directory in \
             (/etc/app{group}, /var/lib/app{group}))\n\n"
        );
    }
    for rule in 0..count {
        let group = rule / 10;
        let condition = match rule % 5 {
            0 => format!(
                "evt.type in (open, openat, openat2) and evt.is_open_write=true and below_{group} and not proc.name in \
                 (programs_{group})"
            ),
            1 => format!(
                "evt.type in (execve, execveat) and proc.name in (programs_{group}) and proc.cmdline contains \
                 \"--secret{rule}\" and not proc.pname in (cron, systemd)"
            ),
            2 => format!(
                "evt.type in (connect, sendto) and fd.sport in (22, 80, {}) and fd.snet in (10.{}.0.0/16) and not \
                 proc.aname in (programs_{group})",
                1024 + rule,
                rule % 256
            ),
            3 => format!(
                "evt.type in (unlink, unlinkat, rename, renameat) and (evt.arg.path startswith /data/{rule} or \
                 evt.arg.oldpath glob /data/{rule}/*.log) and user.uid != {rule}"
            ),
            _ => format!(
                "evt.type = openat and below_{group} and (fd.filename endswith .key or fd.filename = id_{rule}) and \
                 container.id != host"
            ),
        };
        let _ = write!(
            out,
            "- rule: Generated rule {rule}\n  desc: Something that must not happen in place {rule}.\n  condition: >\n    \
             {condition}\n  output: >\n    Seen in {rule} (file=%fd.name program=%proc.name command=%proc.cmdline \
             user=%user.name parent=%proc.pname)\n  priority: WARNING\n  tags: [generated, group{group}]\n\n"
        );
    }
    out
}
