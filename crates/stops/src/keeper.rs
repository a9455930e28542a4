//! One thread that writes the reserve: stops that arrive together share one sync, and those of operators go
//! first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use mandate_files::Dir;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::reserve::{self, Reserve, ReserveError, SIZE, Slot};

/// The most stops that share one sync.
const MAX_BATCH: usize = 64;

/// The most of the reserve that stops of clients may take, in bytes. The rest is for operators.
pub(crate) const CLIENTS_SHARE: usize = SIZE / 2;

/// Who makes a stop. This decides how much of the reserve it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// An operator: may use every byte of the reserve.
    Operator,
    /// A client that revokes its own token, or that presented a code twice: may use half of the reserve.
    Client,
}

/// The state of the reserve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReserveState {
    /// How many of its bytes are in use.
    pub used: usize,
    /// Why it cannot be used, if it cannot.
    pub broken: Option<String>,
}

/// Where a stop is in the reserve, and who made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    slot: Slot,
    by: By,
}

impl Kept {
    /// The place of a frame that an earlier process left.
    pub(crate) fn found(slot: Slot, by: By) -> Self {
        Self { slot, by }
    }
}

type Answer = oneshot::Sender<Result<Kept, ReserveError>>;

struct Keep {
    content: Vec<u8>,
    by: By,
    answer: Answer,
}

enum Ask {
    Keep(Keep),
    Know(Kept),
    Free(Kept),
    MakeAgain,
}

/// The handle by which stops are put into the reserve. The thread ends when it is dropped.
#[derive(Debug)]
pub(crate) struct ReserveKeeper {
    asks: Sender<Ask>,
    state: Arc<Mutex<ReserveState>>,
    thread: JoinHandle<()>,
}

struct Desk {
    dir: Dir,
    reserve: Option<Reserve>,
    /// The stops to be kept. Those of operators do not wait for those of clients that came earlier.
    of_operators: VecDeque<Keep>,
    of_clients: VecDeque<Keep>,
    by_clients: usize,
    state: Arc<Mutex<ReserveState>>,
}

impl ReserveKeeper {
    /// Starts the thread. Without a reserve it tries to make one in `dir` when one is needed; `broken` says
    /// why there is none.
    pub(crate) fn start(dir: Dir, reserve: Option<Reserve>, broken: Option<String>) -> std::io::Result<Self> {
        let state =
            Arc::new(Mutex::new(ReserveState { used: reserve.as_ref().map_or(0, Reserve::used), broken }));
        let (asks, queue) = mpsc::channel();
        let desk = Desk::new(dir, reserve, Arc::clone(&state));
        let thread = thread::Builder::new().name("stops".to_owned()).spawn(move || desk.run(&queue))?;
        Ok(Self { asks, state, thread })
    }

    /// Puts a stop into the reserve. Durable on return.
    pub(crate) async fn keep(&self, content: Vec<u8>, by: By) -> Result<Kept, ReserveError> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Keep(Keep { content, by, answer })).map_err(|_| ReserveError::Closed)?;
        answered.await.unwrap_or(Err(ReserveError::Closed))
    }

    /// Counts a frame that an earlier process left.
    pub(crate) fn know(&self, kept: Kept) {
        let _ = self.asks.send(Ask::Know(kept));
    }

    /// Gives back the place of a stop that is in the audit log.
    pub(crate) fn free(&self, kept: Kept) {
        // If the thread has ended, no places are given out any more, so nothing is lost.
        let _ = self.asks.send(Ask::Free(kept));
    }

    /// Tries again to make a reserve.
    pub(crate) fn make_again(&self) {
        let _ = self.asks.send(Ask::MakeAgain);
    }

    pub(crate) fn state(&self) -> ReserveState {
        let mut state = self.state.lock().clone();
        if self.thread.is_finished() {
            state.broken =
                Some("its thread has ended; restart the server once every stop is recorded".to_owned());
        }
        state
    }
}

impl Desk {
    fn new(dir: Dir, reserve: Option<Reserve>, state: Arc<Mutex<ReserveState>>) -> Self {
        Self {
            dir,
            reserve,
            of_operators: VecDeque::new(),
            of_clients: VecDeque::new(),
            by_clients: 0,
            state,
        }
    }

    fn run(mut self, queue: &Receiver<Ask>) {
        while let Ok(first) = queue.recv() {
            self.take_in(first);
            while self.keep_next(queue) {}
        }
    }

    /// Takes in what was asked since, and keeps the next batch. False if there was nothing to keep.
    fn keep_next(&mut self, queue: &Receiver<Ask>) -> bool {
        for ask in queue.try_iter() {
            self.take_in(ask);
        }
        let batch = self.next_batch();
        let any = !batch.is_empty();
        self.keep(batch);
        self.note();
        any
    }

    fn take_in(&mut self, ask: Ask) {
        match ask {
            Ask::Keep(keep) if keep.by == By::Operator => self.of_operators.push_back(keep),
            Ask::Keep(keep) => self.of_clients.push_back(keep),
            Ask::Know(kept) => self.count(kept),
            Ask::Free(kept) => self.free(kept),
            Ask::MakeAgain => drop(self.opened()),
        }
    }

    fn next_batch(&mut self) -> Vec<Keep> {
        let first = if self.of_operators.is_empty() { &mut self.of_clients } else { &mut self.of_operators };
        first.drain(..first.len().min(MAX_BATCH)).collect()
    }

    fn keep(&mut self, batch: Vec<Keep>) {
        let mut written = Vec::new();
        for Keep { content, by, answer } in batch {
            match self.write(&content, by) {
                Ok(kept) => written.push((kept, answer)),
                Err(error) => drop(answer.send(Err(error))),
            }
        }
        self.answer(written);
    }

    fn opened(&mut self) -> Result<&mut Reserve, ReserveError> {
        let reserve = if let Some(reserve) = self.reserve.take() {
            reserve
        } else {
            // Its frames are known from the start: one that was there and could not be read then would have
            // kept the server from starting.
            let (reserve, _) = Reserve::open(&self.dir)?;
            reserve.allocate(&self.dir)?;
            reserve
        };
        Ok(self.reserve.insert(reserve))
    }

    fn write(&mut self, content: &[u8], by: By) -> Result<Kept, ReserveError> {
        if by == By::Client && self.by_clients + reserve::bytes_of(content) > CLIENTS_SHARE {
            return Err(ReserveError::Full);
        }
        let kept = Kept { slot: self.opened()?.write(content)?, by };
        self.count(kept);
        Ok(kept)
    }

    fn count(&mut self, kept: Kept) {
        if kept.by == By::Client {
            self.by_clients += kept.slot.bytes();
        }
    }

    fn free(&mut self, kept: Kept) {
        if kept.by == By::Client {
            self.by_clients = self.by_clients.saturating_sub(kept.slot.bytes());
        }
        if let Some(reserve) = &mut self.reserve {
            reserve.free(kept.slot);
        }
    }

    fn answer(&mut self, written: Vec<(Kept, Answer)>) {
        if written.is_empty() {
            return;
        }
        let synced = self.opened().and_then(|reserve| reserve.sync());
        let failed = synced.err().map(|error| error.to_string());
        for (kept, answer) in written {
            let Some(why) = &failed else {
                // The stop is in force, whether or not its caller still waits for this answer.
                let _ = answer.send(Ok(kept));
                continue;
            };
            self.free(kept);
            let source = std::io::Error::other(why.clone());
            let _ = answer.send(Err(ReserveError::Io { path: self.dir.entry(reserve::FILE), source }));
        }
    }

    /// Publishes the state of the reserve. The caller of a failed write sees the failure; the next write may
    /// succeed.
    fn note(&mut self) {
        let opened = self.opened().map(|reserve| reserve.used());
        let mut state = self.state.lock();
        match opened {
            Ok(used) => *state = ReserveState { used, broken: None },
            Err(error) => state.broken = Some(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_does_not_wait_for_what_clients_asked_before() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let (asks, queue) = mpsc::channel();
        let ask = |content: String, by| {
            let (answer, answered) = oneshot::channel();
            asks.send(Ask::Keep(Keep { content: content.into_bytes(), by, answer })).unwrap();
            answered
        };
        let mut of_clients: Vec<_> =
            (0..3 * MAX_BATCH).map(|n| ask(format!("client {n}"), By::Client)).collect();
        let mut of_operator = ask("operator".to_owned(), By::Operator);
        drop(asks);
        Desk::new(dir, None, Arc::default()).run(&queue);
        assert!(of_operator.try_recv().unwrap().is_ok());
        assert!(
            of_clients.iter_mut().all(|answer| answer.try_recv().unwrap().is_ok()),
            "each is kept at last"
        );
        let frames = reserve::frames(&std::fs::read(folder.path().join(reserve::FILE)).unwrap());
        assert_eq!(frames.len(), 3 * MAX_BATCH + 1);
        assert_eq!(frames[0].content, b"operator");
        assert!(
            (0..3 * MAX_BATCH).all(|n| frames[n + 1].content == format!("client {n}").into_bytes()),
            "and in their order"
        );
    }
}
