//! The randomness of one lock: the nonces of its holder identities, and everything else that is left to chance.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

/// The randomness of one lock.
pub(crate) struct Random {
    rng: Mutex<fastrand::Rng>,
    nonces: Nonces,
}

/// The source of the nonces.
enum Nonces {
    /// From the operating system, one by one. A fork, or a machine that was restored from a snapshot, copies the state of a
    /// generator; two processes that draw from copies would draw the same holder identity, and both hold.
    System,
    /// From the generator, so that a test can be replayed.
    Generator,
}

impl Random {
    pub(crate) fn system() -> Self {
        let rng = fastrand::Rng::with_seed(system_number());
        Self { rng: Mutex::new(rng), nonces: Nonces::System }
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        Self { rng: Mutex::new(fastrand::Rng::with_seed(seed)), nonces: Nonces::Generator }
    }

    /// A number that no other process draws.
    pub(crate) fn nonce(&self) -> u64 {
        match self.nonces {
            Nonces::System => system_number(),
            Nonces::Generator => self.fork().u64(..),
        }
    }

    pub(crate) fn number(&self) -> u32 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).u32(..)
    }

    /// A generator of its own.
    pub(crate) fn fork(&self) -> fastrand::Rng {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }
}

/// A number from the operating system.
#[cfg(target_os = "linux")]
fn system_number() -> u64 {
    use rustix::rand::{GetRandomFlags, getrandom};

    let mut bytes = [0; 8];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        // A kernel or a sandbox without this call.
        _ => process_number(),
    }
}

/// A number from the operating system, by way of the standard library.
#[cfg(not(target_os = "linux"))]
fn system_number() -> u64 {
    process_number()
}

/// The standard library takes keys from the operating system once for each thread, and a fork copies them. The process and the
/// time tell the copies apart.
fn process_number() -> u64 {
    let this = (std::process::id(), std::time::SystemTime::now());
    std::hash::RandomState::new().hash_one(this)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process and its fork: both have the same generator.
    #[test]
    fn copies_of_a_generator_draw_different_nonces() {
        let copy = || Random { rng: Mutex::new(fastrand::Rng::with_seed(1)), nonces: Nonces::System };
        let (parent, child) = (copy(), copy());
        assert_eq!(parent.number(), child.number());
        assert_ne!(parent.nonce(), child.nonce());
        assert_ne!(process_number(), process_number());
    }

    #[test]
    fn a_seed_repeats_every_draw() {
        let draws = || {
            let random = Random::seeded(7);
            [u64::from(random.number()), random.nonce(), random.fork().u64(..), random.nonce()]
        };
        assert_eq!(draws(), draws());
    }
}
