//! What `cgn show` asks the daemon: HTTP with JSON over a Unix socket.
//!
//! | file | what | I/O |
//! |---|---|---|
//! | [`rows`] | what is answered | no |
//! | [`query`] | what is asked for | no |
//! | [`view`] | the tables, read | memory only |
//! | `handlers` | requests to answers; they only translate | no |
//! | `socket`, `serve` | the socket, and the server at it | yes |

mod enquiry;
#[cfg(test)]
pub(crate) mod fixture;
mod handlers;
pub mod query;
pub mod rows;
mod serve;
mod socket;
#[cfg(test)]
pub(crate) mod tests;
pub mod view;

pub use handlers::router;
pub(crate) use serve::serve_until;
pub use socket::{BindError, Socket};
