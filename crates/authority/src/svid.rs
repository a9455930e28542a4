//! The grant for which a JWT-SVID is signed.

use std::time::Duration;

use mandate_audit::{Outcome, Record, RecordKind};
use mandate_core::hybrid_clock::shortened;
use mandate_core::lifetimes::JWT_SVID_LIFETIME;
use mandate_core::{
    Actor, ActorChain, Issuer, KnownTerms, Said, SpiffeId, SubjectProfile, Timestamp, TokenId, TrustDomain,
};

use crate::lint::claims::ClaimsLint;
use crate::mismatch::Mismatch;

/// The most audiences that one JWT-SVID may have (JWT-SVID §3.2 recommends one).
pub const MAX_AUDIENCES: usize = 8;

/// The longest audience, in bytes.
pub const MAX_AUDIENCE_LEN: usize = 512;

/// Paths, with all below them, of identities that are the authority's own and are never an agent's.
const RESERVED: &[&str] = &["/node", "/mandate"];

/// One JWT-SVID that is to be issued. It signs nothing by itself: it needs the receipt of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSvidGrant {
    spiffe_id: SpiffeId,
    audiences: Vec<String>,
    jti: TokenId,
    issued: Timestamp,
    expires: Timestamp,
}

impl JwtSvidGrant {
    /// For `spiffe_id` of `trust_domain`, to be shown to `audiences`, from `now` on for five minutes.
    pub fn new(
        trust_domain: &TrustDomain,
        spiffe_id: SpiffeId,
        audiences: Vec<String>,
        jti: TokenId,
        now: Timestamp,
    ) -> Result<Self, ClaimsLint> {
        let path = spiffe_id.path();
        if !spiffe_id.is_member_of(trust_domain) || path.is_empty() || is_reserved(&spiffe_id) {
            return Err(ClaimsLint::Identity);
        }
        if audiences.is_empty()
            || audiences.len() > MAX_AUDIENCES
            || !audiences.iter().all(|audience| is_audience(audience))
        {
            return Err(ClaimsLint::Audience);
        }
        Ok(Self { spiffe_id, audiences, jti, issued: now, expires: now.plus(JWT_SVID_LIFETIME) })
    }

    /// The same, issued while the machine's clock is behind by this time: its lifetime is shorter by this,
    /// but at least a minute.
    #[must_use]
    pub fn behind(self, behind: Duration) -> Self {
        Self { expires: self.issued.plus(shortened(JWT_SVID_LIFETIME, behind)), ..self }
    }

    /// The SPIFFE ID of the agent.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Its `aud`: the parties to which it may be shown, 1 to 8.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Its `jti` (RFC 7519 §4.1.7).
    pub fn jti(&self) -> &TokenId {
        &self.jti
    }

    /// Its `iat` (RFC 7519 §4.1.6).
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// Its `exp` (RFC 7519 §4.1.4).
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// What a receipt for this grant must say, and nothing else but the client; `issuer` names the actor.
    pub fn known(&self, issuer: &Issuer) -> KnownTerms {
        let actor = Actor {
            sub: self.spiffe_id.as_str().to_owned(),
            iss: issuer.clone(),
            sub_profile: Some(SubjectProfile::AiAgent),
        };
        KnownTerms {
            // One actor of bounded length is always a valid chain.
            act: ActorChain::new(vec![actor]).unwrap_or_default(),
            aud: Some(self.audiences.join(" ")),
            jti: Some(self.jti.clone()),
            exp: Some(self.expires),
            ..KnownTerms::default()
        }
    }

    /// Whether `record` says that exactly this was permitted.
    pub(crate) fn matches(&self, issuer: &Issuer, record: &Record) -> Result<(), Mismatch> {
        if record.kind != RecordKind::Identity {
            return Err(Mismatch::Kind);
        }
        if record.outcome != Outcome::Permitted {
            return Err(Mismatch::Outcome);
        }
        let (known, said) = (self.known(issuer), record.said());
        // The client in the record is the node that attested the process. The JWT-SVID does not name it.
        let due = Said { client: said.client, ..known.said() };
        due.first_difference(&said).map_or(Ok(()), |term| Err(Mismatch::Term(term)))
    }
}

/// Whether an identity is one that only the authority itself gives out.
pub fn is_reserved(id: &SpiffeId) -> bool {
    let path = id.path();
    RESERVED
        .iter()
        .any(|own| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Printable ASCII without spaces: audiences are space-separated in records.
fn is_audience(text: &str) -> bool {
    (1..=MAX_AUDIENCE_LEN).contains(&text.len()) && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
}

#[cfg(test)]
mod tests {
    use mandate_core::{SpiffeId, Timestamp, TokenId, TrustDomain};

    use super::{JwtSvidGrant, MAX_AUDIENCE_LEN, MAX_AUDIENCES};
    use crate::lint::claims::ClaimsLint;

    fn grant(id: &str, audiences: &[&str]) -> Result<JwtSvidGrant, ClaimsLint> {
        let domain: TrustDomain = "acme.example".parse().unwrap();
        let id: SpiffeId = id.parse().unwrap();
        let jti: TokenId = "t-1".parse().unwrap();
        JwtSvidGrant::new(
            &domain,
            id,
            audiences.iter().map(|&a| a.to_owned()).collect(),
            jti,
            Timestamp::from_secs(100),
        )
    }

    #[test]
    fn lives_five_minutes() {
        let grant = grant("spiffe://acme.example/agent/a", &["https://mandate.example"]).unwrap();
        assert_eq!(grant.expires(), Timestamp::from_secs(400));
    }

    #[test]
    fn refuses_other_trust_domains_the_domain_itself_and_reserved_identities() {
        for id in [
            "spiffe://other.example/agent/a",
            "spiffe://acme.example",
            "spiffe://acme.example/node/n1",
            "spiffe://acme.example/node",
            "spiffe://acme.example/mandate/server",
            "spiffe://acme.example/mandate/server/a",
        ] {
            assert_eq!(grant(id, &["x"]), Err(ClaimsLint::Identity), "{id}");
        }
        assert!(grant("spiffe://acme.example/mandates", &["x"]).is_ok());
        assert!(grant("spiffe://acme.example/nodes/a", &["x"]).is_ok());
    }

    #[test]
    fn refuses_no_audience_empty_ones_too_many_and_too_long_ones() {
        let id = "spiffe://acme.example/agent/a";
        let long = "x".repeat(MAX_AUDIENCE_LEN + 1);
        let many = vec!["x"; MAX_AUDIENCES + 1];
        for audiences in [&[][..], &[""], &["a", ""], &["a b"], &["a\n"], &["ä"], &[long.as_str()], &many] {
            assert_eq!(grant(id, audiences), Err(ClaimsLint::Audience), "{audiences:?}");
        }
    }
}
