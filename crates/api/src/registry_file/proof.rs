//! `proof` of an agent: the tokens of platforms, and of other trust domains, that prove it.

use mandate_core::registry::{AgentProof, PlatformProof, ProofKind};
use mandate_core::{Issuer, SpiffeId, TrustDomain};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::permission::{PermissionItem, permissions};

/// One token of a platform or of another trust domain that proves an agent, with what it must say. Which members belong to which `kind` is
/// checked when the file is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofItem {
    /// The platform: `github-actions`, `kubernetes`, `gitlab`, `google`, `azure` or `aws`; or `spiffe`: a JWT-SVID of another trust domain.
    #[schema(value_type = String, example = "github-actions")]
    pub kind: ProofKind,
    /// SPIFFE: the name of the trust domain, which the registry declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "example.org")]
    pub trust_domain: Option<TrustDomain>,
    /// SPIFFE: the SPIFFE ID, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "spiffe://example.org/ci/builder")]
    pub id: Option<SpiffeId>,
    /// The `iss` of its tokens. Absent: that of github.com, gitlab.com or Google; a cluster, a tenant and an
    /// account have one of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub issuer: Option<Issuer>,
    /// GitHub Actions: the id of the repository, not its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_id: Option<String>,
    /// GitHub Actions: the id of the repository's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_owner_id: Option<String>,
    /// GitHub Actions: what may start the workflow. Absent: `push`, `workflow_dispatch`, `schedule`, `release`,
    /// `deployment`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_name: Vec<String>,
    /// GitHub Actions: the workflow's file and reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_ref: Option<String>,
    /// GitHub Actions and GitLab: the environment that the job uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// GitHub Actions and GitLab: the full reference, such as `refs/heads/main`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// GitHub Actions and GitLab: whose machine runs the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_environment: Option<String>,
    /// Kubernetes: the namespace of the service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Kubernetes: the name of the service account; or `NAMESPACE/NAME`, without `namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Kubernetes: the uid of the service account, which a new one of the same name does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// GitLab: the id of the project, not its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// GitLab: the id of the project's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_id: Option<String>,
    /// GitLab: what may start the pipeline. Absent: `push`, `web`, `schedule`, `api`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pipeline_source: Vec<String>,
    /// GitLab: whether the branch or tag is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_protected: Option<bool>,
    /// GitLab: whether the environment is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_protected: Option<bool>,
    /// Google: the unique id of the service account, not its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_id: Option<String>,
    /// Google: the id of the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Google: the number of the project, not its id, which is a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_number: Option<String>,
    /// Azure: the id of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Azure: the object (principal) id of the managed identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
    /// AWS: the id of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// AWS: the ARN of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// AWS: the id of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// AWS: the ARN of the EC2 instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec2_instance_arn: Option<String>,
    /// AWS: the ARN of the Lambda function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda_function_arn: Option<String>,
    /// Azure: the only `aud` of its tokens, where that cannot be this server's issuer: the id or the URI of the
    /// application that is registered for this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whether a token counts once. Absent: with GitHub Actions and AWS yes, with the others no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_use: Option<bool>,
    /// The most that the agent gets when such a token proves it, within its own ceiling. Absent: no less than that.
    /// Not with `spiffe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Vec<PermissionItem>>,
    /// The issuer's public keys, a JWK Set as JSON text. In a file on disk also the path of a JSON file, relative
    /// to it, which `mandate apply` reads. Absent: they are fetched from the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// The only certificate authorities that are trusted for the issuer's servers, as PEM. In a file on disk
    /// also the path of a PEM file, as `ca` of an issuer. Absent: the authorities of the server's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The proxy through which the issuer is reached. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

impl ProofItem {
    /// What a token must say: each member that is there, with its values.
    pub fn says(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |name, value: &Option<String>| (name, value.iter().cloned().collect());
        let flag =
            |name, value: Option<bool>| (name, value.map(|flag| flag.to_string()).into_iter().collect());
        let all: [(&'static str, Vec<String>); 25] = [
            one("repository_id", &self.repository_id),
            one("repository_owner_id", &self.repository_owner_id),
            ("event_name", self.event_name.clone()),
            one("workflow_ref", &self.workflow_ref),
            one("environment", &self.environment),
            one("ref", &self.git_ref),
            one("runner_environment", &self.runner_environment),
            one("namespace", &self.namespace),
            one("service_account", &self.service_account),
            one("uid", &self.uid),
            one("project_id", &self.project_id),
            one("namespace_id", &self.namespace_id),
            ("pipeline_source", self.pipeline_source.clone()),
            one("service_account_id", &self.service_account_id),
            one("instance_id", &self.instance_id),
            one("project_number", &self.project_number),
            one("tenant_id", &self.tenant_id),
            one("object_id", &self.object_id),
            one("account_id", &self.account_id),
            one("role_arn", &self.role_arn),
            one("org_id", &self.org_id),
            one("ec2_instance_arn", &self.ec2_instance_arn),
            one("lambda_function_arn", &self.lambda_function_arn),
            flag("ref_protected", self.ref_protected),
            flag("environment_protected", self.environment_protected),
        ];
        all.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }

    /// The item that declares a proof, with every default written out.
    pub(super) fn of(proof: &AgentProof) -> Self {
        match proof {
            AgentProof::Platform(proof) => Self::of_platform(proof),
            AgentProof::Svid { svid } => Self {
                trust_domain: Some(svid.trust_domain()),
                id: Some(svid.clone()),
                ..Self::nothing_of(ProofKind::Spiffe)
            },
        }
    }

    /// A proof of this kind that says nothing else.
    fn nothing_of(kind: ProofKind) -> Self {
        Self {
            kind,
            trust_domain: None,
            id: None,
            issuer: None,
            repository_id: None,
            repository_owner_id: None,
            event_name: Vec::new(),
            workflow_ref: None,
            environment: None,
            git_ref: None,
            runner_environment: None,
            namespace: None,
            service_account: None,
            uid: None,
            project_id: None,
            namespace_id: None,
            pipeline_source: Vec::new(),
            service_account_id: None,
            instance_id: None,
            project_number: None,
            tenant_id: None,
            object_id: None,
            account_id: None,
            role_arn: None,
            org_id: None,
            ec2_instance_arn: None,
            lambda_function_arn: None,
            audience: None,
            ceiling: None,
            ref_protected: None,
            environment_protected: None,
            single_use: None,
            jwks: None,
            ca: None,
            proxy: None,
        }
    }

    fn of_platform(proof: &PlatformProof) -> Self {
        let list = |name: &str| -> Vec<String> {
            proof.says.get(name).map(|values| values.iter().cloned().collect()).unwrap_or_default()
        };
        let one = |name: &str| list(name).into_iter().next();
        let flag = |name: &str| one(name).and_then(|text| text.parse().ok());
        Self {
            kind: ProofKind::Platform(proof.platform),
            issuer: Some(proof.issuer.clone()),
            repository_id: one("repository_id"),
            repository_owner_id: one("repository_owner_id"),
            event_name: list("event_name"),
            workflow_ref: one("workflow_ref"),
            environment: one("environment"),
            git_ref: one("ref"),
            runner_environment: one("runner_environment"),
            namespace: one("namespace"),
            service_account: one("service_account"),
            uid: one("uid"),
            project_id: one("project_id"),
            namespace_id: one("namespace_id"),
            pipeline_source: list("pipeline_source"),
            service_account_id: one("service_account_id"),
            instance_id: one("instance_id"),
            project_number: one("project_number"),
            tenant_id: one("tenant_id"),
            object_id: one("object_id"),
            account_id: one("account_id"),
            role_arn: one("role_arn"),
            org_id: one("org_id"),
            ec2_instance_arn: one("ec2_instance_arn"),
            lambda_function_arn: one("lambda_function_arn"),
            audience: proof.audience.clone(),
            ceiling: proof.ceiling.as_deref().map(permissions),
            ref_protected: flag("ref_protected"),
            environment_protected: flag("environment_protected"),
            single_use: Some(proof.single_use),
            jwks: proof.jwks.clone(),
            ca: proof.ca.clone(),
            proxy: proof.proxy.clone(),
            trust_domain: None,
            id: None,
        }
    }
}
