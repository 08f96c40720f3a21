//! Giving back memory that the start needed and nothing needs afterwards.
//!
//! The crate's only unsafe code: calls into the C library that no crate wraps.

#![expect(unsafe_code, reason = "foreign functions; each block says why it is sound")]

use std::{fs, io, path::Path};

/// Gives the memory that was used and freed back to the system: the kernel's type information alone takes tens of
/// megabytes while it is parsed, and a rule set is read and planned in several times its size.
pub(crate) fn return_free() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time, from any thread; it only returns pages that hold no allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of this program's own code, most of which only starts it. What still runs is mapped again, page by page, from
/// the page cache; nothing is read from the disk that is not read anyhow under pressure.
pub(crate) fn let_go_of_code() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    for (start, end) in code_of(&fs::read_to_string("/proc/self/maps")?, &program) {
        // SAFETY: pages of code are as they are in the file (`r-xp`, position-independent, never written), so that dropping
        // them changes nothing but where they are read from next.
        let failed = unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_DONTNEED) };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Where a program's own code is mapped, of `/proc/self/maps`.
fn code_of(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let place = |line: &str| {
        let mut words = line.splitn(6, ' ');
        let (range, rights, path) = (words.next()?, words.next()?, words.nth(3)?.trim_start());
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        (rights == "r-xp" && Path::new(path) == program).then_some((number(start)?, number(end)?))
    };
    maps.lines().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_itself_is_let_go() {
        let maps = "\
55fcb0b00000-55fcb112b000 r--p 00000000 fe:00 131  /usr/bin/ram part
55fcb112b000-55fcb2260000 r-xp 0062a000 fe:00 131                        /usr/bin/ram part
55fcb2260000-55fcb2341000 r--p 0175e000 fe:00 131  /usr/bin/ram part
55fcb2341000-55fcb2346000 rwxp 0183e000 fe:00 131  /usr/bin/ram part
55fcb3000000-55fcb3001000 rw-p 00000000 00:00 0    [heap]
7f0000000000-7f0000001000 r-xp 00000000 fe:00 77   /usr/lib/libc.so.6
7f0000002000-7f0000003000 r-xp 00000000 00:00 0
";
        assert_eq!(code_of(maps, Path::new("/usr/bin/ram part")), [(0x55fc_b112_b000, 0x55fc_b226_0000)]);
    }

    #[test]
    fn what_runs_goes_on() {
        let program = fs::read_link("/proc/self/exe").unwrap();
        let places = || code_of(&fs::read_to_string("/proc/self/maps").unwrap(), &program);
        let before = places();
        assert!(!before.is_empty());
        let_go_of_code().unwrap();
        return_free();
        assert_eq!(places(), before);
    }
}
