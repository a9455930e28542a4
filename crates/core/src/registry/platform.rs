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
            Self::Number => text.len() <= 20 && every(|b| b.is_ascii_digit()) && !text.starts_with('0'),
            Self::Flag => matches!(text, "true" | "false"),
            Self::GitRef => text.strip_prefix("refs/").is_some_and(|rest| !rest.is_empty()),
            Self::Word => every(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-')),
            // A name of an object may also be several labels with dots between them.
            Self::Label => {
                text.len() <= 253
                    && every(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
            }
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
            Self::Label => "a name of lower-case letters, digits, `-` and `.`",
            Self::Text => "1 to 512 bytes without control characters",
        }
    }
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

impl Platform {
    /// All of them, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::GithubActions, Self::Kubernetes, Self::Gitlab];

    /// Its name in registry files and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GithubActions => "github-actions",
            Self::Kubernetes => "kubernetes",
            Self::Gitlab => "gitlab",
        }
    }

    /// The issuer of its tokens if an entry names none. A cluster has one of its own.
    pub const fn usual_issuer(self) -> Option<&'static str> {
        match self {
            Self::GithubActions => Some("https://token.actions.githubusercontent.com"),
            Self::Kubernetes => None,
            Self::Gitlab => Some("https://gitlab.com"),
        }
    }

    /// The members of its proofs.
    pub const fn members(self) -> &'static [ProofMember] {
        match self {
            Self::GithubActions => GITHUB_ACTIONS,
            Self::Kubernetes => KUBERNETES,
            Self::Gitlab => GITLAB,
        }
    }

    /// The member of this name.
    pub fn member(self, name: &str) -> Option<&'static ProofMember> {
        self.members().iter().find(|member| member.name == name)
    }

    /// Whether its issuer names nothing but workloads, so that it cannot be an identity provider of people.
    pub const fn names_only_workloads(self) -> bool {
        match self {
            Self::GithubActions | Self::Kubernetes => true,
            // It signs in people, too.
            Self::Gitlab => false,
        }
    }

    /// Whether a token counts once if an entry does not say. A job of GitHub Actions can ask for a token
    /// whenever it needs one. A pod and a job of GitLab have one for an hour or for all of the job.
    pub const fn is_single_use(self) -> bool {
        match self {
            Self::GithubActions => true,
            Self::Kubernetes | Self::Gitlab => false,
        }
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
        use MemberForm::{Flag, GitRef, Label, Number, Text, Word};
        for (form, good) in [
            (Number, "1"),
            (Number, "18446744073709551615"),
            (Flag, "true"),
            (GitRef, "refs/heads/main"),
            (Word, "workflow_dispatch"),
            (Label, "prod-1"),
            (Text, "Production: EU"),
        ] {
            assert!(form.accepts(good), "{form:?} {good}");
        }
        for (form, bad) in [
            (Number, "0123"),
            (Number, "0"),
            (Number, "acme/app"),
            (Number, "-1"),
            (Number, "١"),
            (Number, "123456789012345678901"),
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
