//! JSON objects from strangers: no member twice at any depth (RFC 7515 §4, RFC 7519 §4), bounded depth. Two readers
//! that resolve a repeated member differently would otherwise see two different tokens.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one JSON object and nothing after it, nested at most `depth` levels deep, the object included. `None` for
/// anything else.
#[must_use]
pub fn parse_object(json: &[u8], depth: usize) -> Option<Map<String, Value>> {
    let mut from = serde_json::Deserializer::from_slice(json);
    let value = Strict(depth).deserialize(&mut from).ok()?;
    from.end().ok()?;
    if let Value::Object(map) = value { Some(map) } else { None }
}

/// How many levels may still be opened.
#[derive(Clone, Copy)]
struct Strict(usize);

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            let value = from.next_value_seed(inner)?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member twice"));
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(inner)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_one_object_without_repeats_and_not_too_deep_passes() {
        for good in ["{}", r#"{"a":1,"b":[null,true,-1.5,"x"],"c":{"a":2}}"#, " {} ", r#"{"a":{"b":{}}}"#] {
            assert!(parse_object(good.as_bytes(), 3).is_some(), "{good}");
        }
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "{}{}",
            "{} x",
            "{",
            r#"{"a":1,}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"b":1}]}"#,
            r#"{"a":{"b":{"c":{}}}}"#,
            r#"{"a":[[[]]]}"#,
            "{\"a\":\"\u{1}\"}",
            "{'a':1}",
            r#"{"a":1e999}"#,
        ] {
            assert!(parse_object(bad.as_bytes(), 3).is_none(), "{bad}");
        }
        assert!(parse_object(b"{\"a\":\"\xff\"}", 3).is_none(), "not UTF-8");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_the_same(value in json()) {
            let wrapped = serde_json::json!({ "v": value });
            let read = parse_object(wrapped.to_string().as_bytes(), 16);
            prop_assert_eq!(read.map(Value::Object), Some(wrapped));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse_object(&bytes, 4);
        }
    }
}
