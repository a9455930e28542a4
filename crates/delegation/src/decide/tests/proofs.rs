//! For how long what a client or an agent has proved counts.

use super::*;

#[test]
fn what_a_client_proved_counts_until_its_credential_is_replaced_or_it_is_cut() {
    let app = |c: &mut Case| c.by_app(&["support-agent"]);
    permits(app);
    let replaced = [
        ClientAuthentication::PrivateKeyJwt {
            jwks: "{}".into(),
            audience: mandate_core::registry::AssertionAudience::Issuer,
        },
        ClientAuthentication::None,
    ];
    for authentication in replaced {
        refuses(R::ProofOutdated, |c| {
            app(c);
            c.registry.put(Entry::Client(Client { authentication, ..support_app(&["support-agent"]) }));
        });
    }
    for (proven, outcome) in [
        (NOW.millis() - 1, Err(R::ProofOutdated)),
        (NOW.millis(), Err(R::ProofOutdated)),
        (NOW.millis() + 1, Ok(())),
    ] {
        let mut case = Case::new();
        app(&mut case);
        case.subject.terms.client = "other-app".parse().unwrap();
        case.cut(CutTarget::Client("support-app".parse().unwrap()));
        let client = Arc::new(support_app(&["support-agent"]));
        case.client =
            AuthenticatedClient::App(ProvenClient::assertion(client, Timestamp::from_millis(proven)));
        assert_eq!(case.run().map(drop), outcome, "{proven}");
    }
    permits(|c| {
        app(c);
        c.registry
            .put(Entry::Client(Client { redirect_uris: Vec::new(), ..support_app(&["support-agent"]) }));
    });
}

#[test]
fn what_an_agent_proved_counts_until_it_expires_or_the_agent_is_cut() {
    let agent = || CutTarget::Agent("spiffe://acme.example/agent/support-agent".into());
    let proven = |at: Timestamp, expires: Timestamp| {
        VerifiedActor::for_test_at("spiffe://acme.example/agent/support-agent", at, expires)
    };
    let later = NOW.plus(Duration::from_secs(60));
    for as_client in [true, false] {
        let with = |c: &mut Case, actor: VerifiedActor| {
            if as_client {
                c.client = AuthenticatedClient::Agent(actor);
                c.actor = None;
            } else {
                c.by_app(&["support-agent"]);
                c.actor = Some(actor);
            }
        };
        permits(|c| with(c, proven(NOW, later)));
        refuses(R::ProofOutdated, |c| with(c, proven(NOW, NOW)));
        refuses(R::ProofOutdated, |c| {
            with(c, proven(NOW.minus(Duration::from_millis(1)), later));
            c.cut(agent());
        });
        permits(|c| {
            with(c, proven(NOW, later));
            c.cut(agent());
        });
    }
}
