//! The built object has the maps and programs that `cgn_common::layout` and the
//! loader name.

use aya_obj::{Object, ProgramSection};
use cgn_common::diagnostics::TALLIES;
use cgn_common::layout::{Features, MAPS, MapSpec, RareProgram};
use cgn_common::watch;
use cgn_user::dataplane::load::{DIAGNOSTICS_OBJECT, Entry, OBJECT, WATCH_OBJECT, program_name};

/// The static `CONSTANTS`, in the section that the compiler names.
const CONSTANTS: &[&str] = &[".rodata"];
/// What only the diagnostics object may have beside it: the ring of its lines, by
/// aya-log's name, and constant text.
const LINES: &[&str] = &["AYA_LOGS", ".rodata", ".rodata.cst16"];

fn parse(object: &[u8]) -> Object {
    Object::parse(object).expect("the object is an object")
}

#[test]
fn maps_are_as_the_layout_says() {
    let maps: Vec<&MapSpec> = MAPS.iter().collect();
    maps_are(&parse(OBJECT), &maps, CONSTANTS);
}

#[test]
fn the_diagnostics_object_has_the_same_maps_and_its_own() {
    let maps: Vec<&MapSpec> = MAPS.iter().chain([&TALLIES]).collect();
    maps_are(&parse(DIAGNOSTICS_OBJECT), &maps, LINES);
}

/// `object` has these maps, those with the names in `others`, and no more.
fn maps_are(object: &Object, maps: &[&MapSpec], others: &[&str]) {
    let mut names: Vec<&str> = object.maps.keys().map(String::as_str).collect();
    let mut wanted: Vec<&str> = maps.iter().map(|spec| spec.name).collect();
    wanted.extend(others);
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted, "every map, and no other");
    for spec in maps {
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
fn the_watching_object_has_the_same_maps_and_its_own() {
    let maps: Vec<&MapSpec> = MAPS.iter().chain(watch::MAPS).collect();
    maps_are(&parse(WATCH_OBJECT), &maps, CONSTANTS);
}

#[test]
fn every_program_of_the_loader_is_there_and_is_xdp() {
    for object in [OBJECT, DIAGNOSTICS_OBJECT, WATCH_OBJECT] {
        programs_are_there(&parse(object));
    }
}

fn program_names() -> impl Iterator<Item = &'static str> {
    let entries = [0, Features::ACCESS, Features::FORCE_SLOW_PATH]
        .map(Features)
        .map(|features| {
            [Entry::Inside, Entry::Outside, Entry::Vlan].map(|entry| program_name(entry, features))
        });
    let rare = RareProgram::ALL.map(RareProgram::name);
    entries.into_iter().flatten().chain(rare)
}

fn programs_are_there(object: &Object) {
    for name in program_names() {
        let program = object
            .programs
            .get(name)
            .unwrap_or_else(|| panic!("no program {name}"));
        assert!(
            matches!(program.section, ProgramSection::Xdp { .. }),
            "{}: {:?}",
            name,
            program.section
        );
    }
    assert_eq!(object.license.to_str(), Ok("Dual MIT/GPL"));
}
