//! Whether a lock can work: what the API server answers when it is asked without a write.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::{AcquireError, CheckError};
use crate::kubernetes::{Failure, LeaseClient, VERBS};
use crate::log::log;
use crate::protocol::{CreateMode, Record};
use crate::settings::Settings;

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
    /// What may go wrong although the lock can work. Mostly empty.
    pub warnings: Vec<CheckWarning>,
}

/// What may go wrong although a lock can work, in a [`CheckReport`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckWarning {
    /// The wall clocks of this machine and of the API server differ by more than
    /// [`max_clock_skew`](crate::LeaseLockBuilder::max_clock_skew). If the holder's clock is as the server's, this lock can take over a
    /// Lease that is held.
    #[non_exhaustive]
    #[error(
        "this machine's clock and the API server's differ by {skew:?} or more, but max_clock_skew is {max_clock_skew:?}; set the clocks right, or do without max_clock_skew"
    )]
    ClockSkew {
        /// By how much they differ at least. The server tells whole seconds, so it can be up to a second more.
        skew: Duration,
        /// The setting.
        max_clock_skew: Duration,
    },
}

/// The Lease may be created or deleted during the check. Then its second half is repeated so often.
const TRIES: u32 = 3;

/// Checks the permissions and the way to the API server, by requests that change nothing.
pub(crate) async fn check(
    client: &LeaseClient,
    settings: &Settings,
    clock: &Clock,
    record: &Record,
) -> Result<CheckReport, CheckError> {
    let create_mode = settings.create_mode;
    let (missing, reviewed) = review(client, create_mode).await;
    if !missing.is_empty() {
        return Err(CheckError::Forbidden { lease: client.lease().clone(), missing });
    }
    let mut tries = 1;
    let round_trip = loop {
        let seen = client.get(Duration::MAX).await?;
        let (exists, lease) = (seen.is_some(), client.lease().clone());
        if let Some(strategy) = seen.as_ref().and_then(|seen| seen.record.strategy()) {
            let strategy = strategy.to_owned();
            return Err(CheckError::Denied(AcquireError::Coordinated { lease, strategy }));
        }
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
    let limit = settings.write_timeout;
    if round_trip > limit {
        return Err(CheckError::TooSlow { lease: client.lease().clone(), round_trip, limit });
    }
    let warnings = match settings.max_clock_skew {
        Some(max_clock_skew) => {
            let skew = clock_skew(client, clock).await?;
            let warning = CheckWarning::ClockSkew { skew, max_clock_skew };
            (skew > max_clock_skew).then_some(warning).into_iter().collect()
        }
        None => Vec::new(),
    };
    Ok(CheckReport { round_trip, reviewed, warnings })
}

/// By how much the clocks of this machine and of the server differ at least. Zero if the server does not tell its time.
async fn clock_skew(client: &LeaseClient, clock: &Clock) -> Result<Duration, Failure> {
    let before = clock.wall();
    let answer = client.server_time().await?;
    let after = clock.wall();
    // The server's clock showed some time in this second, at some time between the two.
    let skew = answer.map(|second| after.until(second).max((second + Duration::from_secs(1)).until(before)));
    Ok(skew.unwrap_or_default())
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
