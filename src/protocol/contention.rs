//! How claims that collide are spread.

use std::time::Duration;

/// The window over which the claims of colliding contenders are spread.
///
/// It is zero until a collision, so a lone waiter claims at once. Each collision doubles it, each win halves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct ContentionWindow {
    window: Duration,
}

impl ContentionWindow {
    const FIRST_WINDOW: Duration = Duration::from_millis(4);
    const MAX_WINDOW: Duration = Duration::from_millis(250);
    /// A shorter window becomes zero.
    const MIN_WINDOW: Duration = Duration::from_millis(1);

    pub(crate) fn collided(&mut self) {
        self.window = (self.window * 2).clamp(Self::FIRST_WINDOW, Self::MAX_WINDOW);
    }

    pub(crate) fn won(&mut self) {
        self.window /= 2;
        if self.window < Self::MIN_WINDOW {
            self.window = Duration::ZERO;
        }
    }

    /// A pause drawn from the window.
    pub(crate) fn pause(&self, rng: &mut fastrand::Rng) -> Duration {
        self.window.mul_f64(rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collisions_spread_claims_and_wins_gather_them_again() {
        let (mut contention, mut rng) = (ContentionWindow::default(), fastrand::Rng::with_seed(1));
        assert_eq!(contention.pause(&mut rng), Duration::ZERO);
        for nominal in [4, 8, 16, 32, 64, 128, 250, 250] {
            contention.collided();
            assert_eq!(contention.window, Duration::from_millis(nominal));
        }
        assert!(contention.pause(&mut rng) <= ContentionWindow::MAX_WINDOW);
        (0..8).for_each(|_| contention.won());
        assert_eq!(contention.pause(&mut rng), Duration::ZERO);
    }
}
