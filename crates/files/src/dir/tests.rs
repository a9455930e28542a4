use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use mandate_core::SystemEntropy;

use super::{Dir, Making};
use crate::error::FileError;
use crate::judge::Exposure;
use crate::new_file::Replace;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_directory_is_made_with_its_exact_mode_and_others_may_not_even_add_to_it() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("deep/node");
    let dir = Dir::open_or_make(&path, Making { above: 0o700, mode: 0o711 }).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o711, 0o700));
    assert_eq!(dir.path(), path);
    for bad in [0o777, 0o731, 0o713, 0o1777] {
        chmod(&path, bad);
        let error = Dir::open_or_make(&path, Making { above: 0o700, mode: 0o711 }).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("run chmod 711 {}", path.display()))
                && error.contains(&format!("{bad:o}")),
            "{error}"
        );
        let error = Dir::open(&path).unwrap_err().to_string();
        assert!(error.contains("run chmod 700 "), "{error}");
    }
    chmod(&path, 0o755);
    assert!(Dir::open_or_make(&path, Making { above: 0o700, mode: 0o711 }).is_ok());
    assert_eq!(mode(&path), 0o755, "a mode that an operator chose stays");
}

#[test]
fn a_replaced_file_has_its_mode_and_leaves_nothing_beside_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open(root.path()).unwrap();
    for content in ["first", "second, longer", "3"] {
        dir.replace("file", 0o640, content.as_bytes(), &SystemEntropy).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("file")).unwrap(), content);
        assert_eq!(mode(&root.path().join("file")), 0o640);
        assert_eq!(names(root.path()), ["file"]);
    }
}

#[test]
fn a_link_at_the_place_of_a_file_is_replaced_and_what_it_points_to_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let victim = root.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, root.path().join("file")).unwrap();
    let dir = Dir::open(root.path()).unwrap();
    dir.replace("file", 0o600, b"ours", &SystemEntropy).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(fs::symlink_metadata(root.path().join("file")).unwrap().is_file());
}

#[test]
fn a_link_is_neither_created_through_nor_read_through_nor_locked_through() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("victim"), "precious").unwrap();
    symlink("victim", root.path().join("link")).unwrap();
    symlink("nothing", root.path().join("dangling")).unwrap();
    let dir = Dir::open(root.path()).unwrap();
    for link in ["link", "dangling"] {
        assert!(matches!(dir.create(link, 0o600), Err(FileError::Exists { .. })), "{link}");
        assert!(
            matches!(dir.open_or_create(link, Exposure::Readable), Err(FileError::Link { .. })),
            "{link}"
        );
        assert!(matches!(dir.read(link, 99), Err(FileError::Link { .. })), "{link}");
        assert!(matches!(dir.read_secret(link, 99), Err(FileError::Link { .. })), "{link}");
    }
    assert_eq!(fs::read_to_string(root.path().join("victim")).unwrap(), "precious");
    assert!(!root.path().join("nothing").exists());
}

#[test]
fn a_file_that_others_may_see_or_change_is_judged_by_what_it_is_for() {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open(root.path()).unwrap();
    let path = root.path().join("file");
    fs::write(&path, "content").unwrap();
    for (mode, private, readable) in [
        (0o600, true, true),
        (0o400, true, true),
        (0o640, false, true),
        (0o604, false, true),
        (0o644, false, true),
        (0o620, false, false),
        (0o602, false, false),
    ] {
        chmod(&path, mode);
        assert_eq!(dir.read_secret("file", 99).is_ok(), private, "{mode:o}");
        assert_eq!(dir.read("file", 99).is_ok(), readable, "{mode:o}");
    }
    let error = dir.read_secret("file", 99).unwrap_err().to_string();
    assert!(error.ends_with(&format!("run chmod 600 {}", path.display())), "{error}");
}

#[test]
fn a_pipe_or_directory_is_no_file_and_keeps_nobody_waiting() {
    let root = tempfile::tempdir().unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::create_dir(root.path().join("folder")).unwrap();
    let dir = Dir::open(root.path()).unwrap();
    for name in ["pipe", "folder"] {
        assert!(matches!(dir.read_secret(name, 99), Err(FileError::Kind { .. })), "{name}");
    }
    assert!(dir.read_secret("nothing", 99).unwrap().is_none());
}

#[test]
fn more_than_the_limit_is_refused_and_not_cut_off() {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open(root.path()).unwrap();
    dir.replace("file", 0o600, b"12345", &SystemEntropy).unwrap();
    assert_eq!(dir.read_secret("file", 5).unwrap().unwrap().expose_secret(), b"12345");
    for error in
        [dir.read_secret("file", 4).map(drop).unwrap_err(), dir.read("file", 4).map(drop).unwrap_err()]
    {
        assert!(matches!(error, FileError::TooLarge { limit: 4, .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_not_committed_is_gone_and_one_that_may_not_replace_does_not() {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open(root.path()).unwrap();
    let mut new = dir.start("file", 0o600, &SystemEntropy).unwrap();
    new.file().write_all(b"half").unwrap();
    assert_eq!(names(root.path()).len(), 1);
    drop(new);
    assert_eq!(names(root.path()).len(), 0);
    for (content, kept) in [("first", true), ("second", false)] {
        let mut new = dir.start("file", 0o600, &SystemEntropy).unwrap();
        new.file().write_all(content.as_bytes()).unwrap();
        assert_eq!(new.commit(Replace::Never).is_ok(), kept);
    }
    assert_eq!(fs::read_to_string(root.path().join("file")).unwrap(), "first");
    assert_eq!(names(root.path()), ["file"]);
}

#[test]
fn a_directory_that_was_opened_is_the_one_that_is_used_even_if_another_takes_its_name() {
    let root = tempfile::tempdir().unwrap();
    let (path, moved) = (root.path().join("dir"), root.path().join("moved"));
    let dir = Dir::open_or_make(&path, Making::PRIVATE).unwrap();
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    dir.replace("file", 0o600, b"x", &SystemEntropy).unwrap();
    assert!(dir.open_file("file", Exposure::Private).unwrap().is_some());
    assert!(moved.join("file").exists() && !path.join("file").exists());
}
