//! Files that are named on the command line; wherever a file is read, `-` is standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use mandate_files::text;

use crate::failure::{Failure, Fault};

/// The name of a file in messages.
pub(crate) fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Opens it. A directory is refused, because it can be opened but not read.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let unreadable =
        |error: io::Error| Failure::caused(Fault::Usage, &format!("cannot read {}", path.display()), &error);
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        return Err(Failure::usage(format!("{} is a directory; name a file", path.display())));
    }
    Ok(Box::new(file))
}

/// Reads the whole of a file that may have `limit` bytes at most.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::caused(Fault::Usage, &format!("cannot read {}", shown(path)), &error))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::usage(format!("{} is larger than {limit} bytes", shown(path))));
    }
    Ok(bytes)
}

/// Reads the whole of a text file, without the byte order mark that some editors write.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, Failure> {
    as_text(read(path, limit)?, path)
}

/// Reads the whole of a file that is trusted: it must belong to this user or to root, and others must not be
/// able to change it.
pub(crate) fn read_trusted(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        return read(path, limit);
    }
    mandate_files::read_trusted(path, limit)
        .map_err(|error| Failure::caused(Fault::Usage, &format!("cannot read {}", path.display()), &error))
}

/// The same, as text.
pub(crate) fn read_trusted_text(path: &Path, limit: u64) -> Result<String, Failure> {
    as_text(read_trusted(path, limit)?, path)
}

fn as_text(bytes: Vec<u8>, path: &Path) -> Result<String, Failure> {
    text::from_bytes(bytes).map_err(|error| Failure::usage(format!("{}: {error}", shown(path))))
}

/// Refuses two arguments that both name standard input, which can be read once.
pub(crate) fn one_standard_input(paths: &[Option<&Path>]) -> Result<(), Failure> {
    let times = paths.iter().flatten().filter(|path| **path == Path::new("-")).count();
    if times > 1 {
        Err(Failure::usage("standard input can be read only once: - is given for several files"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{one_standard_input, read, read_text, read_trusted};
    use crate::failure::Fault;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    #[test]
    fn what_is_trusted_must_not_be_writable_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, "pem").unwrap();
        for (mode, is_read) in [(0o644, true), (0o400, true), (0o664, false), (0o646, false)] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            match read_trusted(&file, 9) {
                Ok(bytes) => assert!(is_read && bytes == b"pem", "{mode:o}"),
                Err(failure) => assert!(
                    !is_read && failure.fault() == Fault::Usage && failure.text().contains("chmod"),
                    "{mode:o}"
                ),
            }
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_without_a_byte_order_mark() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "\u{feff}key").unwrap();
        assert_eq!(read_text(&file, 6).unwrap(), "key");
        for (path, limit) in [(file.as_path(), 5), (dir.path(), 100), (Path::new("/nonexistent"), 100)] {
            assert_eq!(read(path, limit).unwrap_err().fault(), Fault::Usage);
        }
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(read_text(&file, 100).unwrap_err().text().contains("UTF-8"));
    }

    #[test]
    fn standard_input_is_read_once() {
        let (stdin, file) = (Path::new("-"), Path::new("f"));
        assert!(one_standard_input(&[Some(stdin), Some(file), None]).is_ok());
        assert!(one_standard_input(&[Some(stdin), None, Some(stdin)]).is_err());
    }
}
