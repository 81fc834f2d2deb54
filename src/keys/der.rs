//! As much DER (X.690) as key files need: integers, sequences, octet strings. Lengths up to 64 KiB.

use zeroize::Zeroizing;

pub(super) const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// A sequence of the given encoded parts.
pub(super) fn sequence(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    element(SEQUENCE, parts)
}

/// An octet string.
pub(super) fn octet_string(content: &[u8]) -> Zeroizing<Vec<u8>> {
    element(OCTET_STRING, &[content])
}

/// A bit string of whole bytes.
pub(super) fn bit_string(content: &[u8]) -> Zeroizing<Vec<u8>> {
    // The first byte counts the bits that are left over in the last.
    element(BIT_STRING, &[&[0], content])
}

/// `content` under the explicit tag `[number]`, for numbers below 31.
pub(super) fn tagged(number: u8, content: &[u8]) -> Zeroizing<Vec<u8>> {
    element(context(number), &[content])
}

/// The tag `[number]`, constructed.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// A non-negative integer from big-endian bytes, leading zeros allowed.
pub(super) fn integer(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let zeros = bytes.iter().take_while(|&&b| b == 0).count();
    let bytes = bytes.get(zeros..).unwrap_or_default();
    // A set top bit would make it negative, and zero has one byte.
    let pad: &[u8] = if bytes.first().is_none_or(|b| b & 0x80 != 0) { &[0] } else { &[] };
    element(INTEGER, &[pad, bytes])
}

fn element(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length + 4));
    out.push(tag);
    let [.., high, low] = length.to_be_bytes();
    match length {
        0..=0x7f => out.push(low),
        0x80..=0xff => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// Reads a PKCS#1 `RSAPublicKey` (RFC 8017 appendix A.1.1): modulus and exponent without leading zeros.
pub(super) fn rsa_public_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inside, rest) = take(SEQUENCE, der)?;
    let (n, e, end) = two_integers(inside)?;
    (rest.is_empty() && end.is_empty()).then_some((n, e))
}

/// Modulus and exponent of a PKCS#1 `RSAPrivateKey` (RFC 8017 appendix A.1.2) with two primes, without leading zeros.
pub(super) fn rsa_private_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inside, rest) = take(SEQUENCE, der)?;
    let (version, after) = take(INTEGER, inside)?;
    let (n, e, _) = two_integers(after)?;
    (rest.is_empty() && version == [0]).then_some((n, e))
}

/// Two positive integers without leading zeros, and what follows.
fn two_integers(inside: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (modulus, after) = take(INTEGER, inside)?;
    let (exponent, end) = take(INTEGER, after)?;
    let positive = |bytes: &'_ [u8]| bytes.first().is_some_and(|b| b & 0x80 == 0);
    let plain = |bytes: &'_ [u8]| bytes.iter().take_while(|b| **b == 0).count();
    (positive(modulus) && positive(exponent)).then(|| {
        let (n, e) = (modulus.get(plain(modulus)..), exponent.get(plain(exponent)..));
        (n.unwrap_or_default(), e.unwrap_or_default(), end)
    })
}

/// The content of a bit string of whole bytes, and what follows.
pub(super) fn take_bits(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (bits, rest) = take(BIT_STRING, der)?;
    Some((bits.strip_prefix(&[0])?, rest))
}

/// The content of an element with this tag, and what follows.
pub(super) fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&low, rest) = rest.split_first()?;
            (usize::from(low), rest)
        }
        0x82 => {
            let (bytes, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*bytes)), rest)
        }
        _ => return None,
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_minimal_and_never_negative() {
        let rows: [(&[u8], &[u8]); 5] = [
            (&[], &[2, 1, 0]),
            (&[0, 0], &[2, 1, 0]),
            (&[0x7f], &[2, 1, 0x7f]),
            (&[0x80], &[2, 2, 0, 0x80]),
            (&[0, 1, 0, 1], &[2, 3, 1, 0, 1]),
        ];
        for (bytes, expected) in rows {
            assert_eq!(integer(bytes).as_slice(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_public_key_goes_there_and_back(n in prop::collection::vec(any::<u8>(), 1..600), e in 1_u32..) {
            let e = e.to_be_bytes();
            let der = sequence(&[&integer(&n), &integer(&e)]);
            let (read_n, read_e) = rsa_public_key(&der).unwrap();
            prop_assert_eq!(integer(read_n), integer(&n));
            prop_assert_eq!(integer(read_e), integer(&e));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = rsa_public_key(&bytes);
            let _ = rsa_private_key(&bytes);
            let _ = take_bits(&bytes);
        }
    }
}
