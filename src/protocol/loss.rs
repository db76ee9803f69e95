//! Why a hold is over, as far as the protocol knows it.

/// Why the hold is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Loss {
    /// No write was confirmed in time.
    Deadline,
    /// Another process is the holder.
    TakenOver { by: String },
    /// Another client emptied the holder.
    Cleared,
    /// The coordinator of the Lease prefers another holder.
    NotPreferred { preferred: String },
    /// The object that was claimed is gone. There may be a new one of the same name.
    Deleted,
}
