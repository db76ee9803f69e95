//! The kinds of requests.

/// The kind of a request: what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// GET of one Lease.
    Get,
    /// GET of a collection.
    List,
    /// GET of a stream of changes.
    Watch,
    /// POST.
    Create,
    /// PUT. It creates the Lease if there is none.
    Update,
    /// PATCH by Server-Side Apply. It creates the Lease if there is none.
    Apply,
    /// PATCH by a JSON merge patch or a JSON Patch.
    Patch,
    /// DELETE.
    Delete,
}

impl Verb {
    /// The verb as RBAC names it.
    pub(crate) fn rbac(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Apply | Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}
