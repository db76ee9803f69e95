//! Whether a lock can work: what the API server answers when it is asked without a write.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{AcquireError, CheckError};
use crate::kubernetes::{Failure, LeaseClient, VERBS};
use crate::log::log;
use crate::protocol::{CreateMode, Record};

/// What [`LeaseLock::check`](crate::LeaseLock::check) has found: the lock can work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// How long a dry run of a write took, which is about as long as a claim takes.
    pub round_trip: Duration,
    /// Whether the API server was asked for each permission by name. If it was not, because an administrator has taken away the
    /// right to ask, then the permissions of those requests were checked that could be made: `update` and `create` only if
    /// there is no Lease yet, otherwise `patch`.
    pub reviewed: bool,
}

/// The Lease may be created or deleted during the check. Then its second half is repeated so often.
const TRIES: u32 = 3;

/// Checks the permissions and the way to the API server, by requests that change nothing.
pub(crate) async fn check(
    client: &LeaseClient,
    create_mode: CreateMode,
    record: &Record,
) -> Result<CheckReport, CheckError> {
    let (missing, reviewed) = review(client, create_mode).await;
    if !missing.is_empty() {
        return Err(CheckError::Forbidden { lease: client.lease().clone(), missing });
    }
    let mut tries = 1;
    let round_trip = loop {
        let exists = client.get(Duration::MAX).await?.is_some();
        let lease = client.lease().clone();
        match create_mode {
            CreateMode::MustExist if !exists => {
                return Err(CheckError::Denied(AcquireError::LeaseMissing(lease)));
            }
            CreateMode::MustNotExist if exists => {
                return Err(CheckError::Denied(AcquireError::LeaseExists(lease)));
            }
            _ => {}
        }
        let start = Instant::now();
        let answer = if exists {
            client.probe().await.map(drop)
        } else {
            client.try_create(record, Duration::MAX).await
        };
        match answer {
            Ok(()) => break start.elapsed(),
            Err(failure) if is_outdated(&failure) && tries < TRIES => tries += 1,
            Err(failure) => return Err(failure.into()),
        }
    };
    Ok(CheckReport { round_trip, reviewed })
}

/// Whether the Lease was created or deleted since it was read.
fn is_outdated(failure: &Failure) -> bool {
    matches!(failure, Failure::Conflict(_)) || failure.error().status() == Some(404)
}

/// The missing permissions, and whether the server was willing to tell.
async fn review(client: &LeaseClient, create_mode: CreateMode) -> (Vec<&'static str>, bool) {
    let creates = create_mode != CreateMode::MustExist;
    let mut missing = Vec::new();
    for verb in VERBS.into_iter().filter(|verb| creates || !matches!(*verb, "create" | "update")) {
        match client.may(verb).await {
            Ok(true) => {}
            Ok(false) => missing.push(verb),
            Err(failure) => {
                log!(debug, client.lease(), error = %failure.error(), "the server does not tell the permissions");
                return (Vec::new(), false);
            }
        }
    }
    (missing, true)
}

impl From<Failure> for CheckError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Denied(denial) => CheckError::Denied(denial.into()),
            Failure::Conflict(error) | Failure::Unknown { error, .. } => CheckError::Request(error),
        }
    }
}
