//! What a node is doing for its link to the server, and what follows from each answer and each fault.
//!
//! | state | after | comes |
//! |---|---|---|
//! | `Joining` | joined | `Connecting` |
//! | | refused | `Connecting` with what it had, or the end |
//! | `Returning` | renewed | `Connecting` |
//! | | refused | `Joining` with its token, or the end |
//! | `Connecting` | connected | `Watching` |
//! | | expired | `Expired` |
//! | | refused | `Joining` with its token, or `Connecting` |
//! | `Watching` | time to renew | `Renewing` |
//! | | lost | `Connecting` |
//! | | refused | `Joining` with its token, or `Connecting` |
//! | `Renewing` | renewed | `Connecting` |
//! | | not renewed | `Watching` |
//! | `Expired` | renewed, or not expired after all | `Connecting` |
//!
//! After every other answer and fault the state is the same again, after a pause.
//!
//! Each state holds what it needs and nothing else, and each transition consumes it. Nothing here waits or
//! asks: the states say for how long to wait, and are told what was answered. `C` is the connection, of which
//! the states know only that it is there.

use std::time::Duration;

use mandate_core::{Backoff, Clock, Timestamp};
use tokio::time::Instant;

use super::parts::Session;
use crate::credentials::{Credentials, KeyRequest};
use crate::error::NodeError;
use crate::join_token::JoinToken;
use crate::refusal::Waiting;

/// How long to wait after a renewal, failed or not, before the next one.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// For how long a server must have closed every connection of a node with an expired certificate before that
/// counts as a refusal. A server that refuses says so; one without a free place, or one that is stopping,
/// does not, and works again later.
const SILENCE: Duration = Duration::from_mins(5);

/// How long after the server refused to renew an expired certificate the node asks again.
const REJOIN_PAUSE: Duration = Duration::from_mins(5);

/// What a node starts from.
pub(crate) enum Start {
    /// It has joined before. A given token is kept in case the server no longer knows this node; usually it
    /// is the used token of the command that first started the node.
    Joined(Box<Credentials>, Option<JoinToken>),
    /// It is to join with this token.
    Join(JoinToken),
    /// It has joined before, and its certificate has expired. The server may renew that; if not, there may be
    /// a token.
    Expired(Box<Credentials>, Option<JoinToken>),
}

/// What follows, or why the node cannot continue without its operator.
pub(super) type Next<C> = Result<State<C>, NodeError>;

/// What a node is doing.
pub(super) enum State<C> {
    /// It asks to join, with a token.
    Joining(Joining),
    /// It was started with an expired certificate, and asks the server to renew that.
    Returning(Returning),
    /// It has joined and has no connection.
    Connecting(Connecting),
    /// It receives the states that the server pushes.
    Watching(Watching<C>),
    /// It asks for a new certificate over its connection.
    Renewing(Renewing<C>),
    /// Its certificate expired while it ran, and it asks the server to renew that.
    Expired(Expired),
}

pub(super) struct Joining {
    pub(super) token: JoinToken,
    /// One key for all attempts: an answer may be lost after the token is spent, and the server answers the
    /// same token again for the same key only.
    pub(super) request: KeyRequest,
    pub(super) pause: Duration,
    outage: Outage,
    /// The credentials that the server refuses, if there are any: they stay in use if the token is refused,
    /// too.
    refused: Option<(Credentials, Outage)>,
}

pub(super) struct Returning {
    pub(super) credentials: Credentials,
    pub(super) pause: Duration,
    token: Option<JoinToken>,
    outage: Outage,
    silence: Silence,
    /// Whether the log says already that the server only closes connections.
    is_told: bool,
}

pub(super) struct Connecting {
    pub(super) member: Member,
    pub(super) pause: Duration,
    outage: Outage,
    /// Whether the certificate was renewed a moment ago.
    is_renewed: bool,
}

pub(super) struct Watching<C> {
    pub(super) member: Member,
    pub(super) connection: C,
    pub(super) renewal: Renewal,
    outage: Outage,
}

/// A [`Watching`] whose renewal is due.
pub(super) struct Renewing<C>(pub(super) Watching<C>);

pub(super) struct Expired {
    pub(super) member: Member,
    pub(super) pause: Duration,
    outage: Outage,
    silence: Silence,
    /// Whether the log says already that only an operator can help.
    is_told: bool,
}

/// A node that has joined.
pub(super) struct Member {
    pub(super) credentials: Credentials,
    /// A token with which to join again if the server no longer knows this node.
    spare: Option<JoinToken>,
}

/// When to ask for a new certificate: as soon as the clock shows `at`, but not before.
pub(super) struct Renewal {
    pub(super) at: Timestamp,
    pub(super) not_before: Instant,
}

/// How a try to join failed.
pub(super) enum Unjoined {
    /// Another try may succeed.
    Later(String),
    /// No other try will succeed.
    Never(NodeError),
}

/// Why an expired certificate was not renewed.
pub(super) enum NotRenewed {
    /// The server could not be asked.
    Later(String),
    /// The server closed the connection and said nothing.
    Closed(String),
    /// The server does not accept this node again.
    Refused(String),
}

/// What happened on a connection.
pub(super) enum Heard {
    /// The server pushed a state, which is in use now.
    State,
    /// It is time to ask for a new certificate.
    RenewalDue,
    /// The connection has ended.
    Ended(ConnectionEnd),
}

/// How a connection ended, or why there is none.
pub(super) enum ConnectionEnd {
    /// It broke, or could not be made.
    Broken(String),
    /// The server refuses this node.
    Refused(String),
    /// It is not the server.
    Untrusted(String),
}

/// The attempts since the server was last usable. A lasting fault is one line of the log, not one for each
/// attempt.
struct Outage {
    backoff: Backoff,
    attempts: u64,
    said: String,
}

impl Outage {
    fn new() -> Self {
        Self { backoff: Backoff::new(), attempts: 0, said: String::new() }
    }

    /// How long to wait until the next attempt.
    fn pause(&mut self, session: &Session) -> Duration {
        self.backoff.wait(session.entropy.as_ref())
    }

    /// Whether `reason` differs from the one that was logged last.
    fn is_news(&mut self, reason: &str) -> bool {
        let is_news = self.said != reason;
        if is_news {
            reason.clone_into(&mut self.said);
        }
        is_news
    }
}

/// Since when a server has done nothing but close connections.
#[derive(Default)]
struct Silence(Option<Duration>);

impl Silence {
    /// `answer` at this moment: a connection that was closed is only "later" until that has lasted.
    fn judge<T>(&mut self, answer: Result<T, NotRenewed>, clock: &dyn Clock) -> Result<T, NotRenewed> {
        match answer {
            Err(NotRenewed::Closed(reason)) => {
                let now = clock.steady();
                let since = *self.0.get_or_insert(now);
                Err(if now.saturating_sub(since) < SILENCE {
                    NotRenewed::Later(reason)
                } else {
                    NotRenewed::Closed(reason)
                })
            }
            other => {
                self.0 = None;
                other
            }
        }
    }
}

impl<C> State<C> {
    /// The first state of a node.
    pub(super) fn of(start: Start, session: &Session) -> Next<C> {
        match start {
            Start::Join(token) => Joining::begin(token, None, session),
            Start::Joined(credentials, spare) => {
                session.stand(Waiting::Connecting);
                Ok(Connecting::begin(Member { credentials: *credentials, spare }))
            }
            Start::Expired(credentials, token) => {
                session.stand(Waiting::Expired);
                let (pause, outage, silence) = (Duration::ZERO, Outage::new(), Silence::default());
                Ok(Self::Returning(Returning {
                    credentials: *credentials,
                    pause,
                    token,
                    outage,
                    silence,
                    is_told: false,
                }))
            }
        }
    }
}

impl Joining {
    fn begin<C>(token: JoinToken, refused: Option<(Credentials, Outage)>, session: &Session) -> Next<C> {
        match KeyRequest::generate() {
            Ok(request) => Ok(State::Joining(Self {
                token,
                request,
                pause: Duration::ZERO,
                outage: Outage::new(),
                refused,
            })),
            Err(error) => give_up(error, refused, session),
        }
    }

    /// After a try to join.
    pub(super) fn answered<C>(mut self, answer: Result<Credentials, Unjoined>, session: &Session) -> Next<C> {
        match answer {
            Ok(credentials) => {
                session.stand(Waiting::Connecting);
                Ok(Connecting::begin(Member { credentials, spare: None }))
            }
            Err(Unjoined::Later(reason)) => {
                if self.outage.is_news(&reason) {
                    tracing::warn!(
                        server = session.dialer.address(),
                        reason,
                        "cannot join yet; trying again until it works"
                    );
                }
                let pause = self.outage.pause(session);
                Ok(State::Joining(Self { pause, ..self }))
            }
            Err(Unjoined::Never(error)) => give_up(error, self.refused, session),
        }
    }
}

/// No try to join will succeed. A node with credentials that the server refuses goes on with them; one
/// without any ends.
fn give_up<C>(error: NodeError, refused: Option<(Credentials, Outage)>, session: &Session) -> Next<C> {
    let Some((credentials, mut outage)) = refused else { return Err(error) };
    tracing::error!(%error, "this node has not joined again");
    let (member, pause) = (Member { credentials, spare: None }, outage.pause(session));
    Ok(State::Connecting(Connecting { member, pause, outage, is_renewed: false }))
}

impl Returning {
    /// After the server was asked for a new certificate. A server that does not give one is asked to let the
    /// node join with its token. Without a token, a server that only closes connections is asked again and
    /// again.
    pub(super) fn answered<C>(
        mut self,
        answer: Result<Credentials, NotRenewed>,
        session: &Session,
    ) -> Next<C> {
        match (self.silence.judge(answer, session.clock.as_ref()), self.token) {
            (Ok(credentials), spare) => {
                session.stand(Waiting::Connecting);
                Ok(Connecting::begin(Member { credentials, spare }))
            }
            (Err(NotRenewed::Refused(reason) | NotRenewed::Closed(reason)), Some(token)) => {
                tracing::info!(reason, "this node's certificate has expired; joining again with the token");
                Joining::begin(token, None, session)
            }
            (Err(NotRenewed::Refused(_)), None) => Err(NodeError::CertificateExpired {
                at: self.credentials.expires(),
                rejoin: session.rejoin.clone(),
            }),
            (Err(NotRenewed::Closed(reason)), None) => {
                if !self.is_told {
                    tracing::error!(at = %self.credentials.expires(), reason, "this node's certificate has expired, and the server has closed each connection without a reason for minutes; look at the server's log, or join again: stop this node, then {}", session.rejoin);
                }
                let pause = self.outage.pause(session);
                Ok(State::Returning(Self { pause, token: None, is_told: true, ..self }))
            }
            (Err(NotRenewed::Later(reason)), token) => {
                if self.outage.is_news(&reason) {
                    tracing::warn!(
                        server = session.dialer.address(),
                        reason,
                        "this node's certificate has expired, and the server cannot be asked to renew it; trying again until it can"
                    );
                }
                let pause = self.outage.pause(session);
                Ok(State::Returning(Self { pause, token, ..self }))
            }
        }
    }
}

impl Connecting {
    fn begin<C>(member: Member) -> State<C> {
        State::Connecting(Self { member, pause: Duration::ZERO, outage: Outage::new(), is_renewed: false })
    }

    /// The certificate has expired. What the node holds is served until that expires, too.
    pub(super) fn expired<C>(self, session: &Session) -> State<C> {
        session.stand(Waiting::Expired);
        let Self { member, outage, .. } = self;
        State::Expired(Expired {
            member,
            pause: Duration::ZERO,
            outage,
            silence: Silence::default(),
            is_told: false,
        })
    }

    /// After a try to connect.
    pub(super) fn answered<C>(self, answer: Result<C, ConnectionEnd>, session: &Session) -> Next<C> {
        let Self { member, outage, is_renewed, .. } = self;
        match answer {
            Ok(connection) => {
                let pause = if is_renewed { RENEWAL_PAUSE } else { Duration::ZERO };
                let renewal = Renewal {
                    at: member.credentials.renewal(session.entropy.as_ref()),
                    not_before: Instant::now() + pause,
                };
                Ok(State::Watching(Watching { member, connection, renewal, outage }))
            }
            Err(ended) => member.disconnected(outage, ended, session),
        }
    }
}

impl<C> Watching<C> {
    /// After something happened on the connection.
    pub(super) fn heard(self, heard: Heard, session: &Session) -> Next<C> {
        match heard {
            Heard::State => Ok(State::Watching(Self { outage: Outage::new(), ..self })),
            Heard::RenewalDue => Ok(State::Renewing(Renewing(self))),
            Heard::Ended(ended) => self.member.disconnected(self.outage, ended, session),
        }
    }
}

impl Member {
    /// Without a connection: what the log and the processes of this node are told, and when to try again.
    fn disconnected<C>(self, mut outage: Outage, ended: ConnectionEnd, session: &Session) -> Next<C> {
        let server = session.dialer.address();
        let Self { credentials, mut spare } = self;
        match ended {
            ConnectionEnd::Broken(reason) => {
                session.lost();
                if outage.attempts == 0 {
                    tracing::warn!(
                        server,
                        reason,
                        "not connected to the server; trying again until it answers"
                    );
                } else {
                    tracing::debug!(
                        server,
                        reason,
                        attempts = outage.attempts,
                        "still not connected to the server"
                    );
                }
                outage.attempts += 1;
            }
            ConnectionEnd::Untrusted(reason) => {
                session.lost();
                if outage.is_news(&reason) {
                    tracing::error!(
                        server,
                        reason,
                        "what answers at the server's address is not the server; trying again until it is"
                    );
                }
            }
            ConnectionEnd::Refused(reason) => {
                session.refused();
                if let Some(token) = spare.take() {
                    tracing::warn!(server, reason, "the server refuses this node; joining again");
                    return Joining::begin(token, Some((credentials, outage)), session);
                }
                if outage.is_news(&reason) {
                    tracing::error!(
                        server,
                        reason,
                        "the server refuses this node; to join again: stop this node, then {}",
                        session.rejoin
                    );
                }
            }
        }
        let pause = outage.pause(session);
        Ok(State::Connecting(Connecting {
            member: Self { credentials, spare },
            pause,
            outage,
            is_renewed: false,
        }))
    }
}

impl<C> Renewing<C> {
    /// After the server was asked for a new certificate. The next connection uses the new one.
    pub(super) fn answered(self, answer: Result<Credentials, String>, session: &Session) -> State<C> {
        let Self(Watching { member, connection, outage, .. }) = self;
        match answer {
            Ok(credentials) => {
                tracing::info!(spiffe_id = %credentials.spiffe_id(), expires = %credentials.expires(), "this node's certificate was renewed");
                let member = Member { credentials, ..member };
                State::Connecting(Connecting { member, pause: Duration::ZERO, outage, is_renewed: true })
            }
            Err(reason) => {
                tracing::warn!(reason, expires = %member.credentials.expires(), "this node's certificate was not renewed; trying again");
                let renewal = Renewal { at: session.clock.now(), not_before: Instant::now() + RENEWAL_PAUSE };
                State::Watching(Watching { member, connection, renewal, outage })
            }
        }
    }
}

impl Expired {
    /// The certificate has not expired after all.
    pub(super) fn revived<C>(self) -> State<C> {
        let Self { member, outage, .. } = self;
        State::Connecting(Connecting { member, pause: Duration::ZERO, outage, is_renewed: false })
    }

    /// After the server was asked for a new certificate.
    pub(super) fn answered<C>(
        mut self,
        answer: Result<Credentials, NotRenewed>,
        session: &Session,
    ) -> State<C> {
        match self.silence.judge(answer, session.clock.as_ref()) {
            Ok(credentials) => Connecting::begin(Member { credentials, ..self.member }),
            Err(NotRenewed::Later(reason)) => {
                tracing::debug!(
                    reason,
                    "the server cannot be asked to renew this node's expired certificate; trying again"
                );
                let pause = self.outage.pause(session);
                State::Expired(Self { pause, ..self })
            }
            Err(NotRenewed::Refused(reason) | NotRenewed::Closed(reason)) => {
                if !self.is_told {
                    tracing::error!(at = %self.member.credentials.expires(), reason, "this node's certificate has expired, and the server does not let it renew that; to join again: stop this node, then {}", session.rejoin);
                }
                // Only an operator can bring it back, or a clock that was wrong and is right again.
                State::Expired(Self { pause: REJOIN_PAUSE, is_told: true, ..self })
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
