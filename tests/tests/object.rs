//! The built object has the maps and programs that `cgn_common::layout` and the
//! loader name.

use aya_obj::{Object, ProgramSection};
use cgn_common::layout::MAPS;
use cgn_user::dataplane::load::{Entry, OBJECT};

fn object() -> Object {
    Object::parse(OBJECT).expect("the object is an object")
}

#[test]
fn maps_are_as_the_layout_says() {
    let object = object();
    let mut names: Vec<&str> = object.maps.keys().map(String::as_str).collect();
    let mut wanted: Vec<&str> = MAPS.iter().map(|spec| spec.name).collect();
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted, "every map, and no other");
    for spec in MAPS {
        let map = &object.maps[spec.name];
        assert!(
            matches!(map, aya_obj::Map::Btf(_)),
            "{}: libbpf reads maps from BTF only",
            spec.name
        );
        let stated = (
            map.map_type(),
            map.key_size(),
            map.value_size(),
            map.max_entries(),
            map.map_flags(),
        );
        let wanted = (
            spec.kind as u32,
            spec.key_bytes,
            spec.value_bytes,
            spec.entries,
            spec.flags,
        );
        assert_eq!(
            stated, wanted,
            "{}: kind, key, value, entries, flags; run `cargo xtask ebpf`",
            spec.name
        );
    }
}

#[test]
fn every_program_of_the_loader_is_there_and_is_xdp() {
    let object = object();
    for entry in [Entry::Inside, Entry::Outside, Entry::Vlan] {
        let program = object
            .programs
            .get(entry.name())
            .unwrap_or_else(|| panic!("no program {}", entry.name()));
        assert!(
            matches!(program.section, ProgramSection::Xdp { .. }),
            "{}: {:?}",
            entry.name(),
            program.section
        );
    }
    assert_eq!(object.license.to_str(), Ok("Dual MIT/GPL"));
}
