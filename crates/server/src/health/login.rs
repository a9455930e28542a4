//! This server's secrets at identity providers: without one, nobody logs in there, and none is asked about opaque
//! tokens.

use std::sync::Arc;

use mandate_api::admin::{StatusProblem, problem_code};
use mandate_core::registry::TrustedIssuer;
use mandate_live::Live;
use mandate_oauth::ReadSecret;

use super::{Health, problem};

/// Looks at each secret that the registry names.
pub(crate) fn watch(health: &Health, live: Arc<Live>, read: ReadSecret) {
    health.watch(move |_| {
        let snapshot = live.snapshot();
        let problems = snapshot
            .registry
            .issuers()
            .flat_map(|issuer| [found(issuer, &read), of_introspection(issuer, &read)].into_iter().flatten());
        problems.collect::<Vec<_>>()
    });
}

fn of_introspection(issuer: &TrustedIssuer, read: &ReadSecret) -> Option<StatusProblem> {
    let file = &issuer.introspection.as_ref()?.client_secret_file;
    let why = read(&issuer.url, file).err()?;
    Some(problem(
        problem_code::LOGIN_SECRET,
        format!("{} cannot be asked about opaque tokens: {why}", issuer.url),
        "write the client secret that the issuer gave to this server into the file, readable by the server's user alone".to_owned(),
    ))
}

fn found(issuer: &TrustedIssuer, read: &ReadSecret) -> Option<StatusProblem> {
    let file = issuer.login.as_ref()?.client_secret_file.as_ref()?;
    let why = read(&issuer.url, file).err()?;
    Some(problem(
        problem_code::LOGIN_SECRET,
        format!("nobody can log in at {}: {why}", issuer.url),
        "write the client secret that the provider gave to this server into the file, readable by the server's user alone".to_owned(),
    ))
}
