//! When to stop: at SIGTERM or Ctrl-C; or, for a child of the demo, at the end of its parent. A hangup ends the demo, which
//! belongs to a terminal, but not a service.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Set for a process that must end when its standard input ends: a pipe from the parent closes however the parent ends.
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

/// Whether this process was started with SIGHUP ignored, as `nohup` does. Listening would undo that.
fn hangup_is_ignored() -> bool {
    // Linux alone says; elsewhere a hangup ends the process, as it does by default.
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1, the lowest bit.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
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

/// Completes when the process is asked to stop. Signals count from this call on, not from the first poll: a caller that reads
/// that the process is ready may stop it in the next moment. Call it inside a runtime.
pub(crate) fn requested(on_hangup: Hangup) -> impl Future<Output = ()> + Send {
    let listen = |kind| signal(kind).ok();
    let (terminate, interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    let hangup = if hangup_is_ignored() { None } else { listen(SignalKind::hangup()) };
    let with_stdin = std::env::var_os(WITH_STDIN).is_some();
    // Where files may not grow, writing fails, as on a full disk; the signal that comes with it would end the process.
    let file_limit = listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
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
    use super::ignores_hangup;

    #[test]
    fn nohup_is_respected() {
        let status = |mask: &str| format!("Name:\tmandate\nSigBlk:\t0000000000000000\nSigIgn:\t{mask}\nSigCgt:\t0000000000000000\n");
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(!ignores_hangup(&status("0000000000001000")), "SIGPIPE alone");
        assert!(!ignores_hangup("Name:\tmandate\n"));
    }
}
