//! The invariants of every world, checked when the world is over.

mod bounded_claims;
mod bounded_reads_after_crash;
mod bounded_waiting;
mod bounded_watch_silence;
mod conditional_writes;
mod done_once;
mod exclusion;
mod fair_shares;
mod fencing;
mod foreign_fields_untouched;
mod increasing_renew_times;
mod no_early_takeover;
mod no_leftover_claim;
mod no_needless_loss;
mod no_renewal_after_end;
mod prompt_handover;
mod prompt_loss_notice;
mod prompt_release;
mod request_budget;
mod sent_write;
mod token_deadline;
mod true_loss_reason;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kube_lease_lock::testing::Request;
use tokio::time::Instant;

use crate::history::{Record, State};
use crate::node::Node;
use crate::scenario::Scenario;
use crate::trace::{HoldRecord, Trace, TraceData};
use sent_write::{SentWrite, WriteKey};

/// Everything that an invariant is checked against.
pub(crate) struct Run<'a> {
    scenario: &'a Scenario,
    trace: &'a TraceData,
    nodes: &'a [Arc<Node>],
    /// Every state of the Lease.
    states: &'a [State],
    /// The requests of each node, in the order of the nodes.
    logs: &'a [Vec<Request>],
    requests: HashMap<WriteKey, SentWrite>,
    /// When each holder was named in a write, and by which node.
    claims: HashMap<String, Vec<(Instant, &'a Arc<Node>)>>,
    admin_edits: HashSet<u64>,
    /// The states that differ from the state before. A ticket in the queue does not change the record.
    record_changes: Vec<&'a State>,
    /// Those of them that each holder wrote itself.
    writes: HashMap<&'a str, Vec<&'a State>>,
    /// When the Lease was first as it is in a state.
    first: HashMap<Option<&'a Record>, Instant>,
    /// The record in each revision.
    records: HashMap<u64, &'a Record>,
}

type Invariant = fn(&Run<'_>) -> Vec<String>;

const INVARIANTS: [(&str, Invariant); 21] = [
    ("exclusion", exclusion::check),
    ("token_deadline", token_deadline::check),
    ("fencing", fencing::check),
    ("true_loss_reason", true_loss_reason::check),
    ("prompt_loss_notice", prompt_loss_notice::check),
    ("no_early_takeover", no_early_takeover::check),
    ("no_renewal_after_end", no_renewal_after_end::check),
    ("no_needless_loss", no_needless_loss::check),
    ("no_leftover_claim", no_leftover_claim::check),
    ("prompt_handover", prompt_handover::check),
    ("conditional_writes", conditional_writes::check),
    ("bounded_watch_silence", bounded_watch_silence::check),
    ("request_budget", request_budget::check),
    ("prompt_release", prompt_release::check),
    ("increasing_renew_times", increasing_renew_times::check),
    ("foreign_fields_untouched", foreign_fields_untouched::check),
    ("fair_shares", fair_shares::check),
    ("bounded_claims", bounded_claims::check),
    ("bounded_waiting", bounded_waiting::check),
    ("bounded_reads_after_crash", bounded_reads_after_crash::check),
    ("done_once", done_once::check),
];

/// Checks all invariants, and adds the violations to the trace.
pub(crate) fn check(scenario: &Scenario, nodes: &[Arc<Node>], states: &[State], trace: &Trace) {
    let violations: Vec<_> = {
        let data = trace.data();
        let logs: Vec<_> = nodes.iter().map(|node| node.link.requests()).collect();
        let run = Run::new(scenario, &data, nodes, states, &logs);
        let violations = |(name, check): &(&str, Invariant)| {
            check(&run).into_iter().map(|what| format!("{name}: {what}")).collect::<Vec<_>>()
        };
        INVARIANTS.iter().flat_map(violations).collect()
    };
    for violation in violations {
        trace.violation(violation);
    }
}

impl<'a> Run<'a> {
    fn new(
        scenario: &'a Scenario,
        trace: &'a TraceData,
        nodes: &'a [Arc<Node>],
        states: &'a [State],
        logs: &'a [Vec<Request>],
    ) -> Self {
        let mut run = Self {
            scenario,
            trace,
            nodes,
            states,
            logs,
            requests: HashMap::new(),
            claims: HashMap::new(),
            admin_edits: trace.admin_edits.iter().map(|edit| edit.revision).collect(),
            record_changes: Vec::new(),
            writes: HashMap::new(),
            first: HashMap::new(),
            records: HashMap::new(),
        };
        run.index_requests();
        run.index_states();
        run
    }

    fn index_requests(&mut self) {
        for (node, log) in self.nodes.iter().zip(self.logs) {
            for request in log {
                if let Some(key) = WriteKey::of(request) {
                    let holder = key.holder.clone();
                    // Of a request that was repeated, the first.
                    self.requests.entry(key).or_insert_with(|| {
                        self.claims.entry(holder).or_default().push((request.received, node));
                        SentWrite { at: request.received, by: node.clone(), verb: request.verb }
                    });
                }
            }
        }
    }

    fn index_states(&mut self) {
        for (number, state) in self.states.iter().enumerate() {
            self.first.entry(state.lease.as_ref()).or_insert(state.at);
            self.records.extend(state.lease.as_ref().map(|record| (state.revision, record)));
            if number == 0 || self.states[number - 1].lease != state.lease {
                self.record_changes.push(state);
                if !self.is_admin_edit(state) {
                    self.writes.entry(state.holder()).or_default().push(state);
                }
            }
        }
    }

    fn is_admin_edit(&self, state: &State) -> bool {
        self.admin_edits.contains(&state.revision)
    }

    /// The states that the owner of `hold` itself wrote.
    fn writes_of(&self, hold: &HoldRecord) -> impl DoubleEndedIterator<Item = &'a State> {
        self.writes.get(hold.identity.as_str()).into_iter().flatten().copied()
    }

    /// The states that differ from the state before.
    fn record_changes(&self) -> impl DoubleEndedIterator<Item = &'a State> {
        self.record_changes.iter().copied()
    }

    /// The requests of `node`.
    fn log(&self, node: &Arc<Node>) -> &'a [Request] {
        let number = self.nodes.iter().position(|other| Arc::ptr_eq(other, node));
        number.map_or(&[], |number| &self.logs[number])
    }

    /// The request that led to `state`, if one of our nodes sent it.
    fn request_for(&self, state: &State) -> Option<&SentWrite> {
        let replaced = state.replaced.and_then(|revision| self.records.get(&revision).copied());
        WriteKey::leading_to(state, replaced).iter().find_map(|key| self.requests.get(key))
    }

    /// Whether this node ever sent a write with this holder.
    fn has_claimed(&self, node: &Arc<Node>, holder: &str) -> bool {
        self.claims.get(holder).into_iter().flatten().any(|(_, by)| Arc::ptr_eq(by, node))
    }

    /// When the Lease was first as it is in `state`. An edit that was undone is no change.
    fn unchanged_since(&self, state: &State) -> Instant {
        self.first.get(&state.lease.as_ref()).copied().unwrap_or(state.at)
    }

    /// Whether the administrator shortened what the holder was promised, between two revisions.
    fn weakened_between(&self, after: u64, before: u64) -> bool {
        let between = |revision| after < revision && revision < before;
        self.trace.admin_edits.iter().any(|edit| edit.weakens && between(edit.revision))
    }

    fn seconds(&self, at: Instant) -> f64 {
        self.trace.since_start(at).as_secs_f64()
    }
}
