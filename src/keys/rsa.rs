//! New RSA-2048 key pairs. ring signs with RSA keys but cannot make them: the primes come from `crypto-primes`, the
//! arithmetic from `crypto-bigint` (constant time in the private values), and ring checks the finished key when it
//! loads it. Nothing else in edi computes with RSA numbers.

use std::convert::Infallible;

use crypto_bigint::{NonZero, U1024, U2048, Uint};
use crypto_primes::Flavor;
use crypto_primes::hazmat::{SetBits, SmallFactorsSieveFactory, minimum_mr_iterations};
use crypto_primes::{fips, sieve_and_find};
use zeroize::{Zeroize as _, Zeroizing};

use super::{KeyError, der};
use crate::ambient::Entropy;

/// The public exponent: 65537, a prime.
const EXPONENT: u64 = 65_537;
/// Bits of each prime.
const PRIME_BITS: u32 = 1024;
/// FIPS 186-5 appendix A.1.3 step 5.5: |p - q| > 2^(nlen/2 - 100).
const DISTANCE_BITS: u32 = PRIME_BITS - 100;
/// Composites slip through with a probability below 2^-128.
const ERROR_BITS: u32 = 128;
/// `AlgorithmIdentifier { rsaEncryption, NULL }` (RFC 8017 appendix A.1).
const RSA_ENCRYPTION: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// A new RSA-2048 private key as PKCS#8. Takes from a tenth of a second to a few seconds of one core.
pub(super) fn generate_pkcs8(entropy: &dyn Entropy) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // Each round fails with a probability below 2^-15; a generator that fails this often is broken.
    (0..16).find_map(|_| attempt(&mut Source(entropy))).ok_or(KeyError::Generation)
}

fn attempt(source: &mut Source<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let (mut p, mut q) = (prime(source)?, prime(source)?);
    if *p < *q {
        std::mem::swap(&mut p, &mut q);
    }
    let (p, q) = (Zeroizing::new(*p), Zeroizing::new(*q));
    if p.wrapping_sub(&q).bits() <= DISTANCE_BITS {
        return None;
    }
    let (p_less, q_less) = (Zeroizing::new(p.wrapping_sub(&U1024::ONE)), Zeroizing::new(q.wrapping_sub(&U1024::ONE)));
    let (p_order, q_order) = (nonzero(&p_less)?, nonzero(&q_less)?);

    // d = e^-1 mod lcm(p-1, q-1); there is none when e divides either.
    let (q_part, _) = q_less.div_rem(&nonzero(&p_less.gcd(&q_less))?);
    let order: Zeroizing<U2048> = Zeroizing::new(p_less.concatenating_mul(&q_part));
    let d: Option<U2048> = U2048::from_u64(EXPONENT).invert_mod(&nonzero(&order)?).into();
    let d = Zeroizing::new(d?);
    // FIPS 186-5 appendix A.1.1 step 3: d > 2^(nlen/2).
    if d.bits() <= PRIME_BITS {
        return None;
    }
    let (_, d_p) = d.div_rem(&p_order);
    let (_, d_q) = d.div_rem(&q_order);
    let inverse: Option<U1024> = q.invert_mod(&nonzero(&p)?).into();
    let (d_p, d_q, inverse) = (Zeroizing::new(d_p), Zeroizing::new(d_q), Zeroizing::new(inverse?));
    let n: U2048 = p.concatenating_mul(&q);

    // RFC 8017 appendix A.1.2 `RSAPrivateKey`, inside RFC 5208 `PrivateKeyInfo`.
    let private = der::sequence(&[
        &der::integer(&[0]),
        &integer(&n),
        &der::integer(&EXPONENT.to_be_bytes()),
        &integer(&d),
        &integer(&p),
        &integer(&q),
        &integer(&d_p),
        &integer(&d_q),
        &integer(&inverse),
    ]);
    Some(der::sequence(&[&der::integer(&[0]), RSA_ENCRYPTION, &der::octet_string(&private)]))
}

/// A prime of exactly [`PRIME_BITS`] whose two top bits are set, so that the product of two has twice as many.
fn prime(source: &mut Source<'_>) -> Option<Zeroizing<U1024>> {
    let rounds = minimum_mr_iterations(PRIME_BITS, ERROR_BITS)?;
    let test = fips::FipsOptions::with_mr_iterations(rounds).with_lucas_test();
    let sieve = SmallFactorsSieveFactory::<U1024>::new(Flavor::Any, PRIME_BITS, SetBits::TwoMsb).ok()?;
    sieve_and_find(source, sieve, |source, number| fips::is_prime(source, Flavor::Any, number, test))
        .ok()
        .flatten()
        .map(Zeroizing::new)
}

fn nonzero<const LIMBS: usize>(number: &Uint<LIMBS>) -> Option<NonZero<Uint<LIMBS>>> {
    number.to_nz().into()
}

fn integer<const LIMBS: usize>(number: &Uint<LIMBS>) -> Zeroizing<Vec<u8>> {
    // Words from the lowest up; DER wants bytes from the highest down.
    let bytes: Zeroizing<Vec<u8>> =
        Zeroizing::new(number.as_words().iter().rev().flat_map(|word| word.to_be_bytes()).collect());
    der::integer(&bytes)
}

/// Our entropy as the generator that `crypto-primes` asks for.
struct Source<'a>(&'a dyn Entropy);

impl rand_core::TryRng for Source<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut out = [0; 4];
        self.0.fill(&mut out);
        Ok(u32::from_le_bytes(out))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut out = [0; 8];
        self.0.fill(&mut out);
        let number = u64::from_le_bytes(out);
        out.zeroize();
        Ok(number)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Source<'_> {}

#[cfg(test)]
mod tests {
    use ring::rsa::{KeyPair, PublicKeyComponents};

    use super::*;
    use crate::ambient::SeededEntropy;

    #[test]
    fn ring_accepts_what_comes_out_and_each_is_another() {
        let keys: Vec<PublicKeyComponents<Vec<u8>>> = (0..2)
            .map(|seed| {
                let pkcs8 = generate_pkcs8(&*SeededEntropy::new(seed)).unwrap();
                let pair = KeyPair::from_pkcs8(&pkcs8).unwrap();
                assert_eq!(pair.public().modulus_len(), 256);
                PublicKeyComponents::from(pair.public())
            })
            .collect();
        assert_ne!(keys[0].n, keys[1].n);
        assert!(keys.iter().all(|key| key.n[0] & 0x80 != 0 && key.e == [1, 0, 1]));
    }
}
