//! What programs and kernel modules say they need.

use crate::Result;
use anyhow::{Context as _, ensure};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// What a program needs to start.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The path of its loader, if it has one.
    pub(super) loader: Option<String>,
    /// The names of the shared libraries it names itself.
    pub(super) libraries: Vec<String>,
}

/// Reads what a 64-bit little-endian program or library needs ("System V ABI", program headers and dynamic section).
///
/// # Errors
/// If it isn't one, or is cut short.
pub(super) fn needs(elf: &[u8]) -> Result<Needs> {
    ensure!(elf.get(..6) == Some(b"\x7fELF\x02\x01"), "not a 64-bit ELF file");
    let (table, entry_bytes, entries) = (number(elf, 32, 8)?, number(elf, 54, 2)?, number(elf, 56, 2)?);
    let mut loads = Vec::new();
    let (mut dynamic, mut found) = (None, Needs::default());
    for n in 0..entries {
        let at = table + n * entry_bytes;
        let (kind, offset, address, size) =
            (number(elf, at, 4)?, number(elf, at + 8, 8)?, number(elf, at + 16, 8)?, number(elf, at + 32, 8)?);
        match u32::try_from(kind)? {
            PT_LOAD => loads.push((address, offset, size)),
            PT_DYNAMIC => dynamic = Some((offset, size)),
            PT_INTERP => found.loader = Some(text(elf, offset)?),
            _ => {}
        }
    }
    let Some((offset, size)) = dynamic else { return Ok(found) };
    let (mut names, mut strings) = (Vec::new(), None);
    for at in (offset..offset + size).step_by(16) {
        let value = number(elf, at + 8, 8)?;
        match number(elf, at, 8)? {
            DT_NULL => break,
            DT_NEEDED => names.push(value),
            DT_STRTAB => strings = Some(value),
            _ => {}
        }
    }
    let strings = strings.context("no string table")?;
    let (address, at, _) =
        loads.iter().find(|(address, _, size)| (*address..address + size).contains(&strings)).context("the string table isn't loaded")?;
    for name in names {
        found.libraries.push(text(elf, strings - address + at + name)?);
    }
    Ok(found)
}

fn number(bytes: &[u8], at: u64, length: usize) -> Result<u64> {
    let at = usize::try_from(at)?;
    let field = bytes.get(at..).and_then(|rest| rest.get(..length)).context("ELF file cut short")?;
    let mut whole = [0; 8];
    whole[..length].copy_from_slice(field);
    Ok(u64::from_le_bytes(whole))
}

fn text(bytes: &[u8], at: u64) -> Result<String> {
    let rest = bytes.get(usize::try_from(at)?..).context("ELF file cut short")?;
    let end = rest.iter().position(|byte| *byte == 0).context("ELF file cut short")?;
    Ok(std::str::from_utf8(&rest[..end])?.to_owned())
}

/// The modules a kernel module says it needs, by the names that the kernel uses (`depends=` in its `.modinfo`).
pub(super) fn module_needs(module: &[u8]) -> Result<Vec<String>> {
    const KEY: &[u8] = b"\0depends=";
    let at = module.windows(KEY.len()).position(|window| window == KEY).context("the module has no depends=")?;
    let names = text(module, (at + KEY.len()) as u64)?;
    Ok(names.split(',').filter(|name| !name.is_empty()).map(module_name).collect())
}

/// A module's name as the kernel has it: its file may have dashes.
pub(super) fn module_name(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_real_program_names_its_needs() {
        let found = needs(&std::fs::read("/bin/sh").unwrap()).unwrap();
        assert_eq!(found.loader.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(found.libraries, ["libc.so.6"]);
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let whole = std::fs::read("/bin/sh").unwrap();
        assert!(needs(&whole[..100]).is_err());
        assert!(needs(b"#!/bin/sh").is_err());
    }

    #[test]
    fn modules_name_others() {
        assert_eq!(module_needs(b"license=GPL\0depends=virtio,virtio-ring\0name=x\0").unwrap(), ["virtio", "virtio_ring"]);
        assert_eq!(module_needs(b"license=GPL\0depends=\0name=x\0").unwrap(), Vec::<String>::new());
    }
}
