//! The secrets of people and clients.

use std::sync::Arc;

use mandate_audit::{Record, RecordKind, Touch};
use mandate_core::registry::EntryKind;
use mandate_core::{Clock as _, Cut, CutTarget, KnownTerms, Secret};
use mandate_delegation::revocation::cut;
use mandate_live::Snapshot;
use mandate_planning::states::{ClientAct, ClientState, StateMachine as _};
use mandate_store::{Effect, StoreError, Tx, secrets};
use tokio::time::sleep;

use crate::administration::{Administration, blocking, to_the_end, with_cuts};
use crate::authorization::{IsAct, Permit, act};
use crate::error::AdministrationError;
use crate::loading::ASK_AGAIN;
use crate::registry_changes::TRIES;
use crate::touches::touched;

impl Administration {
    /// Sets the password of a person of the embedded directory, and revokes tokens from logins with the old
    /// one.
    pub async fn set_password(
        self: &Arc<Self>,
        permit: Permit<act::SetPassword>,
        name: String,
        password: Secret,
    ) -> Result<(), AdministrationError> {
        let engine = Arc::clone(self);
        to_the_end(async move { engine.set_password_now(&permit, &name, password).await }).await
    }

    async fn set_password_now(
        self: &Arc<Self>,
        permit: &Permit<act::SetPassword>,
        name: &str,
        password: Secret,
    ) -> Result<(), AdministrationError> {
        check_secret(&password, 8, "Password")?;
        let phc = self.hash(password).await?;
        self.keep_planned(|snapshot| self.keep_password(permit, name, phc.clone(), snapshot)).await
    }

    async fn keep_password(
        self: &Arc<Self>,
        permit: &Permit<act::SetPassword>,
        name: &str,
        phc: Secret,
        snapshot: Arc<Snapshot>,
    ) -> Result<(), AdministrationError> {
        self.confirm(permit).await?;
        let unknown = || AdministrationError::NotFound { kind: EntryKind::Person, name: name.to_owned() };
        let person =
            name.parse().ok().and_then(|name| snapshot.registry.person(&name)).ok_or_else(unknown)?;
        if person.id.iss != *self.live.issuer() {
            let detail =
                format!("`{name}` logs in at {}, not here: there is no password to set", person.id.iss);
            return Err(AdministrationError::BadRequest(detail));
        }
        let owner = person.name.clone();
        let had_one = self
            .store
            .read("is there a password", move |tx| secrets::password(tx, &owner).map(|old| old.is_some()))
            .await?;
        // No token was obtained with a password before the first one.
        let cuts: Vec<Cut> = had_one
            .then(|| cut(CutTarget::Person(person.id.clone()), self.clock.now()))
            .into_iter()
            .collect();
        let mut record = self.record(RecordKind::Admin, permit, format!("set the password of {name}"));
        record.about = KnownTerms { sub: Some(person.id.clone()), ..KnownTerms::default() }.into();
        // If the person is removed meanwhile, the next person with that name must not get the password.
        let (owner, hash) = (person.name.clone(), phc.clone());
        let is_kept = move |tx: &Tx<'_>| Ok(secrets::password(tx, &owner)?.is_some_and(|kept| kept == hash));
        let set = Effect::SetPassword {
            person: person.name.clone(),
            phc,
            replaces: had_one,
            planned_from: snapshot.edition.version,
        };
        self.append_with_cuts(permit, record, set, is_kept, cuts).await
    }

    /// Sets the secret of a confidential client, and revokes tokens that were obtained with the old one.
    pub async fn set_client_secret(
        self: &Arc<Self>,
        permit: Permit<act::SetClientSecret>,
        id: String,
        secret: Secret,
    ) -> Result<(), AdministrationError> {
        let engine = Arc::clone(self);
        to_the_end(async move { engine.set_client_secret_now(&permit, &id, secret).await }).await
    }

    async fn set_client_secret_now(
        self: &Arc<Self>,
        permit: &Permit<act::SetClientSecret>,
        id: &str,
        secret: Secret,
    ) -> Result<(), AdministrationError> {
        check_secret(&secret, 16, "Client secret")?;
        let phc = self.hash(secret).await?;
        self.keep_planned(|snapshot| self.keep_client_secret(permit, id, phc.clone(), snapshot)).await
    }

    async fn keep_client_secret(
        self: &Arc<Self>,
        permit: &Permit<act::SetClientSecret>,
        id: &str,
        phc: Secret,
        snapshot: Arc<Snapshot>,
    ) -> Result<(), AdministrationError> {
        self.confirm(permit).await?;
        let unknown = || AdministrationError::NotFound { kind: EntryKind::Client, name: id.to_owned() };
        let client = id.parse().ok().and_then(|id| snapshot.registry.client(&id)).ok_or_else(unknown)?;
        let owner = client.id.clone();
        let had_one = self
            .store
            .read("is there a secret", move |tx| secrets::client_secret(tx, &owner).map(|old| old.is_some()))
            .await?;
        let state = ClientState::of(client, had_one);
        state.after(ClientAct::SetSecret).map_err(|refusal| {
            let method = client.authentication.method();
            AdministrationError::BadRequest(format!(
                "client `{id}` {refusal}: its entry has authentication = \"{method}\""
            ))
        })?;
        let cuts: Vec<Cut> = had_one
            .then(|| cut(CutTarget::Client(client.id.clone()), self.clock.now()))
            .into_iter()
            .collect();
        let mut record = self.record(RecordKind::Admin, permit, format!("set the secret of client {id}"));
        record.touched = touched([Touch::Client(id)]);
        let (owner, hash) = (client.id.clone(), phc.clone());
        let is_kept =
            move |tx: &Tx<'_>| Ok(secrets::client_secret(tx, &owner)?.is_some_and(|kept| kept == hash));
        let set = Effect::SetClientSecret {
            client: client.id.clone(),
            phc,
            replaces: had_one,
            planned_from: snapshot.edition.version,
        };
        self.append_with_cuts(permit, record, set, is_kept, cuts).await
    }

    /// Records a secret with the cuts of what was issued with the one before. `is_kept`: whether the database
    /// has this secret.
    async fn append_with_cuts<A: IsAct>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        record: Record,
        set: Effect,
        is_kept: impl FnMut(&Tx<'_>) -> Result<bool, StoreError> + Clone + Send + 'static,
        cuts: Vec<Cut>,
    ) -> Result<(), AdministrationError> {
        match self.append(permit, record, with_cuts([set], &cuts)).await {
            Ok(_) => {
                self.live.cut(cuts, self.clock.as_ref());
                Ok(())
            }
            Err(error) => {
                // A log that answers with an error may have kept the record.
                if matches!(error, AdministrationError::AuditUnavailable(_)) && !cuts.is_empty() {
                    self.cut_if_kept(is_kept, cuts);
                }
                Err(error)
            }
        }
    }

    /// Finds out whether a secret was kept of which no answer came, and cuts what was issued with the one
    /// before as soon as that is known. If another secret came after it, that one has cut the same.
    fn cut_if_kept(
        self: &Arc<Self>,
        is_kept: impl FnMut(&Tx<'_>) -> Result<bool, StoreError> + Clone + Send + 'static,
        cuts: Vec<Cut>,
    ) {
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut recorded = false;
            // If the server ends, the next start reads the cuts from the database.
            while let Some(engine) = engine.upgrade() {
                let kept = match engine.settle(&mut recorded).await {
                    Ok(()) => {
                        let read = engine.store.read("was the secret kept", is_kept.clone()).await;
                        read.map_err(AdministrationError::from)
                    }
                    Err(error) => Err(error),
                };
                match kept {
                    Ok(true) => {
                        engine.live.cut(cuts, engine.clock.as_ref());
                        return;
                    }
                    Ok(false) => return,
                    Err(_) => drop(engine),
                }
                sleep(ASK_AGAIN).await;
            }
        });
    }

    /// Keeps a secret for an entry of the registry in force. If others changed the registry meanwhile, the
    /// entry is looked up again.
    async fn keep_planned<F: Future<Output = Result<(), AdministrationError>>>(
        &self,
        keep: impl Fn(Arc<Snapshot>) -> F,
    ) -> Result<(), AdministrationError> {
        for _ in 0..TRIES {
            let snapshot = self.snapshot();
            let planned = snapshot.edition;
            match keep(snapshot).await {
                Err(AdministrationError::Overtaken) => self.follow_others(planned).await?,
                kept => return kept,
            }
        }
        Err(AdministrationError::Overtaken)
    }

    /// argon2id takes tens of milliseconds, so it must not run on the threads that serve requests.
    async fn hash(&self, secret: Secret) -> Result<Secret, AdministrationError> {
        let entropy = Arc::clone(&self.entropy);
        let hashed = blocking(move || mandate_oauth::password::hash(&secret, entropy.as_ref())).await?;
        hashed.map(Secret::new).map_err(AdministrationError::internal)
    }
}

fn check_secret(secret: &Secret, least: usize, what: &'static str) -> Result<(), AdministrationError> {
    let length = secret.expose_secret_str().map_or(0, |text| text.chars().count());
    if (least..=1024).contains(&length) {
        Ok(())
    } else {
        Err(AdministrationError::BadRequest(format!("{what} must be {least} to 1024 characters.")))
    }
}
