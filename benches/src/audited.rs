//! The requests of contenders, counted by the audit log of the API server. The log makes the server slower, so no times
//! are measured with it.

use std::collections::BTreeMap;

use crate::support::ControlPlane;

/// An API server that logs its requests.
pub(crate) struct Audited(ControlPlane);

/// The requests of one user about Leases, by verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count(BTreeMap<String, usize>);

impl Audited {
    pub(crate) async fn start() -> Self {
        Self(ControlPlane::start_audited().await)
    }

    pub(crate) fn plane(&self) -> &ControlPlane {
        &self.0
    }

    pub(crate) fn count(&self, user: &str) -> Count {
        let mut count = Count::default();
        for request in self.0.requests() {
            if request.user == user && request.resource == "leases" {
                *count.0.entry(request.verb).or_default() += 1;
            }
        }
        count
    }
}

impl Count {
    /// The requests since an earlier count.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |verb| earlier.0.get(verb).copied().unwrap_or_default();
        let new = self.0.iter().map(|(verb, count)| (verb.clone(), count - before(verb)));
        Self(new.filter(|(_, count)| *count > 0).collect())
    }

    /// The number of all requests except watches.
    pub(crate) fn requests(&self) -> usize {
        self.0.iter().filter(|(verb, _)| *verb != "watch").map(|(_, count)| count).sum()
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let verbs: Vec<_> = self.0.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
        f.write_str(&verbs.join(", "))
    }
}
