//! The keys of work that is done, which the Lease carries in an annotation.
//!
//! The write that releases the Lease adds the key. So the Lease is never free without the key, and the next holder finds it.
//! Every other claim, renewal or release carries the keys along as they are: an annotation that is left out of a Server-Side
//! Apply is removed, because all processes apply as the same field manager. The list is bounded, because the API server sends
//! it with every event to every process that watches.

use std::sync::Arc;

use super::time::WallTime;

/// One key, with the holder that has done its work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DoneKey {
    pub key: String,
    /// The holder identity, unique to the acquisition.
    pub by: String,
    /// By the wall clock of that holder. It is for people only.
    pub at: WallTime,
}

/// The keys that a Lease carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) enum DoneKeys {
    #[default]
    Empty,
    /// In the order in which they were marked.
    Listed(Arc<[DoneKey]>),
    /// An annotation in another form. It is kept as it is, and no key is added to it, because a person has to look at it.
    Unreadable(Arc<str>),
}

impl DoneKeys {
    /// A key is remembered until so many other keys have been marked after it.
    pub(crate) const MAX_KEYS: usize = 16;

    /// The keys in the order in which they were marked.
    pub(crate) fn listed(keys: Vec<DoneKey>) -> Self {
        if keys.is_empty() { Self::Empty } else { Self::Listed(keys.into()) }
    }

    pub(crate) fn find(&self, key: &str) -> Option<&DoneKey> {
        self.keys().iter().find(|done| done.key == key)
    }

    /// Whether this very acquisition has marked this key.
    pub(crate) fn shows(&self, mark: &DoneKey) -> bool {
        self.find(&mark.key).is_some_and(|done| done.by == mark.by)
    }

    /// The same keys, with this one as the newest. The oldest ones make room for it.
    pub(crate) fn with(&self, mark: &DoneKey) -> Self {
        if let Self::Unreadable(_) = self {
            return self.clone();
        }
        let mut keys: Vec<_> = self.keys().iter().filter(|done| done.key != mark.key).cloned().collect();
        keys.drain(..(keys.len() + 1).saturating_sub(Self::MAX_KEYS));
        keys.push(mark.clone());
        Self::listed(keys)
    }

    fn keys(&self) -> &[DoneKey] {
        if let Self::Listed(keys) = self { keys } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(key: usize, by: &str) -> DoneKey {
        DoneKey { key: key.to_string(), by: by.to_owned(), at: WallTime(0) }
    }

    fn marked(keys: impl IntoIterator<Item = usize>) -> DoneKeys {
        keys.into_iter().fold(DoneKeys::Empty, |keys, key| keys.with(&done(key, "them")))
    }

    #[test]
    fn a_key_is_remembered_until_enough_others_have_been_marked() {
        let keys = marked(0..DoneKeys::MAX_KEYS);
        assert!((0..DoneKeys::MAX_KEYS).all(|key| keys.find(&key.to_string()).is_some()));
        let keys = marked(0..=DoneKeys::MAX_KEYS);
        assert!(keys.find("0").is_none() && keys.find("1").is_some());
    }

    #[test]
    fn the_order_of_marking_counts_and_not_that_of_the_keys() {
        let keys = marked((1..=DoneKeys::MAX_KEYS).rev());
        let keys = keys.with(&done(0, "them"));
        assert!(keys.find(&DoneKeys::MAX_KEYS.to_string()).is_none() && keys.find("1").is_some());
    }

    #[test]
    fn a_key_that_is_marked_again_counts_once_as_the_newest() {
        let keys = marked([1, 2]).with(&done(1, "me"));
        assert_eq!(keys, DoneKeys::listed(vec![done(2, "them"), done(1, "me")]));
        assert!(keys.shows(&done(1, "me")) && !keys.shows(&done(1, "them")) && !keys.shows(&done(3, "me")));
    }

    #[test]
    fn a_list_that_is_too_long_shrinks_with_the_next_key() {
        let long = DoneKeys::listed((0..40).map(|key| done(key, "them")).collect());
        assert!(long.find("0").is_some());
        assert_eq!(long.with(&done(40, "them")), marked(0..=40));
    }

    #[test]
    fn nothing_is_added_to_an_annotation_that_cannot_be_read() {
        let unreadable = DoneKeys::Unreadable("garbage".into());
        assert_eq!(unreadable.with(&done(1, "me")), unreadable);
        assert!(!unreadable.shows(&done(1, "me")));
    }
}
