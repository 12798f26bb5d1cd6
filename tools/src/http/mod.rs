//! HTTP/1.1, as little of it as an admin listener and its command line need, on `httparse` and blocking sockets.
//!
//! | file | what |
//! |---|---|
//! | `message` | requests and responses as data; bytes to request, without sockets |
//! | `server` | a listener with bounded connections, bounded requests and timeouts |
//! | `client` | one request, one response |
//!
//! Invariant: nothing is allocated for a length that was not checked against its limit first.
//! Deliberately absent: TLS (put a proxy in front), chunked bodies, compression, HTTP/2.

mod client;
mod message;
mod server;

pub use client::{Answer, ClientError, ask};
pub use message::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Malformed, Method, Request, Response};
pub use server::{CONNECTIONS_MAX, Server};
