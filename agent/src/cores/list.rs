//! Lists of CPUs as the kernel writes them: `0-3,8,10-11`, with steps `0-31:2/8` (two of every eight).

use std::{collections::BTreeSet, fmt, str::FromStr};

use rampart_common::wake::{CPU_WORDS, CPUS, CpuBits};

/// A set of CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(BTreeSet<u32>);

/// Why a text is no list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListFault {
    /// Neither a number nor a range.
    #[error("`{0}` is neither a CPU nor a range of them such as `2-5`")]
    Element(String),
    /// A range whose end comes first, or with impossible steps.
    #[error("`{0}` is an empty range")]
    Range(String),
    /// More CPUs than Linux has.
    #[error("`{0}` is not below {CPUS}")]
    Number(String),
}

impl CpuList {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The CPUs in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// Those of either.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Those of both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// Those that the other has not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// As the kernel programs read them.
    pub fn bits(&self) -> CpuBits {
        let mut bits = [0; CPU_WORDS];
        for cpu in &self.0 {
            if let Some(word) = bits.get_mut(*cpu as usize / 64) {
                *word |= 1 << (cpu % 64);
            }
        }
        bits
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<T: IntoIterator<Item = u32>>(cpus: T) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl FromStr for CpuList {
    type Err = CpuListFault;

    fn from_str(text: &str) -> Result<Self, CpuListFault> {
        let text = text.trim();
        // What kernels print for a mask that they never made.
        if text.is_empty() || text == "(null)" {
            return Ok(Self::default());
        }
        let mut cpus = BTreeSet::new();
        for element in text.split(',') {
            let fault = || CpuListFault::Element(element.trim().to_owned());
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| fault());
            let (range, steps) =
                element.split_once(':').map_or((element, None), |(range, steps)| (range, Some(steps)));
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None if steps.is_some() => return Err(fault()),
                None => (number(range)?, number(range)?),
            };
            let (used, group) = match steps {
                None => (1, 1),
                Some(steps) => {
                    let (used, group) = steps.split_once('/').ok_or_else(fault)?;
                    (number(used)?, number(group)?)
                }
            };
            if last >= CPUS {
                return Err(CpuListFault::Number(element.trim().to_owned()));
            }
            if first > last || used == 0 || used > group {
                return Err(CpuListFault::Range(element.trim().to_owned()));
            }
            cpus.extend((first..=last).filter(|cpu| (cpu - first) % group < used));
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if_eq(&(last + 1)) {
                last = next;
            }
            if first == last {
                write!(out, "{comma}{first}")?;
            } else {
                write!(out, "{comma}{first}-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<CpuList>().unwrap().to_string()
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        for (text, is) in [
            ("", ""),
            ("\n", ""),
            (" (null)\n", ""),
            ("5\n", "5"),
            ("0-3,8,10-11\n", "0-3,8,10-11"),
            ("3,1,2,2", "1-3"),
            ("0-7:1/4", "0,4"),
            ("2-9:2/4", "2-3,6-7"),
            (" 1 , 4 - 5 ", "1,4-5"),
            ("8191", "8191"),
        ] {
            assert_eq!(shown(text), is, "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        let fault = |text: &str| text.parse::<CpuList>().unwrap_err().to_string();
        for text in ["all", "1,,2", "1-", "-1", "1-2-3", "1:1/2", "0-3:2", "0x1", "1,"] {
            assert!(fault(text).contains("neither"), "{text}: {}", fault(text));
        }
        for text in ["3-1", "0-3:0/2", "0-3:3/2"] {
            assert!(fault(text).contains("empty range"), "{text}: {}", fault(text));
        }
        assert_eq!(fault("0-8192"), "`0-8192` is not below 8192");
    }

    #[test]
    fn sets_and_bits() {
        let list = |text: &str| text.parse::<CpuList>().unwrap();
        assert_eq!(list("0-3").and(&list("2-5")), list("2-3"));
        assert_eq!(list("0-3").without(&list("2-5")), list("0-1"));
        assert_eq!(list("0-1").or(list("4")), list("0-1,4"));
        let bits = list("0,63,64,8191").bits();
        assert_eq!((bits[0], bits[1], bits[127]), (1 | 1 << 63, 1, 1 << 63));
        assert!(CpuList::default().bits().iter().all(|word| *word == 0));
    }
}
