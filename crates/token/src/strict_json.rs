//! JSON as a security decision needs it: one meaning only. Duplicate members and deep nesting are refused.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::TokenError;

/// The deepest nesting that is read. The deepest legitimate token has the 16 nested `act` objects that the actor chain
/// allows; what lies between is refused with a more telling error.
const MAX_DEPTH: u8 = 24;

/// Reads one JSON object.
pub(crate) fn object(json: &[u8]) -> Result<Map<String, Value>, TokenError> {
    let fault = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = Node { depth: 0, fault: &fault }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(TokenError::Malformed("not a JSON object")),
        Err(_) => Err(fault.take().unwrap_or(TokenError::Malformed("not JSON"))),
    }
}

#[derive(Clone, Copy)]
struct Node<'f> {
    depth: u8,
    fault: &'f Cell<Option<TokenError>>,
}

impl Node<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            self.fault.set(Some(TokenError::TooDeep));
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        // Room for the claims of a token, so that a map does not grow step by step.
        let mut map = Map::with_capacity(if self.depth == 0 { 14 } else { 3 });
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            if map.insert(name, value).is_some() {
                self.fault.set(Some(TokenError::DuplicateMember));
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::object;
    use crate::error::TokenError;
    use proptest::prelude::*;

    #[test]
    fn a30_a_duplicate_member_is_refused_at_every_depth() {
        for json in [r#"{"a":1,"a":1}"#, r#"{"o":{"a":1,"a":2}}"#, r#"{"l":[{"a":1,"\u0061":2}]}"#] {
            assert_eq!(object(json.as_bytes()), Err(TokenError::DuplicateMember), "{json}");
        }
    }

    #[test]
    fn a7_deep_json_is_refused_without_recursion_to_the_end() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let json = format!(r#"{{"a":{}1{}}}"#, open.repeat(7000), close.repeat(7000));
            assert_eq!(object(json.as_bytes()), Err(TokenError::TooDeep));
        }
    }

    #[test]
    fn only_one_json_object_and_nothing_else() {
        for json in [
            "",
            " ",
            "null",
            "[]",
            "\"a\"",
            "1",
            "{",
            "{}{}",
            "{} x",
            "{\"a\":1,}",
            "\u{feff}{}",
            "{'a':1}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
        ] {
            assert!(matches!(object(json.as_bytes()), Err(TokenError::Malformed(_))), "{json}");
        }
        assert!(matches!(object(b"{\"a\":\"\xff\"}"), Err(TokenError::Malformed(_))), "not UTF-8");
        assert!(matches!(object(br#"{"a":"\ud800"}"#), Err(TokenError::Malformed(_))), "lone surrogate");
    }

    proptest! {
        #[test]
        fn agrees_with_the_ordinary_parser_where_it_accepts(text in "[\\[\\]{}\",:a0-9. \\-e]{0,64}") {
            if let Ok(map) = object(text.as_bytes()) {
                let plain: serde_json::Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(serde_json::Value::Object(map), plain);
            }
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }
    }
}
