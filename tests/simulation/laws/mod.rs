//! What has to be true of every world, judged when it is over.

mod calm;
mod conditional;
mod deadline;
mod deaf;
mod exclusion;
mod fencing;
mod frugal;
mod given_back;
mod honest;
mod prompt;
mod respect;
mod silence;
mod stamps;
mod untouched;

use std::collections::HashMap;
use std::sync::Arc;

use kube_lease_lock::testing::Verb;
use tokio::time::Instant;

use crate::history::State;
use crate::node::Node;
use crate::plan::Plan;
use crate::story::{HoldTrace, Story, Told};

/// Everything there is to judge by.
pub(crate) struct Case<'a> {
    plan: &'a Plan,
    told: &'a Told,
    nodes: &'a [Arc<Node>],
    /// Every state of the Lease, and which of them the administrator wrote.
    states: &'a [State],
    requests: HashMap<Sign, Sent>,
}

type Law = fn(&Case<'_>) -> Vec<String>;

const LAWS: [(&str, Law); 14] = [
    ("exclusion", exclusion::judge),
    ("deadline", deadline::judge),
    ("fencing", fencing::judge),
    ("honest", honest::judge),
    ("prompt", prompt::judge),
    ("respect", respect::judge),
    ("silence", silence::judge),
    ("calm", calm::judge),
    ("conditional", conditional::judge),
    ("deaf", deaf::judge),
    ("frugal", frugal::judge),
    ("given back", given_back::judge),
    ("stamps", stamps::judge),
    ("untouched", untouched::judge),
];

/// By what a write is recognised: its holder, its `renewTime`, and the revision that it is conditional on.
type Sign = (String, String, Option<u64>);

/// A write of some node.
struct Sent {
    at: Instant,
    by: Arc<Node>,
    verb: Verb,
}

/// Judges, and tells the story what laws were broken.
pub(crate) fn judge(plan: &Plan, nodes: &[Arc<Node>], states: &[State], story: &Story) {
    let broken = {
        let told = story.told();
        let case = Case { plan, told: &told, nodes, states, requests: requests(nodes) };
        let told = |(name, law): &(&str, Law)| {
            law(&case).into_iter().map(|what| format!("{name}: {what}")).collect::<Vec<_>>()
        };
        LAWS.iter().flat_map(told).collect::<Vec<_>>()
    };
    for law in broken {
        story.broken(law);
    }
}

fn requests(nodes: &[Arc<Node>]) -> HashMap<Sign, Sent> {
    let mut requests = HashMap::new();
    for node in nodes {
        for request in node.link.requests() {
            let spec = &request.body["spec"];
            if let Some(holder) = spec["holderIdentity"].as_str() {
                let on = request.body["metadata"]["resourceVersion"].as_str();
                let on = on.and_then(|revision| revision.parse().ok());
                let sign = (holder.to_owned(), spec["renewTime"].to_string(), on);
                let sent = Sent { at: request.received, by: node.clone(), verb: request.verb };
                // The first of them, where a request was repeated.
                requests.entry(sign).or_insert(sent);
            }
        }
    }
    requests
}

impl Case<'_> {
    fn is_the_administrators(&self, state: &State) -> bool {
        self.told.tampered.iter().any(|tampering| tampering.revision == state.revision)
    }

    /// What the owner of `hold` itself wrote, and stands.
    fn written_by<'a>(&'a self, hold: &'a HoldTrace) -> impl DoubleEndedIterator<Item = &'a State> {
        let own = |state: &&State| state.holder() == hold.identity && !self.is_the_administrators(state);
        self.written().filter(own)
    }

    /// The states that differ from what they replaced: a place in the queue leaves the record as it was.
    fn written(&self) -> impl DoubleEndedIterator<Item = &State> {
        let changed =
            |number: &usize| *number == 0 || self.states[number - 1].lease != self.states[*number].lease;
        (0..self.states.len()).filter(changed).map(|number| &self.states[number])
    }

    /// The request that led to `state`, if one of our nodes sent it.
    fn request_of(&self, state: &State) -> Option<&Sent> {
        let lease = state.lease.as_ref()?;
        self.requests.get(&(lease.holder.clone(), lease.renewed.clone(), state.replaced))
    }

    /// Whether this node ever sent a write that names this holder.
    fn has_claimed(&self, node: &Arc<Node>, holder: &str) -> bool {
        let mut claims = self.requests.iter().filter(|((named, ..), _)| named == holder);
        claims.any(|(_, sent)| Arc::ptr_eq(&sent.by, node))
    }

    /// When the Lease was first as it is in `state`: what was edited and edited back has not changed.
    fn known_since(&self, state: &State) -> Instant {
        let first = self.states.iter().find(|earlier| earlier.lease == state.lease);
        first.map_or(state.at, |first| first.at)
    }

    /// Whether the administrator took from the holder what he was promised, between two revisions.
    fn weakened(&self, after: u64, before: u64) -> bool {
        let between = |revision| after < revision && revision < before;
        self.told.tampered.iter().any(|tampering| tampering.weakens && between(tampering.revision))
    }

    fn seconds(&self, at: Instant) -> f64 {
        self.told.since_begin(at).as_secs_f64()
    }
}
