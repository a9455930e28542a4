//! SIGHUP: by convention, the request that a server reads its files again. It never ends the server.

use std::sync::Arc;

use mandate_core::Clock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::listener::Shutdown;
use crate::tls::Served;

/// The next SIGHUP. Never completes if the system does not let us wait for one.
async fn next(hangups: &mut Option<Signal>) {
    match hangups {
        Some(hangups) => {
            hangups.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Follows the certificate's files, and reads them at once when told to, until the server stops.
pub(crate) async fn follow_certificate(
    certificate: Option<Arc<Served>>,
    clock: Arc<dyn Clock>,
    mut stop: Shutdown,
) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => Some(hangups),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be waited for, and would end the server");
            None
        }
    };
    let follow = async {
        match &certificate {
            Some(certificate) => certificate.follow(clock.as_ref()).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(follow);
    loop {
        tokio::select! {
            () = next(&mut hangups) => if let Some(certificate) = &certificate {
                tracing::info!("SIGHUP: the TLS certificate is read again");
                certificate.reload();
            } else {
                tracing::info!("SIGHUP: there is no certificate to read again; the server goes on. SIGTERM ends it");
            },
            () = &mut follow => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
