//! Which calls on path names go through a symbolic link in the last place, and which act on the link itself.

use rampart_rules::catalog::{EventId, event_ids as ev};

/// `AT_SYMLINK_NOFOLLOW`.
const NO_FOLLOW: u64 = 0x100;
/// `AT_SYMLINK_FOLLOW` of `linkat`.
const FOLLOW: u64 = 0x400;
/// `UMOUNT_NOFOLLOW`.
const UMOUNT_NO_FOLLOW: u64 = 0x8;
/// Number of `fchmodat2`; `fchmodat` has no flags.
const FCHMODAT2: u32 = 452;

/// For the first and the second path argument of a call: whether a link in the last place is followed.
pub fn follows(event: EventId, number: u32, args: &[u64; 6]) -> [bool; 2] {
    let bit = |index: usize, bit: u64| args.get(index).is_some_and(|arg| arg & bit != 0);
    match event {
        ev::CHMOD | ev::CHOWN | ev::ACCESS | ev::STAT | ev::CHDIR | ev::CHROOT | ev::MOUNT => [true; 2],
        ev::FCHMODAT => [number != FCHMODAT2 || !bit(3, NO_FOLLOW), false],
        ev::NEWFSTATAT => [!bit(3, NO_FOLLOW), false],
        ev::FCHOWNAT => [!bit(4, NO_FOLLOW), false],
        ev::UMOUNT2 => [!bit(1, UMOUNT_NO_FOLLOW), false],
        ev::LINKAT => [bit(4, FOLLOW), false],
        // What is made, renamed or removed is the name itself.
        _ => [false; 2],
    }
}

#[cfg(test)]
mod tests {
    use rampart_rules::catalog::event_ids as ev;

    use super::follows;

    #[test]
    fn flags_decide_where_a_call_has_them() {
        let with = |index: usize, flag: u64| {
            let mut args = [0; 6];
            args[index] = flag;
            args
        };
        assert_eq!(follows(ev::UNLINK, 87, &[0; 6]), [false; 2]);
        assert_eq!(follows(ev::CHMOD, 90, &[0; 6]), [true; 2]);
        assert_eq!(
            follows(ev::FCHMODAT, 268, &with(3, 0x100)),
            [true, false],
            "garbage in an argument it lacks"
        );
        assert_eq!(follows(ev::FCHMODAT, 452, &with(3, 0x100)), [false; 2]);
        assert_eq!(follows(ev::FCHOWNAT, 260, &with(4, 0x100)), [false; 2]);
        assert_eq!(follows(ev::LINKAT, 265, &with(4, 0x400)), [true, false]);
    }
}
