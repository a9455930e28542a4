//! Policies with annotations that nothing reads.

use mandate_administration::{AdministrationError as E, compile};
use mandate_core::registry::{Entry, Policy};
use mandate_store::Effect;
use mandate_testkit::world::World;

use crate::beside::{apply, behind_the_memory};

const MISSPELT: &str = "permit (principal is Agent, action, resource);\n@aproval(\"required\")\npermit (principal, action, resource);";

fn policy(name: &str, source: &str) -> Entry {
    Entry::Policy(Policy { name: name.parse().unwrap(), source: source.to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_annotation_is_refused_when_it_is_applied_and_not_at_a_start() {
    let world = World::story();
    let refused = apply(&world.administration, [policy("mine", MISSPELT)], false).await;
    let Err(E::InvalidRegistry(findings)) = refused else { panic!("{refused:?}") };
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].pointer, "/policy/0/source");
    assert!(
        findings[0].detail.contains("line 2, column 1")
            && findings[0].detail.contains("did you mean @approval?"),
        "{findings:?}"
    );
    assert!(world.live.snapshot().registry.policies().next().is_none());
    // One that is in the registry already, as of an earlier version, keeps nobody from working.
    behind_the_memory(&world, vec![Effect::AddEntry(Box::new(policy("old", MISSPELT)))]).await;
    compile(&world.stored().0).unwrap();
    apply(
        &world.administration,
        [policy("new", "forbid (principal is Agent, action, resource) when { context.destructive };")],
        false,
    )
    .await
    .unwrap();
    assert_eq!(world.live.snapshot().registry.policies().count(), 2);
}
