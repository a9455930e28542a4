//! Load on the token endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mandate_core::names::{AssertionType, GrantType, Parameter, TokenType};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::error::BenchError;
use crate::http::{Connection, form_encode, post_form};
use crate::registry::{RESOURCE, SCOPES};

/// How many connections send requests at the same time when the server should be busy.
pub(crate) const CONNECTIONS: usize = 16;

/// How many exchanges one round has: as many as the server's search index adds at once, so that every round
/// includes that cost once.
pub(crate) const ROUND: usize = 4096;

/// How many connections there are when requests come at their own pace: enough that none waits for a free
/// one.
const OPEN_CONNECTIONS: usize = 64;

/// Latencies in microseconds.
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// What one run of requests showed.
pub(crate) struct LoadOutcome {
    /// Microseconds each, sorted.
    latencies: Vec<f64>,
    /// How long all of them took together.
    pub(crate) elapsed: Duration,
}

impl LoadOutcome {
    fn new(mut latencies: Vec<f64>, elapsed: Duration) -> Self {
        latencies.sort_by(f64::total_cmp);
        Self { latencies, elapsed }
    }

    /// The outcome of no requests.
    pub(crate) fn none() -> Self {
        Self::new(Vec::new(), Duration::ZERO)
    }

    /// How many answers there were.
    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }

    /// The median, and what one in a hundred exceeds.
    pub(crate) fn latency(&self) -> Latency {
        Latency { p50_us: self.quantile(0.5), p99_us: self.quantile(0.99) }
    }

    /// The latency that this share of the answers does not exceed, in microseconds.
    fn quantile(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a list"
        )]
        let at = ((self.latencies.len() as f64 * share) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.latencies.sort_by(f64::total_cmp);
        self.elapsed += other.elapsed;
    }
}

/// The request for a token of the agent with `svid` for the person with `subject_token`.
pub(crate) fn request(authority: &str, svid: &str, subject_token: &str) -> Vec<u8> {
    let form = [
        (Parameter::GrantType.as_str(), GrantType::TokenExchange.as_str()),
        (Parameter::ClientAssertionType.as_str(), AssertionType::JwtSpiffe.as_str()),
        (Parameter::ClientAssertion.as_str(), svid),
        (Parameter::SubjectToken.as_str(), subject_token),
        // RFC 8693 §3: a JWT of another issuer.
        (Parameter::SubjectTokenType.as_str(), TokenType::Jwt.as_str()),
        (Parameter::ActorToken.as_str(), svid),
        (Parameter::ActorTokenType.as_str(), TokenType::Jwt.as_str()),
        (Parameter::Resource.as_str(), RESOURCE),
        (Parameter::Scope.as_str(), SCOPES),
    ];
    let pairs: Vec<String> =
        form.iter().map(|(name, value)| format!("{name}={}", form_encode(value))).collect();
    post_form(authority, "/token", &pairs.join("&"))
}

/// Sends one request; any answer except a token ends the run. Returns the body.
pub(crate) async fn exchange_once(
    connection: &mut Connection,
    request: &[u8],
) -> Result<Vec<u8>, BenchError> {
    let answer = connection.exchange(request).await?;
    if answer.status == 200 {
        return Ok(answer.body.to_vec());
    }
    Err(BenchError(format!(
        "an exchange was answered with {}: {}",
        answer.status,
        String::from_utf8_lossy(answer.body)
    )))
}

async fn join(mut workers: JoinSet<Result<Vec<f64>, BenchError>>) -> Result<Vec<f64>, BenchError> {
    let mut all = Vec::new();
    while let Some(worker) = workers.join_next().await {
        all.extend(worker.map_err(BenchError::during("a worker"))??);
    }
    Ok(all)
}

/// As fast as `connections` connections allow: each sends its next request when it has its answer. Requests
/// are used in turn, and after the last one again from the first.
pub(crate) async fn closed(
    authority: &str,
    requests: &Arc<Vec<Vec<u8>>>,
    total: usize,
    connections: usize,
) -> Result<LoadOutcome, BenchError> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(authority).await?);
    }
    let began = Instant::now();
    let mut workers = JoinSet::new();
    for mut connection in opened {
        let (next, requests) = (Arc::clone(&next), Arc::clone(requests));
        workers.spawn(async move {
            let mut latencies = Vec::with_capacity(total / connections + 1);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= total {
                    return Ok(latencies);
                }
                let Some(request) = requests.get(at % requests.len().max(1)) else { return Ok(latencies) };
                let sent = Instant::now();
                exchange_once(&mut connection, request).await?;
                latencies.push(sent.elapsed().as_secs_f64() * 1e6);
            }
        });
    }
    let latencies = join(workers).await?;
    Ok(LoadOutcome::new(latencies, began.elapsed()))
}

/// At `rate` requests per second, whether or not earlier ones have their answer. Latency counts from the
/// moment at which a request was due, so that it includes the requests that were due while the server
/// stalled.
pub(crate) async fn open(
    authority: &str,
    requests: &Arc<Vec<Vec<u8>>>,
    rate: f64,
    total: usize,
) -> Result<LoadOutcome, BenchError> {
    let (due, queue) = mpsc::unbounded_channel::<(usize, Instant)>();
    let queue = Arc::new(Mutex::new(queue));
    let mut workers = JoinSet::new();
    for _ in 0..OPEN_CONNECTIONS {
        let mut connection = Connection::open(authority).await?;
        let (queue, requests) = (Arc::clone(&queue), Arc::clone(requests));
        workers.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let taken = queue.lock().await.recv().await;
                let Some((at, since)) = taken else { return Ok(latencies) };
                let Some(request) = requests.get(at % requests.len().max(1)) else { return Ok(latencies) };
                exchange_once(&mut connection, request).await?;
                latencies.push(since.elapsed().as_secs_f64() * 1e6);
            }
        });
    }
    let began = Instant::now();
    let mut released = 0;
    while released < total {
        tokio::time::sleep(Duration::from_millis(1)).await;
        // The timer's own coarseness is not the server's: what became due since the last tick is due now.
        let now = Instant::now();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
        let by_now = ((now - began).as_secs_f64() * rate) as usize;
        while released < by_now.min(total) {
            due.send((released, now)).map_err(BenchError::during("a worker"))?;
            released += 1;
        }
    }
    drop(due);
    let latencies = join(workers).await?;
    Ok(LoadOutcome::new(latencies, began.elapsed()))
}
