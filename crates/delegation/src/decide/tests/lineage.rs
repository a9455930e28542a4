//! Which tokens, grants and clients the lineage of a mandate names.

use super::*;

#[test]
fn lineage_grows_by_one_token_and_is_bounded() {
    let registered = |c: &mut Case, grants: &[&str], clients: &[&str]| {
        for id in grants {
            c.registry.put(Entry::Grant(grant(id, "triage", "crm", "read:cases")));
        }
        for id in clients {
            c.registry.put(Entry::Client(Client { id: id.parse().unwrap(), ..support_app(&[]) }));
        }
        c.subject.terms.lineage.grants = grants.iter().map(|id| id.parse().unwrap()).collect();
        c.subject.terms.lineage.clients = clients.iter().map(|id| id.parse().unwrap()).collect();
    };
    let view = permits(|c| {
        registered(c, &["g0"], &["portal", "support-app"]);
        c.subject.terms.lineage.parents = vec!["root".parse().unwrap()];
        c.subject.terms.lineage.grants.push("g1".parse().unwrap());
    });
    assert_eq!(view.terms.lineage.parents, vec!["t0".parse().unwrap(), "root".parse().unwrap()]);
    assert_eq!(view.terms.lineage.grants, vec!["g1".parse().unwrap(), "g0".parse().unwrap()], "each once");
    assert_eq!(
        view.terms.lineage.clients,
        vec!["support-app".parse().unwrap(), "portal".parse().unwrap()],
        "each once"
    );
    let many = |n: usize| (0..n).map(|n| format!("x{n}").parse().unwrap()).collect();
    permits(|c| c.subject.terms.lineage.parents = many(MAX_LINEAGE - 1));
    refuses(R::LineageTooLong, |c| c.subject.terms.lineage.parents = many(MAX_LINEAGE));
    let names: Vec<String> = (0..MAX_LINEAGE).map(|n| format!("x{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    refuses(R::LineageTooLong, |c| registered(c, &names, &[]));
    refuses(R::LineageTooLong, |c| registered(c, &[], &names));
}

#[test]
fn the_lineage_names_the_clients_of_ancestors_and_neither_agents_nor_those_of_other_issuers() {
    assert_eq!(permits(|_| {}).terms.lineage.clients, vec!["support-app".parse().unwrap()]);
    let next = permits(|c| {
        c.subject.terms.client = act("triage").sub.parse().unwrap();
        c.subject.terms.chain = ActorChain::new(vec![act("triage")]).unwrap();
        c.subject.terms.lineage.clients = vec!["support-app".parse().unwrap()];
    });
    assert_eq!(next.terms.lineage.clients, vec!["support-app".parse().unwrap()]);
    assert!(permits(|c| c.foreign(SubjectScope::Token)).terms.lineage.clients.is_empty());
    let namesake = permits(|c| {
        let abroad = Actor { sub: "support-app".into(), iss: LOGIN.parse().unwrap(), sub_profile: None };
        c.subject.terms.chain = ActorChain::new(vec![act("triage"), abroad]).unwrap();
    });
    assert_eq!(
        namesake.terms.lineage.clients,
        vec!["support-app".parse().unwrap()],
        "an actor that another issuer names like our client"
    );
}
