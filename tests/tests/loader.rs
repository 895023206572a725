//! libbpf, a loader that we did not choose, reads the same maps from the
//! object and loads the same programs.

use std::collections::BTreeMap;

use cgn_common::layout::MAPS;
use cgn_tests::skip;
use cgn_user::dataplane::load::{Entry, OBJECT};
use libbpf_rs::{MapCore as _, ObjectBuilder, ProgramType};

#[test]
fn libbpf_reads_the_maps_of_the_layout() {
    let open = ObjectBuilder::default()
        .open_memory(OBJECT)
        .expect("libbpf opens the object");
    let stated: BTreeMap<String, _> = open
        .maps()
        .map(|map| {
            let name = map.name().to_string_lossy().into_owned();
            let kind = u32::from(map.map_type());
            let sizes = (map.key_size(), map.value_size(), map.max_entries());
            (name, (kind, sizes, map.map_flags()))
        })
        .collect();
    let wanted: BTreeMap<String, _> = MAPS
        .iter()
        .map(|spec| {
            let sizes = (spec.key_bytes, spec.value_bytes, spec.entries);
            (spec.name.to_owned(), (spec.kind as u32, sizes, spec.flags))
        })
        .collect();
    assert_eq!(stated, wanted);
}

#[test]
fn libbpf_loads_the_programs_and_makes_the_maps() {
    if !skip::is_root("libbpf_loads_the_programs_and_makes_the_maps") {
        return;
    }
    let open = ObjectBuilder::default()
        .open_memory(OBJECT)
        .expect("libbpf opens the object");
    let object = open.load().expect("the kernel takes it from libbpf, too");
    for entry in [Entry::Inside, Entry::Outside, Entry::Vlan] {
        let program = object
            .progs()
            .find(|program| program.name() == entry.name())
            .unwrap_or_else(|| panic!("no program {}", entry.name()));
        assert_eq!(program.prog_type(), ProgramType::Xdp);
    }
    for spec in MAPS {
        let map = object
            .maps()
            .find(|map| map.name() == spec.name)
            .unwrap_or_else(|| panic!("no map {}", spec.name));
        let made = (map.key_size(), map.value_size(), map.max_entries());
        let wanted = (spec.key_bytes, spec.value_bytes, spec.entries);
        assert_eq!(made, wanted, "{} as the kernel made it", spec.name);
    }
}
