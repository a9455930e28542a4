//! Proofs of agents: tokens of platforms that no agent could have, that two agents could share, or that more
//! workloads can have than it seems.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mandate_api::registry_file::{AgentItem, Finding, PermissionItem, ProofItem};
use mandate_core::registry::{
    Agent, AgentProof, AgentState, Entry, EntryKind, MemberForm, Need, Permission, Platform, PlatformProof,
    ProofKind, Registry,
};
use mandate_core::{AgentName, Issuer, SpiffeId};

use crate::entries::{Declared, Defaults, permissions};
use crate::key_material::{certificates, check_jwks};

/// The most proofs of one agent.
const MAX_PROOFS: usize = 16;
/// The most values of one member.
const MAX_VALUES: usize = 32;
/// The longest `jwks`, in bytes.
const MAX_JWKS: usize = 128 * 1024;

/// The proofs of one agent. The finding has its place within the agent.
pub(crate) fn of(item: &AgentItem, defaults: &Defaults) -> Result<Vec<AgentProof>, Finding> {
    if item.proof.is_empty() {
        return Ok(Vec::new());
    }
    if !item.selectors.is_empty() {
        let detail = format!(
            "agent `{}` has selectors and a proof; one way identifies an agent, or the weaker one counts: make two agents of them",
            item.name
        );
        return Err(Finding::new("/proof", detail));
    }
    if item.proof.len() > MAX_PROOFS {
        return Err(Finding::new("/proof", format!("more than {MAX_PROOFS} proofs")));
    }
    let mut all: Vec<AgentProof> = Vec::with_capacity(item.proof.len());
    for (at, proof) in item.proof.iter().enumerate() {
        let made = match proof.kind {
            ProofKind::Platform(platform) => by_platform(proof, platform, defaults).map(AgentProof::Platform),
            ProofKind::Spiffe => by_svid(proof, defaults),
        };
        let made = made.map_err(|finding| {
            let what = format!("a proof of agent `{}`: {}", item.name, finding.detail);
            Finding::new(format!("/proof/{at}{}", finding.pointer), what)
        })?;
        if all.contains(&made) {
            return Err(Finding::new(format!("/proof/{at}"), "the same proof twice"));
        }
        all.push(made);
    }
    Ok(all)
}

/// A JWT-SVID of another trust domain. It says nothing but who the workload is.
fn by_svid(item: &ProofItem, defaults: &Defaults) -> Result<AgentProof, Finding> {
    let Some(id) = &item.id else {
        let detail = "`id` is missing: the whole SPIFFE ID, such as \"spiffe://example.org/ci/builder\"";
        return Err(Finding::new("", detail));
    };
    let Some(domain) = &item.trust_domain else {
        return Err(Finding::new("", "`trust_domain` is missing: the name of a [[trust_domain]]"));
    };
    if *domain == defaults.trust_domain {
        let detail =
            format!("`{domain}` is the trust domain of this server itself; give the agent selectors");
        return Err(Finding::new("/trust_domain", detail));
    }
    if !id.is_member_of(domain) {
        return Err(Finding::new("/id", format!("`{id}` is not of the trust domain `{domain}`")));
    }
    if id.path().is_empty() {
        let detail = "it names a trust domain and no workload: a path is missing, such as \"/ci/builder\"";
        return Err(Finding::new("/id", detail));
    }
    let mut others = vec![
        ("issuer", item.issuer.is_some()),
        ("single_use", item.single_use.is_some()),
        ("jwks", item.jwks.is_some()),
        ("ca", item.ca.is_some()),
        ("proxy", item.proxy.is_some()),
        ("audience", item.audience.is_some()),
        ("ceiling", item.ceiling.is_some()),
    ];
    others.extend(item.says().into_iter().map(|(name, _)| (name, true)));
    if let Some((name, _)) = others.into_iter().find(|(_, is_there)| *is_there) {
        let detail = format!("`{name}` has no meaning with spiffe; it has trust_domain, id");
        return Err(Finding::new(format!("/{name}"), detail));
    }
    Ok(AgentProof::Svid { svid: id.clone() })
}

fn by_platform(item: &ProofItem, platform: Platform, defaults: &Defaults) -> Result<PlatformProof, Finding> {
    let of_svids = [("trust_domain", item.trust_domain.is_some()), ("id", item.id.is_some())];
    if let Some((name, _)) = of_svids.into_iter().find(|(_, is_there)| *is_there) {
        return Err(has_no_meaning(name, platform));
    }
    let issuer = match (&item.issuer, platform.usual_issuer()) {
        (Some(issuer), _) => issuer.clone(),
        (None, Some(usual)) => usual
            .parse()
            .map_err(|error| Finding::new("/issuer", format!("the usual issuer is not usable: {error}")))?,
        (None, None) => {
            return Err(Finding::new("", format!("`issuer` is missing: {}", how_to_find_issuer(platform))));
        }
    };
    if issuer == defaults.issuer {
        return Err(Finding::new("/issuer", "that is this server itself"));
    }
    let (ca, proxy) = (certificates(item.ca.as_deref())?, item.proxy.clone());
    if let Some(jwks) = &item.jwks {
        if jwks.len() > MAX_JWKS {
            return Err(Finding::new("/jwks", "longer than 128 KiB"));
        }
        check_jwks(jwks).map_err(|why| Finding::new("/jwks", format!("the keys of `{issuer}`: {why}")))?;
        if ca.is_some() || proxy.is_some() {
            let detail = "with `jwks` nothing is fetched, so `ca` and `proxy` have no use; leave them out";
            return Err(Finding::new("/jwks", detail));
        }
    }
    if item.single_use == Some(true) && !platform.numbers_its_tokens() {
        let detail = format!("tokens of {} have no `jti`, so none can count once", platform.as_str());
        return Err(Finding::new("/single_use", detail));
    }
    let says = says(item, platform)?;
    if platform == Platform::Azure {
        is_of_the_tenant(&issuer, &says)?;
    }
    Ok(PlatformProof {
        single_use: item.single_use.unwrap_or_else(|| platform.is_single_use()),
        audience: audience(item, platform)?,
        ceiling: item.ceiling.as_deref().map(ceiling).transpose()?,
        jwks: item.jwks.clone(),
        ca,
        proxy,
        ..PlatformProof::new(platform, issuer, says)
    })
}

fn ceiling(list: &[PermissionItem]) -> Result<Vec<Permission>, Finding> {
    if list.is_empty() {
        let detail = "an empty ceiling gives such a token nothing; leave the proof out, or `ceiling` for all of the agent's";
        return Err(Finding::new("/ceiling", detail));
    }
    permissions(list, "/ceiling")
}

fn audience(item: &ProofItem, platform: Platform) -> Result<Option<String>, Finding> {
    let Some(audience) = &item.audience else { return Ok(None) };
    if !platform.fixes_the_audience() {
        let kind = platform.as_str();
        let detail = format!("with {kind} the audience is this server's issuer: leave `audience` out");
        return Err(Finding::new("/audience", detail));
    }
    if MemberForm::Text.accepts(audience) {
        Ok(Some(audience.clone()))
    } else {
        Err(Finding::new("/audience", format!("`audience` is {}", MemberForm::Text.says())))
    }
}

/// An issuer of Entra has its tenant as the first part of its path. One for all tenants, such as `common`, is
/// never the `iss` of a token.
fn is_of_the_tenant(issuer: &Issuer, says: &BTreeMap<String, BTreeSet<String>>) -> Result<(), Finding> {
    let tenant = issuer.as_str().split('/').nth(3).unwrap_or_default();
    if says.get("tenant_id").is_some_and(|named| named.contains(tenant)) {
        return Ok(());
    }
    let detail = format!("`{issuer}` is not an issuer of the tenant that `tenant_id` names");
    Err(Finding::new("/issuer", detail))
}

fn how_to_find_issuer(platform: Platform) -> &'static str {
    match platform {
        Platform::Azure => {
            "\"https://sts.windows.net/TENANT/\" or \"https://login.microsoftonline.com/TENANT/v2.0\", as `iss` of a token says"
        }
        Platform::Aws => {
            "that of the account, which `aws iam get-outbound-web-identity-federation-info` prints"
        }
        Platform::Kubernetes | Platform::GithubActions | Platform::Gitlab | Platform::Google => {
            "the issuer of the cluster, which `kubectl get --raw /.well-known/openid-configuration` prints"
        }
    }
}

/// What a token must say: the members of the file, and those that count if the file says nothing.
fn says(item: &ProofItem, platform: Platform) -> Result<BTreeMap<String, BTreeSet<String>>, Finding> {
    let mut says: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, values) in with_namespace(item) {
        let here = format!("/{name}");
        let member = platform.member(name).ok_or_else(|| has_no_meaning(name, platform))?;
        if values.len() > MAX_VALUES {
            return Err(Finding::new(here, format!("more than {MAX_VALUES} values")));
        }
        if let Some(wrong) = values.iter().find(|value| !member.form.accepts(value)) {
            let detail = format!("`{name}` is {}, not {:?}", member.form.says(), wrong);
            return Err(Finding::new(here, detail));
        }
        says.insert(name.to_owned(), values.into_iter().collect());
    }
    for member in platform.members() {
        match member.need {
            Need::Identity if !says.contains_key(member.name) => {
                let detail = format!("`{}` is missing: {}", member.name, how_to_find(member.name));
                return Err(Finding::new("", detail));
            }
            Need::Otherwise(usual) => {
                let usual = || usual.iter().map(|&value| value.to_owned()).collect();
                says.entry(member.name.to_owned()).or_insert_with(usual);
            }
            Need::Identity | Need::Optional => {}
        }
    }
    Ok(says)
}

fn has_no_meaning(name: &str, platform: Platform) -> Finding {
    let members: Vec<&str> = platform.members().iter().map(|member| member.name).collect();
    let kind = platform.as_str();
    let detail = format!("`{name}` has no meaning with {kind}; it has {}", members.join(", "));
    Finding::new(format!("/{name}"), detail)
}

/// `service_account = "NAMESPACE/NAME"` names both.
fn with_namespace(item: &ProofItem) -> Vec<(&'static str, Vec<String>)> {
    let mut says = item.says();
    let both = item.service_account.as_ref().filter(|_| item.namespace.is_none());
    if let Some((namespace, name)) = both.and_then(|account| account.split_once('/')) {
        says.retain(|(member, _)| *member != "service_account");
        says.push(("namespace", vec![namespace.to_owned()]));
        says.push(("service_account", vec![name.to_owned()]));
    }
    says
}

fn how_to_find(member: &str) -> &'static str {
    match member {
        "repository_id" => "`gh api repos/OWNER/REPO --jq .id` prints it",
        "repository_owner_id" => "`gh api repos/OWNER/REPO --jq .owner.id` prints it",
        "project_id" => "it is on the project's page, and in a job it is $CI_PROJECT_ID",
        "namespace" => "name the namespace of the service account",
        "service_account" => "name the service account that the pod uses",
        "service_account_id" => {
            "`gcloud iam service-accounts describe ADDRESS --format 'value(uniqueId)'` prints it"
        }
        "tenant_id" => "`az account show --query tenantId` prints it",
        "object_id" => "`az identity show --query principalId` prints it",
        "account_id" => "`aws sts get-caller-identity --query Account` prints it",
        "role_arn" => "`aws iam get-role --role-name NAME --query Role.Arn` prints it",
        _ => "a token must say it",
    }
}

/// What to say about the proofs of one agent.
pub(crate) fn notes(agent: &Agent) -> Vec<String> {
    let mut notes = Vec::new();
    for proof in agent.proofs.iter().filter_map(AgentProof::platform) {
        let has = |name: &str| proof.says.contains_key(name);
        let wide = match proof.platform {
            Platform::GithubActions if !has("environment") && !has("ref") && !has("workflow_ref") => Some(
                "every workflow on every branch of the repository is this agent; add `environment`, `ref` or `workflow_ref`",
            ),
            Platform::Gitlab if !has("environment") && !has("ref") && !has("ref_protected") => Some(
                "every job on every branch of the project is this agent; add `ref_protected = true`, `ref` or `environment`",
            ),
            Platform::Kubernetes if !has("uid") => Some(
                "who deletes the service account and creates it again is this agent; add `uid`, which `kubectl get serviceaccount NAME -o jsonpath={.metadata.uid}` prints",
            ),
            Platform::Google if !has("instance_id") => Some(
                "every workload that may use the service account is this agent; give it a service account of its own, or add `instance_id`",
            ),
            Platform::Aws if !has("ec2_instance_arn") && !has("lambda_function_arn") => Some(
                "who may take on the role, or deletes it and creates it again, is this agent; let only the workload take it on",
            ),
            Platform::GithubActions
            | Platform::Gitlab
            | Platform::Kubernetes
            | Platform::Google
            | Platform::Azure
            | Platform::Aws => None,
        };
        let of = format!("agent `{}`, proof of {}", agent.name, proof.platform.as_str());
        notes.extend(wide.map(|wide| format!("{of}: {wide}")));
        for member in proof.platform.members() {
            let Need::Otherwise(usual) = member.need else { continue };
            let given = proof.says.get(member.name).into_iter().flatten();
            let unusual: Vec<&str> =
                given.map(String::as_str).filter(|value| !usual.contains(value)).collect();
            if !unusual.is_empty() && proof.ceiling.is_none() {
                let what = unusual.join(", ");
                notes.push(format!(
                    "{of}: people from outside may cause `{what}`, and their code may run; give such runs a proof of their own with a smaller `ceiling`, or an agent of their own"
                ));
            }
        }
    }
    notes
}

/// The agents with proofs, and the issuers, as they will be.
struct Involved<'a> {
    /// Those of the file, with their place in it.
    declared: Vec<(&'a Agent, &'a str)>,
    staying: Vec<&'a Agent>,
    /// Identity providers, with the place of those in the file.
    issuers: HashMap<&'a Issuer, Option<&'a str>>,
}

impl<'a> Involved<'a> {
    fn new(declared: &'a [Declared], current: &'a Registry, removals: &'a [Entry]) -> Self {
        let lives = |agent: &&Agent| agent.state != AgentState::Retired && !agent.proofs.is_empty();
        let mut gone: HashSet<(EntryKind, &str)> =
            removals.iter().map(|entry| (entry.kind(), entry.key())).collect();
        gone.extend(declared.iter().map(|item| (item.entry.kind(), item.entry.key())));
        let staying = |kind: EntryKind, key: &str| !gone.contains(&(kind, key));
        let agents = declared.iter().filter_map(|item| match &item.entry {
            Entry::Agent(agent) if lives(&agent) => Some((agent, item.pointer.as_str())),
            _ => None,
        });
        let mut issuers: HashMap<&Issuer, Option<&str>> = current
            .issuers()
            .filter(|issuer| staying(EntryKind::Issuer, issuer.url.as_str()))
            .map(|issuer| (&issuer.url, None))
            .collect();
        issuers.extend(declared.iter().filter_map(|item| match &item.entry {
            Entry::Issuer(issuer) => Some((&issuer.url, Some(item.pointer.as_str()))),
            _ => None,
        }));
        let mut others: Vec<&Agent> = current
            .agents()
            .map(|agent| &**agent)
            .filter(|agent| lives(agent) && staying(EntryKind::Agent, agent.name.as_str()))
            .collect();
        others.sort_by(|a, b| a.name.cmp(&b.name));
        Self { declared: agents.collect(), staying: others, issuers }
    }
}

/// Tokens that could prove two agents, and issuers with two meanings.
pub(crate) fn collisions(declared: &[Declared], current: &Registry, removals: &[Entry]) -> Vec<Finding> {
    let involved = Involved::new(declared, current, removals);
    let mut findings = Vec::new();
    let mut known: HashMap<(Issuer, String), Vec<(&AgentName, &PlatformProof)>> = HashMap::new();
    let mut svids: HashMap<&SpiffeId, &AgentName> = HashMap::new();
    let mut platforms: HashMap<&Issuer, Platform> = HashMap::new();
    let staying = involved.staying.iter().map(|agent| (*agent, None));
    let all = staying.chain(involved.declared.iter().map(|(agent, place)| (*agent, Some(*place))));
    for (agent, place) in all {
        for (at, proof) in agent.proofs.iter().enumerate() {
            let here = place.map(|place| format!("{place}/proof/{at}"));
            let proof = match proof {
                AgentProof::Platform(proof) => proof,
                AgentProof::Svid { svid } => {
                    let other = svids.insert(svid, &agent.name).filter(|other| **other != agent.name);
                    findings.extend(here.zip(other).map(|(here, other)| {
                        let detail =
                            format!("`{svid}` proves agent `{other}` already, and so not `{}`", agent.name);
                        Finding::new(here, detail)
                    }));
                    continue;
                }
            };
            let platform = *platforms.entry(&proof.issuer).or_insert(proof.platform);
            if platform != proof.platform {
                let (one, other) = (platform.as_str(), proof.platform.as_str());
                let detail = format!("`{}` is the issuer of {one} already, and not of {other}", proof.issuer);
                findings.extend(here.clone().map(|here| Finding::new(here, detail)));
            }
            if proof.platform.names_only_workloads()
                && let Some(issuer) = involved.issuers.get(&proof.issuer)
                && let Some(here) = here.as_deref().or(*issuer)
            {
                let detail = format!(
                    "`{}` is the issuer of workloads of {}, which prove agent `{}`; an [[issuer]] names people",
                    proof.issuer,
                    proof.platform.as_str(),
                    agent.name
                );
                findings.push(Finding::new(here, detail));
            }
            let Some(workload) = proof.workload() else { continue };
            let others = known.entry(workload).or_default();
            if let Some(here) = here
                && let Some((other, _)) =
                    others.iter().find(|(name, theirs)| **name != agent.name && theirs.overlaps(proof))
            {
                let detail = format!(
                    "one token could prove agent `{other}` and agent `{}`; let a member have different values in the two, such as `environment` or `event_name`",
                    agent.name
                );
                findings.push(Finding::new(here, detail));
            }
            others.push((&agent.name, proof));
        }
    }
    findings
}
