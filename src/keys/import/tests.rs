use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ambient::SystemEntropy;

/// RFC 7517 appendix A.2, without `use: enc`.
fn ec() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": "1",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    })
}

/// RFC 8037 appendix A.1.
fn ed() -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    })
}

/// RFC 7517 appendix A.2.
fn rsa() -> Value {
    json!({
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "d": "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-HLLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbFAKNLWY2vv7B6NqXSzUvxT0_YSfqijwp3RTzlBaCxWp4doFk5N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9tv8d_cPVY3i07a3t8MN6TNwm0dSawm9v47UiCl3Sk5ZiG7xojPLu4sbg1U2jx4IBTNBznbJSzFHK66jT8bgkuqsk0GjskDJk19Z4qwjwbsnn4j2WBii3RL-Us2lGVkY8fkFzme1z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q",
        "p": "83i-7IvMGXoMXCskv73TKr8637FiO7Z27zv8oj6pbWUQyLPQBQxtPVnwD20R-60eTDmD2ujnMt5PoqMrm8RfmNhVWDtjjMmCMjOpSXicFHj7XOuVIYQyqVWlWEh6dN36GVZYk93N8Bc9vY41xy8B9RzzOGVQzXvNEvn7O0nVbfs",
        "q": "3dfOR9cuYq-0S-mkFLzgItgMEfFzB2q3hWehMuG0oCuqnb3vobLyumqjVZQO1dIrdwgTnCdpYzBcOfW5r370AFXjiWft_NGEiovonizhKpo9VVS78TzFgxkIdrecRezsZ-1kYd_s1qDbxtkDEgfAITAG9LUnADun4vIcb6yelxk",
        "dp": "G4sPXkc6Ya9y8oJW9_ILj4xuppu0lzi_H7VTkS8xj5SdX3coE0oimYwxIi2emTAue0UOa5dpgFGyBJ4c8tQ2VF402XRugKDTP8akYhFo5tAA77Qe_NmtuYZc3C3m3I24G2GvR5sSDxUyAN2zq8Lfn9EUms6rY3Ob8YeiKkTiBj0",
        "dq": "s9lAH9fggBsoFR8Oac2R_E2gw282rT2kGOAhvIllETE1efrA6huUUvMfBcMpn8lqeW6vzznYY5SSQF7pMdC_agI3nG8Ibp1BUb0JUiraRNqUfLhcQb_d9GF4Dh7e74WbRsobRonujTYN1xCaP6TO61jvWrX-L18txXw494Q_cgk",
        "qi": "GyM_p6JrXySiz1toFgKbWV-JdI3jQ4ypu9rbMWx3rQJBfmt0FoYzgUIZEVFEcOqwemRN81zoDAaa-Bk0KWNGDjJHZDdDmFhW3AN7lI-puxk_mHZGJ11rxyR8O55XLSe3SPmRfKwZI6yU24ZxvQKFYItdldUKGzO6Ia6zTKhAVRU",
    })
}

fn with(mut jwk: Value, member: &str, value: Value) -> String {
    jwk[member] = value;
    jwk.to_string()
}

fn without(mut jwk: Value, member: &str) -> String {
    jwk.as_object_mut().unwrap().remove(member);
    jwk.to_string()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\r\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// What is inside of PKCS#8.
fn inside(pkcs8: &[u8]) -> Vec<u8> {
    let (all, _) = der::take(SEQUENCE, pkcs8).unwrap();
    let (_, after) = der::take(INTEGER, all).unwrap();
    let (_, after) = der::take(SEQUENCE, after).unwrap();
    der::take(OCTET_STRING, after).unwrap().0.to_vec()
}

fn refusal(text: &str) -> ImportError {
    read(text, None, None).unwrap_err()
}

#[test]
fn a_jwk_keeps_its_own_id_and_its_public_half() {
    for (jwk, algorithm, kid) in [
        (ec(), Algorithm::Es256, "1"),
        (ed(), Algorithm::EdDsa, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        (rsa(), Algorithm::Rs256, "2011-04-29"),
    ] {
        let key = read(&jwk.to_string(), None, None).unwrap();
        assert_eq!((key.algorithm, key.kid.as_str()), (algorithm, kid));
        for member in ["x", "y", "n", "e"] {
            assert_eq!(key.public.get(member), jwk.get(member), "{algorithm} {member}");
        }
        assert!(key.public.get("d").is_none() && key.public["alg"] == algorithm.name());
    }
}

#[test]
fn pem_in_every_form_gives_the_same_key_named_by_its_thumbprint_or_as_said() {
    for jwk in [ec(), ed(), rsa()] {
        let text = without(jwk, "kid");
        let key = read(&text, None, None).unwrap();
        let inner = inside(&key.pkcs8);
        let mut forms = vec![pem("PRIVATE KEY", &key.pkcs8)];
        match key.algorithm {
            Algorithm::Es256 => {
                // SEC1 names the curve itself.
                let curve = der::tagged(0, &[&[OBJECT_ID, 8], P_256].concat());
                let (fields, _) = der::take(SEQUENCE, &inner).unwrap();
                let (secret, rest) = der::take(OCTET_STRING, der::take(INTEGER, fields).unwrap().1).unwrap();
                let sec1 = der::sequence(&[&der::integer(&[1]), &der::octet_string(secret), &curve, rest]);
                forms.push(pem("EC PRIVATE KEY", &sec1));
                forms.push(format!("{}{}", pem("EC PARAMETERS", P_256), pem("EC PRIVATE KEY", &sec1)));
            }
            Algorithm::Rs256 => forms.push(pem("RSA PRIVATE KEY", &inner)),
            _ => {
                let v2 = NewKey::generate(Algorithm::EdDsa, &SystemEntropy::new()).unwrap();
                assert_eq!(read(&pem("PRIVATE KEY", &v2.pkcs8), None, None).unwrap().kid, v2.kid);
            }
        }
        for form in forms {
            let read_back = read(&form, None, None).unwrap();
            assert_eq!((&read_back.kid, &read_back.public), (&key.kid, &key.public), "{}", &form[..30]);
            let named = Kid::parse("the-old-name").unwrap();
            assert_eq!(read(&form, Some(named.clone()), None).unwrap().kid, named);
        }
    }
}

#[test]
fn an_rsa_key_signs_pss_when_asked() {
    let text = without(rsa(), "alg");
    assert_eq!(read(&text, None, Some(Algorithm::Ps256)).unwrap().public["alg"], "PS256");
    let refused = read(&rsa().to_string(), None, Some(Algorithm::Ps256)).unwrap_err();
    assert_eq!(refused, ImportError::Algorithm { wanted: Algorithm::Ps256, fits: "RS256" }, "the JWK says RS256");
}

#[test]
fn what_does_not_fit_is_refused_and_says_what_to_do() {
    let p384 = der::sequence(&[
        &der::integer(&[0]),
        &der::sequence(&[&[&[OBJECT_ID, 7], EC_PUBLIC_KEY].concat(), &[OBJECT_ID, 5, 0x2b, 0x81, 0x04, 0x00, 0x22]]),
        &der::octet_string(&der::sequence(&[&der::integer(&[1]), &der::octet_string(&[7; 48])])),
    ]);
    let mut no_public = read(&ec().to_string(), None, None).unwrap().pkcs8.to_vec();
    let point = no_public.len() - 70;
    no_public.truncate(point);
    let bare = der::sequence(&[&der::integer(&[1]), &der::octet_string(&[7; 32])]);
    let bare = der::sequence(&[&der::integer(&[0]), spki::EC_P256, &der::octet_string(&bare)]);
    let small = |bits: usize| {
        let n = vec![0xff; bits / 8];
        let parts = [&der::integer(&[0]), &der::integer(&n), &der::integer(&[1, 0, 1])].map(|part| part.to_vec());
        pem("RSA PRIVATE KEY", &der::sequence(&parts.each_ref().map(Vec::as_slice)))
    };
    let low_exponent = with(rsa(), "e", json!("Aw"));
    let set = json!({ "keys": [ec()] }).to_string();
    let two = format!("{0}{0}", pem("PRIVATE KEY", &read(&ec().to_string(), None, None).unwrap().pkcs8));
    let rows: Vec<(String, ImportError)> = vec![
        (String::new(), ImportError::NotAKey),
        ("hunter2".into(), ImportError::NotAKey),
        ("{}".into(), ImportError::NotAKey),
        ("{".into(), ImportError::Damaged("JWK")),
        ("-----BEGIN PRIVATE KEY-----".into(), ImportError::Damaged("PEM")),
        (pem("PRIVATE KEY", &[1, 2, 3]), ImportError::Damaged("PKCS#8 key")),
        (pem("PRIVATE KEY", &no_public), ImportError::Damaged("PKCS#8 key")),
        (pem("ENCRYPTED PRIVATE KEY", &[1]), ImportError::Encrypted),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----".into(),
            ImportError::Encrypted,
        ),
        (pem("OPENSSH PRIVATE KEY", &[1]), ImportError::OpenSsh),
        (pem("PUBLIC KEY", &[1]), ImportError::Public),
        (pem("CERTIFICATE", &[1]), ImportError::Public),
        (without(ec(), "d"), ImportError::Public),
        (without(rsa(), "d"), ImportError::Public),
        (set, ImportError::Several),
        (two, ImportError::Several),
        (json!({ "kty": "oct", "k": "AAAA" }).to_string(), ImportError::Kind("a symmetric key")),
        (pem("PRIVATE KEY", &p384), ImportError::Curve("P-384")),
        (with(ec(), "crv", json!("P-521")), ImportError::Curve("P-521")),
        (with(ed(), "crv", json!("Ed448")), ImportError::Curve("Ed448")),
        (pem("PRIVATE KEY", &bare), ImportError::NoPublicHalf),
        (without(ec(), "y"), ImportError::NoPublicHalf),
        (small(1024), ImportError::RsaSize(1024)),
        (small(2047 / 8 * 8), ImportError::RsaSize(2040)),
        (small(8192), ImportError::RsaSize(8192)),
        (low_exponent, ImportError::RsaExponent),
        (without(rsa(), "qi"), ImportError::RsaPrimes),
        (with(ec(), "use", json!("enc")), ImportError::Use("use")),
        (with(ec(), "key_ops", json!(["deriveKey"])), ImportError::Use("key_ops")),
        (with(ec(), "alg", json!("ES384")), ImportError::Use("alg")),
        (with(ec(), "alg", json!("RS256")), ImportError::Algorithm { wanted: Algorithm::Rs256, fits: "ES256" }),
        // Halves of two keys.
        (with(ec(), "d", json!("x70MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE")), ImportError::Inconsistent),
        (with(ed(), "x", json!("21qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")), ImportError::Inconsistent),
    ];
    for (text, expected) in rows {
        assert_eq!(refusal(&text), expected, "{}", &text[..text.len().min(60)]);
    }
    let refused = read(&ec().to_string(), Some(Kid::parse("2").unwrap()), None).unwrap_err();
    assert_eq!(refused, ImportError::TwoIds);
    assert!(matches!(refusal(&with(ec(), "kid", json!("a b"))), ImportError::Id(_)));
    let (ours, other) = (ec().to_string(), Some(Algorithm::EdDsa));
    assert!(matches!(read(&ours, None, other).unwrap_err(), ImportError::Algorithm { .. }));
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in ".{0,200}", der in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&text, None, None);
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
            let _ = read(&pem(label, &der), None, None);
        }
    }

    #[test]
    fn no_changed_byte_gives_another_key_unnoticed(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let key = read(&without(ec(), "kid"), None, None).unwrap();
        let mut der = key.pkcs8.to_vec();
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        if let Ok(changed) = read(&pem("PRIVATE KEY", &der), None, None) {
            prop_assert_eq!(changed.kid, key.kid, "only what does not matter was changed");
        }
    }
}
