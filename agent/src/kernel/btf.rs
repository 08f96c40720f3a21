//! A small reader of the kernel's type information (BTF): where a structure's member lies on this kernel.
//!
//! Owns parsing only; does no I/O. Every length and index in the input is checked: truncated or hostile bytes
//! give an error, never a panic, an endless loop or an allocation larger than the input.
//! Format: Documentation/bpf/btf.rst of the kernel.

use std::collections::HashMap;

use thiserror::Error;

/// First two bytes, in machine order.
const MAGIC: u16 = 0xeb9f;
/// Typedefs and qualifiers followed before a chain counts as a loop.
const CHAIN_LIMIT: u32 = 32;
/// Anonymous members entered below one structure.
const NESTING_LIMIT: u32 = 16;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;
/// Highest kind known; a newer one cannot be skipped, because its size is not known.
const KIND_LAST: u32 = KIND_ENUM64;

/// What is wrong with the bytes, or what they do not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BtfError {
    /// The bytes end inside the header, a section or a type.
    #[error("BTF ends early at offset {0}")]
    Truncated(usize),
    /// Not BTF, or of the other byte order.
    #[error("BTF magic is {0:#06x}, expected {MAGIC:#06x}")]
    Magic(u16),
    /// A type of a kind made after this reader.
    #[error("BTF type {id} has unknown kind {kind}")]
    Kind {
        /// Type id.
        id: u32,
        /// Raw kind.
        kind: u32,
    },
    /// Typedefs or anonymous members go in a circle or too deep.
    #[error("BTF type {0} nests too deep")]
    Loop(u32),
    /// No type of that name and kind.
    #[error("no type `{0}` in BTF")]
    NoType(String),
    /// The structure has no such member, or the enumeration no such value.
    #[error("no member `{member}` in type `{ty}`")]
    NoMember {
        /// Type name.
        ty: String,
        /// Member path that was asked for.
        member: String,
    },
    /// The member is a bit field, which has no byte offset.
    #[error("member `{0}` is a bit field")]
    BitField(String),
}

/// Parsed type information. Borrows the bytes.
#[derive(Debug)]
pub struct Btf<'a> {
    base: Option<&'a Btf<'a>>,
    types: &'a [u8],
    strings: &'a [u8],
    /// Offset of each type in `types`; the first is id `first_id`.
    offsets: Vec<u32>,
    /// Ids of the named types that can be asked for, by name.
    names: HashMap<&'a [u8], Vec<u32>>,
    first_id: u32,
    first_string: u32,
}

#[derive(Clone, Copy)]
struct Type<'a> {
    kind: u32,
    kind_flag: bool,
    vlen: u32,
    /// Size in bytes, or the id of the type referred to.
    size_or_ref: u32,
    /// What follows the common part.
    extra: &'a [u8],
}

impl<'a> Btf<'a> {
    /// Parses a whole image, as in `/sys/kernel/btf/vmlinux`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        Self::build(bytes, None)
    }

    /// Parses a module's image, whose ids and strings continue those of `base`.
    pub fn parse_split(bytes: &'a [u8], base: &'a Btf<'a>) -> Result<Self, BtfError> {
        Self::build(bytes, Some(base))
    }

    /// Size of a structure or union in bytes.
    pub fn size_of(&self, name: &str) -> Result<u32, BtfError> {
        Ok(self.find(name, &[KIND_STRUCT, KIND_UNION])?.1.size_or_ref)
    }

    /// Byte offset of `path` (members joined by dots) in the structure `name`. Anonymous structures and unions
    /// are looked through, as the compiler does.
    pub fn offset_of(&self, name: &str, path: &str) -> Result<u32, BtfError> {
        let (id, _) = self.find(name, &[KIND_STRUCT, KIND_UNION])?;
        let missing = || BtfError::NoMember { ty: name.to_owned(), member: path.to_owned() };
        let (mut current, mut bits) = (id, 0u32);
        for part in path.split('.') {
            let ty = self.resolve(current)?;
            let member = self.member(ty, part, NESTING_LIMIT, current)?.ok_or_else(missing)?;
            bits = bits.checked_add(member.bits).ok_or_else(missing)?;
            current = member.ty;
        }
        if bits % 8 == 0 { Ok(bits / 8) } else { Err(BtfError::BitField(path.to_owned())) }
    }

    /// Id of a structure or union.
    pub fn structure_id(&self, name: &str) -> Result<u32, BtfError> {
        Ok(self.find(name, &[KIND_STRUCT, KIND_UNION])?.0)
    }

    /// Id of a function.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        (self.first_id..self.type_count()).find(|id| {
            let Some(offset) = self.offsets.get((id - self.first_id) as usize) else { return false };
            let at = *offset as usize;
            word(self.types, at + 4).is_some_and(|info| kind_of(info) == KIND_FUNC)
                && word(self.types, at).is_some_and(|text| self.string(text) == name.as_bytes())
        })
    }

    /// Value of an enumerator.
    pub fn enum_value(&self, name: &str, value: &str) -> Result<i64, BtfError> {
        let (_, ty) = self.find(name, &[KIND_ENUM, KIND_ENUM64])?;
        let entry_bytes = if ty.kind == KIND_ENUM { 8 } else { 12 };
        for entry in ty.extra.chunks_exact(entry_bytes) {
            let (Some(entry_name), Some(low)) = (word(entry, 0), word(entry, 4)) else { continue };
            if self.string(entry_name) == value.as_bytes() {
                let high = if ty.kind == KIND_ENUM64 { word(entry, 8).unwrap_or(0) } else { 0 };
                let signed32 = ty.kind == KIND_ENUM && ty.kind_flag;
                return Ok(if signed32 {
                    i64::from(low as i32)
                } else {
                    (u64::from(low) | u64::from(high) << 32) as i64
                });
            }
        }
        Err(BtfError::NoMember { ty: name.to_owned(), member: value.to_owned() })
    }

    /// Whether there is a typedef of that name.
    pub fn has_typedef(&self, name: &str) -> bool {
        self.find(name, &[KIND_TYPEDEF]).is_ok()
    }

    /// Number of types, the base's included.
    pub fn type_count(&self) -> u32 {
        self.first_id + self.offsets.len() as u32
    }

    fn build(bytes: &'a [u8], base: Option<&'a Btf<'a>>) -> Result<Self, BtfError> {
        let truncated = || BtfError::Truncated(bytes.len());
        let magic = bytes.first_chunk::<2>().map(|raw| u16::from_ne_bytes(*raw)).ok_or_else(truncated)?;
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        let field = |index: usize| word(bytes, index).ok_or_else(truncated);
        let header_len = field(4)? as usize;
        let section = |offset: u32, len: u32| {
            let start = header_len.checked_add(offset as usize)?;
            bytes.get(start..start.checked_add(len as usize)?)
        };
        let types = section(field(8)?, field(12)?).ok_or_else(truncated)?;
        let strings = section(field(16)?, field(20)?).ok_or_else(truncated)?;
        let mut btf = Self {
            base,
            types,
            strings,
            offsets: Vec::new(),
            names: HashMap::new(),
            // Type 0 is `void` and is not stored.
            first_id: base.map_or(1, Btf::type_count),
            first_string: base.map_or(0, |base| base.first_string + base.strings.len() as u32),
        };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        let mut offset = 0;
        while offset < self.types.len() {
            let id = self.type_count();
            let truncated = BtfError::Truncated(offset);
            let info = word(self.types, offset + 4).ok_or_else(|| truncated.clone())?;
            let len = 12 + extra_bytes(info).ok_or(BtfError::Kind { id, kind: kind_of(info) })?;
            let end = offset.checked_add(len).filter(|end| *end <= self.types.len()).ok_or(truncated)?;
            self.offsets.push(offset as u32);
            if matches!(kind_of(info), KIND_STRUCT | KIND_UNION | KIND_ENUM | KIND_ENUM64 | KIND_TYPEDEF) {
                let name = self.string(word(self.types, offset).unwrap_or(0));
                self.names.entry(name).or_default().push(id);
            }
            offset = end;
        }
        Ok(())
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        if id < self.first_id {
            return self.base?.get(id);
        }
        let offset = *self.offsets.get((id - self.first_id) as usize)? as usize;
        let info = word(self.types, offset + 4)?;
        let extra = self.types.get(offset + 12..offset + 12 + extra_bytes(info)?)?;
        Some(Type {
            kind: kind_of(info),
            kind_flag: info >> 31 == 1,
            vlen: info & 0xffff,
            size_or_ref: word(self.types, offset + 8)?,
            extra,
        })
    }

    /// A structure or enumeration by its exact name; a full definition, since forward declarations are another
    /// kind.
    fn find(&self, name: &str, kinds: &[u32]) -> Result<(u32, Type<'a>), BtfError> {
        let own = self.names.get(name.as_bytes()).into_iter().flatten().find_map(|id| {
            let ty = self.get(*id)?;
            kinds.contains(&ty.kind).then_some((*id, ty))
        });
        match (own, self.base) {
            (Some(found), _) => Ok(found),
            (None, Some(base)) => base.find(name, kinds),
            (None, None) => Err(BtfError::NoType(name.to_owned())),
        }
    }

    /// Follows typedefs and qualifiers to what they stand for.
    fn resolve(&self, mut id: u32) -> Result<Type<'a>, BtfError> {
        for _ in 0..CHAIN_LIMIT {
            let ty = self.get(id).ok_or(BtfError::Truncated(id as usize))?;
            match ty.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = ty.size_or_ref;
                }
                _ => return Ok(ty),
            }
        }
        Err(BtfError::Loop(id))
    }

    fn member(&self, ty: Type<'a>, name: &str, depth: u32, id: u32) -> Result<Option<Member>, BtfError> {
        if depth == 0 {
            return Err(BtfError::Loop(id));
        }
        if ty.kind != KIND_STRUCT && ty.kind != KIND_UNION {
            return Ok(None);
        }
        for entry in ty.extra.chunks_exact(12).take(ty.vlen as usize) {
            let (Some(entry_name), Some(entry_type), Some(raw)) =
                (word(entry, 0), word(entry, 4), word(entry, 8))
            else {
                continue;
            };
            // With the flag, the top byte is the size of a bit field.
            let (bits, field_bits) = if ty.kind_flag { (raw & 0x00ff_ffff, raw >> 24) } else { (raw, 0) };
            let text = self.string(entry_name);
            if text == name.as_bytes() {
                if field_bits != 0 {
                    return Err(BtfError::BitField(name.to_owned()));
                }
                return Ok(Some(Member { ty: entry_type, bits }));
            }
            if text.is_empty()
                && let Some(inner) = self.member(self.resolve(entry_type)?, name, depth - 1, entry_type)?
                && let Some(bits) = inner.bits.checked_add(bits)
            {
                return Ok(Some(Member { ty: inner.ty, bits }));
            }
        }
        Ok(None)
    }

    fn string(&self, offset: u32) -> &'a [u8] {
        if offset < self.first_string {
            return self.base.map_or(&[], |base| base.string(offset));
        }
        let tail = self.strings.get((offset - self.first_string) as usize..).unwrap_or(&[]);
        tail.split(|byte| *byte == 0).next().unwrap_or(&[])
    }
}

struct Member {
    ty: u32,
    bits: u32,
}

fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Bytes behind the common part of a type; `None` for an unknown kind.
fn extra_bytes(info: u32) -> Option<usize> {
    let vlen = (info & 0xffff) as usize;
    Some(match kind_of(info) {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => vlen * 12,
        KIND_ENUM | KIND_FUNC_PROTO => vlen * 8,
        0 => return None,
        kind if kind <= KIND_LAST => 0,
        _ => return None,
    })
}

/// The 32-bit word at a byte offset, in machine order.
fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let raw = bytes.get(offset..offset.checked_add(4)?)?;
    raw.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests;
