//! Holder identities: a name for people, and a suffix that is unique to the acquisition.

/// The identity of the acquisition that drew `nonce`.
pub(crate) fn generate(name: &str, nonce: u64) -> String {
    format!("{name}_{nonce:016x}")
}

/// Whether an acquisition of this crate is the holder. Its suffix shows it; client-go has a UUID there.
pub(crate) fn is_generated(holder: &str) -> bool {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let suffix = holder.rsplit_once('_').map(|(_, suffix)| suffix);
    suffix.is_some_and(|suffix| suffix.len() == 16 && suffix.bytes().all(hexadecimal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holders_of_other_libraries_are_recognised() {
        for foreign in [
            "",
            "them",
            "pod-7d4b9c6f5d-x2x8q",
            "host_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77",
            "host_0123456789ABCDEF",
            "host_0123456789abcdef0",
            "0123456789abcdef",
        ] {
            assert!(!is_generated(foreign), "{foreign}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn holders_of_this_crate_are_recognised(name in "\\PC{1,200}", nonce in any::<u64>()) {
            let identity = generate(&name, nonce);
            prop_assert!(is_generated(&identity));
            prop_assert_ne!(generate(&name, nonce ^ 1), identity);
        }
    }
}
