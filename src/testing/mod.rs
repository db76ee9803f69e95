//! An in-process Lease API server behind a real [`kube::Client`].
//!
//! A [`LeaseServer`] answers as a Kubernetes API server does, with optimistic locking, Server-Side Apply, field
//! ownership, validation and watches. It serves Leases only, and it uses no sockets. Its time is tokio's clock: under
//! `start_paused` an hour passes in microseconds.
//!
//! Every client gets a [`Link`] of its own. A link keeps a log of its requests. A test can inject [`Fault`]s into a
//! link; they do not affect the other clients.
//!
//! ```
//! use std::time::Duration;
//!
//! use k8s_openapi::api::coordination::v1::Lease;
//! use kube::Api;
//! use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = LeaseServer::new();
//! let link = server.connect();
//! let leases: Api<Lease> = Api::default_namespaced(link.client());
//!
//! // The server refuses the first request, and takes an hour to answer the next one.
//! link.inject(Fault::refuse().times(1));
//! link.inject(Fault::delay_after(Duration::from_secs(3600)));
//! assert!(leases.get_opt("leader").await.is_err());
//! assert!(leases.get_opt("leader").await?.is_none());
//!
//! assert_eq!(link.count(Verb::Get), 2);
//! let statuses: Vec<_> = link.requests().iter().map(|request| request.status).collect();
//! assert_eq!(statuses, [None, Some(404)]);
//! # Ok(())
//! # }
//! ```
//!
//! The two most common tests of a lock need no fault: [`Link::cut`] cuts a client off from the server until
//! [`Link::mend`], and [`LeaseServer::take`] gives the Lease to another holder.
//!
//! # Other resources
//!
//! The server serves Leases only. If your code uses the same client for other resources, make that client by
//! [`Link::client_with`], which sends their requests to a mock or to another server. Cuts, faults and the log apply to
//! these requests too. Without that, the server answers such requests, and discovery, with 501. A group that Kubernetes
//! itself does not have gets 404, as on a real server without its definitions.
//!
//! It also answers 501 to strategic merge patches, YAML, `generateName`, lists in pages and of the past, responses as
//! tables or metadata only, and the deletion of a whole collection. It knows no authentication and authorisation (but
//! see [`Fault::status`] for a denial). It does not notice duplicate fields, and unknown fields within owner references.
//! The codes, the reasons and the details of its errors are those of a real server, the messages are not.
//!
//! # Paused time
//!
//! See the page [`paused_time`] for what `start_paused` needs, and for what it does to real I/O.

// Items that are hidden from the documentation serve the tests of this crate. They may change in any release.

mod body;
mod clock;
mod connection;
mod delete;
mod fault;
mod json_patch;
mod link;
mod log;
mod machine;
mod options;
mod ownership;
mod patch;
mod relay;
mod request;
mod response;
mod save;
mod schema;
mod selector;
mod serve;
mod server;
mod status;
mod store;
mod stream;
#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    reason = "tests may panic, and read better with json!() as an argument"
)]
mod tests;
mod time;
mod unsupported;
mod validate;
mod verb;
mod watch;
mod write;

pub use fault::Fault;
pub use link::Link;
pub use log::Request;
pub use machine::Machine;
pub use server::LeaseServer;
pub use verb::Verb;

// The types in `Request` come from these.
pub use k8s_openapi::serde_json;
pub use tokio;

#[cfg(doc)]
#[doc = include_str!("paused_time.md")]
pub mod paused_time {}
