//! Holder identities: a name for people, and a suffix that no other acquisition has.

/// An identity for one acquisition.
pub(crate) fn draw(name: &str, rng: &mut fastrand::Rng) -> String {
    format!("{name}_{:016x}", rng.u64(..))
}

/// Whether the holder is an acquisition of this crate, by its suffix; that of client-go is a UUID.
pub(crate) fn is_drawn(holder: &str) -> bool {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let suffix = holder.rsplit_once('_').map(|(_, suffix)| suffix);
    suffix.is_some_and(|suffix| suffix.len() == 16 && suffix.bytes().all(hexadecimal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_makes_are_told_apart() {
        for foreign in [
            "",
            "them",
            "pod-7d4b9c6f5d-x2x8q",
            "host_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77",
            "host_0123456789ABCDEF",
            "host_0123456789abcdef0",
            "0123456789abcdef",
        ] {
            assert!(!is_drawn(foreign), "{foreign}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ours_are_recognised(name in "\\PC{1,200}", seed in any::<u64>()) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let identity = draw(&name, &mut rng);
            prop_assert!(is_drawn(&identity));
            prop_assert_ne!(draw(&name, &mut rng), identity);
        }
    }
}
