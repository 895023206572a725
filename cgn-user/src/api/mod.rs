//! What `cgn show` asks the daemon: HTTP with JSON over a Unix socket; the reading part of it also over TCP.
//!
//! | file | what | I/O |
//! |---|---|---|
//! | [`rows`] | what is answered | no |
//! | [`query`] | what is asked for | no |
//! | [`openapi`] | both, in the words of OpenAPI | no |
//! | [`view`] | the tables, read | memory only |
//! | `handlers` | requests to answers; they only translate | no |
//! | `socket`, `remote`, `serve` | the socket, the port with TLS, and the server at them | yes |

mod enquiry;
#[cfg(test)]
pub(crate) mod fixture;
mod handlers;
pub mod openapi;
pub mod query;
mod remote;
pub mod rows;
mod serve;
mod socket;
#[cfg(test)]
pub(crate) mod tests;
pub mod view;

pub use handlers::router;
pub use remote::{Remote, RemoteError, tls};
pub(crate) use serve::{Client, Peer, serve_on_record, serve_until};
pub use socket::{BindError, Socket};
