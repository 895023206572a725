//! What of a subscriber is logged.

use cgn_common::layout::{Features, Policy};

use super::super::Config;
use super::{base_and, expect};
use crate::dataplane::sweep::Logged;
use crate::policy::shape;

#[test]
fn sweep_programs_and_sinks_are_told_what_is_logged() {
    use Logged::{Mappings, Nothing, Sessions};
    let cases = [
        ("block", "", Nothing, None, false),
        ("interim", "", Nothing, None, false),
        ("session", "", Mappings, None, false),
        ("session_with_destination", "", Sessions, None, true),
        ("block", "session", Nothing, Some(Mappings), false),
        (
            "block",
            "session_with_destination",
            Nothing,
            Some(Sessions),
            true,
        ),
        (
            "session_with_destination",
            "block",
            Sessions,
            Some(Nothing),
            true,
        ),
    ];
    for (all, group, of_all, of_group, notes) in cases {
        let text = match group {
            "" => base_and(&format!("[log]\nmode = \"{all}\"\n")),
            own => base_and(&format!(
                "[log]\nmode = \"{all}\"\n[[group]]\nname = \"a\"\nprefixes = [\"100.64.0.0/25\"]\nlog = \"{own}\"\n"
            )),
        };
        let what = format!("{all}, in the group {group:?}");
        let checked = Config::parse(&text).expect("valid");
        let (timers, groups) = shape::timers(&checked);
        let group = groups.first().map(|timers| timers.logged);
        assert_eq!((timers.logged, group), (of_all, of_group), "{what}");
        let constants = shape::constants(&checked.config);
        // Destinations beside the first are noted for all, wherever they are logged.
        assert_eq!(constants.features.has(Features::SESSIONS), notes, "{what}");
        assert_eq!(
            constants.pools[0].has(Policy::LOGGED_SESSIONS),
            notes,
            "{what}"
        );
        let is_any = of_all != Nothing || group.is_some_and(|logged| logged != Nothing);
        assert_eq!(shape::logs_sessions(&checked.config), is_any, "{what}");
    }
}

#[test]
fn modes_that_are_refused() {
    let group = |mode: &str| {
        base_and(&format!(
            "[[group]]\nname = \"a\"\nprefixes = [\"100.64.0.0/25\"]\nlog = \"{mode}\"\n"
        ))
    };
    expect(
        "Nothing can be left out of the log as long as no block follows from the configuration.",
        &base_and("[log]\nmode = \"none\"\n"),
        &[(21, "log.mode", &["write \"block\""])],
    );
    expect(
        "Likewise in a group.",
        &group("none"),
        &[(23, "group[0].log", &["write \"block\""])],
    );
    expect(
        "Sinks tell of held blocks again, whoever has them.",
        &group("interim"),
        &[(23, "group[0].log", &["interim_secs"])],
    );
    expect(
        "A mode that there is not.",
        &base_and("[log]\nmode = \"flow\"\ninterim_secs = 0\n"),
        &[
            (21, "log.mode", &["\"session_with_destination\""]),
            (22, "log.interim_secs", &["1 to 86400"]),
        ],
    );
}
