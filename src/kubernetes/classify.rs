//! The meaning of a failed request to the lock.

use std::error::Error;
use std::iter;
use std::time::Duration;

use kube::core::Status;

use super::exchange::FOREIGN;
use crate::error::{AcquireError, ObserveError, RequestError};

/// A request without a usable object in its answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The object is not in the expected version, or it exists and was expected not to.
    Conflict(RequestError),
    /// There was no answer, or an error that may hide a commit, or an error that may pass.
    Unknown { error: RequestError, retry_after: Option<Duration> },
    /// The server understood the request and refused it. The same request would be refused again.
    Denied(Denial),
}

/// Why the same request would be refused again.
#[derive(Debug, Clone)]
pub(crate) enum Denial {
    Forbidden(RequestError),
    NamespaceGone(RequestError),
    /// The client sends nothing any more.
    ClientClosed(RequestError),
    Refused(RequestError),
}

impl From<Denial> for AcquireError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Forbidden(error) => AcquireError::Forbidden(error),
            Denial::NamespaceGone(error) => AcquireError::NamespaceGone(error),
            Denial::ClientClosed(error) => AcquireError::ClientClosed(error),
            Denial::Refused(error) => AcquireError::Refused(error),
        }
    }
}

impl From<&Failure> for ObserveError {
    fn from(failure: &Failure) -> Self {
        let error = failure.error().clone();
        match failure {
            Failure::Denied(Denial::Forbidden(_)) => ObserveError::Forbidden(error),
            Failure::Denied(Denial::ClientClosed(_)) => ObserveError::ClientClosed(error),
            Failure::Denied(Denial::NamespaceGone(_) | Denial::Refused(_)) => ObserveError::Refused(error),
            Failure::Conflict(_) | Failure::Unknown { .. } => ObserveError::Request(error),
        }
    }
}

impl Failure {
    /// The same failure, of a patch that tests what it changes. The server answers 422 if a test fails.
    pub(super) fn of_test(self) -> Self {
        match self {
            Failure::Denied(Denial::Refused(error)) if error.status() == Some(422) => {
                Failure::Conflict(error)
            }
            other => other,
        }
    }

    pub(crate) fn error(&self) -> &RequestError {
        match self {
            Failure::Conflict(error)
            | Failure::Unknown { error, .. }
            | Failure::Denied(
                Denial::Forbidden(error)
                | Denial::NamespaceGone(error)
                | Denial::ClientClosed(error)
                | Denial::Refused(error),
            ) => error,
        }
    }
}

/// Classifies an error answer: by HTTP code first, by reason second.
pub(super) fn classify(status: &Status, error: RequestError) -> Failure {
    let retry_after = retry_after(status);
    match status.code {
        _ if is_foreign(status) => Failure::Unknown { error, retry_after },
        403 | 404 if is_namespace_gone(status) => Failure::Denied(Denial::NamespaceGone(error)),
        403 if is_authorization(status) => Failure::Denied(Denial::Forbidden(error)),
        403 if is_quota(status) => Failure::Unknown { error, retry_after },
        409 if error.verb == "patch" || error.verb == "update" => Failure::Conflict(error),
        422 if is_other_object(status) => Failure::Conflict(error),
        // 401: tokens rotate, and the server may not know a new one yet.
        401 | 408 | 409 | 410 | 425 | 429 => Failure::Unknown { error, retry_after },
        400..=499 => Failure::Denied(Denial::Refused(error)),
        _ => Failure::Unknown { error, retry_after },
    }
}

/// Whether the client sends nothing any more, because the runtime has ended in which it was made: kube's client sends by a task
/// of that runtime.
pub(super) fn is_closed(error: &kube::Error) -> bool {
    let kube::Error::Service(error) = error else { return false };
    iter::successors(Some(&**error as &dyn Error), |&error| error.source())
        .any(|error| error.to_string().starts_with("buffer's worker closed"))
}

/// Whether the answer shows that a Kubernetes API server is there and accepts this client.
pub(super) fn shows_acceptance(status: &Status) -> bool {
    status.code != 401 && !is_foreign(status)
}

/// Whether the answer did not come from a Kubernetes API server, or not from the part of it that knows Leases.
fn is_foreign(status: &Status) -> bool {
    status.reason == FOREIGN
}

/// Whether an authorizer refused the request: RBAC, or another one in its place. Quotas and admission answer 403 too.
fn is_authorization(status: &Status) -> bool {
    // For example: User "x" cannot get resource "leases" in API group "coordination.k8s.io" in the namespace "y"
    status.message.contains("User \"") && status.message.contains(" cannot ")
}

/// Whether the quota admission plugin refused the request. A quota is raised, or its status becomes known a moment after its
/// creation.
fn is_quota(status: &Status) -> bool {
    let refused_by = |words| status.message.contains(&format!(" is forbidden: {words}"));
    refused_by("exceeded quota: ") || refused_by("status unknown for quota: ")
}

/// The pause that the server asked for.
fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Whether the namespace is missing, or being deleted.
fn is_namespace_gone(status: &Status) -> bool {
    let Some(details) = &status.details else {
        return false;
    };
    details.kind == "namespaces" || details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Whether the object exists and was expected not to (a PUT without a version), or is another object of the same name.
/// Kubernetes reports both as invalid metadata.
fn is_other_object(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| &details.causes[..]).unwrap_or_default();
    causes.iter().any(|cause| ["metadata.resourceVersion", "metadata.uid"].contains(&cause.field.as_str()))
}
