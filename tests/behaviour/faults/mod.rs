//! The lock with requests and watches that fail, in-process and in virtual time.

mod outages;
mod requests;
mod slow_server;
mod token_deadline;
mod watches;

use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};

/// Every way in which a request can fail, or seem to.
fn failures() -> Vec<(&'static str, Fault)> {
    vec![
        ("hang", Fault::hang()),
        ("refuse", Fault::refuse()),
        ("reset", Fault::reset()),
        ("lose the reply", Fault::lose_reply()),
        ("garbage", Fault::garbage()),
        ("500", Fault::status(500)),
        ("429", Fault::status(429).retry_after(Duration::from_secs(32))),
        ("503", Fault::status(503)),
        ("504 after the commit", Fault::commit_then_status(504)),
        ("late commit", Fault::delay_before(Duration::from_secs(60))),
        ("late reply", Fault::delay_after(Duration::from_secs(60))),
        ("409", Fault::status(409)),
        ("403", Fault::status(403)),
    ]
}

/// The fault on every verb: so neither a read nor the watch tells of a commit that was not answered.
fn on_every_verb(fault: Fault) -> Fault {
    fault.on_any(&[Verb::Get, Verb::Watch, Verb::Update, Verb::Apply])
}
