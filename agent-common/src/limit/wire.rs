//! The maps' values and keys as bytes, for userspace. Written field by field, so that it is safe code; a field that a
//! list forgets makes the sizes differ, which does not compile.

use super::{
    abi::{
        Config, Control, Entry, EntryKey, Grant, Local, Policy, Rule, RuleKey, Sample, Service, ServiceKey,
        Tally,
    },
    gcra::Limit,
};

/// A value of fixed size without padding.
pub trait Wire: Sized {
    /// Its size.
    const SIZE: usize;

    /// Writes it to the front of `to`, as far as that goes; gives what is left.
    fn put<'a>(&self, to: &'a mut [u8]) -> &'a mut [u8];

    /// Reads it from the front; gives it and what is left. Bytes that are missing are zero.
    fn take(from: &[u8]) -> (Self, &[u8]);
}

/// The bytes of a value; `N` is its size.
pub fn bytes<const N: usize, T: Wire>(value: &T) -> [u8; N] {
    const { assert!(N == T::SIZE, "the array has the value's size") };
    let mut bytes = [0; N];
    value.put(&mut bytes);
    bytes
}

/// The value of its bytes.
pub fn value<T: Wire>(bytes: &[u8]) -> T {
    T::take(bytes).0
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Wire for $number {
            const SIZE: usize = size_of::<Self>();

            fn put<'a>(&self, to: &'a mut [u8]) -> &'a mut [u8] {
                let at = to.len().min(Self::SIZE);
                let (own, rest) = to.split_at_mut(at);
                for (to, from) in own.iter_mut().zip(self.to_ne_bytes()) {
                    *to = from;
                }
                rest
            }

            fn take(from: &[u8]) -> (Self, &[u8]) {
                let (own, rest) = from.split_at(from.len().min(Self::SIZE));
                let mut bytes = [0; size_of::<$number>()];
                for (to, from) in bytes.iter_mut().zip(own) {
                    *to = *from;
                }
                (Self::from_ne_bytes(bytes), rest)
            }
        }
    )*};
}

numbers! { u8 u16 u32 u64 }

impl<T: Wire + Copy + Default, const N: usize> Wire for [T; N] {
    const SIZE: usize = size_of::<Self>();

    fn put<'a>(&self, to: &'a mut [u8]) -> &'a mut [u8] {
        self.iter().fold(to, |to, item| item.put(to))
    }

    fn take(from: &[u8]) -> (Self, &[u8]) {
        let mut items = [T::default(); N];
        let mut from = from;
        for item in &mut items {
            (*item, from) = Wire::take(from);
        }
        (items, from)
    }
}

/// Makes structures values, by their fields in order.
macro_rules! structures {
    ($($name:ident { $($field:ident)* })*) => {$(
        impl Wire for $name {
            const SIZE: usize = size_of::<Self>();

            fn put<'a>(&self, to: &'a mut [u8]) -> &'a mut [u8] {
                let Self { $($field),* } = self;
                $(let to = $field.put(to);)*
                to
            }

            fn take(from: &[u8]) -> (Self, &[u8]) {
                $(let ($field, from) = Wire::take(from);)*
                (Self { $($field),* }, from)
            }
        }
    )*};
}

pub(crate) use structures;

structures! {
    Limit { mult tau_ns cap_ns shift pad }
    Config { flags shapes dead_man_ns seed seed_before seeded_ns budget samples portless_policy pad }
    Control { heartbeat_ns stretch }
    Policy { limit name_hash mark unit mode action is_dry key_v4 key_v6 class is_shared pad }
    Grant { until_ns limit }
    ServiceKey { interface port protocol has_protocol slot direction pad }
    Service { number policy }
    RuleKey { service slot pad address }
    Rule { kind policy grant then until_secs }
    EntryKey { address number kind bits }
    Entry { tat used generation over policy grant pad }
    Local { budget_tat sample_tat reset_tat }
    Tally { packets bytes }
    Sample {
        time_ns excess_ns allowed_ns source destination interface bytes policy source_port destination_port
        protocol reason direction is_observed pad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each field begins is where the next free byte is: order and size are those of the layout.
    #[test]
    fn bytes_are_the_layout() {
        let sample =
            Sample { time_ns: 1, bytes: 0x0403_0201, protocol: 7, is_observed: 9, ..Sample::default() };
        let image: [u8; 80] = bytes(&sample);
        assert_eq!(image[core::mem::offset_of!(Sample, protocol)], 7);
        assert_eq!(image[core::mem::offset_of!(Sample, is_observed)], 9);
        let at = core::mem::offset_of!(Sample, bytes);
        assert_eq!(image[at..at + 4], 0x0403_0201_u32.to_ne_bytes());
        assert_eq!(value::<Sample>(&image), sample);
        let policy = Policy { class: 3, key_v6: 64, mark: 5, ..Policy::default() };
        let image: [u8; 56] = bytes(&policy);
        assert_eq!(image[core::mem::offset_of!(Policy, class)], 3);
        assert_eq!(image[core::mem::offset_of!(Policy, key_v6)], 64);
        assert_eq!(value::<Policy>(&image), policy);
    }

    #[test]
    fn no_structure_has_hidden_padding() {
        fn filled<T: Wire>() -> usize {
            let mut image = [0_u8; 256];
            256 - T::take(&[0xff; 256]).0.put(&mut image).len()
        }
        macro_rules! check {
            ($($name:ident)*) => {$( assert_eq!(filled::<$name>(), size_of::<$name>(), stringify!($name)); )*};
        }
        check! {
            Limit Config Control Policy Grant ServiceKey Service RuleKey Rule EntryKey Entry Local Tally Sample
        }
    }

    #[test]
    fn missing_bytes_are_zero() {
        assert_eq!(value::<Tally>(&[1]), Tally { packets: 1, bytes: 0 });
        assert_eq!(value::<Rule>(&[]), Rule::default());
    }
}
