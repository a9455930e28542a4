//! `cargo xtask interop`: the tests that need other authors' programs, and those programs.
//!
//! Missing programs are installed: Debian packages if the user may install them, the clients in JavaScript
//! and in Python in folders of the repository. If a program cannot be installed, its tests are skipped, and
//! each of them is counted.

use std::path::Path;
use std::process::Command;

use crate::on_demand::{self, Product};
use crate::setup;
use crate::steps::{StepOutcome, Steps, answers, run};

/// The programs in JavaScript that are tried against the server.
const JAVASCRIPT: &[&str] = &["crates/testkit/node-clients", "examples/javascript"];

/// The clients in Python.
const PYTHON_CLIENTS: &str = "crates/testkit/python-clients";

/// Where the packages of the clients in Python are installed. Tests look for them here.
const PYTHON_ENVIRONMENT: &str = "target/python-clients";

/// The clients in Go.
const GO_CLIENTS: &str = "crates/testkit/go-clients";

/// Where their program is built. Tests look for it here.
const GO_PROGRAM: &str = "target/go-clients/go-clients";

/// The variable that names the database of tests. `mandate-testkit` reads it.
const TEST_STORE: &str = "MANDATE_TEST_STORE";

/// The arguments of `cargo xtask interop`.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct InteropArguments {
    /// Install nothing; use what is there
    #[arg(long)]
    no_setup: bool,
    /// Install this product and run only its tests, which no other run does
    #[arg(long, value_enum, value_name = "PRODUCT", conflicts_with = "filter")]
    on_demand: Option<Product>,
    /// Run only the tests whose name contains this
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

pub(crate) fn take(root: &Path, arguments: &InteropArguments, steps: &mut Steps) {
    if let Some(product) = arguments.on_demand {
        on_demand::take(root, product, arguments.no_setup, steps);
        return;
    }
    steps.announce(if arguments.no_setup { 4 } else { 7 });
    if arguments.no_setup {
        steps.take("programs of others", || StepOutcome::Skipped("--no-setup".to_owned()));
    } else {
        steps.take("programs of others", || setup::install(root, setup::INTEROP));
        steps.take("clients in JavaScript", || node_clients(root));
        steps.take("clients in Python", || python_clients(root));
        steps.take("clients in Go", || go_clients(root));
    }
    let mut cargo = vec!["--workspace", "--test", "interop"];
    if let Some(filter) = &arguments.filter {
        cargo.extend(["--", filter]);
    }
    steps.cargo_test(root, "tests against programs of others", &cargo, &[]);
    on_postgres(root, arguments.filter.as_deref(), steps);
}

/// Tests that keep state, by the name of their step and as cargo is told. Of the unit tests, those of the
/// store open databases.
const ON_POSTGRES: [(&str, &[&str]); 2] = [
    ("tests on PostgreSQL", &["--workspace", "--test", "it", "--test", "system"]),
    ("unit tests of the store on PostgreSQL", &["--package", "mandate-store", "--lib"]),
];

/// The tests that keep state, on PostgreSQL. The others have the same result on every database.
fn on_postgres(root: &Path, filter: Option<&str>, steps: &mut Steps) {
    for (name, tests) in ON_POSTGRES {
        if !setup::postgres_server_is_there() {
            steps.take(name, || StepOutcome::Skipped("PostgreSQL is not installed".to_owned()));
            continue;
        }
        let mut cargo = tests.to_vec();
        if let Some(filter) = filter {
            cargo.extend(["--", filter]);
        }
        steps.cargo_test(root, name, &cargo, &[(TEST_STORE, "postgres".as_ref())]);
    }
}

fn node_clients(root: &Path) -> StepOutcome {
    if !setup::present("npm") {
        return StepOutcome::Skipped("there is no npm".to_owned());
    }
    for folder in JAVASCRIPT {
        let outcome = run(&root.join(folder), "npm", &["ci", "--no-audit", "--no-fund"]);
        if outcome != StepOutcome::Passed {
            return outcome;
        }
    }
    StepOutcome::Passed
}

fn python_clients(root: &Path) -> StepOutcome {
    if !setup::python_makes_environments() {
        return StepOutcome::Skipped("there is no Python 3 with venv".to_owned());
    }
    let requirements = format!("{PYTHON_CLIENTS}/requirements.txt");
    let pip = format!("{PYTHON_ENVIRONMENT}/bin/pip");
    match run(root, "python3", &["-m", "venv", PYTHON_ENVIRONMENT]) {
        StepOutcome::Passed => run(
            root,
            &pip,
            &["install", "--quiet", "--disable-pip-version-check", "--requirement", &requirements],
        ),
        other => other,
    }
}

/// Go gets the modules that `go.sum` pins.
fn go_clients(root: &Path) -> StepOutcome {
    if !answers(Command::new("go").arg("version")) {
        return StepOutcome::Skipped("there is no Go".to_owned());
    }
    let program = root.join(GO_PROGRAM);
    let program = program.to_string_lossy();
    run(&root.join(GO_CLIENTS), "go", &["build", "-mod=readonly", "-buildvcs=false", "-o", &program])
}

#[cfg(test)]
mod tests {
    use std::fs;

    /// What tries each program of the page.
    const TRIED_BY: &[(&str, &[&str])] = &[
        (
            "oauth4webapi",
            &[
                "strict_clients.rs::metadata_is_accepted_and_names_this_issuer_alone",
                "strict_clients.rs::a_public_client_redeems_a_code_once_with_its_own_verifier",
                "strict_clients.rs::clients_push_their_requests_and_one_of_them_must",
                "strict_clients.rs::a_public_client_refreshes_until_a_token_is_used_twice_or_revoked",
                "strict_clients.rs::denial_wrong_password_and_unknown_resource_are_errors_to_a_client",
                "strict_clients.rs::access_tokens_are_valid_to_resource_servers_and_forgeries_are_not",
                "strict_clients.rs::a_client_with_a_secret_introspects_and_revokes_what_concerns_it",
                "strict_clients.rs::a_client_with_a_key_introspects_and_revokes_and_never_by_a_used_assertion",
                "strict_clients.rs::an_agents_mandate_is_a_valid_access_token",
                "strict_clients.rs::an_agents_own_token_is_a_valid_access_token_and_nobody_elses",
            ],
        ),
        (
            "openid-client",
            &[
                "default_clients.rs::openid_client_sends_its_secret_in_the_body_pushes_its_request_and_gets_refreshes_and_revokes_a_token",
                "default_clients.rs::openid_client_as_an_agent_gets_a_token_of_its_own_and_exchanges_a_persons",
            ],
        ),
        (
            "Authlib",
            &[
                "default_clients.rs::authlib_authenticates_by_a_secret_in_the_header_or_in_the_body_and_refreshes_a_token",
                "default_clients.rs::authlib_signs_assertions_for_the_token_endpoint_which_a_client_must_be_registered_for",
                "default_clients.rs::authlib_as_a_public_client_revokes_its_own_token",
                "default_clients.rs::authlib_as_an_agent_gets_a_token_of_its_own_and_exchanges_a_persons",
            ],
        ),
        (
            "github.com/coreos/go-oidc/v3",
            &[
                "go_clients.rs::go_oidc_finds_the_issuer_and_verifies_the_tokens_of_every_grant_that_oauth2_drives",
            ],
        ),
        (
            "golang.org/x/oauth2",
            &[
                "go_clients.rs::go_oidc_finds_the_issuer_and_verifies_the_tokens_of_every_grant_that_oauth2_drives",
            ],
        ),
        (
            "@modelcontextprotocol/client",
            &["mcp_clients.rs::the_typescript_sdk_finds_its_way_from_a_refusal_to_the_api"],
        ),
        ("mcp", &["mcp_clients.rs::the_python_sdk_finds_its_way_from_a_refusal_to_the_api"]),
        (
            "@modelcontextprotocol/conformance",
            &["mcp_clients.rs::the_mcp_conformance_tool_passes_for_clients_with_and_without_a_secret"],
        ),
        (
            "libfaketime",
            &[
                "clock.rs::what_is_stopped_stays_dead_however_the_clock_is_set_around_it",
                "clock.rs::a_clock_that_is_set_back_while_the_server_is_down_brings_nothing_back",
            ],
        ),
        ("jose", &["examples.rs::the_examples_in_javascript_work_as_they_are_printed"]),
        (
            "PyJWT",
            &[
                "python_clients.rs::pyjwt_accepts_an_access_token_where_it_is_addressed_and_nowhere_else",
                "examples.rs::the_examples_in_python_work_as_they_are_printed",
            ],
        ),
        (
            "oidc-provider",
            &[
                "foreign_issuer.rs::an_agent_acts_for_a_person_whom_the_companys_provider_names",
                "foreign_issuer.rs::a_trusted_providers_other_tokens_and_other_people_are_refused",
                "foreign_issuer.rs::a_provider_that_is_not_registered_is_refused",
                "foreign_subjects.rs::an_opaque_token_and_an_id_token_of_the_companys_provider_are_subjects_each_as_what_it_is",
                "provider_login.rs::a_person_logs_in_at_the_companys_provider_and_lands_at_the_app",
                "provider_login.rs::a_logout_at_the_provider_ends_the_tokens_of_the_person",
            ],
        ),
        (
            "Chromium",
            &[
                "browser.rs::a_person_logs_in_and_lands_at_the_app_with_a_code_that_works",
                "browser.rs::a_wrong_password_is_said_on_the_page_and_the_next_attempt_works",
                "browser.rs::deny_goes_back_without_a_code",
            ],
        ),
    ];

    /// Whether `text` has a test of that name which runs.
    fn has_test(text: &str, name: &str) -> bool {
        let lines: Vec<&str> = text.lines().collect();
        lines.windows(2).any(|pair| {
            let is_test = pair[0] == "#[test]" || pair[0].starts_with("#[tokio::test");
            let function = pair[1].strip_prefix("async ").unwrap_or(pair[1]);
            is_test && function.strip_prefix("fn ").is_some_and(|rest| rest.starts_with(&format!("{name}()")))
        })
    }

    #[test]
    fn a_test_that_is_gone_or_does_not_run_is_no_test() {
        assert!(
            has_test("#[test]\nfn a() {\n", "a")
                && has_test("x\n#[tokio::test(flavor = \"y\")]\nasync fn a() {\n", "a")
        );
        for text in [
            "",
            "fn a() {\n",
            "#[test]\nfn ab() {\n",
            "#[test]\n#[ignore]\nfn a() {\n",
            "// #[test]\n// fn a() {\n",
        ] {
            assert!(!has_test(text, "a"), "{text}");
        }
    }

    /// A row of the page claims that a version was tried by tests: both must be there.
    #[test]
    fn every_program_that_the_book_names_is_pinned_and_has_a_test() {
        let read = |path: &str| fs::read_to_string(crate::root().join(path)).unwrap();
        let page = read("docs/src/tried-with.md");
        let pinned = [
            "crates/testkit/node-clients/package.json",
            "crates/testkit/python-clients/requirements.txt",
            "crates/testkit/go-clients/go.mod",
        ]
        .map(read)
        .concat();
        let examples = read("examples/javascript/package.json");
        // The first table: `on_demand.rs` knows the other.
        let rows: Vec<Vec<&str>> = page
            .lines()
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .skip(2)
            .map(|row| row.split('|').collect())
            .collect();
        let programs: Vec<&str> = rows.iter().map(|row| row[1].trim().trim_matches('`')).collect();
        assert_eq!(
            programs,
            TRIED_BY.iter().map(|(program, _)| *program).collect::<Vec<_>>(),
            "of each row it is known what tries it"
        );
        for row in rows {
            let (program, version, tests) = (row[1].trim().trim_matches('`'), row[2].trim(), row[4]);
            let forms = [
                format!("\"{program}\": \"{version}\""),
                format!("{program}=={version}"),
                format!("{program}[crypto]=={version}"),
                format!("{program} v{version}"),
            ];
            assert!(
                version == "Debian's" || forms.iter().any(|form| pinned.contains(form)),
                "{program} {version} is pinned nowhere"
            );
            let other = examples.contains(&format!("\"{program}\":")) && !examples.contains(&forms[0]);
            assert!(!other, "the examples use another version of {program} than {version}");
            let (_, tried_by) = TRIED_BY.iter().find(|(tried, _)| *tried == program).unwrap();
            let mut files = Vec::new();
            for (file, name) in tried_by.iter().map(|test| test.split_once("::").unwrap()) {
                assert!(
                    has_test(&read(&format!("crates/mandate/tests/interop/{file}")), name),
                    "{program}: {file} has no test {name}"
                );
                files.push(file);
            }
            files.dedup();
            let named: Vec<&str> = tests.split(',').map(|name| name.trim().trim_matches('`')).collect();
            assert_eq!(named, files, "{program}");
        }
    }
}
