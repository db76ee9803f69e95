//! The trace of one world, recorded as it happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kube_lease_lock::{EndReason, Hold, LossReason};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::node::Node;

/// Shared by all that record something.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<TraceData>>);

pub(crate) struct TraceData {
    started: Instant,
    pub(crate) holds: Vec<HoldRecord>,
    /// Those holds whose token was not cancelled yet when the last hold began.
    uncancelled: Vec<usize>,
    /// Two owners that believed to hold the lock at once: the earlier hold, the later one, and when.
    pub(crate) overlaps: Vec<(usize, usize, Instant)>,
    pub(crate) admin_edits: Vec<AdminEdit>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) runs: Vec<WorkRun>,
    /// Each key that was reported as done before, and the holder that was said to have done it.
    pub(crate) already_done: Vec<(String, String)>,
    /// The violations so far.
    pub(crate) violations: Vec<String>,
    pub(crate) counts: Counts,
    /// Kept only if somebody is going to read them.
    pub(crate) lines: Option<Vec<String>>,
    print: bool,
}

/// The use that is made of the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TraceMode {
    Off,
    Keep,
    /// Prints each line at once, so that a world that never ends shows where it hangs.
    Print,
}

pub(crate) type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// One hold, from the grant on.
pub(crate) struct HoldRecord {
    /// `None`: a contender that behaves as client-go does.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) identity: String,
    pub(crate) fencing_token: u64,
    pub(crate) token: CancellationToken,
    /// A hold can have expired when it is granted, if the machine was frozen between the claim and its answer.
    pub(crate) live_when_granted: bool,
    view: Option<Hold>,
    pub(crate) granted_at: Instant,
    pub(crate) cancelled_at: Option<Instant>,
    pub(crate) reason: Option<EndReason>,
    /// When its release was confirmed.
    pub(crate) released_at: Option<Instant>,
}

/// One wait for the lock.
pub(crate) struct Wait {
    pub(crate) by: Arc<Node>,
    pub(crate) from: Instant,
    pub(crate) to: Option<Instant>,
}

/// One run of the work of a key.
pub(crate) struct WorkRun {
    pub(crate) key: String,
    pub(crate) by: String,
    pub(crate) lease_uid: String,
    pub(crate) fencing_token: u64,
    /// Whether the work came to its end, and did not fail.
    pub(crate) ended: bool,
    /// Whether the call said that it is done.
    pub(crate) confirmed: bool,
}

/// A revision that the administrator wrote.
pub(crate) struct AdminEdit {
    pub(crate) revision: u64,
    /// Whether contenders now wait for less time than the holder was promised.
    pub(crate) weakens: bool,
}

impl Trace {
    pub(crate) fn new(mode: TraceMode) -> Self {
        Self(Arc::new(Mutex::new(TraceData {
            started: Instant::now(),
            holds: Vec::new(),
            uncancelled: Vec::new(),
            overlaps: Vec::new(),
            admin_edits: Vec::new(),
            waits: Vec::new(),
            runs: Vec::new(),
            already_done: Vec::new(),
            violations: Vec::new(),
            counts: Counts::new(),
            lines: (mode != TraceMode::Off).then(Vec::new),
            print: mode == TraceMode::Print,
        })))
    }

    pub(crate) fn data(&self) -> MutexGuard<'_, TraceData> {
        self.0.lock().unwrap()
    }

    pub(crate) fn log(&self, actor: &str, what: impl FnOnce() -> String) {
        self.data().log(actor, what);
    }

    pub(crate) fn count(&self, kind: &'static str, what: &'static str) {
        self.data().count(kind, what);
    }

    /// Records that a task got a guard. From now on no other task may have a live one.
    pub(crate) fn granted(&self, node: &Arc<Node>, hold: &Hold) -> usize {
        let number = self.data().begin(HoldRecord {
            node: Some(node.clone()),
            identity: hold.holder_identity().to_owned(),
            fencing_token: hold.fencing_token().into(),
            token: hold.token(),
            live_when_granted: hold.is_held(),
            view: Some(hold.clone()),
            granted_at: Instant::now(),
            cancelled_at: None,
            reason: None,
            released_at: None,
        });
        let (trace, hold) = (self.clone(), hold.clone());
        tokio::spawn(async move {
            hold.token().cancelled().await;
            trace.data().holds[number].cancelled_at = Some(Instant::now());
            let reason = hold.ended().await;
            trace.data().hold_ended(number, reason);
        });
        number
    }

    /// Records that the work of a key begins. Returns the number of the run.
    pub(crate) fn work_begins(&self, node: &Arc<Node>, key: &str, hold: &Hold) -> usize {
        self.granted(node, hold);
        self.log(hold.holder_identity(), || format!("does the work of {key}"));
        let runs = &mut self.data().runs;
        runs.push(WorkRun {
            key: key.to_owned(),
            by: hold.holder_identity().to_owned(),
            lease_uid: hold.lease_uid().to_owned(),
            fencing_token: hold.fencing_token().into(),
            ended: false,
            confirmed: false,
        });
        runs.len() - 1
    }

    /// Records that a contender like client-go believes to lead, until `token` is cancelled.
    pub(crate) fn leads(&self, identity: &str, fencing_token: u64, token: &CancellationToken) {
        self.data().begin(HoldRecord {
            node: None,
            identity: identity.to_owned(),
            fencing_token,
            token: token.clone(),
            live_when_granted: true,
            view: None,
            granted_at: Instant::now(),
            cancelled_at: None,
            reason: None,
            released_at: None,
        });
    }

    /// Records that a wait begins. The number is for [`wait_ends`](Self::wait_ends).
    pub(crate) fn wait_begins(&self, by: &Arc<Node>) -> usize {
        let waits = &mut self.data().waits;
        waits.push(Wait { by: by.clone(), from: Instant::now(), to: None });
        waits.len() - 1
    }

    /// Records that a wait is over. A wait on a node that crashes never ends.
    pub(crate) fn wait_ends(&self, wait: usize) {
        self.data().waits[wait].to = Some(Instant::now());
    }

    pub(crate) fn released(&self, hold: usize) {
        self.data().holds[hold].released_at = Some(Instant::now());
    }

    pub(crate) fn violation(&self, what: String) {
        let mut data = self.data();
        data.log("VIOLATION", || what.clone());
        data.violations.push(what);
    }

    pub(crate) fn admin_edited(&self, revision: u64, weakens: bool) {
        self.data().admin_edits.push(AdminEdit { revision, weakens });
    }
}

impl TraceData {
    pub(crate) fn since_start(&self, at: Instant) -> Duration {
        at - self.started
    }

    pub(crate) fn log(&mut self, actor: &str, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let at = self.started.elapsed().as_secs_f64();
            let line = format!("{at:9.3} s  {actor:<11} {}", what());
            if self.print {
                eprintln!("{line}");
            }
            lines.push(line);
        }
    }

    fn count(&mut self, kind: &'static str, what: &'static str) {
        *self.counts.entry((kind, what)).or_default() += 1;
    }

    fn begin(&mut self, hold: HoldRecord) -> usize {
        let (new, now) = (self.holds.len(), Instant::now());
        self.count("grants", if hold.node.is_some() { "kube-lease-lock" } else { "client-go" });
        self.log(&hold.identity, || format!("GRANTED, fencing token {}", hold.fencing_token));
        if hold.is_live() {
            let holds = &self.holds;
            // A token that is cancelled stays so.
            self.uncancelled.retain(|old| !holds[*old].token.is_cancelled());
            let live = |old: &&usize| holds[**old].is_live();
            self.overlaps.extend(self.uncancelled.iter().filter(live).map(|old| (*old, new, now)));
        }
        self.uncancelled.push(new);
        self.holds.push(hold);
        new
    }

    fn hold_ended(&mut self, hold: usize, reason: EndReason) {
        let what = match &reason {
            EndReason::Released => "released",
            EndReason::Lost(LossReason::DeadlinePassed { .. }) => "deadline passed",
            EndReason::Lost(LossReason::Forbidden { .. }) => "forbidden",
            EndReason::Lost(LossReason::TakenOver { .. }) => "taken over",
            EndReason::Lost(LossReason::NotPreferred { .. }) => "not preferred",
            EndReason::Lost(LossReason::Cleared) => "cleared",
            EndReason::Lost(LossReason::Deleted) => "deleted",
            EndReason::Lost(LossReason::NamespaceGone) => "namespace gone",
            EndReason::Lost(LossReason::TaskEnded) => "task ended",
            _ => "unknown",
        };
        self.count("ends of holds", what);
        let actor = self.holds[hold].identity.clone();
        self.log(&actor, || format!("ended: {reason}"));
        self.holds[hold].reason = Some(reason);
    }
}

impl HoldRecord {
    /// Whether its owner may still believe to hold the lock.
    ///
    /// On a frozen machine nothing can cancel a token, but the clock goes on.
    fn is_live(&self) -> bool {
        if self.token.is_cancelled() {
            return false;
        }
        match (&self.node, &self.view) {
            (Some(node), Some(view)) if node.is_frozen() => view.is_held(),
            _ => true,
        }
    }
}
