//! An audit backend that fails where and how a test says, and that can be paused.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mandate_sequencer::{Backend, Leaf, StagedBy, StoredLog};
use parking_lot::{Condvar, Mutex, MutexGuard};

/// Where a backend can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Reading what is durable.
    Load,
    /// When a transaction is opened.
    Begin,
    /// Putting an entry into it.
    Stage,
    /// When it is made durable.
    Commit,
}

impl Point {
    /// The points that write.
    pub const WRITES: [Self; 3] = [Self::Begin, Self::Stage, Self::Commit];
}

/// How it fails. Of the first two the caller sees the same error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// Nothing was done, and the caller gets an error.
    Lost,
    /// It was done nevertheless: the answer was lost, not the work.
    Kept,
    /// Nothing was done, because another transaction came between.
    Conflict,
    /// Nothing was done: the thread panics.
    Panic,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<Point, u64>,
    faults: HashMap<(Point, u64), InjectedFault>,
    broken: Option<Point>,
    slow: Option<(Point, Duration)>,
    held: Option<Point>,
    standing: bool,
}

/// The test's control over a [`FaultyBackend`] that a log owns.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock()
    }

    /// Fails the call to `point` that comes after `skip` more.
    pub fn fail(&self, point: Point, skip: u64, fault: InjectedFault) {
        let mut state = self.state();
        let at = state.calls.get(&point).copied().unwrap_or(0) + skip;
        state.faults.insert((point, at), fault);
    }

    /// Fails every call to `point` from now on, as a full disk does, until [`Faults::repair`].
    pub fn break_down(&self, point: Point) {
        self.state().broken = Some(point);
    }

    /// Ends what [`Faults::break_down`] began.
    pub fn repair(&self) {
        self.state().broken = None;
    }

    /// Lets every call to `point` take so much longer from now on.
    pub fn slow_down(&self, point: Point, by: Duration) {
        self.state().slow = Some((point, by));
    }

    /// How often `point` was called.
    pub fn calls(&self, point: Point) -> u64 {
        self.state().calls.get(&point).copied().unwrap_or(0)
    }

    /// Stops the backend at its next transaction until [`Faults::release`].
    pub fn hold(&self) {
        self.hold_at(Point::Begin);
    }

    /// Stops the backend before its next call to `point` until [`Faults::release`].
    pub fn hold_at(&self, point: Point) {
        self.state().held = Some(point);
    }

    /// Waits until the backend has paused. Needs a record on its way, otherwise it never begins a
    /// transaction.
    pub fn wait_until_held(&self) {
        let mut state = self.state();
        while !state.standing {
            self.shared.1.wait(&mut state);
        }
    }

    /// Lets the backend continue, if it has paused.
    pub fn release(&self) {
        self.state().held = None;
        self.shared.1.notify_all();
    }

    fn wait_while_held(&self, at: Point) {
        let mut state = self.state();
        while state.held == Some(at) {
            state.standing = true;
            self.shared.1.notify_all();
            self.shared.1.wait(&mut state);
        }
        state.standing = false;
    }

    fn next(&self, point: Point) -> Option<InjectedFault> {
        let mut state = self.state();
        let count = state.calls.entry(point).or_insert(0);
        let at = *count;
        *count += 1;
        let lost = (state.broken == Some(point)).then_some(InjectedFault::Lost);
        state.faults.remove(&(point, at)).or(lost)
    }

    fn run<T, E>(&self, point: Point, work: impl FnOnce() -> Result<T, E>) -> Result<T, Faulty<E>> {
        self.wait_while_held(point);
        let slow = self.state().slow;
        slow.filter(|(at, _)| *at == point).iter().for_each(|(_, by)| thread::sleep(*by));
        match self.next(point) {
            None => work().map_err(Faulty::Real),
            Some(InjectedFault::Lost) => Err(Faulty::Injected(point)),
            Some(InjectedFault::Conflict) => Err(Faulty::Conflict(point)),
            #[expect(clippy::panic, reason = "that is the fault")]
            Some(InjectedFault::Panic) => panic!("injected at {point:?}"),
            Some(InjectedFault::Kept) => {
                work().map_err(Faulty::Real)?;
                Err(Faulty::Injected(point))
            }
        }
    }
}

/// A backend's error, or an injected one.
#[derive(Debug)]
pub enum Faulty<E> {
    /// An error of the inner backend.
    Real(E),
    /// An error that the test made at this point.
    Injected(Point),
    /// A conflict with another transaction that the test made at this point.
    Conflict(Point),
}

impl<E: fmt::Display> fmt::Display for Faulty<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real(error) => error.fmt(f),
            Self::Injected(point) => write!(f, "injected at {point:?}"),
            Self::Conflict(point) => write!(f, "conflict injected at {point:?}"),
        }
    }
}

impl<E: Error + 'static> Error for Faulty<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::Real(error) = self { error.source() } else { None }
    }
}

/// A backend around another one.
#[derive(Debug)]
pub struct FaultyBackend<B> {
    inner: B,
    faults: Faults,
}

impl<B> FaultyBackend<B> {
    /// Wraps `inner`. It works correctly until told otherwise.
    pub fn new(inner: B) -> (Self, Faults) {
        let faults = Faults::default();
        (Self { inner, faults: faults.clone() }, faults)
    }
}

impl<B: Backend> Backend for FaultyBackend<B> {
    type Effect = B::Effect;
    type Error = Faulty<B::Error>;

    fn is_conflict(error: &Self::Error) -> bool {
        match error {
            Faulty::Real(error) => B::is_conflict(error),
            Faulty::Injected(_) => false,
            Faulty::Conflict(_) => true,
        }
    }

    fn is_over(error: &Self::Error) -> bool {
        matches!(error, Faulty::Real(error) if B::is_over(error))
    }

    fn leaves_nothing(error: &Self::Error) -> bool {
        match error {
            Faulty::Real(error) => B::leaves_nothing(error),
            Faulty::Injected(_) => false,
            Faulty::Conflict(_) => true,
        }
    }

    fn load(&mut self) -> Result<StoredLog, Self::Error> {
        self.faults.run(Point::Load, || self.inner.load())
    }

    fn begin(&mut self) -> Result<(), Self::Error> {
        self.faults.run(Point::Begin, || self.inner.begin())
    }

    fn stage(&mut self, leaf: Leaf<'_>, effects: &[Self::Effect]) -> StagedBy<Self> {
        self.faults.run(Point::Stage, || self.inner.stage(leaf, effects))
    }

    fn commit(&mut self, checkpoint: &[u8]) -> Result<(), Self::Error> {
        self.faults.run(Point::Commit, || self.inner.commit(checkpoint))
    }

    fn roll_back(&mut self) {
        self.inner.roll_back();
    }
}
