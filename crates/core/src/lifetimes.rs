//! How long what a server issues is valid, and how far clocks may differ. Every crate takes these from here.

use std::time::Duration;

use crate::time::Lifetime;

/// How far the clocks of two machines may differ: RFC 7519 §4.1.4 and §4.1.5 allow for a clock skew of a few
/// minutes at most.
pub const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// How far the clock of a verifier may be behind for cuts to work there. More than [`CLOCK_SKEW`]: if a cut
/// is forgotten too early, tokens become valid again.
pub const VERIFIER_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// How far the newest record may be ahead of the clock of the machine that `mandate doctor` runs on.
pub const RECORD_CLOCK_SKEW: Duration = Duration::from_secs(1);

/// How far a stop in the reserve may be ahead of the log and the clock. A machine without a battery for its
/// clock may start with its clock in 1970, after weeks in which nothing was recorded.
pub const RESERVE_CLOCK_SKEW: Duration = Duration::from_hours(30 * 24);

/// How long a person's own access token is valid: RFC 6750 §5.3 recommends at most one hour.
pub const PERSON_TOKEN_LIFETIME: Duration = Duration::from_hours(1);

/// How long an access token for an agent is valid if no ceiling or grant says otherwise.
pub const DEFAULT_MANDATE_LIFETIME: Lifetime = Lifetime(Duration::from_mins(5));

/// The longest time for which an access token for an agent may be valid. Far below the hour of RFC 6750 §5.3,
/// because no person watches what an agent does with it.
pub const MAX_MANDATE_LIFETIME: Lifetime = Lifetime(Duration::from_mins(15));

/// How far the `exp` of a client assertion may be in the future: replays must be remembered until then.
/// Widely used clients write an hour, by their own clocks.
pub const MAX_CLIENT_ASSERTION_LIFETIME: Duration = Duration::from_hours(1).saturating_add(CLOCK_SKEW);

/// The same for a client that describes itself: anybody can be one. Five minutes, by its own clock.
pub const MAX_SELF_DESCRIBED_ASSERTION_LIFETIME: Duration = Duration::from_mins(5).saturating_add(CLOCK_SKEW);

/// For how long after its issue a token of GitHub Actions proves an agent: a job asks for one when it needs
/// it.
pub const GITHUB_TOKEN_AGE: Duration = Duration::from_mins(10);

/// For how long after its issue a token of another platform proves an agent, also if it expires later. That a
/// workload was deleted is not to be seen in its token. Kubernetes replaces a token of an hour after 48
/// minutes; a job of GitLab has one for as long as it runs.
pub const PLATFORM_TOKEN_AGE: Duration = Duration::from_hours(1);

/// The same for a managed identity of Azure, whose metadata server answers with one token for up to a day.
pub const AZURE_TOKEN_AGE: Duration = Duration::from_hours(24);

/// For how long after its issue a JWT-SVID of another trust domain proves an agent, also if it expires later.
/// SPIRE issues them for five minutes unless it is told otherwise.
pub const FOREIGN_SVID_AGE: Duration = Duration::from_hours(1);

/// How long a bundle of another trust domain is used that does not say how often it should be fetched (SPIFFE
/// Federation §4.1).
pub const BUNDLE_REFRESH: Duration = Duration::from_mins(5);

/// The bounds of what a bundle may say of that: a key that was withdrawn counts for at most the longer one.
pub const BUNDLE_REFRESH_BOUNDS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_hours(1));

/// How long the login page's form may stay open, and how long its cookie lives.
pub const LOGIN_FORM_LIFETIME: Duration = Duration::from_mins(15);

/// For how long after its issue a provider's logout token counts, also if it expires later: `OpenID` Connect
/// Back-Channel Logout §4 recommends at most two minutes.
pub const LOGOUT_TOKEN_AGE: Duration = Duration::from_mins(10);

/// For how long after its issue a provider's security event counts: a transmitter that does not reach this
/// server sends it again later, and none that takes authority away should be lost over a long weekend.
pub const SECURITY_EVENT_AGE: Duration = Duration::from_hours(7 * 24);

/// How long a browser is known after a login. A new password ends it earlier.
pub const BROWSER_LIFETIME: Duration = Duration::from_hours(180 * 24);

/// How long a pushed authorization request waits for its browser: RFC 9126 §2.2 expects 5 to 600 seconds.
pub const PUSHED_REQUEST_LIFETIME: Duration = Duration::from_secs(90);

/// How long a device waits for a person: RFC 8628 §3.2 leaves it to the server. A person has to find the page,
/// enter the code and log in.
pub const DEVICE_CODE_LIFETIME: Duration = Duration::from_mins(10);

/// How long an authorization code is valid: RFC 6749 §4.1.2 recommends at most 10 minutes.
pub const CODE_LIFETIME: Duration = Duration::from_mins(1);

/// How long after a login its client may act for the person while they are away. No standard gives a figure.
pub const REFRESH_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// How long a refresh token may stay unused: RFC 9700 §4.14.2 recommends that an unused one expires.
pub const REFRESH_IDLE_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// How often a provider is asked at most whether a login that goes on here goes on there.
pub const UPSTREAM_ASKED: Duration = Duration::from_mins(15);

/// How long a provider is not asked again after an answer that says nothing.
pub const UPSTREAM_SILENCE: Duration = Duration::from_mins(1);

/// For how long after the provider last said so a login goes on here while the provider says nothing.
pub const UPSTREAM_GRACE: Duration = Duration::from_hours(1);

/// How long a JWT-SVID is valid: as short as possible (SPIFFE JWT-SVID §3.3).
pub const JWT_SVID_LIFETIME: Duration = Duration::from_mins(5);

/// How long an X.509-SVID is valid: the certificate of a node or of the server's own listener.
pub const X509_SVID_LIFETIME: Duration = Duration::from_hours(1);

/// How long the certificate of the signing authority is valid. Its key is replaced long before it expires.
pub const CA_LIFETIME: Duration = Duration::from_hours(2 * 365 * 24);

/// How long a key waits in the published key set before it signs. Clients may keep an older key set for this
/// time.
pub const PUBLISH_BEFORE_USE: Duration = Duration::from_mins(5);

/// How long a key for access tokens or JWT-SVIDs signs before the next one takes its place.
pub const TOKEN_KEY_PERIOD: Duration = Duration::from_hours(30 * 24);

/// How long the key of the signing authority signs. Well below half of [`CA_LIFETIME`]: its certificate waits
/// for one period and signs for another.
pub const CA_KEY_PERIOD: Duration = Duration::from_hours(180 * 24);

/// How long a join token can be used if its operator gives no time.
pub const JOIN_TOKEN_LIFETIME: Duration = Duration::from_mins(10);

/// The longest time that an operator may give a join token.
pub const MAX_JOIN_TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// The longest time after its certificate has expired in which a node can be let in again.
pub const MAX_REJOIN_GRACE: Duration = Duration::from_hours(7 * 24);
