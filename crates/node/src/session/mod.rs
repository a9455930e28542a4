//! The node's side of the communication with the server: join once, then watch, renew, and reconnect after
//! every outage.
//!
//! [`state`] decides what follows from each answer and each fault, [`calls`] asks the server, and the loop
//! here connects the two.

mod calls;
mod parts;
mod state;

use std::convert::Infallible;
use std::time::Duration;

use mandate_core::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use crate::NodeReady;
use crate::error::NodeError;
use calls::{Connection, ended};
use state::{Connecting, ConnectionEnd, Expired, Heard, Joining, Next, Renewing, Returning, State, Watching};

pub(crate) use parts::Session;
pub(crate) use state::Start;

/// The longest sleep until something is due by the clock. The clock may be set, or may stand still while the
/// machine sleeps.
const GLANCE: Duration = Duration::from_secs(30);

impl Session {
    /// Joins if necessary, then stays connected. Ends only when the node cannot continue without its
    /// operator. `ready` is called when the first state of the server is in use.
    pub(crate) async fn keep<R: FnOnce(NodeReady) + Send>(
        &self,
        start: Start,
        ready: R,
    ) -> Result<Infallible, NodeError> {
        let mut ready = Some(ready);
        let mut state = State::of(start, self)?;
        loop {
            state = match state {
                State::Joining(joining) => self.join(joining).await?,
                State::Returning(returning) => self.come_back(returning).await?,
                State::Connecting(connecting) => self.connect(connecting).await?,
                State::Watching(watching) => self.watch(watching, &mut ready).await?,
                State::Renewing(renewing) => self.renew(renewing).await,
                State::Expired(expired) => self.renew_expired(expired).await,
            };
        }
    }

    async fn join(&self, joining: Joining) -> Next<Connection> {
        sleep(joining.pause).await;
        let answer = self.ask_to_join(&joining.token, &joining.request).await;
        joining.answered(answer, self)
    }

    async fn come_back(&self, returning: Returning) -> Next<Connection> {
        sleep(returning.pause).await;
        let answer = self.ask_with_expired(&returning.credentials).await;
        returning.answered(answer, self)
    }

    async fn connect(&self, connecting: Connecting) -> Next<Connection> {
        sleep(connecting.pause).await;
        if connecting.member.credentials.is_expired(self.clock.now()) {
            return Ok(connecting.expired(self));
        }
        let answer = self.open(&connecting.member.credentials).await;
        connecting.answered(answer, self)
    }

    async fn watch<R: FnOnce(NodeReady)>(
        &self,
        mut watching: Watching<Connection>,
        ready: &mut Option<R>,
    ) -> Next<Connection> {
        let heard = self.hear(&mut watching).await;
        if matches!(heard, Heard::State)
            && let Some(ready) = ready.take()
        {
            let credentials = &watching.member.credentials;
            ready(NodeReady {
                spiffe_id: credentials.spiffe_id().clone(),
                trust_domain: credentials.trust_domain(),
            });
        }
        watching.heard(heard, self)
    }

    /// Waits for what happens next on a connection.
    async fn hear(&self, watching: &mut Watching<Connection>) -> Heard {
        let Watching { member, connection, renewal, .. } = watching;
        let pushed = tokio::select! {
            pushed = connection.pushed.message() => pushed,
            // The server refuses every call from now on, however the connection came about.
            () = self.due(member.credentials.expires(), Instant::now()) => {
                return Heard::Ended(ConnectionEnd::Broken("this node's certificate has expired".to_owned()));
            }
            () = self.due(renewal.at, renewal.not_before) => return Heard::RenewalDue,
        };
        match pushed {
            Ok(Some(state)) => match self.apply(state, &mut member.credentials, &connection.remote).await {
                Ok(()) => Heard::State,
                Err(reason) => Heard::Ended(ConnectionEnd::Broken(reason)),
            },
            Ok(None) => Heard::Ended(ConnectionEnd::Broken("the server closed the connection".to_owned())),
            Err(status) => Heard::Ended(ended(&status)),
        }
    }

    async fn renew(&self, mut renewing: Renewing<Connection>) -> State<Connection> {
        let Watching { member, connection, .. } = &mut renewing.0;
        let answer = self.ask_to_renew(&mut connection.remote, &member.credentials).await;
        renewing.answered(answer, self)
    }

    async fn renew_expired(&self, expired: Expired) -> State<Connection> {
        sleep(expired.pause).await;
        if !expired.member.credentials.is_expired(self.clock.now()) {
            // The clock was wrong, and is right again.
            return expired.revived();
        }
        let answer = self.ask_with_expired(&expired.member.credentials).await;
        expired.answered(answer, self)
    }

    /// Waits until `not_before`, and then until the clock shows `at`.
    async fn due(&self, at: Timestamp, not_before: Instant) {
        sleep_until(not_before).await;
        loop {
            let left = at.since(self.clock.now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(GLANCE)).await;
        }
    }
}
