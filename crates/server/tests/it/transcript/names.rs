//! Placeholders for what differs from run to run.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::Timestamp;
use serde_json::Value;

/// The members that hold seconds since the epoch.
const SECONDS: [&str; 5] = ["iat", "exp", "nbf", "auth_time", "client_id_issued_at"];

/// Members that are replaced as a whole.
const REPLACED: [(&str, &str); 10] = [
    ("x", "<key>"),
    ("y", "<key>"),
    ("spiffe_sequence", "<sequence>"),
    ("root", "<hash>"),
    ("checkpoint", "<checkpoint>"),
    ("vkey", "<checkpoint key>"),
    ("audit_key", "<checkpoint key>"),
    ("hashes", "<hashes>"),
    ("leaf", "<record>"),
    ("version", "<version>"),
];

/// Numbers that are not the same in every run: how many records a log has, because nodes write some at times
/// of their own, and the space of the disk.
const NUMBERS: [&str; 5] = ["audit_size", "size", "index", "free", "total"];

/// A time that is further away is an example in a text.
const NEAR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The values that are known, and the kinds of values that are recognized.
pub(crate) struct Names {
    start: Timestamp,
    known: HashMap<String, String>,
    /// The known values, the longest first.
    order: Vec<String>,
    counts: HashMap<&'static str, usize>,
    /// Tokens that were named and not shown yet.
    decoded: Vec<String>,
}

impl Names {
    /// Times are counted from `start`.
    pub(crate) fn new(start: Timestamp) -> Self {
        Self { start, known: HashMap::new(), order: Vec::new(), counts: HashMap::new(), decoded: Vec::new() }
    }

    /// Always shows `value` as `placeholder`.
    pub(crate) fn fix(&mut self, value: &str, placeholder: &str) {
        assert!(!value.is_empty(), "{placeholder}");
        if self.known.insert(value.to_owned(), placeholder.to_owned()).is_none() {
            let at = self.order.partition_point(|other| other.len() >= value.len());
            self.order.insert(at, value.to_owned());
        }
    }

    /// The placeholder of a value of this kind: that of its first occurrence.
    pub(crate) fn name(&mut self, kind: &'static str, value: &str) -> String {
        if let Some(known) = self.known.get(value) {
            return known.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let placeholder = format!("<{kind} {count}>");
        self.fix(value, &placeholder);
        placeholder
    }

    /// The header and claims of the tokens that occurred for the first time.
    pub(crate) fn take_decoded(&mut self) -> Vec<String> {
        std::mem::take(&mut self.decoded)
    }

    fn time(&self, at: Timestamp) -> String {
        let (sign, distance) =
            if at >= self.start { ('+', at.since(self.start)) } else { ('-', self.start.since(at)) };
        let (seconds, millis) = (distance.as_secs(), distance.subsec_millis());
        let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
        if at == self.start { "<time 0 s>".to_owned() } else { format!("<time {sign}{seconds}{fraction} s>") }
    }

    /// A JSON document as lines, with sorted members.
    pub(crate) fn json(&mut self, value: &Value) -> String {
        let value = self.replaced(value);
        let text = serde_json::to_string_pretty(&value).unwrap();
        self.text(&text)
    }

    fn replaced(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let kind = members.get("kind").and_then(Value::as_str).unwrap_or_default();
                let sorted: BTreeMap<&String, &Value> = members.iter().collect();
                let mut replaced = serde_json::Map::new();
                for (key, value) in sorted {
                    replaced.insert(key.clone(), self.member(kind, key, value));
                }
                Value::Object(replaced)
            }
            Value::Array(items) => items.iter().map(|item| self.replaced(item)).collect(),
            other => other.clone(),
        }
    }

    fn member(&mut self, kind: &str, key: &str, value: &Value) -> Value {
        if let Some((_, placeholder)) =
            REPLACED.iter().find(|(name, _)| *name == key).filter(|_| !value.is_null())
        {
            return Value::from(*placeholder);
        }
        // A secret that a client is given is 32 random bytes.
        if let Some(secret) = value.as_str().filter(|text| key == "client_secret" && text.len() == 43) {
            return self.name("client secret", secret).into();
        }
        if let (true, Some(seconds)) = (SECONDS.contains(&key), value.as_u64()) {
            return self.time(Timestamp::from_secs(seconds)).into();
        }
        if NUMBERS.contains(&key) && value.is_number() {
            return "<number>".into();
        }
        match (key, value) {
            ("jti", Value::String(id)) => drop(self.name("jti", id)),
            ("parents", Value::Array(ids)) => {
                ids.iter().filter_map(Value::as_str).for_each(|id| drop(self.name("jti", id)));
            }
            ("kid", Value::String(id)) => drop(self.name("kid", id)),
            ("id", Value::String(id)) if is_uuid(id) => {
                drop(self.name(if kind == "token" { "jti" } else { "record" }, id));
            }
            ("record", Value::String(id)) => drop(self.name("record", id)),
            ("origin", Value::String(origin)) if origin.contains("/audit/") => return "<log>".into(),
            ("key", Value::String(key)) if key.contains('+') => return "<checkpoint key>".into(),
            // In addresses, the part before it is encoded.
            ("request_uri", Value::String(uri)) => {
                drop(self.name("request", uri.rsplit(':').next().unwrap_or(uri)));
            }
            ("device_code", Value::String(code)) => drop(self.name("device code", code)),
            ("user_code", Value::String(code)) => drop(self.name("user code", code)),
            ("refresh_token", Value::String(token)) => drop(self.name("refresh token", token)),
            ("token", Value::String(token)) if token.len() > 16 && jwt(token).is_none() => {
                drop(self.name("join token", token));
            }
            _ => {}
        }
        self.replaced(value)
    }

    /// A text with every known value, token, id and time replaced.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (taken, shown) = self.at(rest).unwrap_or_else(|| (first.len_utf8(), first.to_string()));
            out.push_str(&shown);
            rest = &rest[taken..];
        }
        out
    }

    /// What the beginning of a text is shown as, and how long it is.
    fn at(&mut self, text: &str) -> Option<(usize, String)> {
        if let Some(known) = self.order.iter().find(|known| text.starts_with(known.as_str())) {
            return Some((known.len(), self.known[known].clone()));
        }
        let word = &text[..text
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.:+".contains(c)))
            .unwrap_or(text.len())];
        let token = &word[..word.find([':', '+']).unwrap_or(word.len())];
        if let Some((header, claims)) = jwt(token) {
            return Some((token.len(), self.token(token, &header, &claims)));
        }
        if let Some(id) = word.get(..36).filter(|id| is_uuid(id)) {
            return Some((36, self.name("id", id)));
        }
        let time = &word[..word.find('Z').map_or(0, |at| at + 1)];
        let is_time = time.len() >= 20 && time.as_bytes()[4] == b'-' && time.as_bytes()[10] == b'T';
        let at = time
            .parse()
            .ok()
            .filter(|at| is_time && self.start.since(*at).max(at.since(self.start)) < NEAR)?;
        Some((time.len(), self.time(at)))
    }

    fn token(&mut self, token: &str, header: &Value, claims: &Value) -> String {
        let of_workload = claims["sub"].as_str().is_some_and(|sub| sub.starts_with("spiffe://"));
        let kind = match header["typ"].as_str() {
            Some("at+jwt") => "access token",
            _ if of_workload => "svid",
            _ => "jwt",
        };
        let name = self.name(kind, token);
        let signature = if token.ends_with('.') { "(no signature)" } else { "<signature>" };
        // The ids in it get their kind from its members.
        let (header, claims) = (self.json(header), self.json(claims));
        self.decoded.push(format!("{name} is\n{header}\n{claims}\n{signature}"));
        name
    }
}

fn is_uuid(text: &str) -> bool {
    let is_place = |(at, byte): (usize, u8)| {
        if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    text.len() == 36 && text.bytes().enumerate().all(is_place)
}

/// The header and claims of a JWT.
fn jwt(text: &str) -> Option<(Value, Value)> {
    let [header, claims, _] = text.split('.').collect::<Vec<_>>().try_into().ok()?;
    let part = |part: &str| {
        serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok().filter(Value::is_object)
    };
    Some((part(header)?, part(claims)?))
}
