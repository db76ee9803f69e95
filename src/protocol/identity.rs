//! Holder identities: a name for people, and a suffix that is unique to the acquisition.

/// The identity of the acquisition that drew `nonce`.
pub(crate) fn generate(name: &str, nonce: u64) -> String {
    format!("{name}_{nonce:016x}")
}

/// Whether an acquisition of this crate is the holder. Its suffix shows it; client-go has a UUID there.
pub(crate) fn is_generated(holder: &str) -> bool {
    generated_name(holder).is_some()
}

/// The name in the identity, without the suffix of this crate.
pub(crate) fn name(holder: &str) -> &str {
    generated_name(holder).unwrap_or(holder)
}

fn generated_name(holder: &str) -> Option<&str> {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let (name, suffix) = holder.rsplit_once('_')?;
    (suffix.len() == 16 && suffix.bytes().all(hexadecimal)).then_some(name)
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
            assert!(!is_generated(foreign) && name(foreign) == foreign, "{foreign}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn holders_of_this_crate_are_recognised(pod in "\\PC{1,200}", nonce in any::<u64>()) {
            let identity = generate(&pod, nonce);
            prop_assert!(is_generated(&identity));
            prop_assert_eq!(name(&identity), &pod);
            prop_assert_ne!(generate(&pod, nonce ^ 1), identity);
        }
    }
}
