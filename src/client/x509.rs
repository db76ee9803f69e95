//! Until when a certificate is valid.

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::DateTime;
use k8s_openapi::jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The end of the validity of a certificate in DER, or nothing if it cannot be read.
pub(super) fn valid_until(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    // The version, if it is there, the serial number, the algorithm, the issuer.
    for expected in [VERSION, INTEGER, SEQUENCE, SEQUENCE] {
        let (tag, _, rest) = element(fields)?;
        if tag == expected {
            fields = rest;
        } else if expected != VERSION {
            return None;
        }
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, end) = element(validity)?;
    let (tag, end, _) = element(end)?;
    let digits = std::str::from_utf8(end).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: i16 = digits.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, digits.get(2..)?)
        }
        GENERALIZED_TIME => (digits.get(..4)?.parse().ok()?, digits.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let time = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The tag and the content of the first element, and what follows it.
fn element(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, data) = data.split_first()?;
    let (&length, data) = data.split_first()?;
    let (length, data) = if length < 0x80 {
        (usize::from(length), data)
    } else {
        let (bytes, data) = data.split_at_checked(usize::from(length - 0x80))?;
        let append = |length: usize, byte: &u8| Some(length.checked_mul(256)? | usize::from(*byte));
        (bytes.iter().try_fold(0, append)?, data)
    };
    let (content, rest) = data.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    fn certificate(version: &[u8], end: &[u8]) -> Vec<u8> {
        let validity = der(SEQUENCE, &[der(UTC_TIME, b"250101000000Z"), end.to_vec()].concat());
        let (serial, name) = (der(INTEGER, &[7; 20]), der(SEQUENCE, &[1; 300]));
        let fields = [version, &serial, &name, &name, &validity, &name, &name].concat();
        der(SEQUENCE, &[der(SEQUENCE, &fields), name].concat())
    }

    #[test]
    fn it_reads_both_forms_of_time() {
        let version = der(VERSION, &der(INTEGER, &[2]));
        for (end, expected) in [
            (der(UTC_TIME, b"491231235959Z"), "2049-12-31T23:59:59Z"),
            (der(UTC_TIME, b"500102030405Z"), "1950-01-02T03:04:05Z"),
            (der(GENERALIZED_TIME, b"20990102030405Z"), "2099-01-02T03:04:05Z"),
        ] {
            for version in [&version[..], &[]] {
                let end = valid_until(&certificate(version, &end)).unwrap();
                assert_eq!(end.to_string(), expected);
            }
        }
    }

    #[test]
    fn an_impossible_time_is_no_time() {
        for end in [&b"20991302030405Z"[..], b"2099", b"20990102030405+0100", b""] {
            assert_eq!(valid_until(&certificate(&[], &der(GENERALIZED_TIME, end))), None);
        }
    }

    proptest! {
        #[test]
        fn it_survives_any_bytes(cut in 0..1500_usize, at in 0..1500_usize, byte: u8) {
            let mut data = certificate(&[], &der(UTC_TIME, b"491231235959Z"));
            data.truncate(cut);
            if let Some(changed) = data.get_mut(at) {
                *changed = byte;
            }
            valid_until(&data);
        }
    }
}
