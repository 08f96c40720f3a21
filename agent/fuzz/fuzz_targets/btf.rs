//! The kernel's type information: no bytes make the reader panic or loop.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rampart_agent::kernel::btf::Btf;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(btf) = Btf::parse(bytes) {
        for name in ["task_struct", "a", ""] {
            let _ = btf.size_of(name);
            let _ = btf.offset_of(name, "real_parent");
            let _ = btf.offset_of(name, "a.b.c");
            let _ = btf.enum_value(name, "A");
        }
    }
});
