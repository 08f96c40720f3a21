//! What a kernel means that refuses a program: its error numbers are few, and the reason is in what the verifier wrote.

use std::io;

/// What the verifier writes, where that is what the kernel is too old for, and what to say then.
const KNOWN: [(&str, &str); 2] = [
    ("BPF_STX uses reserved fields", "it has no atomic compare-exchange (Linux 5.12)"),
    ("jumps is too complex", GIVES_UP),
];
const GIVES_UP: &str = "its verifier gives up: the program has more ways through it than this kernel goes";
/// How lines begin that are no reasons.
const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];

/// The error of a load in words that say what it is.
///
/// Kernels before 6.4 answer `ENOSPC` when the log has no room, which hides that the verifier gave up: only a program that is
/// too much for it has such a log.
pub(super) fn meant(error: io::Error, log: &str) -> io::Error {
    if matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::E2BIG)) {
        return io::Error::other(GIVES_UP);
    }
    let lines = log.lines().rev().map(str::trim);
    let is_reason = |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start));
    let Some(reason) = lines.into_iter().find(is_reason) else { return error };
    match KNOWN.into_iter().find(|(line, _)| reason.contains(line)) {
        Some((_, meaning)) => io::Error::other(meaning),
        None => io::Error::other(format!("{error}: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32, log: &str) -> String {
        meant(io::Error::from_raw_os_error(code), log).to_string()
    }

    #[test]
    fn a_program_that_is_too_much_for_a_kernel_is_told_as_such() {
        for code in [libc::ENOSPC, libc::E2BIG] {
            assert_eq!(said(code, "1: (95) exit\n"), GIVES_UP);
        }
        let log = "The sequence of 8193 jumps is too complex.\nprocessed 319847 insns (limit 1000000)\n";
        assert_eq!(said(libc::EFAULT, log), GIVES_UP);
    }

    #[test]
    fn what_the_verifier_wrote_last_is_the_reason() {
        let log = "0: (85) call unknown#187\ninvalid func unknown#187\nverification time 3 usec\nstack depth 0\nprocessed 1 insns\n\n";
        let text = said(libc::EINVAL, log);
        assert!(
            text.starts_with("Invalid argument") && text.ends_with(": invalid func unknown#187"),
            "{text}"
        );
        assert!(said(libc::EINVAL, "BPF_STX uses reserved fields\nprocessed 0 insns").contains("5.12"));
    }

    #[test]
    fn without_a_reason_the_error_stays_what_it_is() {
        for log in ["", "processed 0 insns (limit 1000000)\n"] {
            let same = meant(io::Error::from_raw_os_error(libc::EPERM), log);
            assert_eq!(same.raw_os_error(), Some(libc::EPERM));
        }
    }
}
