//! Counts the requests of one node, and stops a node that sends requests without end: virtual time would stand still.
//! It also makes a write panic, as a client with a bug can.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use kube::client::Body;
use tokio::time::Instant;

use crate::trace::Trace;

/// More requests within one second than a correct client makes.
const TOO_MANY: u32 = 1_000;
const SECOND: Duration = Duration::from_secs(1);

struct Meter {
    name: String,
    trace: Trace,
    second: Instant,
    requests: u32,
}

/// Passes requests to `inner` until there are too many. If `panic_next_write` is set, the next write panics.
pub(crate) fn metered(inner: Client, name: &str, trace: &Trace, panic_next_write: Arc<AtomicBool>) -> Client {
    let namespace = inner.default_namespace().to_owned();
    let meter = Meter { name: name.to_owned(), trace: trace.clone(), second: Instant::now(), requests: 0 };
    let meter = Arc::new(Mutex::new(meter));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (inner, sane) = (inner.clone(), meter.lock().unwrap().count());
        let panics = request.method() != http::Method::GET && panic_next_write.swap(false, Ordering::Relaxed);
        async move {
            if panics {
                // Without a message on the terminal.
                resume_unwind(Box::new("poisoned"));
            }
            if sane { inner.send(request).await } else { pending().await }
        }
    });
    Client::new(service, namespace)
}

impl Meter {
    fn count(&mut self) -> bool {
        if self.second.elapsed() >= SECOND {
            (self.second, self.requests) = (Instant::now(), 0);
        }
        self.requests += 1;
        if self.requests == TOO_MANY {
            self.trace
                .violation(format!("request_budget: {} made {TOO_MANY} requests within a second", self.name));
        }
        self.requests < TOO_MANY
    }
}
