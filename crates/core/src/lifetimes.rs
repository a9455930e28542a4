//! How long what a server issues is valid, and how far clocks may differ. Every crate takes these from here.

use std::time::Duration;

use crate::time::Lifetime;

/// How far the clocks of two machines may differ: RFC 7519 §4.1.4 and §4.1.5 allow for a clock skew of a few minutes at most.
pub const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// How far the clock of a verifier may be behind for cuts to work there. More than [`CLOCK_SKEW`]: a cut that is forgotten too
/// early revives tokens.
pub const VERIFIER_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// How long a person's own access token lives: one hour at most (RFC 6750 §5.3).
pub const PERSON_TOKEN_LIFETIME: Duration = Duration::from_hours(1);

/// How long an access token for an agent lives unless something narrows it.
pub const DEFAULT_MANDATE_LIFETIME: Lifetime = Lifetime(Duration::from_mins(5));

/// The longest an access token for an agent may ever live. Far below the hour of RFC 6750 §5.3, because nobody watches its use.
pub const MAX_MANDATE_LIFETIME: Lifetime = Lifetime(Duration::from_mins(15));

/// How long an authorization code lives: 10 minutes at most (RFC 6749 §4.1.2).
pub const CODE_LIFETIME: Duration = Duration::from_mins(1);

/// How long a JWT-SVID lives: as short as possible (SPIFFE JWT-SVID §3.3).
pub const JWT_SVID_LIFETIME: Duration = Duration::from_mins(5);

/// How long an X.509-SVID lives.
pub const X509_SVID_LIFETIME: Duration = Duration::from_hours(1);

/// How long the certificate of the signing authority lives. It is replaced long before.
pub const CA_LIFETIME: Duration = Duration::from_hours(2 * 365 * 24);

/// How long a join token can be used unless its maker says otherwise.
pub const JOIN_TOKEN_LIFETIME: Duration = Duration::from_mins(10);

/// The longest a join token can be used.
pub const MAX_JOIN_TOKEN_LIFETIME: Duration = Duration::from_hours(24);
