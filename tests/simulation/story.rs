//! What happened in one world, told by everybody in it as it happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kube_lease_lock::{EndReason, Hold, LossReason};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::node::Node;

/// Shared by all who have something to tell.
#[derive(Clone)]
pub(crate) struct Story(Arc<Mutex<Told>>);

pub(crate) struct Told {
    begun: Instant,
    pub(crate) holds: Vec<HoldTrace>,
    /// Two believed to hold at once: the earlier, the later, and when.
    pub(crate) overlaps: Vec<(usize, usize, Instant)>,
    pub(crate) tampered: Vec<Tampering>,
    pub(crate) waits: Vec<Wait>,
    /// Laws that were seen broken on the spot.
    pub(crate) broken: Vec<String>,
    pub(crate) counts: Counts,
    /// Only kept when somebody is going to read them.
    pub(crate) lines: Option<Vec<String>>,
    aloud: bool,
}

/// What becomes of the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    Silent,
    Kept,
    /// At once, so that a world that never ends tells where it hangs.
    Aloud,
}

pub(crate) type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// One holding of the lock, from the grant on.
pub(crate) struct HoldTrace {
    /// `None`: a contender that behaves as client-go does.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) identity: String,
    pub(crate) fencing_token: u64,
    pub(crate) token: CancellationToken,
    /// A machine that stood still between the claim and its answer may be granted what has expired.
    pub(crate) live_at_first: bool,
    held: Option<Hold>,
    pub(crate) fired: Option<Instant>,
    pub(crate) reason: Option<EndReason>,
    /// When its release was confirmed.
    pub(crate) released: Option<Instant>,
}

/// Somebody waited for the lock.
pub(crate) struct Wait {
    pub(crate) by: Arc<Node>,
    pub(crate) from: Instant,
    pub(crate) to: Option<Instant>,
}

/// The administrator wrote this revision.
pub(crate) struct Tampering {
    pub(crate) revision: u64,
    /// Whether contenders now wait less than its holder was promised.
    pub(crate) weakens: bool,
}

impl Story {
    pub(crate) fn new(telling: Telling) -> Self {
        Self(Arc::new(Mutex::new(Told {
            begun: Instant::now(),
            holds: Vec::new(),
            overlaps: Vec::new(),
            tampered: Vec::new(),
            waits: Vec::new(),
            broken: Vec::new(),
            counts: Counts::new(),
            lines: (telling != Telling::Silent).then(Vec::new),
            aloud: telling == Telling::Aloud,
        })))
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }

    pub(crate) fn note(&self, who: &str, what: impl FnOnce() -> String) {
        self.told().note(who, what);
    }

    pub(crate) fn count(&self, kind: &'static str, what: &'static str) {
        self.told().count(kind, what);
    }

    /// A guard was handed out. From now on nobody else may have a live one.
    pub(crate) fn granted(&self, node: &Arc<Node>, held: &Hold) -> usize {
        let number = self.told().begin(HoldTrace {
            node: Some(node.clone()),
            identity: held.holder_identity().to_owned(),
            fencing_token: held.fencing_token().into(),
            token: held.token(),
            live_at_first: held.is_held(),
            held: Some(held.clone()),
            fired: None,
            reason: None,
            released: None,
        });
        let (story, held) = (self.clone(), held.clone());
        tokio::spawn(async move {
            held.token().cancelled().await;
            story.told().holds[number].fired = Some(Instant::now());
            let reason = held.ended().await;
            story.told().lost(number, reason);
        });
        number
    }

    /// A contender like client-go believes to lead, until `token` fires.
    pub(crate) fn leads(&self, identity: &str, fencing_token: u64, token: &CancellationToken) {
        self.told().begin(HoldTrace {
            node: None,
            identity: identity.to_owned(),
            fencing_token,
            token: token.clone(),
            live_at_first: true,
            held: None,
            fired: None,
            reason: None,
            released: None,
        });
    }

    /// Somebody begins to wait. The number is for [`waited`](Self::waited).
    pub(crate) fn waits(&self, by: &Arc<Node>) -> usize {
        let waits = &mut self.told().waits;
        waits.push(Wait { by: by.clone(), from: Instant::now(), to: None });
        waits.len() - 1
    }

    /// The wait is over. One that never ends is that of a node that crashed.
    pub(crate) fn waited(&self, wait: usize) {
        self.told().waits[wait].to = Some(Instant::now());
    }

    pub(crate) fn released(&self, hold: usize) {
        self.told().holds[hold].released = Some(Instant::now());
    }

    pub(crate) fn broken(&self, law: String) {
        let mut told = self.told();
        told.note("LAW", || law.clone());
        told.broken.push(law);
    }

    pub(crate) fn tampered(&self, revision: u64, weakens: bool) {
        self.told().tampered.push(Tampering { revision, weakens });
    }
}

impl Told {
    pub(crate) fn since_begin(&self, at: Instant) -> Duration {
        at - self.begun
    }

    pub(crate) fn note(&mut self, who: &str, what: impl FnOnce() -> String) {
        let at = self.begun.elapsed().as_secs_f64();
        if let Some(lines) = &mut self.lines {
            let line = format!("{at:9.3} s  {who:<11} {}", what());
            if self.aloud {
                eprintln!("{line}");
            }
            lines.push(line);
        }
    }

    fn count(&mut self, kind: &'static str, what: &'static str) {
        *self.counts.entry((kind, what)).or_default() += 1;
    }

    fn begin(&mut self, hold: HoldTrace) -> usize {
        let (new, now) = (self.holds.len(), Instant::now());
        self.count("grants", if hold.node.is_some() { "kube-lease-lock" } else { "client-go" });
        self.note(&hold.identity, || format!("GRANTED, fencing token {}", hold.fencing_token));
        if hold.is_live() {
            let live = |(old, other): (usize, &HoldTrace)| other.is_live().then_some((old, new, now));
            self.overlaps.extend(self.holds.iter().enumerate().filter_map(live));
        }
        self.holds.push(hold);
        new
    }

    fn lost(&mut self, hold: usize, reason: EndReason) {
        let what = match &reason {
            EndReason::Released => "released",
            EndReason::Lost(LossReason::DeadlinePassed { .. }) => "deadline passed",
            EndReason::Lost(LossReason::Forbidden { .. }) => "forbidden",
            EndReason::Lost(LossReason::TakenOver { .. }) => "taken over",
            EndReason::Lost(LossReason::Cleared) => "cleared",
            EndReason::Lost(LossReason::Deleted) => "deleted",
            EndReason::Lost(LossReason::NamespaceGone) => "namespace gone",
            EndReason::Lost(LossReason::TaskEnded) => "task ended",
            _ => "unheard of",
        };
        self.count("ends of holds", what);
        let who = self.holds[hold].identity.clone();
        self.note(&who, || format!("over: {reason}"));
        self.holds[hold].reason = Some(reason);
    }
}

impl HoldTrace {
    /// Whether its owner may still believe to hold the lock.
    ///
    /// Nobody can fire a token on a machine that stands still; but its clock knows.
    fn is_live(&self) -> bool {
        if self.token.is_cancelled() {
            return false;
        }
        match (&self.node, &self.held) {
            (Some(node), Some(held)) if node.stands_still() => held.is_held(),
            _ => true,
        }
    }
}
