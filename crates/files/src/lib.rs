//! Every file that Mandate writes or trusts goes through here.
//!
//! A path is safe only if no other user can change what it leads to. So each directory on the way, and each
//! symbolic link, must belong to this user ([`own_user`]) or to root, and must not be writable by others. A
//! sticky directory such as `/tmp` is allowed on the way, because nobody can replace the entries of others
//! there. The way is walked with descriptors: the file that was checked is the file that is used. Files are
//! created under a new name that did not exist before (`O_EXCL`, `O_NOFOLLOW`) with their final mode, and
//! then renamed. Existing files are opened without following links and checked by their descriptor.
//!
//! [`text`] reads text with or without a byte order mark, and with the line ends of any system.

#[cfg(unix)]
mod dir;
#[cfg(unix)]
mod error;
#[cfg(unix)]
mod judge;
#[cfg(unix)]
mod named;
#[cfg(unix)]
mod namespace;
#[cfg(unix)]
mod new_dir;
#[cfg(unix)]
mod new_file;
pub mod text;
#[cfg(unix)]
mod walk;

#[cfg(unix)]
pub use dir::{Dir, Making};
#[cfg(unix)]
pub use error::FileError;
#[cfg(unix)]
pub use judge::Exposure;
#[cfg(unix)]
pub use named::{
    Named, open_named, open_public, output, read_private, read_public_text, read_secret, read_trusted,
    read_trusted_text,
};
#[cfg(unix)]
pub use namespace::{has_unmapped_users, overflow_ids, own_user};
#[cfg(unix)]
pub use new_dir::NewDir;
#[cfg(unix)]
pub use new_file::{NewFile, Replace};
