//! The answer of an observer.

use std::mem::discriminant;
use std::time::SystemTime;

use crate::error::ObserveError;
use crate::lease::LeaseHolder;

/// Who holds a Lease, as far as a [`LeaseObserver`](crate::LeaseObserver) knows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ObservedHolder {
    /// No answer has come yet.
    Pending,
    /// Nobody holds the Lease, or there is no Lease.
    Free,
    /// This holder.
    Held(Box<LeaseHolder>),
    /// Nobody: this holder has not renewed the Lease in time. A read that was made after its time was over has confirmed that. Most
    /// often it has crashed. The next holder may be about to acquire the Lease.
    ///
    /// The time is taken by this process's own clock, from the moment at which it received the record.
    Expired(Box<LeaseHolder>),
    /// It is not known, because the last read has failed. The observer tries again: after 100 milliseconds, then less and less
    /// often, in the end every 5 seconds, or every 30 seconds if it was refused.
    #[non_exhaustive]
    Unknown {
        /// Since when: the last moment at which the holder was certain, or the beginning of the observation. By this machine's
        /// wall clock.
        since: SystemTime,
        /// The last known holder, if there was one. It may still be the holder.
        last: Option<Box<LeaseHolder>>,
        /// Why the last read has failed.
        error: ObserveError,
    },
}

impl ObservedHolder {
    /// The holder, if it is known that there is one.
    #[must_use]
    pub fn holder(&self) -> Option<&LeaseHolder> {
        match self {
            Self::Held(holder) => Some(holder),
            Self::Pending | Self::Free | Self::Expired(_) | Self::Unknown { .. } => None,
        }
    }

    /// The holder, or the last known one if it is unknown whether it is still the holder: the best address for a request that
    /// the receiver refuses if it does not lead.
    #[must_use]
    pub fn last_known(&self) -> Option<&LeaseHolder> {
        match self {
            Self::Held(holder) => Some(holder),
            Self::Unknown { last, .. } => last.as_deref(),
            Self::Pending | Self::Free | Self::Expired(_) => None,
        }
    }

    /// Whether both answers are the same, apart from renewals.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Held(one), Self::Held(other)) | (Self::Expired(one), Self::Expired(other)) => {
                one.hold_id() == other.hold_id()
            }
            (Self::Unknown { error, last, .. }, Self::Unknown { error: other, last: other_last, .. }) => {
                let hold = |holder: &Option<Box<LeaseHolder>>| holder.as_ref().map(|holder| holder.hold_id());
                let same_hold = hold(last) == hold(other_last);
                same_hold && discriminant(error) == discriminant(other)
            }
            _ => discriminant(self) == discriminant(other),
        }
    }
}
