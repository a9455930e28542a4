//! Archives that are damaged, incomplete or malicious: they are refused, and nothing is left behind.

use std::fs;

use mandate_backup::{BackupError, SealingKeyPlace};
use mandate_core::Secret;
use serde_json::Value;

use crate::world::{Opens, SERVE, World, archive, members, names};

const PASSPHRASE: &str = "correct horse battery staple";

/// A backup with its key sealed, and the world it is of.
fn sealed() -> (World, Vec<u8>) {
    let world = World::new(5);
    world.backup("b", SealingKeyPlace::Sealed(Secret::new(PASSPHRASE))).unwrap();
    let bytes = fs::read(world.path("b")).unwrap();
    (world, bytes)
}

fn refuse(world: &World, bytes: &[u8], what: &str) -> BackupError {
    let error = world.restore(bytes, "r", &Opens::Passphrase(PASSPHRASE)).map(|_| ()).expect_err(what);
    assert_eq!(world.names(), ["b", "server"], "{what} leaves nothing behind");
    error
}

#[test]
fn a_backup_that_was_cut_short_is_told() {
    let (world, bytes) = sealed();
    let end = bytes.len() - 1024;
    for length in [600, 1024, 1500, 2000, 4096, end / 2, end - 4096, end - 513] {
        let error = refuse(&world, &bytes[..length], &format!("{length} bytes"));
        assert!(matches!(error, BackupError::Truncated | BackupError::Damaged(_)), "{length}: {error:?}");
    }
    for length in [0, 1, 511] {
        assert!(matches!(refuse(&world, &bytes[..length], "no manifest"), BackupError::NotABackup));
    }
}

#[test]
fn a_changed_bit_is_told_wherever_it_says_something() {
    let (world, bytes) = sealed();
    let right: Vec<_> = members(&bytes);
    let mut refused = 0;
    for at in (0..bytes.len() - 1024).step_by(bytes.len() / 150) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        if world.restore(&changed, "r", &Opens::Passphrase(PASSPHRASE)).is_err() {
            refused += 1;
        } else {
            // Between the members there is nothing.
            assert_eq!(members(&changed), right, "bit at {at}");
            fs::remove_dir_all(world.path("r")).unwrap();
        }
        assert_eq!(world.names(), ["b", "server"]);
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn members_that_no_backup_has_are_refused() {
    let (world, bytes) = sealed();
    let right = members(&bytes);
    let renamed = |from: &str, to: &str| {
        let mut members = right.clone();
        members.iter_mut().filter(|(name, _)| name == from).for_each(|(name, _)| to.clone_into(name));
        members
    };
    let edited = |from: &str, to: &str| {
        let mut members = renamed(from, to);
        let manifest = String::from_utf8(members[0].1.clone())
            .unwrap()
            .replace(&format!("{from:?}"), &format!("{to:?}"));
        members[0].1 = manifest.into_bytes();
        members
    };
    for hostile in
        ["../serve.json", "/tmp/serve.json", "./serve.json", "seal.key", "mandate.db-wal", ".bashrc"]
    {
        for members in [renamed("serve.json", hostile), edited("serve.json", hostile)] {
            let error = refuse(&world, &archive(&members), hostile);
            assert!(matches!(error, BackupError::Damaged(_)), "{hostile}: {error:?}");
        }
    }
    let twice = [&right[..], &right[1..2]].concat();
    assert!(matches!(refuse(&world, &archive(&twice), "a member twice"), BackupError::Damaged(_)));
    let swapped = [&right[..1], &right[2..3], &right[1..2], &right[3..]].concat();
    assert!(matches!(refuse(&world, &archive(&swapped), "another order"), BackupError::Damaged(_)));
    let fewer = [&right[..1], &right[2..]].concat();
    assert!(matches!(refuse(&world, &archive(&fewer), "a member that is missing"), BackupError::Damaged(_)));
    assert!(matches!(refuse(&world, &archive(&right[..1]), "the manifest alone"), BackupError::Truncated));
    assert!(matches!(refuse(&world, &archive(&right[1..]), "no manifest"), BackupError::NotABackup));
    assert!(matches!(refuse(&world, &archive(&[]), "an empty archive"), BackupError::NotABackup));
}

#[test]
fn links_devices_and_extensions_are_no_members() {
    let (world, bytes) = sealed();
    let right = members(&bytes);
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Fifo,
        tar::EntryType::GNULongName,
        tar::EntryType::XHeader,
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        for (at, (name, content)) in right.iter().enumerate() {
            let mut header = tar::Header::new_gnu();
            header.set_path(name).unwrap();
            header.set_size(content.len() as u64);
            if at == 1 {
                header.set_entry_type(kind);
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, content.as_slice()).unwrap();
        }
        let error = refuse(&world, &builder.into_inner().unwrap(), "a link");
        assert!(matches!(error, BackupError::Damaged(_)), "{kind:?}: {error:?}");
    }
}

/// What is changed in a manifest.
type Lie = &'static dyn Fn(&mut Value);

#[test]
fn a_manifest_that_lies_is_refused() {
    let (world, bytes) = sealed();
    let right = members(&bytes);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut members = right.clone();
        let mut manifest: Value = serde_json::from_slice(&members[0].1).unwrap();
        change(&mut manifest);
        members[0].1 = serde_json::to_vec(&manifest).unwrap();
        archive(&members)
    };
    let lies: [(&str, Lie); 9] = [
        ("issuer", &|m| m["issuer"] = "https://other.example".into()),
        ("trust domain", &|m| m["trust_domain"] = "other.example".into()),
        ("schema", &|m| m["schema"] = 99.into()),
        ("size of the log", &|m| m["audit"]["size"] = 4.into()),
        ("huge member", &|m| m["members"][0]["size"] = u64::MAX.into()),
        ("huge database", &|m| m["members"][2]["size"] = u64::MAX.into()),
        ("member twice", &|m| m["members"][1] = m["members"][0].clone()),
        ("key place", &|m| m["sealing_key"] = "apart".into()),
        ("unknown member", &|m| m["more"] = 1.into()),
    ];
    for (what, lie) in lies {
        let error = refuse(&world, &with(lie), what);
        assert!(matches!(error, BackupError::Damaged(_)), "{what}: {error:?}");
    }
    let newer = refuse(&world, &with(&|m| m["format"] = "mandate-backup/2".into()), "a newer format");
    assert!(matches!(&newer, BackupError::Format(format) if format == "mandate-backup/2"), "{newer:?}");
}

/// As the manifest has it.
fn digest(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&mandate_core::digest::sha256(bytes))
}

#[test]
fn a_serve_json_of_another_server_is_refused_although_its_digest_is_right() {
    let (world, bytes) = sealed();
    let right = members(&bytes);
    let with = |serve: &str| {
        let mut members = right.clone();
        let mut manifest: Value = serde_json::from_slice(&members[0].1).unwrap();
        assert_eq!(
            (members[1].0.as_str(), &manifest["members"][0]["name"]),
            ("serve.json", &"serve.json".into())
        );
        manifest["members"][0]["size"] = serve.len().into();
        manifest["members"][0]["sha256"] = digest(serve.as_bytes()).into();
        members[0].1 = serde_json::to_vec(&manifest).unwrap();
        members[1].1 = serve.as_bytes().to_vec();
        archive(&members)
    };
    for (from, to) in [
        ("https://mandate.acme.example", "https://other.example"),
        ("\"acme.example\"", "\"other.example\""),
        (SERVE, "{}"),
    ] {
        let error = refuse(&world, &with(&SERVE.replace(from, to)), to);
        assert!(matches!(&error, BackupError::Damaged(why) if why.contains("serve.json")), "{to}: {error:?}");
    }
    world.restore(&with(SERVE), "r", &Opens::Passphrase(PASSPHRASE)).unwrap();
}

#[test]
fn a_database_of_a_newer_program_is_refused_with_both_versions() {
    let (world, bytes) = sealed();
    let mut right = members(&bytes);
    let before = digest(&right[3].1);
    // `PRAGMA user_version`, at its place in the header.
    right[3].1[60..64].copy_from_slice(&99u32.to_be_bytes());
    let manifest = String::from_utf8(right[0].1.clone()).unwrap().replace(&before, &digest(&right[3].1));
    right[0].1 = manifest.into_bytes();
    // The sealed key is bound to the database that it is of.
    assert!(matches!(refuse(&world, &archive(&right), "another database"), BackupError::Passphrase));
    let created = world.backup("b", SealingKeyPlace::Apart).unwrap();
    let mut right = members(&fs::read(world.path("b")).unwrap());
    let before = digest(&right[2].1);
    right[2].1[60..64].copy_from_slice(&99u32.to_be_bytes());
    let manifest = String::from_utf8(right[0].1.clone()).unwrap().replace(&before, &digest(&right[2].1));
    right[0].1 = manifest.into_bytes();
    let error =
        world.restore(&archive(&right), "r", &Opens::Key(created.sealing_key)).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("schema 99"), "{error}");
    assert_eq!(world.names(), ["b", "server"]);
}

#[test]
fn a_member_larger_than_the_disk_is_refused_before_it_is_read() {
    let (world, bytes) = sealed();
    let mut right = members(&bytes);
    let manifest = String::from_utf8(right[0].1.clone()).unwrap();
    let size = right[3].1.len();
    let huge = 1u64 << 60;
    right[0].1 = manifest.replace(&format!("\"size\": {size}"), &format!("\"size\": {huge}")).into_bytes();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in &right {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(if name == "mandate.db" { huge } else { content.len() as u64 });
        header.set_cksum();
        // The builder would count the bytes; an archive need not have them.
        let out = builder.get_mut();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    let error = refuse(&world, builder.get_ref(), "a huge database");
    assert!(matches!(error, BackupError::NoSpace { needed, .. } if needed == huge), "{error:?}");
}

#[test]
fn without_what_opens_it_nothing_is_restored() {
    let (world, bytes) = sealed();
    let restore = |opens: &Opens| world.restore(&bytes, "r", opens).map(|_| ()).unwrap_err();
    assert!(matches!(restore(&Opens::Passphrase("correct horse battery stapl")), BackupError::Passphrase));
    assert!(matches!(restore(&Opens::Key(Secret::new([1; 32]))), BackupError::KeyIsSealed));
    assert!(matches!(restore(&Opens::Nothing), BackupError::Passphrase));
    let apart = world.backup("b", SealingKeyPlace::Apart).unwrap();
    let bytes = fs::read(world.path("b")).unwrap();
    let restore = |opens: &Opens| world.restore(&bytes, "r", opens).map(|_| ()).unwrap_err();
    assert!(matches!(restore(&Opens::Nothing), BackupError::KeyNeeded));
    assert!(matches!(restore(&Opens::Key(Secret::new([1; 32]))), BackupError::OtherSealingKey));
    assert!(matches!(restore(&Opens::Key(Secret::new([1; 5]))), BackupError::NotAKey));
    assert_eq!(world.names(), ["b", "server"]);
    // A directory with anything in it is somebody's.
    let taken = world.path("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("x"), "").unwrap();
    let key = Opens::Key(apart.sealing_key);
    assert!(matches!(
        world.restore(&bytes, "taken", &key),
        Err(BackupError::File(mandate_files::FileError::NotEmpty { .. }))
    ));
    assert_eq!(names(&taken), ["x"]);
}
