//! JSON with only one meaning, as a security decision needs it. Duplicate members and deep nesting are
//! refused.
//!
//! Texts are borrowed from the input unless they have escapes: a token is read once or twice for each
//! request, and little of it is kept.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::TokenError;

/// The deepest nesting that is read. The deepest legitimate token has the 16 nested `act` objects that the
/// actor chain allows. A token with a depth between the two is refused with a more specific error.
const MAX_DEPTH: u8 = 24;

/// Up to this many members are compared with each other; if there are more, sorting them is cheaper.
const FEW: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Object<'a>),
}

/// The members of a JSON object as they were written. No two have the same name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    pub(crate) fn to_map(&self) -> Map<String, Value> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_value())).collect()
    }

    fn has_duplicates(&self) -> bool {
        if self.0.len() <= FEW {
            let mut rest = self.0.iter();
            while let Some((name, _)) = rest.next() {
                if rest.clone().any(|(other, _)| other == name) {
                    return true;
                }
            }
            return false;
        }
        let mut names: Vec<&str> = self.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        !names.is_sorted_by(|one, next| one < next)
    }
}

impl Json<'_> {
    /// The text that it is, if it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.as_ref().to_owned()),
            Self::List(items) => Value::Array(items.iter().map(Json::to_value).collect()),
            Self::Object(members) => Value::Object(members.to_map()),
        }
    }
}

/// Reads one JSON object.
pub(crate) fn object(json: &[u8]) -> Result<Object<'_>, TokenError> {
    let fault = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = Node { depth: 0, fault: &fault }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Json::Object(members)) => Ok(members),
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
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        // Room for the claims of a token, so that the list does not grow step by step.
        let mut members = Object(Vec::with_capacity(if self.depth == 0 { 14 } else { 3 }));
        while let Some(name) = access.next_key_seed(Name)? {
            members.0.push((name, access.next_value_seed(inner)?));
        }
        if members.has_duplicates() {
            self.fault.set(Some(TokenError::DuplicateMember));
            return Err(A::Error::custom("duplicate member"));
        }
        Ok(Json::Object(members))
    }
}

/// Reads the name of a member. `Cow` by itself would always be read owned.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{FEW, Json, object};
    use crate::error::TokenError;
    use proptest::prelude::*;

    #[test]
    fn a_duplicate_member_is_refused_at_every_depth() {
        for json in [r#"{"a":1,"a":1}"#, r#"{"o":{"a":1,"a":2}}"#, r#"{"l":[{"a":1,"\u0061":2}]}"#] {
            assert_eq!(object(json.as_bytes()), Err(TokenError::DuplicateMember), "{json}");
        }
    }

    #[test]
    fn a_duplicate_member_is_found_among_few_and_among_many() {
        for count in [2, FEW - 1, FEW, FEW + 1, 200] {
            let mut members: Vec<String> = (0..count).map(|n| format!("\"m{n}\":{n}")).collect();
            let json = format!("{{{}}}", members.join(","));
            assert_eq!(object(json.as_bytes()).unwrap().iter().count(), count);
            for twice in [0, count / 2, count - 1] {
                members.push(format!("\"m{twice}\":0"));
                let json = format!("{{{}}}", members.join(","));
                assert_eq!(object(json.as_bytes()), Err(TokenError::DuplicateMember), "m{twice} of {count}");
                members.pop();
            }
        }
    }

    #[test]
    fn texts_are_borrowed_unless_they_have_escapes() {
        let json = br#"{"plain":"a","esc\u0061ped":"b\n"}"#;
        let members = object(json).unwrap();
        let borrowed: Vec<_> = members.0.iter().map(|(name, _)| matches!(name, Cow::Borrowed(_))).collect();
        assert_eq!(borrowed, [true, false]);
        assert!(matches!(members.get("plain"), Some(Json::Text(Cow::Borrowed("a")))));
        assert_eq!(members.get("escaped"), Some(&Json::Text("b\n".into())));
    }

    #[test]
    fn deep_json_is_refused_without_recursion_to_the_end() {
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
                prop_assert_eq!(serde_json::Value::Object(map.to_map()), plain);
            }
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }
    }
}
