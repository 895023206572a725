//! Control plane and slow path of the CGN.
//!
//! | module | what | I/O |
//! |---|---|---|
//! | `config` | the configuration file and its errors | no |
//! | `alloc` | who gets which block | no |
//! | `maplog` | the mapping log: encoding, file | file only |
//! | `routes` | next hops from the kernel's routes | no |
//! | `netlink` | follows the kernel's routes | yes |
//! | `dataplane` | the tables: load, pin, give, sweep | yes |
//! | `slowpath` | AF_XDP rings, and what happens to a punted packet | rings only |
//! | `engine` | the one thread that owns allocator, log and slow path | yes |
//! | `explain` | the translator, run on a copy of the tables | no |
//! | `watch` | packets of the fast path, for one who watches | yes |
//! | `wiring` | how packets come in | no |
//! | `radius` | names of subscribers, as access servers tell them | socket only |
//! | `histogram` | distributions | no |
//! | `metrics`, `api`, `cli` | what an operator sees | yes |
//! | `report` | the dashboard's plots as a page, from a Prometheus | yes |
//! | `privileges` | which capabilities process and threads keep | yes |
//! | `secret` | files that nobody else may read | file only |
//! | `reload` | what a new configuration changes | file only |
//! | `supervisor`, `service` | start, stop and reload; what the service manager is told | yes |
//! | `utc` | times in log and API | no |

pub mod alloc;
pub mod api;
pub mod cli;
pub mod config;
pub mod dataplane;
#[cfg(test)]
mod documents;
pub mod engine;
pub mod explain;
pub mod histogram;
pub mod maplog;
pub mod metrics;
pub mod netlink;
pub mod policy;
pub mod privileges;
pub mod radius;
pub mod realms;
pub mod reload;
pub mod report;
pub mod routes;
pub mod secret;
pub mod service;
pub mod slowpath;
pub mod state;
pub mod supervisor;
pub mod utc;
pub mod watch;
pub mod wiring;
pub mod withheld;
