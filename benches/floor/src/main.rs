//! What one signature and one verification cost by the cryptographic libraries there are for Rust: the floor under every
//! token. Both libraries do the same work in turns, a short round each; a figure is the median of the rounds, a ratio the
//! median of the ratios within a round.

#![expect(clippy::disallowed_methods, reason = "the randomness of a measurement is nobody's secret")]

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds, and how long one takes for each library.
const ROUNDS: usize = 31;
const ROUND: Duration = Duration::from_millis(60);
/// The signing input of an access token: header and claims in base64.
const MESSAGE: [u8; 420] = [b'a'; 420];

fn main() {
    println!("| work | ring, us | aws-lc-rs, us | ring : aws-lc-rs (least-greatest) |");
    println!("|---|---|---|---|");
    let (ring, aws) = (ring_works(), aws_works());
    for ((name, ring), (_, aws)) in ring.iter().zip(&aws) {
        let mut pairs: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (time(ring), time(aws))).collect();
        let ratio = |(a, b): &(f64, f64)| a / b;
        let a = median(pairs.iter().map(|pair| pair.0).collect());
        let b = median(pairs.iter().map(|pair| pair.1).collect());
        pairs.sort_by(|x, y| ratio(x).total_cmp(&ratio(y)));
        let middle = ratio(&pairs[ROUNDS / 2]);
        println!(
            "| {name} | {a:.1} | {b:.1} | {middle:.2} ({:.2}-{:.2}) |",
            ratio(&pairs[0]),
            ratio(&pairs[ROUNDS - 1])
        );
    }
}

type Works = Vec<(&'static str, Box<dyn Fn()>)>;

/// What nobody looks at is not computed, unless the compiler has to think so.
fn keep<T>(outcome: T) {
    black_box(outcome);
}

fn time(work: &dyn Fn()) -> f64 {
    let (started, mut times) = (Instant::now(), 0u32);
    while started.elapsed() < ROUND {
        work();
        times += 1;
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The two libraries have the same interface but for small things, which the arguments say.
macro_rules! works {
    ($name:ident, $lib:ident, $($rng:expr)?) => {
        fn $name() -> Works {
            use $lib::{hmac, rand::SystemRandom, signature::*};
            let rng = SystemRandom::new();
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).expect("a key");
            let es256 =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref() $(, $rng(&rng))?).expect("a key");
            let es256_public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, es256.public_key().as_ref().to_vec());
            let es256_signed = es256.sign(&rng, &MESSAGE).expect("a signature");
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&rng).expect("a key");
            let eddsa = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
            let eddsa_public = UnparsedPublicKey::new(&ED25519, eddsa.public_key().as_ref().to_vec());
            let eddsa_signed = eddsa.sign(&MESSAGE);
            let rsa = || RsaKeyPair::from_pkcs8(&rsa_key()).expect("a key");
            let (rs256, signer) = (rsa(), rsa());
            let rs256_public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rs256.public_key().as_ref().to_vec());
            let mut rs256_signed = vec![0; 256];
            rs256.sign(&RSA_PKCS1_SHA256, &rng, &MESSAGE, &mut rs256_signed).expect("a signature");
            let secret = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
            vec![
                ("sign ES256", Box::new(move || keep(es256.sign(&SystemRandom::new(), &MESSAGE)))),
                ("sign EdDSA", Box::new(move || keep(eddsa.sign(&MESSAGE)))),
                (
                    "sign RS256, 2048 bits",
                    Box::new(move || {
                        let mut out = [0; 256];
                        keep(signer.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &MESSAGE, &mut out));
                    }),
                ),
                ("verify ES256", Box::new(move || es256_public.verify(&MESSAGE, es256_signed.as_ref()).expect("right"))),
                ("verify EdDSA", Box::new(move || eddsa_public.verify(&MESSAGE, eddsa_signed.as_ref()).expect("right"))),
                ("verify RS256, 2048 bits", Box::new(move || rs256_public.verify(&MESSAGE, &rs256_signed).expect("right"))),
                ("HMAC-SHA-256 of 43 bytes", Box::new(move || keep(hmac::sign(&secret, &MESSAGE[..43])))),
            ]
        }
    };
}

works!(ring_works, ring, |rng| rng);
works!(aws_works, aws_lc_rs,);

/// ring makes no RSA keys, so both take one of the other's.
fn rsa_key() -> Vec<u8> {
    use std::sync::OnceLock;
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| {
        use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
        use aws_lc_rs::rsa::{KeyPair, KeySize};
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        AsDer::<Pkcs8V1Der>::as_der(&pair).expect("a key").as_ref().to_vec()
    })
    .clone()
}
