//! A token's claims as a protobuf `Struct`, as the Workload API returns them.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// The same claims. A number becomes a number; beyond 2^53 it loses precision, as `Struct` only knows
/// doubles.
pub(crate) fn to_struct(claims: serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: claims.into_iter().map(|(name, value)| (name, to_value(value))).collect() }
}

fn to_value(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(truth) => Kind::BoolValue(truth),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.into_iter().map(to_value).collect() })
        }
        serde_json::Value::Object(members) => Kind::StructValue(to_struct(members)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::to_struct;
    use prost_types::value::Kind;
    use serde_json::json;

    #[test]
    fn every_kind_of_value_keeps_its_kind() {
        let claims = json!({"exp": 1_795_512_900, "neg": -1.5, "sub": "s", "aud": ["a", "b"], "ok": true, "none": null, "deep": {"n": 1}});
        let serde_json::Value::Object(claims) = claims else { panic!() };
        let out = to_struct(claims);
        let kind = |name: &str| out.fields[name].kind.clone().unwrap();
        assert_eq!(kind("exp"), Kind::NumberValue(1_795_512_900.0));
        assert_eq!(kind("neg"), Kind::NumberValue(-1.5));
        assert_eq!(kind("sub"), Kind::StringValue("s".into()));
        assert_eq!(kind("ok"), Kind::BoolValue(true));
        assert_eq!(kind("none"), Kind::NullValue(0));
        assert!(matches!(kind("aud"), Kind::ListValue(list) if list.values.len() == 2));
        assert!(
            matches!(kind("deep"), Kind::StructValue(inner) if inner.fields["n"].kind == Some(Kind::NumberValue(1.0)))
        );
    }
}
