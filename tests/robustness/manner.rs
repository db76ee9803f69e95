//! How a contender behaves.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

/// All drawn at random from these ranges. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    /// `lease_duration`, in seconds.
    pub(crate) lease: u64,
    /// How many times it asks whether it holds, prepares a write, and writes, before it gives the lock back.
    pub(crate) rounds: RangeInclusive<u64>,
    /// Between asking and writing.
    pub(crate) prepare: RangeInclusive<u64>,
    /// Before it asks for the lock again.
    pub(crate) rest: RangeInclusive<u64>,
    /// One acquisition out of this many is dropped unfinished; 0: none.
    pub(crate) impatient: u64,
    /// Whether it has the client for locks, which speaks HTTP/2, or an ordinary one.
    pub(crate) lock_client: bool,
}

impl Manner {
    /// Keeps the lock as long as it can.
    pub(crate) const KEEPER: Self = Self {
        lease: 3,
        rounds: u64::MAX..=u64::MAX,
        prepare: 30..=60,
        rest: 0..=100,
        impatient: 0,
        lock_client: false,
    };

    /// Takes turns, some longer than a renewal interval.
    pub(crate) const SHARER: Self =
        Self { lease: 3, rounds: 1..=20, prepare: 5..=50, rest: 50..=500, impatient: 5, lock_client: false };

    pub(crate) const fn lease(self, seconds: u64) -> Self {
        Self { lease: seconds, ..self }
    }

    pub(crate) fn to_json(&self) -> Value {
        let pair = |range: &RangeInclusive<u64>| json!([range.start(), range.end()]);
        json!({
            "lease": self.lease,
            "rounds": pair(&self.rounds),
            "prepare": pair(&self.prepare),
            "rest": pair(&self.rest),
            "impatient": self.impatient,
            "lock_client": self.lock_client,
        })
    }

    pub(crate) fn from_json(json: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number in {json}"));
        let range = |name: &str| number(&json[name][0])..=number(&json[name][1]);
        Self {
            lease: number(&json["lease"]),
            rounds: range("rounds"),
            prepare: range("prepare"),
            rest: range("rest"),
            impatient: number(&json["impatient"]),
            lock_client: json["lock_client"] == true,
        }
    }
}
