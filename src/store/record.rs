//! How a typed value becomes bytes: JSON with a version field, framed with a checksum.
//!
//! Layout: CRC-32 of the key and the JSON (4 bytes, big-endian), then `{"v":<version>,"data":<value>}`. The key is part
//! of the checksum so that a value that turns up under another key is damage too. Errors name the key and never
//! repeat content.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::{Key, StoreError};

/// A type that is kept in the store.
pub trait Record: Serialize + DeserializeOwned {
    /// The format's version, from 1. Raise it when older versions of edi could not read what is written; the type must
    /// keep reading all earlier ones.
    const VERSION: u32;
}

#[derive(Serialize)]
struct Outgoing<'a, R> {
    v: u32,
    data: &'a R,
}

#[derive(Deserialize)]
struct Incoming<R> {
    v: u32,
    data: R,
}

#[derive(Deserialize)]
struct Head {
    v: u32,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

const FRAME: usize = 4;

/// The bytes that are stored for `record` under `key`.
///
/// # Errors
/// [`StoreError::Corrupt`] when the value has no JSON form.
pub fn encode<R: Record>(key: &Key, record: &R) -> Result<Vec<u8>, StoreError> {
    let mut out = vec![0; FRAME];
    let envelope = Outgoing { v: R::VERSION, data: record };
    serde_json::to_writer(&mut out, &envelope).map_err(|_| corrupt(key, "the value has no JSON form"))?;
    if let Some((frame, json)) = out.split_first_chunk_mut::<FRAME>() {
        *frame = checksum(key, json).to_be_bytes();
    }
    Ok(out)
}

/// The version of what [`encode`] wrote under `key`, of whatever type.
///
/// # Errors
/// [`StoreError::Corrupt`] for anything else.
pub fn version(key: &Key, bytes: &[u8]) -> Result<u32, StoreError> {
    Ok(parse::<Head>(key, unframe(key, bytes)?)?.v)
}

/// Reads what [`encode`] wrote under `key`.
///
/// # Errors
/// [`StoreError::Corrupt`] for anything else, [`StoreError::Newer`] for a version above [`Record::VERSION`].
pub fn decode<R: Record>(key: &Key, bytes: &[u8]) -> Result<R, StoreError> {
    let json = unframe(key, bytes)?;
    let newer = |found| StoreError::Newer { key: key.to_string(), found };
    match parse::<Incoming<R>>(key, json) {
        Ok(read) if read.v > R::VERSION => Err(newer(read.v)),
        Ok(read) => Ok(read.data),
        // A newer format need not parse as ours.
        Err(error) => match parse::<Head>(key, json) {
            Ok(head) if head.v > R::VERSION => Err(newer(head.v)),
            _ => Err(error),
        },
    }
}

fn unframe<'a>(key: &Key, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let (frame, json) = bytes.split_first_chunk::<FRAME>().ok_or_else(|| corrupt(key, "it is cut short"))?;
    if u32::from_be_bytes(*frame) != checksum(key, json) {
        return Err(corrupt(key, "its checksum does not match"));
    }
    Ok(json)
}

fn parse<T: DeserializeOwned>(key: &Key, json: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(json).map_err(|error| {
        // serde's own message may quote the value.
        corrupt(key, &format!("it does not parse ({:?} error at byte {})", error.classify(), error.column()))
    })
}

fn checksum(key: &Key, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_str().as_bytes());
    hasher.update(json);
    hasher.finalize()
}

fn corrupt(key: &Key, what: &str) -> StoreError {
    StoreError::Corrupt { key: key.to_string(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Pet {
        name: String,
        legs: u8,
        #[serde(default)]
        tags: Vec<String>,
    }

    impl Record for Pet {
        const VERSION: u32 = 2;
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Planet(String);

    impl Record for Planet {
        const VERSION: u32 = 3;
    }

    fn key() -> Key {
        Key::new("pet/1")
    }

    fn pet() -> Pet {
        Pet { name: "hunter2".into(), legs: 4, tags: vec!["a".into()] }
    }

    fn framed(json: &str) -> Vec<u8> {
        let mut out = checksum(&key(), json.as_bytes()).to_be_bytes().to_vec();
        out.extend_from_slice(json.as_bytes());
        out
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_damage() {
        let good = encode(&key(), &pet()).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode::<Pet>(&key(), &bad), Err(StoreError::Corrupt { key, .. }) if key == "pet/1"));
        }
        for length in 0..good.len() {
            assert!(matches!(decode::<Pet>(&key(), &good[..length]), Err(StoreError::Corrupt { .. })), "{length}");
        }
        assert!(decode::<Pet>(&Key::new("pet/2"), &good).is_err(), "a value under another's key");
    }

    #[test]
    fn a_newer_version_is_refused_whatever_it_looks_like() {
        let newer = encode(&key(), &Planet("Mars".into())).unwrap();
        assert_eq!(decode::<Pet>(&key(), &newer), Err(StoreError::Newer { key: "pet/1".into(), found: 3 }));
    }

    #[test]
    fn an_older_version_is_read() {
        let older = framed(r#"{"v":1,"data":{"name":"x","legs":2}}"#);
        assert_eq!(decode::<Pet>(&key(), &older), Ok(Pet { name: "x".into(), legs: 2, tags: Vec::new() }));
    }

    #[test]
    fn what_does_not_parse_is_damage_and_its_content_is_not_repeated() {
        for json in ["", "null", "{}", r#"{"v":1}"#, r#"{"v":"hunter2","data":{}}"#, r#"{"v":1,"data":"hunter2"}"#] {
            let error = decode::<Pet>(&key(), &framed(json)).unwrap_err();
            assert!(matches!(&error, StoreError::Corrupt { .. }), "{json}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn records_go_there_and_back(name in ".{0,40}", legs: u8, tags in proptest::collection::vec(".{0,8}", 0..4)) {
            let pet = Pet { name, legs, tags };
            prop_assert_eq!(decode::<Pet>(&key(), &encode(&key(), &pet).unwrap()), Ok(pet));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in ".{0,60}") {
            let _ = decode::<Pet>(&key(), &bytes);
            let _ = decode::<Pet>(&key(), &framed(&text));
        }
    }
}
