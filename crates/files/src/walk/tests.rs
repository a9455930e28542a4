use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use super::{Goal, Walked, walk, walk_as};
use crate::error::FileError;
use crate::namespace::own_user;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder of its own, by its path without links.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

/// Makes `paths` belong to another user than the one who walks, and returns the user who walks. Links are not
/// followed.
fn of_another(paths: &[&Path]) -> u32 {
    if !rustix::process::geteuid().is_root() {
        // Everything of ours belongs to another from the point of view of anyone else.
        return 4711;
    }
    for path in paths {
        std::os::unix::fs::lchown(path, Some(4711), Some(4711)).unwrap();
    }
    0
}

fn to(path: &Path) -> Result<Walked, FileError> {
    walk(path, Goal::Directory)
}

#[test]
fn a_directory_is_reached_by_its_way_without_links() {
    let (_keep, root) = folder();
    fs::create_dir_all(root.join("a/b")).unwrap();
    symlink(root.join("a"), root.join("absolute")).unwrap();
    symlink("a/b", root.join("relative")).unwrap();
    symlink("absolute", root.join("a/../again")).unwrap();
    for (path, real) in [
        ("a/b", "a/b"),
        ("absolute/b", "a/b"),
        ("relative", "a/b"),
        ("relative/..", "a"),
        ("a/./b/../b", "a/b"),
        ("again/b", "a/b"),
    ] {
        assert_eq!(to(&root.join(path)).unwrap().real, root.join(real), "{path}");
    }
}

#[test]
fn a_way_that_others_could_change_is_refused_with_the_place_and_what_mends_it() {
    for mode in [0o777, 0o775, 0o757, 0o733] {
        let (_keep, root) = folder();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        chmod(&root.join("a"), mode);
        let error = to(&root.join("a/b/c")).unwrap_err();
        assert_eq!(error.path(), root.join("a"));
        let (who, right) =
            if mode & 0o002 == 0 { ("members of its group", "g-w") } else { ("others", "go-w") };
        let whole = format!(
            "{}: {who} may write to it (mode {mode:o}); run chmod {right} {}",
            root.join("a").display(),
            root.join("a").display()
        );
        assert!(error.to_string().ends_with(&whole), "{error}");
        chmod(&root.join("a"), mode & !0o022);
        assert!(to(&root.join("a/b/c")).is_ok(), "the command that it names repairs it");
    }
}

#[test]
fn a_sticky_directory_may_be_passed_as_nobody_can_replace_what_is_ours_there() {
    let (_keep, root) = folder();
    fs::create_dir_all(root.join("a/b")).unwrap();
    chmod(&root.join("a"), 0o1777);
    assert!(to(&root.join("a/b")).is_ok());
}

#[test]
fn a_directory_of_another_user_is_refused_anywhere_on_the_way() {
    let (_keep, root) = folder();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    let us = of_another(&[&root.join("a/b")]);
    let error = walk_as(&root.join("a/b/c"), Goal::Directory, Some(us)).unwrap_err();
    assert!(matches!(&error, FileError::Owner { .. }), "{error}");
    if us == 0 {
        assert_eq!(error.path(), root.join("a/b"));
        let text = error.to_string();
        assert!(
            text.contains("belongs to user 4711")
                && text.ends_with(&format!("chown 0 {}", root.join("a/b").display())),
            "{text}"
        );
        chown(root.join("a/b"), Some(0), None).unwrap();
        assert!(
            walk_as(&root.join("a/b/c"), Goal::Directory, Some(us)).is_ok(),
            "the command that it names repairs it"
        );
    }
}

#[test]
fn a_link_of_another_user_is_not_followed_even_to_what_is_ours() {
    let (_keep, root) = folder();
    fs::create_dir(root.join("ours")).unwrap();
    symlink("ours", root.join("link")).unwrap();
    let us = of_another(&[&root.join("link")]);
    for goal in [Goal::Directory, Goal::Entry, Goal::Made { above: 0o700, mode: 0o700 }] {
        assert!(
            matches!(walk_as(&root.join("link"), goal, Some(us)), Err(FileError::Owner { .. })),
            "{goal:?}"
        );
    }
}

#[test]
fn what_a_link_leads_through_is_judged_too() {
    let (_keep, root) = folder();
    fs::create_dir_all(root.join("open/in")).unwrap();
    chmod(&root.join("open"), 0o777);
    symlink(root.join("open/in"), root.join("link")).unwrap();
    symlink("open/../open/in", root.join("roundabout")).unwrap();
    for link in ["link", "roundabout"] {
        let error = to(&root.join(link)).unwrap_err();
        assert_eq!(error.path(), root.join("open"), "{link}");
    }
}

#[test]
fn links_in_a_circle_end() {
    let (_keep, root) = folder();
    symlink("two", root.join("one")).unwrap();
    symlink("one", root.join("two")).unwrap();
    assert!(matches!(to(&root.join("one")), Err(FileError::Io { doing: "follow", .. })));
}

#[test]
fn missing_directories_are_made_for_this_user_alone_and_no_others() {
    let (_keep, root) = folder();
    let made = walk(&root.join("a/b/c"), Goal::Made { above: 0o700, mode: 0o711 }).unwrap();
    assert!(made.made);
    for made in ["a", "a/b"] {
        assert_eq!(fs::metadata(root.join(made)).unwrap().permissions().mode() & 0o777, 0o700, "{made}");
    }
    assert!(
        !walk(&root.join("a/b/c"), Goal::Made { above: 0o700, mode: 0o711 }).unwrap().made,
        "it was there"
    );
    assert!(to(&root.join("nothing/there")).unwrap_err().is_not_found());
    fs::write(root.join("file"), "").unwrap();
    assert!(matches!(
        walk(&root.join("file/x"), Goal::Made { above: 0o700, mode: 0o700 }),
        Err(FileError::Kind { .. })
    ));
}

#[test]
fn nothing_is_made_in_a_place_that_others_could_change() {
    let (_keep, root) = folder();
    fs::create_dir(root.join("open")).unwrap();
    chmod(&root.join("open"), 0o777);
    assert!(walk(&root.join("open/new"), Goal::Made { above: 0o700, mode: 0o700 }).is_err());
    assert_eq!(fs::read_dir(root.join("open")).unwrap().count(), 0);
}

#[test]
fn whether_others_can_pass_is_told() {
    let (_keep, root) = folder();
    fs::create_dir_all(root.join("a/b")).unwrap();
    chmod(&root, 0o755);
    assert!(to(&root.join("a/b")).unwrap().passable);
    for closed in ["", "a"] {
        chmod(&root.join(closed), 0o700);
        assert!(!to(&root.join("a/b")).unwrap().passable, "{closed:?}");
        chmod(&root.join(closed), 0o755);
    }
    chmod(&root.join("a/b"), 0o700);
    assert!(to(&root.join("a/b/..")).unwrap().passable, "a directory that was left again closes nothing");
}

#[test]
fn root_is_trusted_by_everybody() {
    for us in [own_user().map(|us| us.wrapping_add(4711)), None] {
        assert!(walk_as(Path::new("/"), Goal::Directory, us).is_ok());
        assert!(walk_as(Path::new("/usr/bin"), Goal::Directory, us).is_ok());
    }
}

#[test]
fn a_process_whose_number_may_be_anybodys_owns_nothing_by_it() {
    let (_keep, root) = folder();
    let ours = root.join("ours");
    fs::create_dir(&ours).unwrap();
    // Root is root, whatever the number of this process is.
    let another =
        if rustix::process::geteuid().is_root() { 4711 } else { rustix::process::geteuid().as_raw() };
    std::os::unix::fs::lchown(&ours, Some(another), None).unwrap();
    assert!(matches!(walk_as(&ours, Goal::Directory, None), Err(FileError::Owner { us: None, .. })));
}
