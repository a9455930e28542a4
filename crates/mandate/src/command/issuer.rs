//! `mandate issuer`: identity providers of other organizations.

mod add;
mod entry;
mod settings;
mod test;
mod verdicts;

use mandate_api::ClientError;
use mandate_api::admin::RegistryItem;
use mandate_api::registry_file::IssuerItem;
use mandate_core::Issuer;
use mandate_core::registry::{ClaimPath, EntryKind, IdTokenUse, SubjectScope, TokenProfile, TrustedIssuer};

use crate::arguments::{EntryArguments, OptionalServer};
use crate::connection::Admin;
use crate::failure::{self, Failure, Fault};
use crate::issuer_client::IssuerClient;

pub(crate) use add::run as add;
pub(crate) use test::run as test;

/// The version of the JSON that these commands print. A member may be added without a new one.
const VERSION: u8 = 1;

/// What the running server knows.
enum Known<T> {
    Found(T),
    /// It runs, and has no such entry.
    Absent,
    /// None answers at the usual place.
    NoServer,
}

impl OptionalServer {
    /// Asks the server, if there is one. A server that was named by its URL must answer.
    fn ask<T>(
        &self,
        call: impl FnOnce(&Admin) -> Result<Result<T, ClientError>, Failure>,
    ) -> Result<Known<T>, Failure> {
        let admin = self.reach.open(self.admin_ca.as_deref())?;
        match call(&admin)? {
            Ok(found) => Ok(Known::Found(found)),
            Err(ClientError::Refused(problem)) if problem.status == 404 => Ok(Known::Absent),
            Err(error) => {
                let failure = failure::of_client(&error, admin.endpoint());
                let elsewhere = matches!(admin.endpoint(), mandate_api::Endpoint::Socket(_));
                if elsewhere && failure.fault() == Fault::Unreachable {
                    return Ok(Known::NoServer);
                }
                Err(failure.next("the same command with --profile and --audience   (asks no server)"))
            }
        }
    }

    /// The entry of an issuer.
    fn entry(&self, url: &Issuer) -> Result<Known<IssuerItem>, Failure> {
        let found = self.ask(|admin| {
            admin.try_call(async |client| client.entry(EntryKind::Issuer, url.as_str()).await)
        })?;
        Ok(match found {
            Known::Found(entry) => match entry.item {
                RegistryItem::Issuer(item) => Known::Found(item),
                _ => Known::Absent,
            },
            Known::Absent => Known::Absent,
            Known::NoServer => Known::NoServer,
        })
    }

    /// The server's own issuer.
    fn own_issuer(&self) -> Result<Option<String>, Failure> {
        let status = self.ask(|admin| admin.try_call(async |client| client.status().await))?;
        Ok(match status {
            Known::Found(status) => Some(status.issuer.clone()),
            Known::Absent | Known::NoServer => None,
        })
    }
}

fn id_token_use(item: mandate_api::registry_file::IdTokenItem) -> IdTokenUse {
    IdTokenUse { audience: item.audience, client: item.client }
}

/// The issuer as an entry declares it, or as the arguments do, which take the place of what the entry says.
struct Declared {
    url: Issuer,
    profile: Option<TokenProfile>,
    audience: Option<String>,
    other_audiences: Vec<String>,
    subject_scope: SubjectScope,
    required_claims: std::collections::BTreeMap<String, String>,
    groups_claim: Option<ClaimPath>,
    tenant_claim: Option<ClaimPath>,
    id_tokens: Vec<IdTokenUse>,
    oldest_actor_first: bool,
    ca: Option<String>,
    proxy: Option<String>,
}

impl Declared {
    fn new(url: &Issuer, entry: Option<IssuerItem>, arguments: &EntryArguments) -> Self {
        let mut declared = Self {
            url: url.clone(),
            profile: None,
            audience: None,
            other_audiences: Vec::new(),
            subject_scope: SubjectScope::Token,
            required_claims: std::collections::BTreeMap::new(),
            groups_claim: None,
            tenant_claim: None,
            id_tokens: Vec::new(),
            oldest_actor_first: false,
            ca: None,
            proxy: None,
        };
        if let Some(entry) = entry {
            declared.profile = Some(entry.profile);
            declared.audience = Some(entry.audience).filter(|audience| !audience.is_empty());
            declared.other_audiences = entry.other_audiences;
            declared.subject_scope = entry.subject_scope;
            declared.required_claims = entry.claims.require;
            declared.groups_claim = entry.claims.groups;
            declared.tenant_claim = entry.claims.tenant;
            declared.oldest_actor_first = entry.claims.oldest_actor_first;
            declared.id_tokens = entry.id_tokens.into_iter().map(id_token_use).collect();
            declared.ca = entry.ca;
            declared.proxy = entry.proxy;
        }
        declared.profile = arguments.profile.or(declared.profile);
        declared.audience = arguments.audience.clone().or(declared.audience);
        declared.groups_claim = arguments.groups.clone().or(declared.groups_claim);
        declared.required_claims.extend(arguments.require.iter().cloned());
        if arguments.identity_only {
            declared.subject_scope = SubjectScope::IdentityOnly;
        }
        declared
    }

    /// The registry's form of it, with this profile. An audience that is not known is empty, which no entry
    /// has.
    fn trusted(&self, profile: TokenProfile, subject_scope: SubjectScope) -> TrustedIssuer {
        TrustedIssuer {
            url: self.url.clone(),
            audience: self.audience.clone().unwrap_or_default(),
            subject_scope,
            other_audiences: self.other_audiences.clone(),
            ca: self.ca.clone(),
            proxy: self.proxy.clone(),
            profile,
            required_claims: self.required_claims.clone(),
            login: None,
            events_audience: None,
            groups_claim: self.groups_claim.clone(),
            tenant_claim: self.tenant_claim.clone(),
            tenant: None,
            id_tokens: self.id_tokens.clone(),
            introspection: None,
            oldest_actor_first: self.oldest_actor_first,
        }
    }

    /// The same for a test of an ID token. An audience by hand takes the place of the entry's list; which client
    /// presents it is not known then.
    fn for_id_token(mut self, audience: Option<&str>) -> Result<Self, Failure> {
        if let Some(audience) = audience {
            let any = "any-client".parse().map_err(|_| Failure::failed("no client id"))?;
            self.id_tokens = vec![IdTokenUse { audience: audience.to_owned(), client: any }];
        }
        let named: Vec<&str> = self.id_tokens.iter().map(|known| known.audience.as_str()).collect();
        self.audience = Some(named.join(" ")).filter(|named| !named.is_empty());
        Ok(self)
    }

    fn client(&self, arguments: &EntryArguments) -> Result<IssuerClient, Failure> {
        match &arguments.ca {
            Some(file) => IssuerClient::new(&self.url, Some(file)),
            None => IssuerClient::of_entry(&self.url, self.ca.as_deref(), self.proxy.as_deref()),
        }
    }
}
