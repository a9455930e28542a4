//! Proofs of agents: what is kept, what is refused, and what is noted.

use mandate_api::RegistryFile;
use mandate_api::admin::RegistryItem;
use mandate_core::registry::{Agent, AgentProof, Entry, EntryKind, Platform, Registry};

use super::{defaults, plan, refused, registry};

const GITHUB: &str = r#"{ kind = "github-actions", repository_id = "74", repository_owner_id = "65", ref = "refs/heads/main" }"#;
const KUBERNETES: &str = r#"{ kind = "kubernetes", issuer = "https://oidc.cluster-7.example", namespace = "support", service_account = "triage", uid = "14ee3fa4" }"#;
const GITLAB: &str = r#"{ kind = "gitlab", project_id = "20", ref_protected = true }"#;

fn named(name: &str, proofs: &str, more: &str) -> String {
    format!("[[agent]]\nname = \"{name}\"\nowner = \"p\"\npurpose = \"x\"\nproof = [{proofs}]\n{more}")
}

fn file(agents: &[String]) -> String {
    format!("[[person]]\nname = \"p\"\n{}", agents.concat())
}

fn one(proofs: &str) -> String {
    file(&[named("a", proofs, "")])
}

fn kept(proofs: &str) -> Agent {
    match registry(&one(proofs)).get(EntryKind::Agent, "a") {
        Some(Entry::Agent(agent)) => agent,
        other => panic!("{other:?}"),
    }
}

fn notes(proofs: &str) -> Vec<String> {
    plan(&Registry::default(), &one(proofs), false).unwrap().notes
}

#[test]
fn a_proof_names_ids_and_has_the_usual_issuer_and_events_of_its_platform() {
    let agent = kept(&[GITHUB, KUBERNETES, GITLAB].join(", "));
    let proofs: Vec<_> = agent.proofs.iter().filter_map(AgentProof::platform).collect();
    let [github, kubernetes, gitlab] = proofs.as_slice() else { panic!("{agent:?}") };
    assert_eq!(github.issuer.as_str(), "https://token.actions.githubusercontent.com");
    assert_eq!(
        github.says["event_name"].iter().map(String::as_str).collect::<Vec<_>>(),
        ["deployment", "push", "release", "schedule", "workflow_dispatch"]
    );
    assert!(github.single_use && !kubernetes.single_use && !gitlab.single_use);
    assert_eq!(gitlab.issuer.as_str(), "https://gitlab.com");
    assert_eq!(gitlab.says["ref_protected"], ["true".to_owned()].into());
    assert!(notes(&[GITHUB, KUBERNETES, GITLAB].join(", ")).is_empty());
    let short = KUBERNETES.replace(
        r#"namespace = "support", service_account = "triage""#,
        r#"service_account = "support/triage""#,
    );
    assert_eq!(kept(&short).proofs, kept(KUBERNETES).proofs, "both in one");
}

#[test]
fn what_get_prints_declares_the_same_agent() {
    let before = registry(&one(&[GITHUB, KUBERNETES, GITLAB].join(", ")));
    let items = before.entries();
    let items = items.iter().map(|entry| RegistryItem::of(entry, &defaults().issuer));
    let file = RegistryFile::from_items(items);
    let planned = crate::plan(&file, &before, &defaults(), false).unwrap();
    assert!(planned.is_empty(), "{planned:?}");
    let text = serde_json::to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<RegistryFile>(&text).unwrap(), file);
}

#[test]
fn a_name_is_no_id_and_a_member_belongs_to_its_platform() {
    for (proof, part) in [
        (
            r#"{ kind = "github-actions", repository_id = "acme/desk", repository_owner_id = "65" }"#,
            "the id, not the name",
        ),
        (
            r#"{ kind = "github-actions", repository_id = "074", repository_owner_id = "65" }"#,
            "the id, not the name",
        ),
        (r#"{ kind = "github-actions", repository_id = "74" }"#, "`repository_owner_id` is missing"),
        (r#"{ kind = "github-actions", repository_owner_id = "65" }"#, "`repository_id` is missing"),
        (r#"{ kind = "gitlab", project_id = "acme/desk" }"#, "the id, not the name"),
        (r#"{ kind = "gitlab" }"#, "`project_id` is missing"),
        (&GITHUB.replace("refs/heads/main", "main"), "a full reference"),
        (&GITHUB.replace("ref =", "uid ="), "`uid` has no meaning with github-actions"),
        (
            &GITLAB.replace("ref_protected = true", "event_name = [\"push\"]"),
            "`event_name` has no meaning with gitlab",
        ),
        (&GITHUB.replace("ref =", "event_name = [\"Push\"], ref ="), "lower-case"),
        (&KUBERNETES.replace("namespace = \"support\", ", ""), "`namespace` is missing"),
        (&KUBERNETES.replace("\"triage\"", "\"a:b\""), "lower-case letters, digits"),
        (&KUBERNETES.replace("issuer = \"https://oidc.cluster-7.example\", ", ""), "`issuer` is missing"),
        (
            &GITLAB.replace("project_id", "issuer = \"https://mandate.acme.example\", project_id"),
            "this server itself",
        ),
        (&KUBERNETES.replace("uid", "jwks = \"{}\", uid"), "not a JWK Set"),
        (
            &KUBERNETES.replace("uid", "jwks = '{\"keys\":[{\"kty\":\"oct\",\"k\":\"x\"}]}', uid"),
            "private or secret key",
        ),
        (
            &KUBERNETES.replace("uid", "jwks = '{\"keys\":[{}]}', proxy = \"http://p.example\", uid"),
            "have no use",
        ),
        (&KUBERNETES.replace("uid", "ca = \"ca.pem\", uid"), "PEM form"),
    ] {
        let (detail, place) = refused(&Registry::default(), &one(proof), false);
        assert!(detail.contains(part), "{proof}: {detail}");
        assert_eq!(place.0, 7, "{proof}");
    }
}

const GOOGLE: &str = r#"{ kind = "google", service_account_id = "118259888888888888888", instance_id = "152986662232938449" }"#;
const AZURE: &str = r#"{ kind = "azure", issuer = "https://login.microsoftonline.com/6babcaad-604b-40ac-a9d7-9fd97c0b779f/v2.0", tenant_id = "6babcaad-604b-40ac-a9d7-9fd97c0b779f", object_id = "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798", audience = "8f3c2a10-1111-4222-8333-0123456789ab" }"#;
const AWS: &str = r#"{ kind = "aws", issuer = "https://0f9d7e6d.tokens.sts.global.api.aws", account_id = "012345678901", role_arn = "arn:aws:iam::012345678901:role/triage", lambda_function_arn = "arn:aws:lambda:eu-west-1:012345678901:function:triage" }"#;

#[test]
fn workloads_of_clouds_are_known_by_ids() {
    let agent = kept(&[GOOGLE, AZURE, AWS].join(", "));
    let proofs: Vec<_> = agent.proofs.iter().filter_map(AgentProof::platform).collect();
    let [google, azure, aws] = proofs.as_slice() else { panic!("{agent:?}") };
    assert_eq!(google.issuer.as_str(), "https://accounts.google.com");
    assert_eq!(azure.audience.as_deref(), Some("8f3c2a10-1111-4222-8333-0123456789ab"));
    assert!(!google.single_use && !azure.single_use && aws.single_use);
    assert!(notes(&[GOOGLE, AZURE, AWS].join(", ")).is_empty());
    assert!(
        notes(&GOOGLE.replace(", instance_id = \"152986662232938449\"", ""))[0].contains("`instance_id`")
    );
    let role = AWS.split(", lambda_function_arn").next().unwrap().to_owned() + " }";
    assert!(notes(&role)[0].contains("who may take on the role"));
    for (proof, part) in [
        (
            GOOGLE.replace("118259888888888888888", "triage@acme.iam.gserviceaccount.com"),
            "the id, not the name",
        ),
        (GOOGLE.replace("152986662232938449", "triage-1"), "the id, not the name"),
        (GOOGLE.replace(" }", ", email = \"triage@acme.example\" }"), "email"),
        (GOOGLE.replace(" }", ", single_use = true }"), "have no `jti`"),
        (GOOGLE.replace(" }", ", audience = \"x\" }"), "leave `audience` out"),
        (AZURE.replace("14ee3fa4-a7e2-420f-9f9a-dbc4507c3798", "triage"), "the id, not the name"),
        (
            AZURE.replace(".com/6babcaad-604b-40ac-a9d7-9fd97c0b779f", ".com/common"),
            "not an issuer of the tenant",
        ),
        (AZURE.replace("issuer = ", "ca = \"-----BEGIN CERTIFICATE-----\", proxy = "), "`issuer` is missing"),
        (AZURE.replace(" }", ", single_use = true }"), "have no `jti`"),
        (AZURE.replace("8f3c2a10-1111-4222-8333-0123456789ab", ""), "`audience` is"),
        (AWS.replace("\"012345678901\"", "\"12345678901\""), "the twelve digits"),
        (AWS.replace("arn:aws:iam::012345678901:role/triage", "triage"), "the ARN of a role"),
        (AWS.replace("issuer = \"https://0f9d7e6d.tokens.sts.global.api.aws\", ", ""), "`issuer` is missing"),
    ] {
        let text = one(&proof);
        let detail = match mandate_api::registry_file::parse(&text) {
            Ok(_) => refused(&Registry::default(), &text, false).0,
            Err(unknown) => unknown.to_string(),
        };
        assert!(detail.contains(part), "{proof}: {detail}");
    }
}

#[test]
fn one_way_identifies_an_agent() {
    let text = file(&[named("a", GITHUB, "selectors = [\"unix:uid:1000\"]\n")]);
    let (detail, place) = refused(&Registry::default(), &text, false);
    assert!(detail.contains("make two agents of them"), "{detail}");
    assert_eq!(place, (7, 9));
    let (detail, _) = refused(&Registry::default(), &one(&format!("{GITHUB}, {GITHUB}")), false);
    assert!(detail.contains("the same proof twice"), "{detail}");
    let many: Vec<String> = (0..17).map(|at| GITHUB.replace("main", &format!("b{at}"))).collect();
    let (detail, _) = refused(&Registry::default(), &one(&many.join(", ")), false);
    assert!(detail.contains("more than 16 proofs"), "{detail}");
    let unproven = plan(&Registry::default(), &file(&[named("a", "", "")]), false).unwrap();
    assert!(unproven.notes[0].contains("has no selectors"), "{:?}", unproven.notes);
}

#[test]
fn a_proof_may_have_a_ceiling_of_its_own() {
    let pulls = |ceiling: &str| {
        GITHUB.replace("ref =", &format!("event_name = [\"pull_request\"], ceiling = {ceiling}, ref ="))
    };
    let text = |ceiling: &str| {
        let crm =
            "[[resource]]\nname = \"crm\"\nuri = \"https://crm.example\"\nscopes = [\"read\", \"write\"]\n";
        let may = "ceiling = [{ resource = \"crm\", scopes = [\"read\"] }]\n";
        format!("{crm}{}", file(&[named("a", &pulls(ceiling), may)]))
    };
    let good = r#"[{ resource = "crm", scopes = ["read"] }]"#;
    assert!(
        plan(&Registry::default(), &text(good), false).unwrap().notes.is_empty(),
        "no stranger gets all of it"
    );
    let Some(Entry::Agent(agent)) = registry(&text(good)).get(EntryKind::Agent, "a") else {
        panic!("an agent")
    };
    let ceiling = agent.proofs[0].platform().unwrap().ceiling.as_deref().unwrap();
    assert_eq!((ceiling.len(), ceiling[0].scopes.to_string().as_str()), (1, "read"));
    for (ceiling, part) in [
        ("[]", "an empty ceiling"),
        (r#"[{ resource = "crm", scopes = ["delete"] }]"#, "has no scope `delete`"),
        (r#"[{ resource = "crn", scopes = ["read"] }]"#, "`crn` is not declared"),
        (r#"[{ resource = "crm", scopes = ["read"], lifetime = "0s" }]"#, "at least 1s"),
    ] {
        let (detail, _) = refused(&Registry::default(), &text(ceiling), false);
        assert!(detail.contains(part), "{ceiling}: {detail}");
    }
    let wide =
        plan(&Registry::default(), &text(r#"[{ resource = "crm", scopes = ["write"] }]"#), false).unwrap();
    assert!(wide.notes[0].contains("the ceiling of a proof of `a` on `crm` has `write`"), "{:?}", wide.notes);
    let before = registry(&text(good));
    let items = before.entries();
    let items = items.iter().map(|entry| RegistryItem::of(entry, &defaults().issuer));
    let again = crate::plan(&RegistryFile::from_items(items), &before, &defaults(), false).unwrap();
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn one_token_never_proves_two_agents() {
    let main = GITHUB.to_owned();
    let same = GITHUB.replace(", ref = \"refs/heads/main\"", ", environment = \"prod\"");
    let other = GITHUB.replace("refs/heads/main", "refs/heads/next");
    let two = |one: &str, two: &str| file(&[named("a", one, ""), named("b", two, "")]);
    for (first, second) in [(&main, &main), (&main, &same)] {
        let (detail, place) = refused(&Registry::default(), &two(first, second), false);
        assert!(detail.contains("one token could prove agent `a` and agent `b`"), "{detail}");
        assert_eq!(place.0, 12);
    }
    assert!(plan(&Registry::default(), &two(&main, &other), false).is_ok());
    let pulls = GITHUB.replace("ref =", "event_name = [\"pull_request\"], ref =");
    assert!(plan(&Registry::default(), &two(&main, &pulls), false).is_ok(), "events keep them apart");
    // Also beside what is declared already, unless that is retired or declared anew.
    let current = registry(&one(&main));
    let b = named("b", &main, "");
    let (detail, _) = refused(&current, &b, false);
    assert!(detail.contains("agent `a` and agent `b`"), "{detail}");
    let moved = file(&[named("a", &other, ""), b.clone()]);
    assert!(plan(&current, &moved, false).is_ok());
    let retired = registry(&file(&[named("a", &main, "state = \"retired\"\n")]));
    assert!(plan(&retired, &b, false).is_ok());
    assert!(plan(&current, &file(&[named("b", &main, "")]), true).is_ok(), "what is removed by --prune");
}

#[test]
fn an_issuer_of_workloads_names_no_people_and_has_one_platform() {
    let people = |url: &str| format!("[[issuer]]\nurl = \"{url}\"\naudience = \"x\"\n");
    let github = people("https://token.actions.githubusercontent.com");
    let both = one(GITHUB) + &github;
    assert!(refused(&Registry::default(), &both, false).0.contains("an [[issuer]] names people"));
    assert!(refused(&registry(&one(GITHUB)), &github, false).0.contains("an [[issuer]] names people"));
    assert!(refused(&registry(&github), &one(GITHUB), false).0.contains("an [[issuer]] names people"));
    let gitlab = one(GITLAB) + &people("https://gitlab.com");
    assert!(plan(&Registry::default(), &gitlab, false).is_ok(), "GitLab names people, too");
    let shared = KUBERNETES.replace("https://oidc.cluster-7.example", "https://gitlab.com");
    let text = file(&[named("a", GITLAB, ""), named("b", &shared, "")]);
    let (detail, _) = refused(&Registry::default(), &text, false);
    assert!(detail.contains("is the issuer of gitlab already"), "{detail}");
}

#[test]
fn a_proof_that_many_workloads_can_have_is_noted() {
    for (proof, part) in [
        (GITHUB.replace(", ref = \"refs/heads/main\"", ""), "every workflow on every branch"),
        (GITLAB.replace(", ref_protected = true", ""), "every job on every branch"),
        (KUBERNETES.replace(", uid = \"14ee3fa4\"", ""), "add `uid`"),
        (
            GITHUB.replace("ref =", "event_name = [\"push\", \"pull_request_target\"], ref ="),
            "`pull_request_target`",
        ),
        (
            GITLAB.replace(
                "ref_protected = true",
                "ref_protected = true, pipeline_source = [\"merge_request_event\"]",
            ),
            "`merge_request_event`",
        ),
    ] {
        let said = notes(&proof);
        assert!(said.len() == 1 && said[0].contains(part), "{proof}: {said:?}");
    }
    for platform in Platform::ALL {
        assert!(platform.members().len() >= 2, "{platform:?}");
    }
}
