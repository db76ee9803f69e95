//! How a contender behaves.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

/// The values are drawn at random from these ranges. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// The `lease_duration` of its lock.
    pub(crate) lease_seconds: u64,
    /// The number of rounds before it releases the lock. In each it checks the lock, prepares a write, and writes.
    pub(crate) rounds: RangeInclusive<u64>,
    /// The time between the check and the write.
    pub(crate) prepare: RangeInclusive<u64>,
    /// The time before it acquires the lock again.
    pub(crate) rest: RangeInclusive<u64>,
    /// One acquisition in this many is dropped before it ends; 0: none.
    pub(crate) drop_one_in: u64,
    /// Whether it uses the client for locks, which speaks HTTP/2, or an ordinary one.
    pub(crate) lock_client: bool,
}

impl Behaviour {
    /// Holds the lock as long as it can.
    pub(crate) const HOLD_FOREVER: Self = Self {
        lease_seconds: 3,
        rounds: u64::MAX..=u64::MAX,
        prepare: 30..=60,
        rest: 0..=100,
        drop_one_in: 0,
        lock_client: false,
    };

    /// Releases the lock after a time that is sometimes longer than a renewal interval.
    pub(crate) const TAKE_TURNS: Self = Self {
        lease_seconds: 3,
        rounds: 1..=20,
        prepare: 5..=50,
        rest: 50..=500,
        drop_one_in: 5,
        lock_client: false,
    };

    pub(crate) const fn lease_seconds(self, lease_seconds: u64) -> Self {
        Self { lease_seconds, ..self }
    }

    pub(crate) fn to_json(&self) -> Value {
        let pair = |range: &RangeInclusive<u64>| json!([range.start(), range.end()]);
        json!({
            "lease_seconds": self.lease_seconds,
            "rounds": pair(&self.rounds),
            "prepare": pair(&self.prepare),
            "rest": pair(&self.rest),
            "drop_one_in": self.drop_one_in,
            "lock_client": self.lock_client,
        })
    }

    pub(crate) fn from_json(json: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number in {json}"));
        let range = |name: &str| number(&json[name][0])..=number(&json[name][1]);
        Self {
            lease_seconds: number(&json["lease_seconds"]),
            rounds: range("rounds"),
            prepare: range("prepare"),
            rest: range("rest"),
            drop_one_in: number(&json["drop_one_in"]),
            lock_client: json["lock_client"] == true,
        }
    }
}
