//! What the daemon does with a configuration: its timers, by the same function.

use cgn_user::config::{Checked, Config, ConfigErrors};
use cgn_user::dataplane::sweep::Timers;
use cgn_user::policy::shape;

/// The smallest configuration, with more lines at its end.
pub fn configured(more: &str) -> Result<Checked, ConfigErrors> {
    Config::parse(&format!(
        "[inside]\ninterface = \"a\"\n[outside]\ninterface = \"b\"\n\
         [[pool]]\nname = \"p\"\naddresses = [\"203.0.113.0/28\"]\n\
         [[subscribers]]\nprefixes = [\"100.64.0.0/24\"]\npool = \"p\"\n{more}"
    ))
}

/// Timers of a configuration with these lines.
pub fn timers_with(more: &str) -> Timers {
    shape::timers(&configured(more).expect("a good configuration")).0
}

/// Timers where nothing is configured.
pub fn default_timers() -> Timers {
    timers_with("")
}
