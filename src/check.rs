//! Whether a lock can work: what the API server answers when it is asked without a write.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::CheckError;
use crate::kubernetes::{Failure, LeaseClient, VERBS};
use crate::protocol::Record;

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

/// Checks the permissions and the way to the API server, by requests that change nothing.
pub(crate) async fn check(client: &LeaseClient, record: &Record) -> Result<CheckReport, CheckError> {
    let (missing, reviewed) = review(client).await;
    if !missing.is_empty() {
        return Err(CheckError::Forbidden { lease: client.lease().clone(), missing });
    }
    let exists = client.get(Duration::MAX).await?.is_some();
    let start = Instant::now();
    if exists {
        client.probe().await?;
    } else {
        client.try_create(record, Duration::MAX).await?;
    }
    Ok(CheckReport { round_trip: start.elapsed(), reviewed })
}

/// The missing permissions, and whether the server was willing to tell.
async fn review(client: &LeaseClient) -> (Vec<&'static str>, bool) {
    let mut missing = Vec::new();
    for verb in VERBS {
        match client.may(verb).await {
            Ok(true) => {}
            Ok(false) => missing.push(verb),
            Err(failure) => {
                tracing::debug!(error = %failure.error(), "the server does not tell the permissions");
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
