//! What is allowed in more detail than scopes can say: `authorization_details` (RFC 9396).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The most objects in one list.
const MAX_DETAILS: usize = 16;
/// The longest list, in bytes of compact JSON: a token has room for it beside everything else.
const MAX_DETAILS_LEN: usize = 4096;
/// The deepest nesting inside one object.
const MAX_DEPTH: u8 = 8;
/// The longest `type`, in bytes.
const MAX_TYPE_LEN: usize = 256;
/// The greatest integer that every reader of JSON has exactly (RFC 7493 §2.2).
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why a list is not acceptable as authorization details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDetails {
    /// More than 16 objects.
    #[error("more than {MAX_DETAILS} objects")]
    TooMany,
    /// More than 4096 bytes of compact JSON.
    #[error("longer than {MAX_DETAILS_LEN} bytes")]
    TooLong,
    /// An object has no `type`, or one that is no text of 1 to 256 bytes (RFC 9396 §2).
    #[error("an object without a type")]
    Type,
    /// An object is nested deeper than 8.
    #[error("nested too deep")]
    TooDeep,
    /// A number is not an integer that every reader has exactly (RFC 7493 §2.2).
    #[error("a number that is not an integer between -(2^53 - 1) and 2^53 - 1")]
    Number,
    /// A text or the name of a member has a control character, which could forge lines of a log.
    #[error("a control character")]
    Control,
}

/// A list of objects, each with a `type` (RFC 9396 §2). The list keeps its order. The members of an object
/// have none (RFC 8259 §1) and are sorted, so that equal lists have one text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Details(Vec<Map<String, Value>>);

impl Details {
    /// Takes the list, or refuses it. The reader of the JSON has to refuse two members of the same name.
    pub fn new(mut objects: Vec<Map<String, Value>>) -> Result<Self, InvalidDetails> {
        if objects.len() > MAX_DETAILS {
            return Err(InvalidDetails::TooMany);
        }
        for object in &objects {
            let named = object
                .get("type")
                .and_then(Value::as_str)
                .is_some_and(|name| (1..=MAX_TYPE_LEN).contains(&name.len()));
            if !named {
                return Err(InvalidDetails::Type);
            }
            check_members(object, MAX_DEPTH)?;
        }
        for object in &mut objects {
            object.sort_keys();
            object.values_mut().for_each(Value::sort_all_objects);
        }
        // A map with text keys always has a JSON form.
        let len = if objects.is_empty() {
            0
        } else {
            serde_json::to_vec(&objects).map_or(usize::MAX, |json| json.len())
        };
        if len > MAX_DETAILS_LEN { Err(InvalidDetails::TooLong) } else { Ok(Self(objects)) }
    }

    /// Whether nothing is said in detail.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of each object, in their order: compact JSON, members sorted.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = String> {
        // Writing a map with text keys cannot fail.
        self.0.iter().map(|object| serde_json::to_string(object).unwrap_or_default())
    }

    /// The objects, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Map<String, Value>> {
        self.0.iter()
    }
}

fn check_members(object: &Map<String, Value>, depth: u8) -> Result<(), InvalidDetails> {
    object.iter().try_for_each(|(name, value)| check_text(name).and_then(|()| check(value, depth)))
}

/// `depth`: how many further levels there may be.
fn check(value: &Value, depth: u8) -> Result<(), InvalidDetails> {
    let inner = || depth.checked_sub(1).ok_or(InvalidDetails::TooDeep);
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if size.is_some_and(|size| size <= MAX_INTEGER) { Ok(()) } else { Err(InvalidDetails::Number) }
        }
        Value::String(text) => check_text(text),
        Value::Array(items) => {
            let depth = inner()?;
            items.iter().try_for_each(|item| check(item, depth))
        }
        Value::Object(members) => check_members(members, inner()?),
    }
}

fn check_text(text: &str) -> Result<(), InvalidDetails> {
    if text.chars().any(char::is_control) { Err(InvalidDetails::Control) } else { Ok(()) }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Details, InvalidDetails, MAX_DETAILS, MAX_DETAILS_LEN};

    fn of(list: Value) -> Result<Details, InvalidDetails> {
        let Value::Array(items) = list else { panic!("not a list") };
        let objects = items.into_iter().map(|item| item.as_object().unwrap().clone()).collect();
        Details::new(objects)
    }

    /// The example of RFC 9396 §2, its amount being a text.
    fn payment() -> Value {
        json!({
            "type": "payment_initiation", "locations": ["https://example.com/payments"],
            "instructedAmount": {"currency": "EUR", "amount": "123.50"}, "creditorName": "Merchant A",
        })
    }

    #[test]
    fn keeps_what_it_is_given_in_order_and_compares_by_value() {
        let both = of(json!([payment(), {"type": "account", "max": 9_007_199_254_740_991_u64}])).unwrap();
        assert_eq!(
            serde_json::to_value(&both).unwrap(),
            json!([payment(), {"type": "account", "max": 9_007_199_254_740_991_u64}])
        );
        let read = |text: &str| serde_json::from_str::<Details>(text).unwrap();
        let (one, other) = (
            read(r#"[{"type":"a","n":{"c":1,"b":[{"z":2,"y":3}]}}]"#),
            read(r#"[ {"n":{"b":[{"y":3,"z":2}],"c":1}, "type":"\u0061"} ]"#),
        );
        assert_eq!(one, other);
        let text = |details: &Details| serde_json::to_string(details).unwrap();
        assert_eq!(
            (text(&one), text(&other)),
            (r#"[{"n":{"b":[{"y":3,"z":2}],"c":1},"type":"a"}]"#.into(), text(&one))
        );
        assert_ne!(read(r#"[{"type":"a"},{"type":"b"}]"#), read(r#"[{"type":"b"},{"type":"a"}]"#));
        assert!(of(json!([])).unwrap().is_empty());
    }

    #[test]
    fn refuses_what_is_untyped_or_has_no_single_meaning() {
        use InvalidDetails as E;
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        let with = |value: Value| json!([{"type": "a", "v": value}]);
        for (list, why) in [
            (json!([{}]), E::Type),
            (json!([payment(), {"type": 7}]), E::Type),
            (json!([{"type": ""}]), E::Type),
            (json!([{"type": "x".repeat(257)}]), E::Type),
            (with(json!(1.5)), E::Number),
            (with(json!(1e300)), E::Number),
            (with(json!(9_007_199_254_740_992_u64)), E::Number),
            (with(json!(-9_007_199_254_740_992_i64)), E::Number),
            (with(json!({"deep": [2.0]})), E::Number),
            (with(json!("a\nb")), E::Control),
            (json!([{"type": "a", "v\u{7f}": 1}]), E::Control),
            (with(nested(9)), E::TooDeep),
            (with(json!("x".repeat(MAX_DETAILS_LEN))), E::TooLong),
            (Value::from(vec![json!({"type": "a"}); MAX_DETAILS + 1]), E::TooMany),
        ] {
            assert_eq!(of(list.clone()), Err(why), "{list}");
        }
        assert!(of(with(nested(8))).is_ok());
        assert!(of(with(json!(-9_007_199_254_740_991_i64))).is_ok());
        assert!(of(Value::from(vec![json!({"type": "a"}); MAX_DETAILS])).is_ok());
    }
}
