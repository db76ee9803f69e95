//! The kinds of requests.

/// The kind of a request: what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// GET of one object, or of a path that is not that of a resource.
    Get,
    /// GET of a collection.
    List,
    /// GET of a stream of changes.
    Watch,
    /// POST.
    Create,
    /// PUT. It creates a Lease if there is none.
    Update,
    /// PATCH by Server-Side Apply. It creates a Lease if there is none.
    Apply,
    /// PATCH by any other patch.
    Patch,
    /// DELETE of one object, or of a collection.
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
