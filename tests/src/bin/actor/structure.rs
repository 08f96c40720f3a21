//! Structures that calls are given, as bytes. Where one points to others, these come before it.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    address,
    argument::{bytes, number},
    fields::Fields,
    sys,
};

/// Bytes of a file handle, at most (`MAX_HANDLE_SZ`), behind its length and its type.
const HANDLE_MAX: u32 = 128;
/// Bytes of `union bpf_attr` that are given.
const ATTRIBUTES: usize = 128;

/// A `struct open_how`.
pub(crate) fn how(value: &Value) -> Result<Vec<u8>> {
    let mut fields = Fields::new("`how`", value)?;
    let mut bytes = Vec::new();
    for name in ["flags", "mode", "resolve"] {
        let value = fields.take(name).as_ref().map(number).transpose()?.unwrap_or_default();
        bytes.extend(value.to_ne_bytes());
    }
    fields.finish()?;
    Ok(bytes)
}

/// A `struct msghdr` from an object with `buf` and `address`.
pub(crate) fn message(value: &Value) -> Result<Vec<Vec<u8>>> {
    let mut fields = Fields::new("`msg`", value)?;
    let text = fields.take("buf|buffer|data");
    let target = fields.text("address|addr|destAddr|name")?;
    fields.finish()?;
    let data = text.as_ref().map(bytes).transpose()?.unwrap_or_default();
    let address = target.as_deref().map(address::parse).transpose()?.unwrap_or_default();
    let word = |value: usize| value.to_ne_bytes();
    let vector = [word(data.as_ptr() as usize), word(data.len())].concat();
    let name = if address.is_empty() { 0 } else { address.as_ptr() as usize };
    // Name and its length, vector and its length, control data and its length, flags.
    let header = [name, address.len(), vector.as_ptr() as usize, 1, 0, 0, 0].map(word).concat();
    Ok(vec![data, address, vector, header])
}

/// A `struct file_handle` of a file, as the kernel gives it.
pub(crate) fn handle(path: &str) -> Result<Vec<u8>> {
    let mut name = path.as_bytes().to_vec();
    name.push(0);
    let mut handle = HANDLE_MAX.to_ne_bytes().to_vec();
    handle.resize(8 + HANDLE_MAX as usize, 0);
    let mut mount = [0_u8; 8];
    let place = i64::from(libc::AT_FDCWD);
    let arguments =
        [place, name.as_ptr() as i64, handle.as_mut_ptr() as i64, mount.as_mut_ptr() as i64, 0, 0];
    sys::call(libc::SYS_name_to_handle_at, arguments)
        .with_context(|| format!("the kernel gives no handle of `{path}`"))?;
    Ok(handle)
}

/// Attributes of `BPF_PROG_LOAD`: a socket filter that passes nothing, which is attached nowhere.
pub(crate) fn program() -> Vec<Vec<u8>> {
    // `r0 = 0`, `exit`.
    let instructions = [0xb7_u64, 0x95].map(u64::to_ne_bytes).concat();
    let licence = b"GPL\0".to_vec();
    let mut attributes = Vec::new();
    // Type, number of instructions.
    attributes.extend([1_u32, 2].map(u32::to_ne_bytes).concat());
    attributes.extend((instructions.as_ptr() as u64).to_ne_bytes());
    attributes.extend((licence.as_ptr() as u64).to_ne_bytes());
    attributes.resize(ATTRIBUTES, 0);
    vec![instructions, licence, attributes]
}
