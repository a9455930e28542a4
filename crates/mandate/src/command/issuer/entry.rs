//! The `[[issuer]]` entry as text, and registry files to which it is appended.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mandate_api::registry_file::{self, ClaimsItem, IssuerItem, MAX_FILE_BYTES};
use mandate_core::SystemEntropy;
use mandate_core::registry::{SubjectScope, TokenProfile};
use mandate_files::{FileError, NewFile, Replace, text};

use crate::failure::{Failure, Fault};
use crate::input_file;

/// The member `claims`, if it says anything.
fn claims(claims: &ClaimsItem) -> Option<String> {
    let ClaimsItem { require, groups, tenant, oldest_actor_first } = claims;
    let required: Vec<String> =
        require.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
    let required = (!required.is_empty()).then(|| format!("require = {{ {} }}", required.join(", ")));
    let groups = groups.as_ref().map(|path| format!("groups = {}", quoted(path.as_str())));
    let tenant = tenant.as_ref().map(|path| format!("tenant = {}", quoted(path.as_str())));
    let order = oldest_actor_first.then(|| "oldest_actor_first = true".to_owned());
    let all: Vec<String> = required.into_iter().chain(groups).chain(tenant).chain(order).collect();
    (!all.is_empty()).then(|| format!("{{ {} }}", all.join(", ")))
}

/// The entry as it is written in a registry file. What it leaves out has its default.
pub(super) fn toml(item: &IssuerItem) -> Result<String, Failure> {
    let mut members = vec![("url", quoted(item.url.as_str()))];
    if !item.audience.is_empty() {
        members.push(("audience", quoted(&item.audience)));
    }
    if item.profile != TokenProfile::default() {
        members.push(("profile", quoted(item.profile.as_str())));
    }
    if item.subject_scope != SubjectScope::Token {
        members.push(("subject_scope", quoted(super::super::get::subject_scope(item.subject_scope))));
    }
    if let Some(claims) = claims(&item.claims) {
        members.push(("claims", claims));
    }
    if let Some(ca) = &item.ca {
        members.push(("ca", quoted(ca)));
    }
    if let Some(tenant) = &item.tenant {
        members.push(("tenant", quoted(tenant.as_str())));
    }
    if item.login {
        members.push(("login", "true".to_owned()));
    }
    let client = [("client_id", &item.client_id), ("client_secret_file", &item.client_secret_file)];
    members.extend(client.into_iter().filter_map(|(name, value)| Some((name, quoted(value.as_deref()?)))));
    if item.security_events {
        members.push(("security_events", "true".to_owned()));
    }
    if let Some(audience) = &item.events_audience {
        members.push(("events_audience", quoted(audience)));
    }
    if !item.id_tokens.is_empty() {
        let uses = item.id_tokens.iter().map(|known| {
            let (audience, client) = (quoted(&known.audience), quoted(known.client.as_str()));
            format!("{{ audience = {audience}, client = {client} }}")
        });
        members.push(("id_tokens", format!("[{}]", uses.collect::<Vec<_>>().join(", "))));
    }
    if let Some(asks) = &item.introspection {
        let clients: Vec<String> = asks.clients.iter().map(|client| quoted(client.as_str())).collect();
        let value = format!(
            "{{ client_id = {}, client_secret_file = {}, clients = [{}] }}",
            quoted(&asks.client_id),
            quoted(&asks.client_secret_file),
            clients.join(", ")
        );
        members.push(("introspection", value));
    }
    let mut text = "[[issuer]]\n".to_owned();
    for (name, value) in members {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = {value}");
    }
    // What is printed is read back by `mandate apply`.
    match registry_file::parse(&text) {
        Ok(file) if file.issuer.as_slice() == std::slice::from_ref(item) => Ok(text),
        Ok(_) => Err(Failure::failed("the entry cannot be written as TOML")),
        Err(error) => Err(Failure::usage(format!("this would be no valid entry: {}", error.message))),
    }
}

/// A basic string of TOML. JSON escapes the same characters in the same way, but for DEL.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A registry file to which an entry is to be appended.
pub(super) struct RegistryText {
    path: PathBuf,
    /// Its content; `None` if there is no such file yet.
    before: Option<Vec<u8>>,
}

impl RegistryText {
    /// Reads it. It must be valid, and must not declare this issuer.
    pub(super) fn open(path: &Path, url: &mandate_core::Issuer) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Err(Failure::usage("--file names a file; without it the entry is on standard output"));
        }
        let before = content(path)?;
        let shown = input_file::shown(path);
        let text = text::from_bytes(before.clone().unwrap_or_default())
            .map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
        let file = registry_file::parse(&text).map_err(|error| {
            Failure::usage(format!(
                "{shown}:{}:{}: {}; nothing was changed",
                error.line, error.column, error.message
            ))
        })?;
        if let Some(at) = file.issuer.iter().position(|item| item.url == *url) {
            let place = registry_file::locate(&text, &format!("/issuer/{at}"))
                .map(|(line, column)| format!(":{line}:{column}"))
                .unwrap_or_default();
            return Err(Failure::usage(format!(
                "{shown}{place}: the issuer {url} has an entry already; nothing was changed"
            )));
        }
        Ok(Self { path: path.to_owned(), before })
    }

    /// Appends the entry. After a crash there is the old file or the new one.
    pub(super) fn append(self, entry: &str) -> Result<(), Failure> {
        let mut after = self.before.clone().unwrap_or_default();
        let line = if after.windows(2).any(|two| two == b"\r\n") { "\r\n" } else { "\n" };
        if !after.is_empty() {
            if !after.ends_with(b"\n") {
                after.extend_from_slice(line.as_bytes());
            }
            after.extend_from_slice(line.as_bytes());
        }
        after.extend_from_slice(entry.replace('\n', line).as_bytes());
        let readable =
            text::from_bytes(after.clone()).ok().is_some_and(|text| registry_file::parse(&text).is_ok());
        if !readable {
            return Err(Failure::failed(format!(
                "{}: an entry cannot be appended to this file; nothing was changed",
                self.path.display()
            )));
        }
        let failed = |error: FileError| {
            Failure::caused(Fault::Usage, &format!("cannot write {}", self.path.display()), &error)
        };
        let mut new = self.begin(failed)?;
        new.file().write_all(&after).map_err(|error| {
            Failure::caused(Fault::Failed, &format!("cannot write {}", self.path.display()), &error)
        })?;
        if content(&self.path)? != self.before {
            return Err(Failure::failed(format!(
                "{} was changed meanwhile; nothing was changed here",
                self.path.display()
            )));
        }
        new.commit(if self.before.is_some() { Replace::Always } else { Replace::Never }).map_err(failed)
    }

    /// The new file, with the mode of the old one.
    fn begin(&self, failed: impl Fn(FileError) -> Failure) -> Result<NewFile, Failure> {
        let about = std::fs::symlink_metadata(&self.path).ok();
        if about.as_ref().is_some_and(std::fs::Metadata::is_symlink) {
            return Err(Failure::usage(format!(
                "{} is a symbolic link, which is not written through; name the file itself",
                self.path.display()
            )));
        }
        let mut new =
            mandate_files::output(&self.path, self.before.is_some(), &SystemEntropy).map_err(failed)?;
        let mode = about.map_or(0o644, |about| about.permissions().mode() & 0o777);
        new.file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(|error| {
            Failure::caused(Fault::Failed, &format!("cannot write {}", self.path.display()), &error)
        })?;
        Ok(new)
    }
}

fn content(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => input_file::read(path, MAX_FILE_BYTES as u64).map(Some),
    }
}

/// The path of the file of an authority as an entry names it: relative to the registry file if it is below
/// its folder, else absolute.
pub(super) fn authority(ca: &Path, registry: Option<&Path>) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::caused(Fault::Usage, &format!("cannot find {}", ca.display()), &error)
    };
    if ca == Path::new("-") {
        return Err(Failure::usage("--ca names a file here: its path is in the entry"));
    }
    let absolute = std::path::absolute(ca).map_err(failed)?;
    let folder = registry.and_then(|file| std::path::absolute(file).ok());
    let named = match folder.as_deref().and_then(Path::parent) {
        Some(folder) => absolute.strip_prefix(folder).unwrap_or(&absolute),
        None => &absolute,
    };
    named
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::usage(format!("{}: the path is not UTF-8 text", ca.display())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mandate_api::registry_file::{ClaimsItem, IdTokenItem, IssuerItem};
    use mandate_core::registry::{SubjectScope, TokenProfile};

    use super::{RegistryText, authority, toml};
    use crate::failure::Fault;

    fn item() -> IssuerItem {
        IssuerItem {
            url: "https://sso.acme.example/realms/staff".parse().unwrap(),
            audience: "https://mandate.acme.example".to_owned(),
            subject_scope: SubjectScope::Token,
            other_audiences: Vec::new(),
            ca: None,
            proxy: None,
            profile: TokenProfile::Rfc9068,
            claims: ClaimsItem::default(),
            login: false,
            client_id: None,
            client_secret_file: None,
            security_events: false,
            events_audience: None,
            tenant: None,
            id_tokens: Vec::new(),
            introspection: None,
        }
    }

    #[test]
    fn an_entry_reads_back_as_it_was() {
        assert_eq!(
            toml(&item()).unwrap(),
            "[[issuer]]\nurl = \"https://sso.acme.example/realms/staff\"\naudience = \"https://mandate.acme.example\"\n"
        );
        let full = IssuerItem {
            audience: "a \"quoted\" \\ text\u{7f}".to_owned(),
            subject_scope: SubjectScope::IdentityOnly,
            ca: Some("sso.pem".to_owned()),
            profile: TokenProfile::Zitadel,
            claims: ClaimsItem {
                require: [("urn:x y".to_owned(), "human".to_owned())].into(),
                groups: Some("/realm_access/roles".parse().unwrap()),
                tenant: Some("tid".parse().unwrap()),
                oldest_actor_first: true,
            },
            security_events: true,
            events_audience: Some("mandate".to_owned()),
            id_tokens: vec![IdTokenItem { audience: "portal".to_owned(), client: "desk".parse().unwrap() }],
            ..item()
        };
        let text = toml(&full).unwrap();
        for part in [
            "profile = \"zitadel\"\n",
            "subject_scope = \"identity_only\"\n",
            "claims = { require = { \"urn:x y\" = \"human\" }, groups = \"/realm_access/roles\", tenant = \"tid\", oldest_actor_first = true }\n",
            "ca = \"sso.pem\"\n",
            "security_events = true\nevents_audience = \"mandate\"\n",
            "id_tokens = [{ audience = \"portal\", client = \"desk\" }]\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn an_entry_is_appended_and_everything_before_it_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let entry = toml(&item()).unwrap();
        for (before, between) in [
            ("", ""),
            ("# people\n[[person]]\nname = \"riley\"   # the first\n", "\n"),
            ("# no end of line", "\n\n"),
            ("\u{feff}# mark\r\n", "\r\n"),
        ] {
            let path = dir.path().join("registry.toml");
            std::fs::write(&path, before).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            RegistryText::open(&path, &item().url).unwrap().append(&entry).unwrap();
            let after = std::fs::read_to_string(&path).unwrap();
            let line = if before.contains('\r') { "\r\n" } else { "\n" };
            assert_eq!(after, format!("{before}{between}{}", entry.replace('\n', line)));
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
            let again = RegistryText::open(&path, &item().url).err().unwrap();
            assert!(again.fault() == Fault::Usage && again.text().contains("already"), "{}", again.text());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_missing_file_is_made_and_what_is_no_registry_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let entry = toml(&item()).unwrap();
        let path = dir.path().join("new.toml");
        RegistryText::open(&path, &item().url).unwrap().append(&entry).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), entry);

        let link = dir.path().join("link.toml");
        std::fs::write(dir.path().join("real.toml"), "").unwrap();
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        let refused = RegistryText::open(&link, &item().url).unwrap().append(&entry).unwrap_err();
        assert!(refused.text().contains("symbolic link"), "{}", refused.text());

        let bad = dir.path().join("bad.toml");
        std::fs::write(&bad, "[[isuer]]\n").unwrap();
        let refused = RegistryText::open(&bad, &item().url).err().unwrap();
        assert!(refused.text().contains("bad.toml:1:"), "{}", refused.text());
        for path in [Path::new("-"), dir.path()] {
            assert_eq!(RegistryText::open(path, &item().url).err().unwrap().fault(), Fault::Usage);
        }
    }

    #[test]
    fn a_file_that_others_change_meanwhile_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.toml");
        std::fs::write(&path, "# one\n").unwrap();
        let opened = RegistryText::open(&path, &item().url).unwrap();
        std::fs::write(&path, "# two\n").unwrap();
        let refused = opened.append(&toml(&item()).unwrap()).unwrap_err();
        assert!(refused.text().contains("changed meanwhile"), "{}", refused.text());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# two\n");
    }

    #[test]
    fn the_file_of_an_authority_is_named_as_apply_finds_it() {
        let relative =
            authority(Path::new("/etc/mandate/pem/ca.pem"), Some(Path::new("/etc/mandate/r.toml")));
        assert_eq!(relative.unwrap(), "pem/ca.pem");
        let absolute = authority(Path::new("/etc/ssl/ca.pem"), Some(Path::new("/etc/mandate/r.toml")));
        assert_eq!(absolute.unwrap(), "/etc/ssl/ca.pem");
        assert!(authority(Path::new("-"), None).is_err(), "the entry has its path");
        assert!(Path::new(&authority(Path::new("ca.pem"), None).unwrap()).is_absolute());
    }
}
