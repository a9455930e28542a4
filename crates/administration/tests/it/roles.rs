//! Who may do what, by the token that they show.

use mandate_administration::authorization::IsAct;
use mandate_administration::{AccessDenied, AdministrationError as E, Operator, OperatorAct, act};
use mandate_api::admin::RevocationTarget;
use mandate_audit::{Outcome, RecordKind};
use mandate_core::Role;
use mandate_core::registry::{ClientAuthentication, Entry, EntryKind, Permission};
use mandate_testkit::story::{self, ISSUER};
use mandate_testkit::world::World;

const ALL: &str = "mandate:viewer mandate:operator mandate:approver mandate:admin";

/// A world in which riley has every role, and an app may ask for each.
fn world() -> World {
    let own = mandate_planning::administration(&ISSUER.parse().unwrap()).unwrap();
    let listed = format!("{ALL} read:cases").parse().unwrap();
    let app = mandate_core::registry::Client {
        scopes: Some(listed),
        ..story::client("support-app", ClientAuthentication::None, &[])
    };
    let may = vec![story::permission("mandate", ALL), story::permission("crm", "read:cases")];
    World::with_entries(vec![
        Entry::Resource(own),
        Entry::Person(story::person("riley", may)),
        Entry::Client(app),
    ])
}

async fn with_scope(world: &World, scope: &str) -> Operator {
    let token = world.person_token("riley", Some(ISSUER), Some(scope)).await;
    world.administration.operator(&token).unwrap()
}

/// Whether the operator is permitted an act, or which role they lack. A refusal has one record, with this
/// reason.
async fn permitted<A: IsAct>(world: &World, by: &Operator) -> Result<(), AccessDenied> {
    let before = world.last_record().id;
    match world.administration.permit::<A>(by).await {
        Ok(permit) => {
            assert_eq!(permit.by(), by);
            assert_eq!(world.last_record().id, before, "a permit alone is no decision");
            Ok(())
        }
        Err(E::NotPermitted(denied)) => {
            let record = world.last_record();
            let told = (record.kind, record.outcome, record.reason.as_str(), record.detail.as_deref());
            assert_eq!(told, (RecordKind::Admin, Outcome::Refused, denied.code(), Some(A::ACT.doing())));
            assert!(record.by.unwrap().contains("riley"));
            Err(denied)
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_role_does_what_its_row_says_and_a_refusal_is_recorded() {
    let world = world();
    for role in Role::ALL {
        let by = with_scope(&world, role.scope()).await;
        let expected =
            |least: Role| if role.includes(least) { Ok(()) } else { Err(AccessDenied::Role(least)) };
        assert_eq!(permitted::<act::ReadAudit>(&world, &by).await, Ok(()), "{role:?}");
        assert_eq!(permitted::<act::SuspendAgent>(&world, &by).await, expected(Role::Operator), "{role:?}");
        assert_eq!(permitted::<act::BanNode>(&world, &by).await, expected(Role::Operator), "{role:?}");
        assert_eq!(permitted::<act::ActivateAgent>(&world, &by).await, expected(Role::Admin), "{role:?}");
        assert_eq!(permitted::<act::ApplyRegistry>(&world, &by).await, expected(Role::Admin), "{role:?}");
        for act in OperatorAct::ALL {
            assert_eq!(world.administration.may_any(&by, &[*act]), expected(act.least()), "{role:?} {act:?}");
        }
    }
    let operator = with_scope(&world, Role::Operator.scope()).await;
    assert_eq!(
        world.administration.may_any(&operator, &[OperatorAct::SuspendAgent, OperatorAct::ActivateAgent]),
        Ok(()),
        "one of them is enough"
    );
    assert!(world.administration.may_any(&operator, &[]).is_err(), "nothing named is nothing");
}

#[tokio::test]
async fn a_token_gives_no_role_that_the_person_has_lost_and_a_person_none_that_the_token_lacks() {
    let world = world();
    let admin = with_scope(&world, "mandate:admin").await;
    let viewer = with_scope(&world, "mandate:viewer").await;
    // In the snapshot alone: it also holds without the cut that belongs to it.
    let only = |scopes: &'static str| {
        world.change_without_cuts(EntryKind::Person, "riley", |entry| {
            let Entry::Person(person) = entry else { panic!("a person") };
            person.may =
                vec![Permission { scopes: scopes.parse().unwrap(), ..story::permission("mandate", "x") }];
        });
    };
    only("mandate:viewer");
    assert_eq!(
        permitted::<act::ReadStatus>(&world, &admin).await,
        Err(AccessDenied::Role(Role::Viewer)),
        "the token names only admin"
    );
    assert_eq!(permitted::<act::ReadStatus>(&world, &viewer).await, Ok(()));
    only("mandate:admin");
    assert_eq!(
        permitted::<act::ReadStatus>(&world, &viewer).await,
        Err(AccessDenied::Role(Role::Viewer)),
        "it asked for less than it may"
    );
    assert_eq!(permitted::<act::ReadStatus>(&world, &admin).await, Ok(()));
    world.change_without_cuts(EntryKind::Person, "riley", |entry| {
        let Entry::Person(person) = entry else { panic!("a person") };
        person.disabled = true;
    });
    assert_eq!(permitted::<act::ReadStatus>(&world, &admin).await, Err(AccessDenied::Token));
}

#[tokio::test]
async fn a_token_whose_client_is_removed_has_no_role() {
    let world = world();
    let admin = with_scope(&world, ALL).await;
    assert_eq!(permitted::<act::RotateKeys>(&world, &admin).await, Ok(()));
    world.remove_without_cuts(EntryKind::Client, "support-app");
    assert_eq!(permitted::<act::RotateKeys>(&world, &admin).await, Err(AccessDenied::Token));
}

#[tokio::test]
async fn a_token_for_others_and_a_mandate_of_an_agent_have_no_role() {
    let world = world();
    let at_the_crm = world.person_token("riley", Some(story::CRM), None).await;
    let of = |token: &str| world.administration.operator(token).unwrap();
    assert_eq!(permitted::<act::ReadStatus>(&world, &of(&at_the_crm)).await, Err(AccessDenied::Token));
    let to_exchange = world.person_token("riley", None, None).await;
    assert_eq!(
        permitted::<act::ReadStatus>(&world, &of(&to_exchange)).await,
        Err(AccessDenied::Role(Role::Viewer))
    );
    assert_eq!(world.administration.operator("no token").unwrap_err(), AccessDenied::Token);
    assert_eq!(
        world.administration.operator(&world.svid("support-agent").await).unwrap_err(),
        AccessDenied::Token
    );
}

#[tokio::test]
async fn only_root_and_the_servers_own_user_are_operators_by_uid() {
    let own = mandate_files::own_user().unwrap();
    assert!(Operator::of_user(own).is_ok() && Operator::of_user(0).is_ok());
    assert_eq!(Operator::of_user(own + 1).unwrap_err(), AccessDenied::Uid);
}

#[tokio::test]
async fn a_permit_that_was_given_before_the_right_was_lost_does_nothing() {
    let world = world();
    let by = with_scope(&world, "mandate:operator").await;
    let revoke = world.administration.permit::<act::Revoke>(&by).await.unwrap();
    let suspend = world.administration.permit::<act::SuspendAgent>(&by).await.unwrap();
    let mine = world.administration.permit::<act::DisablePerson>(&World::operator()).await.unwrap();
    world.administration.change_person(mine, "riley".to_owned()).await.unwrap();
    let cuts = world.live.snapshot().revocations.len();
    let target = RevocationTarget::Agent("support-agent".parse().unwrap());
    assert!(matches!(
        world.administration.revoke(revoke, target).await,
        Err(E::NotPermitted(AccessDenied::Token))
    ));
    let suspended = world.administration.change_agent(suspend, "support-agent".to_owned()).await;
    assert!(matches!(suspended, Err(E::NotPermitted(AccessDenied::Token))), "{suspended:?}");
    assert_eq!(world.live.snapshot().revocations.len(), cuts);
    assert_eq!(world.last_record().outcome, Outcome::Refused);
}
