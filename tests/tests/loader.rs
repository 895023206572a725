//! libbpf, a loader that we did not choose, reads the same maps from the
//! object and loads the same programs.

use std::collections::BTreeMap;

use cgn_common::layout::{self, Features, MAPS, RareProgram};
use cgn_tests::skip;
use cgn_user::dataplane::load::{Entry, OBJECT, program_name};
use libbpf_rs::btf::types::Struct;
use libbpf_rs::btf::{Btf, HasSize as _};
use libbpf_rs::{MapCore as _, ObjectBuilder, ProgramType};

#[test]
fn libbpf_reads_the_maps_of_the_layout() {
    let open = ObjectBuilder::default()
        .open_memory(OBJECT)
        .expect("libbpf opens the object");
    let stated: BTreeMap<String, _> = open
        .maps()
        // Its read-only data is a map to libbpf, too.
        .filter(|map| !map.name().to_string_lossy().ends_with(".rodata"))
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

/// Structures are told apart by name in BTF; each has the layout's size there.
#[test]
fn libbpf_reads_structures_of_the_layout_s_sizes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../cgn-user/bpf/cgn.bpf.o");
    let btf = Btf::from_path(path).expect("the object has BTF");
    let sizes = [
        ("Settings", size_of::<layout::Settings>()),
        ("Page", size_of::<layout::Page>()),
        ("Subscriber", size_of::<layout::Subscriber>()),
        ("FurtherBlocks", size_of::<layout::FurtherBlocks>()),
        ("External", size_of::<layout::External>()),
        ("BlockEntry", size_of::<layout::BlockEntry>()),
        ("Line", size_of::<layout::Line>()),
        ("RouteLine", size_of::<layout::RouteLine>()),
        ("NextHopEntry", size_of::<layout::NextHopEntry>()),
        ("Link", size_of::<layout::Link>()),
        ("VlanKey", size_of::<layout::VlanKey>()),
        ("RealmLine", size_of::<layout::RealmLine>()),
        ("VlanRole", size_of::<layout::VlanRole>()),
        ("SessionKey", size_of::<layout::SessionKey>()),
        ("Constants", size_of::<layout::Constants>()),
        ("Counters", size_of::<cgn_common::counters::Counters>()),
    ];
    for (name, size) in sizes {
        let found: Struct<'_> = btf
            .type_by_name(name)
            .unwrap_or_else(|| panic!("no structure {name}"));
        assert_eq!(found.size(), size, "{name}");
    }
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
    let entries = [0, Features::ACCESS, Features::FORCE_SLOW_PATH]
        .map(Features)
        .map(|features| {
            [Entry::Inside, Entry::Outside, Entry::Vlan].map(|entry| program_name(entry, features))
        });
    for name in entries
        .into_iter()
        .flatten()
        .chain(RareProgram::ALL.map(RareProgram::name))
    {
        let program = object
            .progs()
            .find(|program| program.name() == name)
            .unwrap_or_else(|| panic!("no program {name}"));
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
