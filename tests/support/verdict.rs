//! The verdict on a history of holds.

use std::fmt::{self, Display};
use std::time::Duration;

/// One hold, as its contender reported it. Times are in nanoseconds of one clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) name: String,
    /// The number of the contender's connection.
    pub(crate) contender: usize,
    pub(crate) fencing: Option<u64>,
    /// The first and the last time at which it was known to be held.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// When the contender ended it, if it did.
    pub(crate) ended: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Verdict {
    /// All holds, ordered by their beginning.
    pub(crate) holds: Vec<Hold>,
    /// The number of holds whose contender is not that of the hold before.
    pub(crate) handoffs: usize,
    pub(crate) writes: u64,
    /// The number of writes that were refused because of their fencing token.
    pub(crate) stale: u64,
    /// Two holds at the same time: the earlier and the later one.
    pub(crate) overlaps: Vec<(Hold, Hold)>,
    /// A hold whose fencing token is not above that of an earlier one: the earlier and the later one.
    pub(crate) unfenced: Vec<(Hold, Hold)>,
    /// Messages that no correct contender sends.
    pub(crate) violations: Vec<String>,
    /// The longest time without a holder, between two holds.
    pub(crate) longest_gap: Duration,
}

impl Verdict {
    pub(super) fn new(mut holds: Vec<Hold>, writes: u64, stale: u64, violations: Vec<String>) -> Self {
        holds.sort_by_key(|hold| hold.first);
        let mut verdict = Self {
            handoffs: holds.windows(2).filter(|pair| pair[0].contender != pair[1].contender).count(),
            writes,
            stale,
            overlaps: Vec::new(),
            unfenced: Vec::new(),
            violations,
            longest_gap: Duration::ZERO,
            holds: Vec::new(),
        };
        verdict.judge(&holds);
        verdict.holds = holds;
        verdict
    }

    /// Compares each hold with two earlier ones: the one that ended last, and the one with the highest token.
    fn judge(&mut self, holds: &[Hold]) {
        let (mut latest, mut highest): (Option<&Hold>, Option<&Hold>) = (None, None);
        for hold in holds {
            if let Some(earlier) = latest {
                if hold.first <= earlier.last {
                    self.overlaps.push((earlier.clone(), hold.clone()));
                }
                let gap = Duration::from_nanos(hold.first.saturating_sub(earlier.last));
                self.longest_gap = self.longest_gap.max(gap);
            }
            if latest.is_none_or(|earlier| earlier.last < hold.last) {
                latest = Some(hold);
            }
            if hold.fencing.is_none() {
                continue;
            }
            match highest {
                Some(earlier) if earlier.fencing >= hold.fencing => {
                    self.unfenced.push((earlier.clone(), hold.clone()));
                }
                _ => highest = Some(hold),
            }
        }
    }

    /// Whether no two contenders held the lock at the same time, every fencing token rose, and no message was a
    /// violation.
    pub(crate) fn is_clean(&self) -> bool {
        self.overlaps.is_empty() && self.unfenced.is_empty() && self.violations.is_empty()
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "holds                                {}", self.holds.len())?;
        writeln!(f, "handoffs                             {}", self.handoffs)?;
        writeln!(f, "writes                               {}", self.writes)?;
        writeln!(f, "stale writes refused                 {}", self.stale)?;
        writeln!(f, "longest time without a holder        {:.1?}", self.longest_gap)?;
        writeln!(f, "overlaps                             {}", self.overlaps.len())?;
        for (earlier, later) in &self.overlaps {
            writeln!(f, "  {earlier}\n  {later}")?;
        }
        for (earlier, later) in &self.unfenced {
            writeln!(f, "a fencing token did not rise:\n  {earlier}\n  {later}")?;
        }
        self.violations.iter().try_for_each(|violation| writeln!(f, "{violation}"))
    }
}

impl Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, contender, first, last, .. } = self;
        let fencing = self.fencing.map_or_else(|| "-".to_owned(), |token| token.to_string());
        write!(f, "{name} of contender {contender}, token {fencing}: held from {first} to {last} ns")
    }
}
