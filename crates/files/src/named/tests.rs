use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use mandate_core::SystemEntropy;

use super::{open_public, output, read_private, read_public_text, read_secret, read_trusted_text};
use crate::error::FileError;
use crate::new_file::Replace;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn write(path: &Path, force: bool) -> Result<(), FileError> {
    let mut new = output(path, force, &SystemEntropy)?;
    new.file().write_all(b"new").unwrap();
    new.commit(if force { Replace::Always } else { Replace::Never })
}

#[test]
fn a_file_is_not_replaced_unless_asked_and_a_link_never_written_through() {
    let root = tempfile::tempdir().unwrap();
    let (file, link, victim) =
        (root.path().join("file"), root.path().join("link"), root.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &link).unwrap();
    write(&file, false).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(write(&file, false), Err(FileError::Exists { .. })));
    assert!(matches!(write(&link, false), Err(FileError::Link { .. })));
    write(&file, true).unwrap();
    write(&link, true).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_directory_a_device_or_a_pipe_is_never_replaced() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for force in [false, true] {
        for path in [&folder, Path::new("/dev/null")] {
            assert!(matches!(write(path, force), Err(FileError::Kind { .. })), "{}", path.display());
        }
    }
}

#[test]
fn a_place_that_others_could_change_is_refused_and_a_sticky_one_is_not() {
    let root = tempfile::tempdir().unwrap();
    let open = root.path().join("open");
    fs::create_dir(&open).unwrap();
    for (mode, good) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
        chmod(&open, mode);
        assert_eq!(write(&open.join("file"), true).is_ok(), good, "{mode:o}");
    }
}

#[test]
fn a_private_key_that_others_may_read_is_refused_and_the_group_of_a_file_of_roots_is_not() {
    let root = tempfile::tempdir().unwrap();
    let key = root.path().join("key");
    fs::write(&key, "key").unwrap();
    let of_root = rustix::process::geteuid().is_root();
    for (mode, good) in [
        (0o600, true),
        (0o400, true),
        (0o640, of_root),
        (0o440, of_root),
        (0o660, false),
        (0o644, false),
        (0o604, false),
    ] {
        chmod(&key, mode);
        assert_eq!(read_private(&key, 99).is_ok(), good, "{mode:o}");
    }
    let error = read_private(&key, 99).unwrap_err().to_string();
    assert!(error.contains("others may read it (mode 604); run chmod 600 "), "{error}");
}

#[test]
fn a_link_of_ours_leads_to_the_newest_key_as_certificate_tools_lay_it_out() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("archive")).unwrap();
    fs::create_dir_all(root.path().join("live")).unwrap();
    fs::write(root.path().join("archive/key1"), "key").unwrap();
    chmod(&root.path().join("archive/key1"), 0o600);
    symlink("../archive/key1", root.path().join("live/key")).unwrap();
    assert_eq!(read_private(&root.path().join("live/key"), 99).unwrap().expose_secret(), b"key");
    chmod(&root.path().join("archive"), 0o777);
    assert!(read_private(&root.path().join("live/key"), 99).is_err(), "what it leads through is judged");
}

#[test]
fn a_token_that_others_can_read_is_told_and_one_that_they_can_change_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let token = root.path().join("token");
    fs::write(&token, "t").unwrap();
    chmod(&token, 0o644);
    chmod(root.path(), 0o700);
    assert!(read_secret(&token, 99).unwrap().exposed.is_none(), "the folder keeps others out");
    chmod(root.path(), 0o755);
    let read = read_secret(&token, 99).unwrap();
    assert_eq!(read.content.expose_secret(), b"t");
    assert!(read.exposed.unwrap().to_string().contains("run chmod 600"));
    chmod(&token, 0o600);
    assert!(read_secret(&token, 99).unwrap().exposed.is_none());
    chmod(&token, 0o602);
    assert!(matches!(read_secret(&token, 99), Err(FileError::Exposed { what: "write to it", .. })));
}

#[test]
fn what_a_shell_hands_over_as_a_descriptor_is_read_as_it_is() {
    let (ours, mut theirs) = std::io::pipe().unwrap();
    theirs.write_all(b"from a pipe").unwrap();
    drop(theirs);
    let path = format!("/dev/fd/{}", ours.as_raw_fd());
    assert_eq!(read_secret(Path::new(&path), 99).unwrap().content.expose_secret(), b"from a pipe");
}

#[test]
fn a_text_that_is_believed_must_not_be_writable_by_others_and_one_that_proves_itself_may() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("kept");
    fs::write(&file, "\u{feff}kept\r\n").unwrap();
    assert_eq!(read_trusted_text(&file, 99).unwrap(), "kept\r\n");
    chmod(&file, 0o666);
    assert!(read_trusted_text(&file, 99).is_err());
    assert_eq!(read_public_text(&file, 99).unwrap(), "kept\r\n");
    fs::write(&file, b"\xff\xfek\0").unwrap();
    let error = read_public_text(&file, 99).unwrap_err().to_string();
    assert!(error.contains("kept") && error.contains("UTF-16"), "{error}");
}

#[test]
fn a_directory_is_no_file_and_nothing_is_nothing() {
    let root = tempfile::tempdir().unwrap();
    for path in [root.path().to_owned(), root.path().join("..")] {
        assert!(matches!(open_public(&path), Err(FileError::Kind { .. })));
        assert!(matches!(read_private(&path, 99), Err(FileError::Kind { .. })));
    }
    let missing = root.path().join("missing");
    assert!(open_public(&missing).unwrap_err().is_not_found());
    assert!(read_private(&missing, 99).unwrap_err().is_not_found());
    let mut text = String::new();
    fs::write(&missing, "there").unwrap();
    open_public(&missing).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "there");
}

#[test]
fn two_files_of_one_place_are_told_however_it_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("x")).unwrap();
    symlink(root.path(), root.path().join("here")).unwrap();
    let begin = |name: &str| output(&root.path().join(name), true, &SystemEntropy).unwrap();
    let file = begin("m.tar");
    for same in ["m.tar", "x/../m.tar", "./m.tar", "here/m.tar"] {
        assert!(file.has_the_place_of(&begin(same)).unwrap(), "{same}");
    }
    for other in ["m.tar.key", "x/m.tar"] {
        assert!(!file.has_the_place_of(&begin(other)).unwrap(), "{other}");
    }
}
