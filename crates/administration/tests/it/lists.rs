//! Lists in pages.

use mandate_administration::{MAX_PAGE, Page, act};
use mandate_api::admin::RegistryItem;
use mandate_core::registry::{Entry, EntryKind};
use mandate_testkit::story;
use mandate_testkit::world::World;

#[tokio::test]
async fn a_list_that_fits_is_one_page_and_a_longer_one_goes_on_where_it_ended() {
    let people = (0..MAX_PAGE + 3).map(|n| Entry::Person(story::person(&format!("p{n}"), Vec::new())));
    let world = World::with_entries(people.collect());
    let permit = world.administration.permit::<act::ReadRegistry>(&World::operator()).await.unwrap();
    let agents = world.administration.list(&permit, EntryKind::Agent, &Page::of(None, None).unwrap());
    assert_eq!((agents.items.len(), agents.next), (4, None));

    let first = world.administration.list(&permit, EntryKind::Person, &Page::of(None, None).unwrap());
    assert_eq!(first.items.len(), MAX_PAGE);
    // Somebody whose place was passed is added meanwhile, and somebody who is on the next page.
    for name in ["a", "zoe"] {
        world.apply(Entry::Person(story::person(name, Vec::new()))).await;
    }
    let second = world.administration.list(
        &permit,
        EntryKind::Person,
        &Page::of(None, first.next.as_deref()).unwrap(),
    );
    assert_eq!(second.next, None);
    let name = |item: &RegistryItem| match item {
        RegistryItem::Person(person) => person.name.to_string(),
        other => panic!("{other:?}"),
    };
    let names: Vec<String> = first.items.iter().chain(&second.items).map(|entry| name(&entry.item)).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "by name, bytewise, and none twice");
    // riley, casey, all of p…, and zoe.
    assert_eq!(names.len(), 2 + MAX_PAGE + 3 + 1);
    assert!(names.contains(&"zoe".to_owned()) && !names.contains(&"a".to_owned()));
}

#[tokio::test]
async fn the_cursor_of_one_list_is_only_a_place_in_another() {
    let world = World::story();
    let permit = world.administration.permit::<act::ReadRegistry>(&World::operator()).await.unwrap();
    let one = world.administration.list(&permit, EntryKind::Agent, &Page::of(Some(1), None).unwrap());
    let page = Page::of(None, one.next.as_deref()).unwrap();
    let people = world.administration.list(&permit, EntryKind::Person, &page);
    assert_eq!(people.items.len(), 2, "casey and riley are after archive-agent");
    assert_eq!(world.administration.list(&permit, EntryKind::Issuer, &page).items.len(), 0);
}
