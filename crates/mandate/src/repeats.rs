//! How often the same warning or error is logged. Anybody who can reach the server can cause some of them as
//! often as they like, for example while no record can be written, and the log is often on the disk that is
//! full.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How many lines from one place in the program are logged at once.
const AT_ONCE: u64 = 20;

/// After how long another one is logged.
const PAUSE: Duration = Duration::from_secs(1);

/// Leaves out warnings and errors that come too often from the same place in the program, and says how many.
#[derive(Default)]
pub(crate) struct Repeats(Mutex<HashMap<Identifier, Bucket>>);

/// The lines of one place.
struct Bucket {
    may: u64,
    since: Instant,
    left_out: u64,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { may: AT_ONCE, since: now, left_out: 0 }
    }

    /// Whether a line is logged now: with the number of those that were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let pauses = now.saturating_duration_since(self.since).as_secs() / PAUSE.as_secs();
        if pauses > 0 {
            self.may = self.may.saturating_add(pauses).min(AT_ONCE);
            self.since += PAUSE * u32::try_from(pauses).unwrap_or(u32::MAX);
        }
        if self.may == 0 {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.may -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Repeats {
    fn admit(&self, place: Identifier, now: Instant) -> Option<u64> {
        // There are as many places as the program has lines that log.
        let mut buckets = self.0.lock();
        buckets.entry(place).or_insert_with(|| Bucket::new(now)).admit(now)
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        // What is less severe is not logged, or is wanted. The line below comes no more often than the line
        // after it.
        if *about.level() > Level::WARN || about.target() == module_path!() {
            return true;
        }
        match self.admit(about.callsite(), Instant::now()) {
            None => false,
            Some(0) => true,
            Some(left_out) => {
                tracing::warn!(left_out, "lines like the next one came too often, and were left out");
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::time::{Duration, Instant};

    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    use super::{AT_ONCE, Bucket, PAUSE, Repeats};

    #[test]
    fn some_lines_are_logged_at_once_and_then_one_after_each_pause() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let mut logged =
            |after, lines: u64| (0..lines).filter_map(|_| bucket.admit(start + after)).collect::<Vec<_>>();
        assert_eq!(logged(Duration::ZERO, 1_000).len() as u64, AT_ONCE);
        assert!(logged(PAUSE / 2, 1_000).is_empty());
        assert_eq!(logged(PAUSE, 1_000), [1_980_u64], "with the number of those that were left out");
        assert_eq!(logged(PAUSE * 3, 1_000), [999_u64, 0]);
        assert_eq!(
            logged(Duration::from_hours(1), 1_000).len() as u64,
            AT_ONCE,
            "not one for each pause that had no line"
        );
    }

    static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Lines;

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            LOGGED.lock().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_stranger_fills_the_log_with_errors_and_nothing_else_is_left_out() {
        let fails = |n: u64| tracing::error!(n, "a request failed");
        // For the whole process, as the program does it: a subscriber of one thread sees nothing that it logs
        // itself.
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| Lines)
            .finish()
            .with(Repeats::default())
            .init();
        for n in 0..1_000 {
            fails(n);
            tracing::info!(n, "somebody came");
        }
        tracing::error!("something else failed");
        std::thread::sleep(PAUSE + Duration::from_millis(100));
        fails(1_000);
        let logged = String::from_utf8(LOGGED.lock().clone()).unwrap();
        let count = |what: &str| logged.lines().filter(|line| line.contains(what)).count() as u64;
        let left_out: u64 = logged
            .lines()
            .filter_map(|line| line.rsplit_once("left_out="))
            .map(|(_, n)| n.parse::<u64>().unwrap())
            .sum();
        assert_eq!(count("a request failed") + left_out, 1_001, "{logged}");
        assert!(left_out > 900, "{left_out}");
        assert_eq!((count("something else failed"), count("somebody came")), (1, 1_000));
    }
}
