//! A node never changes the fields of others, and writes nothing at all while client-go holds the Lease.

use super::Run;
use crate::client_go::ClientGo;
use crate::history::State;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let pairs = || run.states.windows(2).map(|pair| (&pair[0], &pair[1]));
    let ours = pairs().filter(|(old, new)| run.request_for(new).is_some() && same_object(old, new));
    let touched = ours.filter(|(old, new)| old.labels != new.labels && !run.is_admin_edit(new));
    let queued = pairs().filter(|(old, new)| {
        old.lease == new.lease && ClientGo::is_one(new.holder()) && !run.is_admin_edit(new)
    });
    let touched = touched.map(|(_, new)| format!("{} touched the labels", new.revision));
    touched
        .chain(queued.map(|(_, new)| format!("{} joined the queue behind client-go", new.revision)))
        .collect()
}

fn same_object(old: &State, new: &State) -> bool {
    let uid = |state: &State| state.lease.as_ref().map(|lease| lease.uid.clone());
    old.lease.is_some() && uid(old) == uid(new)
}
