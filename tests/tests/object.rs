//! The built object says the same as `cgn_common::layout`, byte by byte.

use aya_obj::btf::BtfKind;
use aya_obj::{Object, ProgramSection};
use cgn_common::layout::{self, MAPS};
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
fn structures_have_the_layout_s_sizes() {
    let object = object();
    let btf = object.btf.as_ref().expect("the object has BTF");
    let sizes = [
        ("Settings", size_of::<layout::Settings>()),
        ("Page", size_of::<layout::Page>()),
        ("Subscriber", size_of::<layout::Subscriber>()),
        ("External", size_of::<layout::External>()),
        ("BlockEntry", size_of::<layout::BlockEntry>()),
        ("Line", size_of::<layout::Line>()),
        ("RouteLine", size_of::<layout::RouteLine>()),
        ("NextHopEntry", size_of::<layout::NextHopEntry>()),
        ("Link", size_of::<layout::Link>()),
        ("VlanKey", size_of::<layout::VlanKey>()),
        ("VlanRole", size_of::<layout::VlanRole>()),
        ("Counters", size_of::<cgn_common::counters::Counters>()),
    ];
    for (name, size) in sizes {
        let id = btf
            .id_by_type_name_kind(name, BtfKind::Struct)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let stated = btf.type_size(id).expect("a structure has a size");
        assert_eq!(stated, size, "{name}");
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
