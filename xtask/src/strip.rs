//! Removes DWARF from the BPF object and keeps what loaders read: code, maps, BTF and BTF.ext.

use anyhow::{Context as _, Result, bail};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// The same object without its `.debug_*` sections and their relocations.
///
/// Errors when `object` is not ELF, or when it has no BTF, without which its maps cannot be loaded.
pub fn strip_debug(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("the linker's output is not an ELF object")?;
    for section in &mut elf.sections {
        let name = section.name.to_string();
        if name.starts_with(".debug_") || name.starts_with(".rel.debug_") {
            section.delete = true;
        }
    }
    for wanted in [".BTF", ".BTF.ext"] {
        if !elf
            .sections
            .iter()
            .any(|s| s.name.as_slice() == wanted.as_bytes())
        {
            bail!(
                "the linker's output has no {wanted} section: was it linked with --btf and debuginfo=2?"
            );
        }
    }
    // LLVM moves functions that never return out of .text; here these are panics, and libbpf refuses
    // an object that has functions there.
    let panics: Vec<String> = elf
        .symbols
        .iter()
        .filter(|symbol| {
            symbol.section.is_some_and(|section| {
                elf.sections
                    .get(section)
                    .name
                    .starts_with(b".text.unlikely")
            })
        })
        .map(|symbol| symbol.name.to_string())
        .filter(|name| !name.is_empty())
        .collect();
    if !panics.is_empty() {
        bail!(
            "the object can panic, and libbpf does not load it: {}",
            panics.join(", ")
        );
    }
    // LLVM keeps the names of sections and symbols in one table; the writer wants one for each.
    let names = elf.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    elf.write(&mut stripped)
        .context("cannot write the object without its debug sections")?;
    Ok(stripped)
}
