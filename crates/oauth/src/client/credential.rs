//! The credential of a client: exactly one method (RFC 6749 §2.3). Nothing is verified here.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mandate_core::Secret;
use mandate_core::names::{AssertionType, Parameter};

use crate::claimed;
use crate::form::{Form, decode_alone};
use crate::parameter::Required;
use crate::refusal::RequestRefusal;
use crate::request::{FormRequest, Repeated};

/// The credential with which a request proves its client.
pub(crate) enum Credential<'f> {
    Basic {
        id: String,
        secret: Secret,
    },
    Post {
        id: &'f str,
        secret: Secret,
    },
    SpiffeJwt(&'f str),
    /// `private_key_jwt`, or the token of a platform.
    JwtBearer(&'f str),
    Nothing {
        id: &'f str,
    },
}

impl<'f> Credential<'f> {
    pub(crate) fn read(request: &FormRequest<'_>, form: &'f Form<'_>) -> Result<Self, RequestRefusal> {
        let by_assertion = form.has(Parameter::ClientAssertion) || form.has(Parameter::ClientAssertionType);
        let header = request
            .headers
            .single("authorization")
            .map_err(|Repeated| RequestRefusal::AuthorizationHeader("it is repeated"))?;
        if usize::from(by_assertion)
            + usize::from(form.has(Parameter::ClientSecret))
            + usize::from(header.is_some())
            > 1
        {
            return Err(RequestRefusal::ClientMethods);
        }
        if let Some(secret) = form.get(Parameter::ClientSecret) {
            let id = Required(Parameter::ClientId).read(form)?;
            return Ok(Self::Post { id, secret: Secret::new(secret) });
        }
        if by_assertion {
            let assertion = Required(Parameter::ClientAssertion).read(form)?;
            let name = Required(Parameter::ClientAssertionType).read(form)?;
            return match AssertionType::named(name).ok_or(RequestRefusal::ClientMethodUnsupported)? {
                AssertionType::JwtSpiffe => Ok(Self::SpiffeJwt(assertion)),
                AssertionType::JwtBearer => Ok(Self::JwtBearer(assertion)),
            };
        }
        match header {
            Some(header) => basic(header),
            None => form
                .get(Parameter::ClientId)
                .map(|id| Self::Nothing { id })
                .ok_or(RequestRefusal::ClientMissing),
        }
    }

    /// The id that it names, unless an assertion does.
    pub(crate) fn named(&self) -> Option<&str> {
        match self {
            Self::Basic { id, .. } => Some(id),
            Self::Post { id, .. } | Self::Nothing { id } => Some(id),
            Self::SpiffeJwt(_) | Self::JwtBearer(_) => None,
        }
    }

    /// Who it claims to be, for the record of a failure.
    pub(crate) fn claimed(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Basic { id, .. } => Some(Cow::Borrowed(id)),
            Self::Post { id, .. } | Self::Nothing { id } => Some(Cow::Borrowed(id)),
            Self::SpiffeJwt(token) | Self::JwtBearer(token) => claimed::subject(token).map(Cow::Owned),
        }
    }
}

/// `client_secret_basic`: both halves are form-encoded before they are joined (RFC 6749 §2.3.1).
fn basic<'f>(header: &str) -> Result<Credential<'f>, RequestRefusal> {
    let (scheme, encoded) = header
        .split_once(' ')
        .ok_or(RequestRefusal::AuthorizationHeader("no credentials after the scheme"))?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(RequestRefusal::ClientMethodUnsupported);
    }
    let joined = Secret::new(
        STANDARD
            .decode(encoded.trim_start_matches(' '))
            .map_err(|_| RequestRefusal::AuthorizationHeader("not base64"))?,
    );
    let bytes = joined.expose_secret();
    let at = bytes.iter().position(|b| *b == b':').ok_or(RequestRefusal::AuthorizationHeader("no colon"))?;
    let part = |bytes: Option<&[u8]>| {
        decode_alone(bytes.unwrap_or_default())
            .map(Cow::into_owned)
            .map_err(|_| RequestRefusal::AuthorizationHeader("not form-encoded"))
    };
    Ok(Credential::Basic { id: part(bytes.get(..at))?, secret: Secret::new(part(bytes.get(at + 1..))?) })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use mandate_core::names::{AssertionType, Parameter};

    use super::Credential;
    use crate::form::Form;
    use crate::refusal::RequestRefusal;
    use crate::request::{FormRequest, Headers};

    const JWT_BEARER: AssertionType = AssertionType::JwtBearer;
    const JWT_SPIFFE: AssertionType = AssertionType::JwtSpiffe;

    fn read(authorization: &[&str], body: &str) -> Result<String, RequestRefusal> {
        let source = mandate_core::RequestSource::Other;
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let (url, headers) = ("https://m.example/token", Headers::new(&headers));
        let request =
            FormRequest { source, method: "POST", url, headers, body: body.as_bytes(), proven: None };
        let form = Form::parse(body.as_bytes()).unwrap();
        Credential::read(&request, &form).map(|credential| match credential {
            Credential::Basic { id, secret } => format!("basic {id} {}", secret.expose_secret_str().unwrap()),
            Credential::Post { id, secret } => format!("post {id} {}", secret.expose_secret_str().unwrap()),
            Credential::SpiffeJwt(token) => format!("spiffe {token}"),
            Credential::JwtBearer(token) => format!("private {token}"),
            Credential::Nothing { id } => format!("nothing {id}"),
        })
    }

    fn basic(joined: &str) -> String {
        format!("Basic {}", STANDARD.encode(joined))
    }

    #[test]
    fn each_method_is_recognized() {
        assert_eq!(read(&[&basic("app:secret")], ""), Ok("basic app secret".into()));
        assert_eq!(
            read(&[&basic("my+app:p%3A%25:x")], ""),
            Ok("basic my app p:%:x".into()),
            "RFC 6749 section 2.3.1"
        );
        assert_eq!(
            read(&[], &format!("client_assertion=x&client_assertion_type={JWT_SPIFFE}")),
            Ok("spiffe x".into())
        );
        assert_eq!(
            read(&[], &format!("client_assertion=x&client_assertion_type={JWT_BEARER}")),
            Ok("private x".into())
        );
        assert_eq!(read(&[], "client_id=app&client_secret=p%3A%25x"), Ok("post app p:%x".into()));
        assert_eq!(read(&[], "client_id=app"), Ok("nothing app".into()));
    }

    #[test]
    fn exactly_one_method_and_only_those_offered() {
        let both = basic("app:secret");
        let header = |text: &str| read(&[text], "");
        assert_eq!(read(&[&both], "client_secret=x"), Err(RequestRefusal::ClientMethods));
        assert_eq!(read(&[&both], "client_assertion=x"), Err(RequestRefusal::ClientMethods));
        assert_eq!(read(&[], "client_secret=x&client_assertion_type=y"), Err(RequestRefusal::ClientMethods));
        assert_eq!(read(&[&both, &both], ""), Err(RequestRefusal::AuthorizationHeader("it is repeated")));
        assert_eq!(read(&[], "client_secret=x"), Err(RequestRefusal::Missing(Parameter::ClientId)));
        assert_eq!(
            read(&[], "client_assertion=x&client_assertion_type=urn:other"),
            Err(RequestRefusal::ClientMethodUnsupported)
        );
        assert_eq!(
            read(&[], "client_assertion=x"),
            Err(RequestRefusal::Missing(Parameter::ClientAssertionType))
        );
        assert_eq!(
            read(&[], &format!("client_assertion_type={JWT_BEARER}")),
            Err(RequestRefusal::Missing(Parameter::ClientAssertion))
        );
        assert_eq!(read(&[], "grant_type=x"), Err(RequestRefusal::ClientMissing));
        assert_eq!(header("Bearer abc"), Err(RequestRefusal::ClientMethodUnsupported));
        assert_eq!(
            header("Basic"),
            Err(RequestRefusal::AuthorizationHeader("no credentials after the scheme"))
        );
        assert_eq!(header("Basic !!"), Err(RequestRefusal::AuthorizationHeader("not base64")));
        assert_eq!(header(&basic("no colon")), Err(RequestRefusal::AuthorizationHeader("no colon")));
        assert_eq!(header(&basic("a:%zz")), Err(RequestRefusal::AuthorizationHeader("not form-encoded")));
    }
}
