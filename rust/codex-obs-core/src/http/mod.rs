//! Requests over HTTP and HTTPS, whatever protocol they carry: one attempt with a deadline, when to try again, whom to trust, and
//! what must be hidden from words.

pub mod address;
pub mod attempts;
pub mod client;
pub mod exchange;
pub mod proxy;
pub mod redactor;
pub mod resolver;
pub mod retry;
pub mod secret;
pub mod server;
pub mod tls;
