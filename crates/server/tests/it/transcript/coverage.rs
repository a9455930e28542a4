//! What the transcripts must contain. Read from the committed files, which the other tests here compare with
//! the server.

use std::collections::{BTreeMap, BTreeSet};

use mandate_delegation::RefusalReason as R;
use mandate_oauth::RequestRefusal;
use serde_json::Value;

use super::{are_written, committed};
use crate::world::Server;

/// The list of every error for its reader. A test of `mandate-oauth` proves that no refusal is missing in it.
const DOCUMENTED: &str = include_str!("../../../../../docs/src/errors.md");

const TOKEN: [&str; 21] = [
    "token_form",
    "token_client",
    "token_assertion",
    "token_code",
    "token_code_for_agent",
    "token_refresh",
    "token_device",
    "token_own_behalf",
    "token_self_described",
    "exchange_parameters",
    "exchange_parties",
    "exchange_rights",
    "exchange_size",
    "exchange_foreign",
    "exchange_foreign_keys",
    "exchange_foreign_groups",
    "exchange_platform",
    "exchange_federation",
    "token_tenants",
    "exchange_id_token",
    "exchange_opaque",
];
const OTHERS: [&str; 13] = [
    "introspection",
    "introspection_own_behalf",
    "revocation",
    "refresh_elsewhere",
    "authorize_refused",
    "authorize_login",
    "authorize_provider",
    "authorize_pushed",
    "authorize_for_agent",
    "provider_logout",
    "provider_events",
    "self_description",
    "device_begins",
];
const ADMINISTRATION: [&str; 5] =
    ["admin_refused", "admin_reads", "admin_registry", "admin_acts", "admin_document"];

/// Codes that no transcript has, and why.
const OUT_OF_REACH: [(&str, &str); 11] = [
    ("audit_unavailable", "the disk must fail; `oauth/tests/it/audit_trail.rs` makes it fail"),
    ("busy", "more secrets must be checked at once than a machine can; it depends on its speed"),
    ("internal", "a fault of the program or of the database's content"),
    ("too_many_revocations", "an agent must revoke 2,000 tokens; `oauth/src/revoke.rs` tests the bound"),
    ("login_failed", "only a reason of records: the person sees the form again, with a sentence"),
    ("login_paused", "the same"),
    ("person_not_registered", "the same: the person sees a page with what is missing"),
    ("user_code_unknown", "the same: the person sees the form of the code again"),
    ("too_many_user_codes", "the same"),
    ("too_many_devices", "a hundred devices must begin; `oauth/tests/it/device/guessing.rs` tests the bound"),
    ("chain_actor_not_active", "whatever stops an agent also cuts its tokens, and the cut is found first"),
];

/// Reasons that only agents have: a code has no subject token, no actor and no grant, and a person's token
/// lives a second or longer.
const OF_AGENTS: [R; 30] = [
    R::SubjectExpired,
    R::SubjectNotForPresenter,
    R::SubjectKeyNotProven,
    R::SubjectIsAgent,
    R::ActorRequired,
    R::ActorNotClient,
    R::ActorNotRequested,
    R::ClientMayNotPresent,
    R::ActorUnknown,
    R::AgentNotActive,
    R::ChainActorNotActive,
    R::ChainActorUnattested,
    R::ChainNotTheirs,
    R::MayActMismatch,
    R::ChainTooDeep,
    R::ChainLoop,
    R::LineageTooLong,
    R::NotOnOwnBehalf,
    R::ResourceNotDelegable,
    R::NoGrant,
    R::GrantRevoked,
    R::GrantExpired,
    R::GrantExhausted,
    R::ScopeBeyondOwn,
    R::ScopeBeyondCeiling,
    R::ScopeBeyondGrant,
    R::ScopeBeyondProof,
    R::OwnerDisabled,
    R::PolicyDeniesAgent,
    R::NoLifetime,
];

/// Reasons for which an agent is not given a token of its own.
const OF_OWN_BEHALF: [R; 12] = [
    R::PartiesApart,
    R::ActorUnknown,
    R::AgentNotActive,
    R::NotOnOwnBehalf,
    R::OwnerDisabled,
    R::ResourceUnknown,
    R::ResourceNotDelegable,
    R::ScopeUnknown,
    R::ScopeBeyondOwn,
    R::ScopeBeyondCeiling,
    R::NothingInCommon,
    R::PolicyDeniesAgent,
];

/// One request with its answer: the heading, the text of the request, the status, and the rest of the answer.
struct Said {
    heading: String,
    request: String,
    status: u16,
    answer: String,
}

fn said(names: &[&str]) -> Vec<Said> {
    let mut all = Vec::new();
    for name in names {
        let text = committed(name);
        assert!(text.starts_with("# "), "{name} is not recorded");
        for part in text.split("\n## ").skip(1) {
            let (request, answer) =
                part.split_once("\n=> ").unwrap_or_else(|| panic!("{name}: no answer to {part}"));
            let (heading, request) = request.split_once("\n\n").unwrap();
            let (status, answer) = answer.split_once('\n').unwrap();
            all.push(Said {
                heading: heading.to_owned(),
                request: request.to_owned(),
                status: status.parse().unwrap(),
                answer: answer.to_owned(),
            });
        }
    }
    all
}

/// The pairs of `error` and code of the refusals in JSON.
fn errors(all: &[Said]) -> BTreeSet<(String, String)> {
    let member = |said: &Said, name: &str| {
        let line = said.answer.lines().find_map(|line| line.strip_prefix(&format!("  \"{name}\": \"")))?;
        Some(line.trim_end_matches(',').trim_end_matches('"').to_owned())
    };
    let pair = |said: &Said| {
        Some((member(said, "error")?, member(said, "error_description")?.split(':').next()?.to_owned()))
    };
    all.iter().filter_map(pair).collect()
}

/// The codes in redirects and pages, and in answers to transmitters of security events.
fn shown(all: &[Said], code: &str) -> bool {
    all.iter().any(|said| {
        said.answer.contains(&format!("error_description={code}: "))
            || said.answer.contains(&format!(": {code}: "))
            || said.answer.contains(&format!("\"description\": \"{code}: "))
    })
}

/// The codes in the first columns of the tables of the documentation.
fn documented() -> BTreeSet<&'static str> {
    let tables = DOCUMENTED
        .split("## ")
        .filter(|part| part.starts_with("Requests, clients") || part.starts_with("Decisions on an exchange"));
    let codes = tables.flat_map(str::lines).filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    codes.collect()
}

#[test]
fn every_code_of_the_oauth_endpoints_occurs() {
    if are_written() {
        return;
    }
    let (token, others) = (said(&TOKEN), said(&OTHERS));
    let documented = documented();
    assert!(documented.len() > 80, "{documented:?}");
    let seen: BTreeSet<String> =
        errors(&token).into_iter().chain(errors(&others)).map(|(_, code)| code).collect();
    for code in &documented {
        let occurs = seen.contains(*code) || shown(&others, code);
        let excused = OUT_OF_REACH.iter().any(|(name, _)| name == code);
        assert!(occurs != excused, "{code}: in a transcript: {occurs}, said to be out of reach: {excused}");
    }
    let unknown: Vec<_> = seen
        .iter()
        .filter(|code| !documented.contains(code.as_str()) && *code != "body_unreadable")
        .collect();
    assert!(unknown.is_empty(), "not in docs/src/errors.md: {unknown:?}");
}

#[test]
fn every_decision_occurs_at_the_token_endpoint_with_its_error() {
    if are_written() {
        return;
    }
    let token = said(&TOKEN);
    assert!(token.iter().all(|said| said.request.contains("<issuer>/token")), "only the token endpoint");
    let seen = errors(&token);
    for reason in R::ALL {
        // An exchange has no actor that a person requested.
        let of_exchange = match reason {
            R::ActorNotRequested => RequestRefusal::DelegatedLogin(*reason, None),
            reason => RequestRefusal::Exchange(*reason),
        };
        let of_code = (!OF_AGENTS.contains(reason)).then_some(RequestRefusal::Authorization(*reason));
        let alone = OF_OWN_BEHALF.contains(reason).then_some(RequestRefusal::OwnBehalf(*reason, None));
        for refusal in [Some(of_exchange), of_code, alone].into_iter().flatten() {
            let pair = (refusal.to_error().error.to_string(), refusal.code().to_owned());
            let excused = OUT_OF_REACH.iter().any(|(code, _)| *code == pair.1);
            assert!(seen.contains(&pair) != excused, "{refusal:?} is {pair:?}");
        }
    }
}

#[test]
fn every_way_to_a_token_occurs() {
    if are_written() {
        return;
    }
    let token = said(&TOKEN);
    for grant in [
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:device_code",
    ] {
        let given = token
            .iter()
            .filter(|said| said.status == 200 && said.request.contains(&format!("grant_type={grant}\n")));
        assert!(given.count() >= 3, "{grant}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_authorization_table_occurs_with_exactly_the_statuses_that_its_document_names() {
    if are_written() {
        return;
    }
    // A test of the server proves that the document has exactly the rows of the table, and the document
    // itself.
    let server = Server::empty().await;
    let document = server.app.get(&format!("{}/openapi.json", server.ready.admin_url)).await.json();
    server.stop().await;
    let mut seen: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for said in said(&ADMINISTRATION) {
        let row = said.heading.split(": ").next().unwrap().to_owned();
        seen.entry(row).or_default().insert(said.status);
    }
    assert!(seen["GET /openapi.json"].contains(&200));
    let mut rows = 1;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            item.as_object().unwrap().iter().filter(|(_, operation)| operation.get("responses").is_some())
        {
            let row = format!("{} {path}", method.to_uppercase());
            let seen = seen.get(&row).unwrap_or_else(|| panic!("{row} does not occur"));
            let named =
                operation["responses"].as_object().unwrap().keys().map(|status| status.parse().unwrap());
            // 500 and 503 need a log that was tampered with, or a disk that fails.
            for status in named.filter(|status| *status < 500) {
                assert!(seen.contains(&status), "{row}: no answer is {status}; {seen:?} occur");
            }
            for status in seen {
                let is_named = operation["responses"].get(status.to_string()).is_some();
                assert!(is_named, "{row} answers {status}, which the document does not name");
            }
            // A name may be that of nothing, or no text at all; a body may be anything.
            let has_name = path.contains("{name}") || path.contains("{id}");
            let sends = operation.get("requestBody").is_some();
            for (can, status) in [(has_name, 404), (has_name || sends, 400), (sends, 415)] {
                assert!(!can || seen.contains(&status), "{row}: no answer is {status}");
            }
            for status in [401, 403] {
                assert!(seen.contains(&status), "{row}: {status}");
            }
            assert!(seen.iter().any(|status| (200..300).contains(status)), "{row} never succeeds");
            rows += 1;
        }
    }
    assert_eq!(
        seen.keys().filter(|row| row.contains(" /")).count(),
        rows,
        "a row that does not exist: {:?}",
        seen.keys()
    );
    assert!(document["paths"]["/v1/status"]["get"]["responses"].get("401").is_some_and(Value::is_object));
}
