//! Strict reading of `application/x-www-form-urlencoded` parameters (RFC 6749 Appendix B).
//!
//! With lenient form parsers, two readers of one request may disagree: one uses the first of two parameters,
//! the other the last; one repairs broken UTF-8, the other does not. Here every such request is refused.

use std::borrow::Cow;

use mandate_core::names::Parameter;
use memchr::memchr2;
use zeroize::Zeroize as _;

/// The largest request body or query, in bytes: three tokens of the largest size that is parsed, and room.
pub const MAX_BODY: usize = 64 * 1024;
/// The most parameters in one request.
pub const MAX_PARAMETERS: usize = 48;
/// The longest parameter name, in bytes after decoding.
pub const MAX_NAME: usize = 128;
/// The longest parameter value, in bytes after decoding.
pub const MAX_VALUE: usize = 16 * 1024;

/// The longest parameters of a pushed authorization request together, in bytes and encoded. Their browser
/// brings them back in the address.
pub const MAX_PUSHED: usize = 8 * 1024;

/// Why a form is refused. Names in it are cut and safe to show; values never appear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Larger than [`MAX_BODY`].
    #[error("it is larger than 64 KiB")]
    TooLarge,
    /// More than [`MAX_PARAMETERS`].
    #[error("it has more than 48 parameters")]
    TooMany,
    /// A name longer than [`MAX_NAME`].
    #[error("a parameter name is longer than 128 bytes")]
    NameTooLong,
    /// A value longer than [`MAX_VALUE`].
    #[error("the value of {0} is longer than 16 KiB")]
    ValueTooLong(String),
    /// `%` without two hexadecimal digits.
    #[error("a percent sign is not followed by two hexadecimal digits")]
    Percent,
    /// Not UTF-8 after decoding (RFC 6749 Appendix B).
    #[error("a parameter is not UTF-8")]
    Utf8,
    /// A control character: no parameter of OAuth has any (RFC 6749 Appendix A).
    #[error("a parameter has a control character, such as a line break")]
    Control,
    /// A parameter twice (RFC 6749 §3.1, §3.2).
    #[error("the parameter {0} is sent more than once")]
    Repeated(String),
    /// Not `application/x-www-form-urlencoded`.
    #[error("its Content-Type is not application/x-www-form-urlencoded")]
    ContentType,
}

/// The parameters of one request, decoded, in order of appearance. Values are borrowed where nothing was
/// encoded.
#[derive(Clone)]
pub struct Form<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl Drop for Form<'_> {
    /// Decoded values may be passwords and secrets. Borrowed values belong to the request's body.
    fn drop(&mut self) {
        for (_, value) in &mut self.pairs {
            if let Cow::Owned(text) = value {
                text.zeroize();
            }
        }
    }
}

impl std::fmt::Debug for Form<'_> {
    /// Names only: values may be tokens and passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

impl<'a> Form<'a> {
    /// Parses a request body or query string.
    ///
    /// Unknown parameters are kept and ignored (RFC 6749 §3.2) but count towards the limits and must not be
    /// repeated.
    pub fn parse(body: &'a [u8]) -> Result<Self, FormError> {
        if body.len() > MAX_BODY {
            return Err(FormError::TooLarge);
        }
        let body = std::str::from_utf8(body).map_err(|_| FormError::Utf8)?;
        if has_control(body) {
            return Err(FormError::Control);
        }
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::with_capacity(12);
        for part in body.split('&').filter(|part| !part.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name)?;
            if name.len() > MAX_NAME {
                return Err(FormError::NameTooLong);
            }
            let value = decode(value)?;
            if value.len() > MAX_VALUE {
                return Err(FormError::ValueTooLong(shown(&name)));
            }
            if Parameter::REPEATABLE.iter().all(|one| one.as_str() != name)
                && pairs.iter().any(|(other, _)| *other == name)
            {
                return Err(FormError::Repeated(shown(&name)));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// The value of a parameter. One sent without a value counts as omitted (RFC 6749 §3.1).
    pub fn get(&self, name: impl AsRef<str>) -> Option<&str> {
        let name = name.as_ref();
        self.pairs.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_ref())
    }

    /// Every value of a repeatable parameter.
    pub fn all(&self, name: Parameter) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(n, v)| n == name.as_str() && !v.is_empty()).map(|(_, v)| v.as_ref())
    }

    /// The first OAuth parameter in it that has a value.
    pub fn oauth_parameter(&self) -> Option<Parameter> {
        self.oauth_parameter_besides(&[])
    }

    /// The first OAuth parameter in it that has a value and is not one of `expected`.
    pub fn oauth_parameter_besides(&self, expected: &[Parameter]) -> Option<Parameter> {
        Parameter::ALL.iter().copied().find(|name| !expected.contains(name) && self.has(name))
    }

    /// Whether a parameter has a value.
    pub fn has(&self, name: impl AsRef<str>) -> bool {
        self.get(name).is_some()
    }
}

/// Whether a `Content-Type` header names a form. Parameters such as `charset` are ignored (RFC 6749 Appendix
/// B fixes UTF-8).
pub fn is_form(content_type: Option<&str>) -> bool {
    let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Decodes one name or value: `+` is a space, `%XX` a byte, the whole strict UTF-8 without control
/// characters. `text` itself has none.
fn decode(text: &str) -> Result<Cow<'_, str>, FormError> {
    let next = |rest: &[u8]| memchr2(b'%', b'+', rest);
    let mut rest = text.as_bytes();
    if next(rest).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    while let Some(at) = next(rest) {
        let (plain, encoded) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = match encoded {
            [b'+', rest @ ..] => {
                out.push(b' ');
                rest
            }
            [_, high, low, rest @ ..] => {
                let mut byte = [0];
                out.extend_from_slice(
                    base16ct::mixed::decode([*high, *low], &mut byte).map_err(|_| FormError::Percent)?,
                );
                rest
            }
            _ => return Err(FormError::Percent),
        };
    }
    out.extend_from_slice(rest);
    let decoded = String::from_utf8(out).map_err(|error| {
        error.into_bytes().zeroize();
        FormError::Utf8
    })?;
    if has_control(&decoded) { Err(FormError::Control) } else { Ok(Cow::Owned(decoded)) }
}

/// Decodes a name or value that is not part of a form but is encoded like one (RFC 6749 §2.3.1).
pub(crate) fn decode_alone(text: &[u8]) -> Result<Cow<'_, str>, FormError> {
    let text = std::str::from_utf8(text).map_err(|_| FormError::Utf8)?;
    if has_control(text) { Err(FormError::Control) } else { decode(text) }
}

/// Blocks are checked without an early exit, so that many bytes are checked at a time: tokens are long.
fn has_control(text: &str) -> bool {
    let (blocks, rest) = text.as_bytes().as_chunks::<64>();
    let any = |bytes: &[u8]| bytes.iter().fold(false, |found, b| found | b.is_ascii_control());
    blocks.iter().any(|block| any(block)) || any(rest)
}

/// A parameter name in a form that is safe for an error: printable ASCII without quotes and backslashes, cut.
fn shown(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).take(40).collect()
}

#[cfg(test)]
mod tests {
    use mandate_core::names::Parameter;

    use super::{Form, FormError, MAX_BODY, MAX_NAME, MAX_PARAMETERS, MAX_VALUE, is_form};

    #[test]
    fn decodes_plus_percent_and_utf_8() {
        let form = Form::parse(b"a=x+y%20z&b=%C3%A9&&c&d=").unwrap();
        assert_eq!(form.get("a"), Some("x y z"));
        assert_eq!(form.get("b"), Some("é"));
        assert!(!form.has("c") && !form.has("d"), "a parameter without a value counts as omitted");
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for (body, why) in [
            (&b"a=%"[..], FormError::Percent),
            (b"a=%4", FormError::Percent),
            (b"a=%zz", FormError::Percent),
            (b"a=%+1", FormError::Percent),
            (b"a=%ff", FormError::Utf8),
            (b"a=\xff", FormError::Utf8),
            (b"a=%C3%28", FormError::Utf8),
            (b"a=%C0%80", FormError::Utf8),
            (b"a=%00", FormError::Control),
            (b"a=%0d%0aX", FormError::Control),
            (b"a=\n", FormError::Control),
            (b"scope=a&scope=b", FormError::Repeated("scope".into())),
            (b"scope=&scope=b", FormError::Repeated("scope".into())),
            (b"sc%6fpe=a&scope=b", FormError::Repeated("scope".into())),
            (b"unknown=a&unknown=b", FormError::Repeated("unknown".into())),
        ] {
            assert_eq!(Form::parse(body).err(), Some(why), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn only_resource_and_audience_may_be_repeated() {
        let form = Form::parse(b"resource=a&resource=b&audience=c&audience=d").unwrap();
        assert_eq!(form.all(Parameter::Resource).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(form.all(Parameter::Audience).collect::<Vec<_>>(), ["c", "d"]);
    }

    #[test]
    fn every_size_is_bounded() {
        assert_eq!(Form::parse(&vec![b'a'; MAX_BODY + 1]).err(), Some(FormError::TooLarge));
        assert_eq!(Form::parse(&[b'a'; MAX_NAME + 1]).err(), Some(FormError::NameTooLong));
        let long = format!("v={}", "a".repeat(MAX_VALUE + 1));
        assert_eq!(Form::parse(long.as_bytes()).err(), Some(FormError::ValueTooLong("v".into())));
        let many: Vec<String> = (0..=MAX_PARAMETERS).map(|n| format!("p{n}=1")).collect();
        assert_eq!(Form::parse(many.join("&").as_bytes()).err(), Some(FormError::TooMany));
    }

    #[test]
    fn debug_shows_no_values() {
        let form = Form::parse(b"client_secret=hunter2").unwrap();
        let text = format!("{form:?}");
        assert!(text.contains("client_secret") && !text.contains("hunter2"));
    }

    #[test]
    fn a_content_type_is_a_form_or_is_not() {
        for good in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=UTF-8"]
        {
            assert!(is_form(Some(good)), "{good}");
        }
        for bad in [
            None,
            Some(""),
            Some("application/json"),
            Some("application/x-www-form-urlencodedx"),
            Some("text/plain"),
        ] {
            assert!(!is_form(bad), "{bad:?}");
        }
    }
}
