//! Platforms that issue tokens to the workloads that they run, and what an agent's entry says of one.
//!
//! A platform is described by its [`ProofMember`]s: the members of a proof in the registry file, each with
//! the form of its value. What in a token has this meaning is for the crate that reads tokens.

use serde::{Deserialize, Serialize};

/// A platform whose tokens prove agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// GitHub Actions: the token of a job.
    GithubActions,
    /// Kubernetes: the token of a service account, projected into a pod.
    Kubernetes,
    /// GitLab CI/CD: an ID token of a job.
    Gitlab,
    /// Google Cloud: the ID token of a service account.
    Google,
    /// Azure: the access token of a managed identity.
    Azure,
    /// AWS: the token of a role, by outbound identity federation.
    Aws,
}

/// One member of a proof: what a token of the platform must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofMember {
    /// Its name in the registry file and in records.
    pub name: &'static str,
    /// Whether a proof must have it.
    pub need: Need,
    /// The form of its values.
    pub form: MemberForm,
}

/// Whether a proof must have a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It identifies the workload: each proof has it, with one value.
    Identity,
    /// Without it, a token may say anything.
    Optional,
    /// Without it, a token must say one of these.
    Otherwise(&'static [&'static str]),
}

/// The form of a member's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberForm {
    /// A decimal number without leading zeros, as text: an id that the platform gives once.
    Number,
    /// `true` or `false`.
    Flag,
    /// A full reference of Git, such as `refs/heads/main`: a branch and a tag can have the same short name.
    GitRef,
    /// A name in lower case, such as that of an event.
    Word,
    /// A DNS label, as the names of Kubernetes are.
    Label,
    /// A UUID in lower case, as the ids of Entra are.
    Uuid,
    /// The twelve digits of an AWS account, which may begin with zeros.
    Account,
    /// The ARN of an IAM role.
    RoleArn,
    /// 1 to 512 bytes without control characters.
    Text,
}

/// The longest value of a member, in bytes.
pub const MAX_MEMBER_LEN: usize = 512;

impl MemberForm {
    /// Whether a text has this form.
    pub fn accepts(self, text: &str) -> bool {
        let every = |allowed: fn(u8) -> bool| text.bytes().all(allowed);
        if text.is_empty() || text.len() > MAX_MEMBER_LEN || text.chars().any(char::is_control) {
            return false;
        }
        match self {
            // The id of a Google service account has 21 digits.
            Self::Number => text.len() <= 32 && every(|b| b.is_ascii_digit()) && !text.starts_with('0'),
            Self::Flag => matches!(text, "true" | "false"),
            Self::GitRef => text.strip_prefix("refs/").is_some_and(|rest| !rest.is_empty()),
            Self::Word => every(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-')),
            // A name of an object may also be several labels with dots between them.
            Self::Label => {
                text.len() <= 253
                    && every(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
            }
            Self::Uuid => text.len() == 36 && text.bytes().enumerate().all(is_of_uuid),
            Self::Account => text.len() == 12 && every(|b| b.is_ascii_digit()),
            Self::RoleArn => role_account(text).is_some(),
            Self::Text => true,
        }
    }

    /// The form, for an error.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Number => "a number as text, such as \"123456\": the id, not the name",
            Self::Flag => "true or false",
            Self::GitRef => "a full reference, such as \"refs/heads/main\"",
            Self::Word => "a name of lower-case letters, `_` and `-`, such as \"push\"",
            Self::Uuid => {
                "a UUID in lower case, such as \"14ee3fa4-a7e2-420f-9f9a-dbc4507c3798\": the id, not the name"
            }
            Self::Account => "the twelve digits of an account",
            Self::RoleArn => "the ARN of a role, such as \"arn:aws:iam::123456789012:role/deploy\"",
            Self::Label => "a name of lower-case letters, digits, `-` and `.`",
            Self::Text => "1 to 512 bytes without control characters",
        }
    }
}

/// 8-4-4-4-12 hexadecimal digits (RFC 9562 §4).
fn is_of_uuid((at, byte): (usize, u8)) -> bool {
    match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    }
}

/// The account in the ARN of an IAM role: `arn:PARTITION:iam::ACCOUNT:role/PATH`.
pub fn role_account(arn: &str) -> Option<&str> {
    let mut parts = arn.strip_prefix("arn:")?.split(':');
    let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    let (account, role) = (parts.next()?, parts.next()?);
    let is_role = service == "iam" && region.is_empty() && parts.next().is_none();
    let name = role.strip_prefix("role/")?;
    let is_named = name.bytes().all(|b| b.is_ascii_graphic() && b != b'*') && !name.is_empty();
    (is_role && is_named && partition.starts_with("aws") && MemberForm::Account.accepts(account))
        .then_some(account)
}

const fn identity(name: &'static str, form: MemberForm) -> ProofMember {
    ProofMember { name, need: Need::Identity, form }
}

const fn optional(name: &'static str, form: MemberForm) -> ProofMember {
    ProofMember { name, need: Need::Optional, form }
}

/// A repository may be renamed and its old name taken by somebody else, and so may its owner; the ids stay.
/// Events that others than members of the repository can cause are not among the usual ones.
const GITHUB_ACTIONS: &[ProofMember] = &[
    identity("repository_id", MemberForm::Number),
    identity("repository_owner_id", MemberForm::Number),
    ProofMember {
        name: "event_name",
        need: Need::Otherwise(&["deployment", "push", "release", "schedule", "workflow_dispatch"]),
        form: MemberForm::Word,
    },
    optional("environment", MemberForm::Text),
    optional("ref", MemberForm::GitRef),
    optional("workflow_ref", MemberForm::Text),
    optional("runner_environment", MemberForm::Word),
];

/// Namespace and name say which service account it is as long as nobody replaces it; `uid` says so for ever.
const KUBERNETES: &[ProofMember] = &[
    identity("namespace", MemberForm::Label),
    identity("service_account", MemberForm::Label),
    optional("uid", MemberForm::Text),
];

/// A child pipeline does not say what started its parent, so it is not among the usual sources.
const GITLAB: &[ProofMember] = &[
    identity("project_id", MemberForm::Number),
    ProofMember {
        name: "pipeline_source",
        need: Need::Otherwise(&["api", "push", "schedule", "web"]),
        form: MemberForm::Word,
    },
    optional("namespace_id", MemberForm::Number),
    optional("environment", MemberForm::Text),
    optional("environment_protected", MemberForm::Flag),
    optional("ref", MemberForm::GitRef),
    optional("ref_protected", MemberForm::Flag),
    optional("runner_environment", MemberForm::Word),
];

/// The unique id stays with one service account; its address can belong to another one later. An instance
/// is one VM, also if several use the same service account.
const GOOGLE: &[ProofMember] = &[
    identity("service_account_id", MemberForm::Number),
    optional("instance_id", MemberForm::Number),
    optional("project_number", MemberForm::Number),
];

/// An object id is that of one service principal in one tenant.
const AZURE: &[ProofMember] =
    &[identity("tenant_id", MemberForm::Uuid), identity("object_id", MemberForm::Uuid)];

/// A token names no id of the role: who deletes the role and makes it again has the same ARN. The account is
/// an id, and its issuer is its own.
const AWS: &[ProofMember] = &[
    identity("account_id", MemberForm::Account),
    identity("role_arn", MemberForm::RoleArn),
    optional("org_id", MemberForm::Text),
    optional("ec2_instance_arn", MemberForm::Text),
    optional("lambda_function_arn", MemberForm::Text),
];

impl Platform {
    /// All of them, in the order of the documentation.
    pub const ALL: &[Self] =
        &[Self::GithubActions, Self::Kubernetes, Self::Gitlab, Self::Google, Self::Azure, Self::Aws];

    /// Its name in registry files and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GithubActions => "github-actions",
            Self::Kubernetes => "kubernetes",
            Self::Gitlab => "gitlab",
            Self::Google => "google",
            Self::Azure => "azure",
            Self::Aws => "aws",
        }
    }

    /// The issuer of its tokens if an entry names none. A cluster, a tenant and an account have one of their
    /// own.
    pub const fn usual_issuer(self) -> Option<&'static str> {
        match self {
            Self::GithubActions => Some("https://token.actions.githubusercontent.com"),
            Self::Kubernetes | Self::Azure | Self::Aws => None,
            Self::Gitlab => Some("https://gitlab.com"),
            Self::Google => Some("https://accounts.google.com"),
        }
    }

    /// The members of its proofs.
    pub const fn members(self) -> &'static [ProofMember] {
        match self {
            Self::GithubActions => GITHUB_ACTIONS,
            Self::Kubernetes => KUBERNETES,
            Self::Gitlab => GITLAB,
            Self::Google => GOOGLE,
            Self::Azure => AZURE,
            Self::Aws => AWS,
        }
    }

    /// The member of this name.
    pub fn member(self, name: &str) -> Option<&'static ProofMember> {
        self.members().iter().find(|member| member.name == name)
    }

    /// Whether its issuer names nothing but workloads, so that it cannot be an identity provider of people.
    pub const fn names_only_workloads(self) -> bool {
        match self {
            Self::GithubActions | Self::Kubernetes | Self::Aws => true,
            // They sign in people, too.
            Self::Gitlab | Self::Google | Self::Azure => false,
        }
    }

    /// Whether a token counts once if an entry does not say. A job of GitHub Actions and a role of AWS can ask
    /// for a token whenever they need one. A pod and a job of GitLab have one for an hour or for all of the
    /// job, and the metadata servers of Google and Azure answer with the last one for a while.
    pub const fn is_single_use(self) -> bool {
        match self {
            Self::GithubActions | Self::Aws => true,
            Self::Kubernetes | Self::Gitlab | Self::Google | Self::Azure => false,
        }
    }

    /// Whether its tokens have a `jti`, without which a token cannot count once.
    pub const fn numbers_its_tokens(self) -> bool {
        match self {
            Self::GithubActions | Self::Kubernetes | Self::Gitlab | Self::Aws => true,
            Self::Google | Self::Azure => false,
        }
    }

    /// Whether a workload cannot choose the audience of its token freely, so that an entry may name another
    /// one than our issuer. In Azure an application must be registered for it, and a token of version 2.0 has
    /// the id of that application.
    pub const fn fixes_the_audience(self) -> bool {
        matches!(self, Self::Azure)
    }

    /// What identifies the workload, as one text: the values of all [`Need::Identity`] members. `None` if one
    /// is missing.
    pub fn identity<'v>(self, value: impl Fn(&str) -> Option<&'v str>) -> Option<String> {
        let mut text = self.as_str().to_owned();
        for member in self.members().iter().filter(|member| member.need == Need::Identity) {
            // No value has a control character.
            text.push('\n');
            text.push_str(value(member.name)?);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{MemberForm, Need, Platform};

    #[test]
    fn the_names_of_files_and_records_are_the_same() {
        for platform in Platform::ALL {
            assert_eq!(serde_json::to_value(platform).unwrap(), platform.as_str());
            let members = platform.members();
            assert!(members.iter().any(|member| member.need == Need::Identity), "{platform:?}");
            for (at, member) in members.iter().enumerate() {
                assert!(!members[..at].iter().any(|other| other.name == member.name), "{member:?}");
                if let Need::Otherwise(usual) = member.need {
                    assert!(usual.is_sorted() && usual.iter().all(|one| member.form.accepts(one)));
                }
            }
        }
    }

    #[test]
    fn an_event_that_a_stranger_can_cause_is_not_a_usual_one() {
        let strangers = [
            "pull_request",
            "pull_request_target",
            "issue_comment",
            "issues",
            "workflow_run",
            "fork",
            "merge_request_event",
            "external_pull_request_event",
            "parent_pipeline",
            "pipeline",
        ];
        for member in Platform::ALL.iter().flat_map(|platform| platform.members()) {
            if let Need::Otherwise(usual) = member.need {
                assert!(!usual.iter().any(|event| strangers.contains(event)), "{member:?}");
            }
        }
    }

    #[test]
    fn each_form_has_one_spelling_of_a_value() {
        use MemberForm::{Account, Flag, GitRef, Label, Number, RoleArn, Text, Uuid, Word};
        for (form, good) in [
            (Number, "1"),
            (Number, "18446744073709551615"),
            (Flag, "true"),
            (GitRef, "refs/heads/main"),
            (Word, "workflow_dispatch"),
            (Label, "prod-1"),
            (Text, "Production: EU"),
            (Number, "118259888888888888888"),
            (Uuid, "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"),
            (Account, "012345678901"),
            (RoleArn, "arn:aws:iam::123456789012:role/ci/deploy"),
            (RoleArn, "arn:aws-cn:iam::123456789012:role/deploy"),
        ] {
            assert!(form.accepts(good), "{form:?} {good}");
        }
        for (form, bad) in [
            (Number, "0123"),
            (Number, "0"),
            (Number, "acme/app"),
            (Number, "-1"),
            (Number, "١"),
            (Number, "123456789012345678901234567890123"),
            (Uuid, "14EE3FA4-A7E2-420F-9F9A-DBC4507C3798"),
            (Uuid, "14ee3fa4a7e2420f9f9adbc4507c3798"),
            (Uuid, "14ee3fa4-a7e2-420f-9f9a-dbc4507c37980"),
            (Account, "12345678901"),
            (Account, "acme"),
            (RoleArn, "arn:aws:iam::123456789012:user/riley"),
            (RoleArn, "arn:aws:iam::123456789012:root"),
            (RoleArn, "arn:aws:sts::123456789012:assumed-role/deploy/session"),
            (RoleArn, "arn:aws:iam::123456789012:role/"),
            (RoleArn, "arn:aws:iam::123456789012:role/*"),
            (RoleArn, "arn:aws:iam::123456789012:role/a:b"),
            (RoleArn, "deploy"),
            (Flag, "True"),
            (GitRef, "main"),
            (GitRef, "refs/"),
            (Word, "Push"),
            (Word, "push,schedule"),
            (Label, "a:b"),
            (Label, "a/b"),
            (Text, ""),
            (Text, "a\nb"),
        ] {
            assert!(!form.accepts(bad), "{form:?} {bad}");
        }
        assert!(Text.accepts(&"x".repeat(512)) && !Text.accepts(&"x".repeat(513)));
    }
}
