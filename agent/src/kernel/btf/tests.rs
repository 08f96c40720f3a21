//! The reader on built images, on the running kernel, and on truncated and hostile bytes.

use proptest::prelude::*;

use super::{Btf, BtfError};

/// Builds an image from raw types and a string section.
#[derive(Default)]
struct Image {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0] }
    }

    fn text(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
    }

    fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)], kind_flag: bool) {
        let name = self.text(name);
        let flag = u32::from(kind_flag) << 31;
        self.words(&[name, flag | 4 << 24 | members.len() as u32, size]);
        for (member, ty, raw) in members {
            let member = self.text(member);
            self.words(&[member, *ty, *raw]);
        }
    }

    fn finish(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&0xeb9f_u16.to_ne_bytes());
        bytes.extend_from_slice(&[1, 0]);
        for word in [24, 0, self.types.len() as u32, self.types.len() as u32, self.strings.len() as u32] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// 1 int; 2 anonymous struct {deep at 32 bits}; 3 outer {a, anonymous 2 at 64 bits, inner 4 at 128}; 4 struct
/// inner {b at 32, bit field c}; 5 typedef of 4; 6 enum.
fn sample() -> Vec<u8> {
    let mut image = Image::new();
    let int = image.text("int");
    image.words(&[int, 1 << 24, 4, 32]);
    image.structure("", 8, &[("deep", 1, 32)], false);
    image.structure("outer", 64, &[("a", 1, 0), ("", 2, 64), ("inner", 5, 128)], false);
    image.structure("inner_t", 8, &[("b", 1, 32), ("c", 1, (3 << 24) | (5 << 3))], true);
    let alias = image.text("alias");
    image.words(&[alias, 8 << 24, 4]);
    let (colour, red, blue) = (image.text("colour"), image.text("RED"), image.text("BLUE"));
    image.words(&[colour, 6 << 24 | 2, 4, red, 7, blue, 9]);
    image.finish()
}

#[test]
fn members_are_found_through_anonymous_and_aliased_types() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).expect("the sample parses");
    assert_eq!(btf.type_count(), 7);
    assert_eq!(btf.size_of("outer"), Ok(64));
    assert_eq!(btf.offset_of("outer", "a"), Ok(0));
    assert_eq!(btf.offset_of("outer", "deep"), Ok(12));
    assert_eq!(btf.offset_of("outer", "inner.b"), Ok(20));
    assert_eq!(btf.enum_value("colour", "BLUE"), Ok(9));
}

#[test]
fn what_is_missing_is_named() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).expect("the sample parses");
    assert_eq!(btf.size_of("nothing"), Err(BtfError::NoType("nothing".to_owned())));
    assert_eq!(btf.offset_of("outer", "inner.c"), Err(BtfError::BitField("c".to_owned())));
    let missing = BtfError::NoMember { ty: "outer".to_owned(), member: "a.b".to_owned() };
    assert_eq!(btf.offset_of("outer", "a.b"), Err(missing));
}

#[test]
fn a_module_continues_ids_and_strings_of_its_base() {
    let base_bytes = sample();
    let base = Btf::parse(&base_bytes).expect("the sample parses");
    let mut module = Image { types: Vec::new(), strings: b"wrap\0x\0".to_vec() };
    let first = base.strings.len() as u32;
    module.words(&[first, 4 << 24 | 1, 128, first + 5, 3, 64]);
    let bytes = module.finish();
    let split = Btf::parse_split(&bytes, &base).expect("the module parses");
    assert_eq!(split.offset_of("wrap", "x.inner.b"), Ok(28));
    assert_eq!(split.offset_of("outer", "deep"), Ok(12));
}

#[test]
fn circles_end() {
    let mut image = Image::new();
    image.structure("selfish", 8, &[("", 1, 0)], false);
    let alias = image.text("alias");
    image.words(&[alias, 8 << 24, 2]);
    image.structure("user", 8, &[("", 2, 0)], false);
    let bytes = image.finish();
    let btf = Btf::parse(&bytes).expect("circles parse");
    assert!(matches!(btf.offset_of("selfish", "x"), Err(BtfError::Loop(_))));
    assert!(matches!(btf.offset_of("user", "x"), Err(BtfError::Loop(_))));
}

#[test]
fn every_truncation_is_an_error_or_smaller() {
    let bytes = sample();
    for len in 0..bytes.len() {
        if let Ok(btf) = Btf::parse(&bytes[..len]) {
            panic!("{len} of {} bytes gave {} types", bytes.len(), btf.type_count());
        }
    }
    assert_eq!(Btf::parse(b"\x9f\xeb").err(), Some(BtfError::Truncated(2)));
    assert!(matches!(Btf::parse(b"nope").err(), Some(BtfError::Magic(_))));
}

#[test]
fn the_running_kernel_has_what_every_kernel_has() {
    let path = "/sys/kernel/btf/vmlinux";
    let Ok(bytes) = std::fs::read(path) else {
        println!("SKIP: the_running_kernel_has_what_every_kernel_has: no {path}");
        return;
    };
    let btf = Btf::parse(&bytes).expect("the kernel's own BTF parses");
    assert!(btf.type_count() > 10_000);
    assert_eq!(btf.offset_of("list_head", "prev"), Ok(8));
    assert_eq!(btf.size_of("list_head"), Ok(16));
    assert_eq!(btf.enum_value("pid_type", "PIDTYPE_SID"), Ok(3));
    assert!(btf.offset_of("task_struct", "comm").is_ok());
    assert!(btf.has_typedef("btf_trace_sys_exit") && !btf.has_typedef("btf_trace_nothing"));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Btf::parse(&bytes);
    }

    #[test]
    fn no_mutation_panics(flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let mut bytes = sample();
        for (at, value) in flips {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        if let Ok(btf) = Btf::parse(&bytes) {
            let _ = (btf.offset_of("outer", "deep"), btf.offset_of("outer", "inner.b"));
            let _ = (btf.size_of("inner_t"), btf.enum_value("colour", "RED"));
        }
    }
}
