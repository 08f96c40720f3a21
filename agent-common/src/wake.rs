//! When a program that has written a record wakes the reader.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

/// Words of [`CpuBits`].
pub const CPU_WORDS: usize = 128;
/// CPUs that [`CpuBits`] has bits for: as many as Linux can be built for.
pub const CPUS: u32 = CPU_WORDS as u32 * 64;

/// A set of CPUs, a bit each.
pub type CpuBits = [u64; CPU_WORDS];

/// Whether the reader is to be woken. Never by a CPU that is `isolated`, which must not be interrupted for it: the
/// reader looks for such records itself. Else when it `sleeps`, or when much is waiting: `wake_bytes` or more.
#[inline(always)]
pub fn wakes(isolated: bool, sleeps: bool, waiting: impl FnOnce() -> u64, wake_bytes: u32) -> bool {
    !isolated && (sleeps || waiting() >= u64::from(wake_bytes))
}

#[cfg(test)]
mod tests {
    use super::wakes;

    #[test]
    fn a_sleeping_reader_or_a_full_ring_is_a_reason() {
        assert!(wakes(false, true, || 0, 10));
        assert!(wakes(false, false, || 10, 10));
        assert!(!wakes(false, false, || 9, 10));
    }

    #[test]
    fn an_isolated_cpu_wakes_nobody() {
        for sleeps in [false, true] {
            assert!(!wakes(true, sleeps, || u64::MAX, 0));
        }
    }
}
