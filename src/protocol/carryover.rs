//! The state that one acquisition of a process leaves to the next.

use super::record::Snapshot;

/// The state that one acquisition of a process leaves to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) enum Carryover {
    /// Nothing is known: the next acquisition reads first.
    #[default]
    Unknown,
    /// The acquisition released the Lease, which was then in this state.
    Free(Snapshot),
    /// The acquisition handed its hold off, and did not release the Lease: `by` is still its holder there.
    HandedOff { by: String, snapshot: Snapshot },
}
