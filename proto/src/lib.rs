//! Messages of `rampart.v1` between agents, collectors and their clients.
//!
//! Only what is generated from `api/`: a test compares the code with the definitions, and writes it anew when
//! `RAMPART_UPDATE` is set. Another one compares the definitions with `api/wire.txt`, the list of everything that was
//! ever on the wire: what is there keeps its number and its type.

#![forbid(unsafe_code)]

/// `rampart.v1`.
#[expect(
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::allow_attributes,
    reason = "generated"
)]
pub mod v1 {
    include!("gen/rampart.v1.rs");
}

/// The definitions in their binary form (`FileDescriptorSet`), for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/rampart.v1.bin");
