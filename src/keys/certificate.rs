//! What an X.509 certificate says of itself, as far as operators are told of it: when it is valid.
//!
//! Only a glance: whether it can be trusted is rustls's to judge.

use super::der::{INTEGER, SEQUENCE, context, take};
use crate::model::time::Timestamp;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when until when a certificate is valid, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: Timestamp,
    /// The last second.
    pub until: Timestamp,
}

/// The validity of a certificate in DER (RFC 5280 §4.1.2.5); `None` when it is none.
#[must_use]
pub fn validity(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = take(SEQUENCE, der)?;
    let (signed, _) = take(SEQUENCE, certificate)?;
    // The version is left out where it is 1.
    let signed = take(context(0), signed).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = take(INTEGER, signed)?;
    let (_algorithm, rest) = take(SEQUENCE, rest)?;
    let (_issuer, rest) = take(SEQUENCE, rest)?;
    let (validity, _) = take(SEQUENCE, rest)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some(Validity { from, until })
}

fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest) = if let Some((text, rest)) = take(UTC_TIME, der) {
        let text = std::str::from_utf8(text).ok()?;
        // RFC 5280 §4.1.2.5.1: two digits from 50 on are of the last century.
        let century = if text.get(..2)?.parse::<u8>().ok()? >= 50 { "19" } else { "20" };
        (format!("{century}{text}"), rest)
    } else {
        let (text, rest) = take(GENERALIZED_TIME, der)?;
        (std::str::from_utf8(text).ok()?.to_owned(), rest)
    };
    let digits = text.strip_suffix('Z').filter(|it| it.len() == 14 && it.bytes().all(|b| b.is_ascii_digit()))?;
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
    let (hour, minute, second) = (part(8, 10), part(10, 12), part(12, 14));
    Some((Timestamp::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_dates_of_a_certificate_are_read_in_both_their_forms() {
        for (from, until) in [(2026, 2027), (1999, 2049), (2051, 9998)] {
            let mut params = CertificateParams::new(vec!["edi.example".into()]).unwrap();
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 2), date_time_ymd(until, 12, 31));
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let found = validity(certificate.der()).unwrap();
            let text = (found.from.rfc3339(), found.until.rfc3339());
            assert_eq!(text, (format!("{from}-01-02T00:00:00Z"), format!("{until}-12-31T00:00:00Z")));
            for cut in 0..120 {
                assert_eq!(validity(&certificate.der()[..cut]), None, "{cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = validity(&bytes);
        }
    }
}
