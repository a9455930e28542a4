//! When to stop: at SIGTERM or Ctrl-C; or, for a child of the demo, at the end of its parent. A hangup ends
//! the demo, which belongs to a terminal, but not a service.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Set for a process that must end when its standard input ends: a pipe from the parent closes however the
/// parent ends.
pub(crate) const WITH_STDIN: &str = "MANDATE_END_WITH_STDIN";

async fn one(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => {
            signal.recv().await;
        }
        // Without a handler the signal ends the process at once, which is what is asked for.
        None => std::future::pending().await,
    }
}

/// Whether this process was started with a signal ignored: SIGHUP by `nohup`, SIGINT by a shell that runs it
/// in the background. Listening would undo that.
pub(crate) fn is_ignored(kind: SignalKind) -> bool {
    // Linux alone says; elsewhere the signal ends the process, as it does by default.
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, kind))
}

fn ignores(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // Signal 1 is the lowest bit.
    u32::try_from(kind.as_raw_value() - 1)
        .ok()
        .and_then(|bit| mask.checked_shr(bit))
        .is_some_and(|mask| mask & 1 == 1)
}

/// Where files may not grow, writing fails, as on a full disk; the signal that comes with it ends the process
/// unless it is listened for.
pub(crate) fn file_limit() -> Option<Signal> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).ok()
}

/// Completes when standard input ends. The thread that waits for it ends with the process.
async fn end_of_stdin() {
    let (ended, wait) = oneshot::channel();
    let read = move || {
        // An input that can no longer be read has ended too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // If the process is ending already, nothing waits for this.
        let _ = ended.send(());
    };
    if std::thread::Builder::new().name("stdin".to_owned()).spawn(read).is_ok() {
        // Without a sender the thread is gone, and the input with it.
        let _ = wait.await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// What a hangup means to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// The terminal has closed, so the process ends.
    Ends,
    /// Nothing; the text for the log says so.
    Means(&'static str),
    /// Another part of the process handles it.
    IsHandled,
}

/// Waits for the hangup that ends the process.
async fn hung_up(mut signal: Option<Signal>, hangup: Hangup) {
    while let Some(hangups) = &mut signal {
        hangups.recv().await;
        match hangup {
            Hangup::Ends => return,
            Hangup::Means(nothing) => tracing::info!("SIGHUP: {nothing}"),
            Hangup::IsHandled => {}
        }
    }
    std::future::pending::<()>().await;
}

/// Completes when the process is asked to stop. Signals count from this call on, not from the first poll: a
/// caller that reads that the process is ready may stop it in the next moment. Call it inside a runtime.
pub(crate) fn requested(on_hangup: Hangup) -> impl Future<Output = ()> + Send {
    let listen = |kind| signal(kind).ok();
    let (terminate, interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    let hangup = if is_ignored(SignalKind::hangup()) { None } else { listen(SignalKind::hangup()) };
    let with_stdin = std::env::var_os(WITH_STDIN).is_some();
    let file_limit = file_limit();
    async move {
        let _file_limit = file_limit;
        let parent = async {
            if with_stdin {
                end_of_stdin().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = one(terminate) => tracing::info!(signal = "SIGTERM", "asked to stop"),
            () = one(interrupt) => tracing::info!(signal = "SIGINT", "asked to stop"),
            () = hung_up(hangup, on_hangup) => tracing::info!(signal = "SIGHUP", "asked to stop"),
            () = parent => tracing::info!("standard input has ended, so this process does too"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SignalKind, ignores};

    #[test]
    fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
        let status = |mask: &str| {
            format!("Name:\tmandate\nSigBlk:\t0000000000000000\nSigIgn:\t{mask}\nSigCgt:\t0000000000000000\n")
        };
        let (hangup, interrupt) = (SignalKind::hangup(), SignalKind::interrupt());
        assert!(ignores(&status("0000000000001001"), hangup), "as nohup does");
        assert!(
            ignores(&status("0000000000001002"), interrupt) && !ignores(&status("0000000000001002"), hangup)
        );
        assert!(!ignores(&status("0000000000001000"), hangup), "SIGPIPE alone");
        assert!(!ignores("Name:\tmandate\n", hangup));
    }
}
