//! The judgement on a history of holds.

use std::fmt::{self, Display};
use std::time::Duration;

/// What one contender reported of one hold. Times are nanoseconds of one clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) name: String,
    /// The number of the contender's connection.
    pub(crate) contender: usize,
    pub(crate) fencing: Option<u64>,
    /// When it was first and last known to be held.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// When it was given up, if it was.
    pub(crate) left: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Verdict {
    /// In the order in which they began.
    pub(crate) holds: Vec<Hold>,
    /// Holds by another contender than the one before.
    pub(crate) handoffs: usize,
    pub(crate) writes: u64,
    /// Writes refused for their fencing token.
    pub(crate) stale: u64,
    /// Two holds at one time: the earlier and the later one.
    pub(crate) overlaps: Vec<(Hold, Hold)>,
    /// A hold whose fencing token is not above that of an earlier one: the earlier and the later one.
    pub(crate) unfenced: Vec<(Hold, Hold)>,
    /// Whatever else cannot be.
    pub(crate) wrong: Vec<String>,
    /// The longest time without a holder, between two holds.
    pub(crate) longest_gap: Duration,
}

impl Verdict {
    pub(super) fn new(mut holds: Vec<Hold>, writes: u64, stale: u64, wrong: Vec<String>) -> Self {
        holds.sort_by_key(|hold| hold.first);
        let mut verdict = Self {
            handoffs: holds.windows(2).filter(|pair| pair[0].contender != pair[1].contender).count(),
            writes,
            stale,
            overlaps: Vec::new(),
            unfenced: Vec::new(),
            wrong,
            longest_gap: Duration::ZERO,
            holds: Vec::new(),
        };
        verdict.judge(&holds);
        verdict.holds = holds;
        verdict
    }

    /// Compares each hold with the one before it that lasted longest, and the one with the highest token.
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

    /// Whether no two held at once, every token rose, and nothing else was wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.overlaps.is_empty() && self.unfenced.is_empty() && self.wrong.is_empty()
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
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "{wrong}"))
    }
}

impl Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, contender, first, last, .. } = self;
        let fencing = self.fencing.map_or_else(|| "-".to_owned(), |token| token.to_string());
        write!(f, "{name} of contender {contender}, token {fencing}: held from {first} to {last} ns")
    }
}
