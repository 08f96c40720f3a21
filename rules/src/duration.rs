//! Durations as Falco's configuration writes them.

/// Units in the order they may follow each other, and their milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration such as `1h30m` or `250ms`, in milliseconds: numbers with units `y w d h m s ms`, each at most
/// once and in this order. `None` for anything else and for zero.
pub fn parse_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = rest.get(..letters)?;
        rest = rest.get(letters..)?;
        let (_, milliseconds) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*milliseconds)?)?;
    }
    (total > 0).then_some(total)
}

/// Like [`parse_ms`], where no time at all may be meant: `0`, `0s`.
pub fn parse_ms_or_zero(text: &str) -> Option<u64> {
    if matches!(text, "0" | "0s" | "0ms") { Some(0) } else { parse_ms(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_come_in_order_and_once() {
        assert_eq!(parse_ms("1h30m"), Some(5_400_000));
        assert_eq!(parse_ms("1s1ms"), Some(1001));
        for bad in ["", "0s", "5", "m", "1m1h", "1m1m", "1x", "-1s", "1.5s", "99999999999999999999y", "1 s"] {
            assert_eq!(parse_ms(bad), None, "{bad}");
        }
    }
}
