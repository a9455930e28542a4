//! Long lists in pages. A list is ordered by key, bytewise; a cursor is the key of the last item before the
//! page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::AdministrationError;

/// The most items of a page, and how many it has unless fewer are asked for.
pub const MAX_PAGE: usize = 500;

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    after: String,
    limit: usize,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The items of this page, in the order of the list.
    pub items: Vec<T>,
    /// The cursor of the next page. None on the last page.
    pub next: Option<String>,
}

/// Whether an item can have this key. No name has a control character.
fn is_key(key: &str) -> bool {
    !key.is_empty() && !key.contains(char::is_control)
}

impl Page {
    /// The page that a caller asks for: at most `limit` items, 1 to [`MAX_PAGE`], after the cursor of the
    /// page before.
    pub fn of(limit: Option<usize>, after: Option<&str>) -> Result<Self, AdministrationError> {
        let limit = limit.unwrap_or(MAX_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(AdministrationError::BadRequest(format!("limit: expected 1 to {MAX_PAGE}")));
        }
        let no_cursor = || {
            AdministrationError::BadRequest(
                "after: expected the cursor of an earlier page, as it was given".to_owned(),
            )
        };
        let key = |cursor: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok();
        let after =
            after.map(|cursor| key(cursor).filter(|key| is_key(key)).ok_or_else(no_cursor)).transpose()?;
        Ok(Self { after: after.unwrap_or_default(), limit })
    }

    /// The key that the page begins after. Empty, which is no key, at the beginning of the list.
    pub(crate) fn after(&self) -> &str {
        &self.after
    }

    /// How many items to read: one more than the page has shows whether there is another page.
    pub(crate) fn one_more(&self) -> usize {
        self.limit + 1
    }

    /// The page of what was read.
    pub(crate) fn listed<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> &str) -> Listed<T> {
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let next = items.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(key(last)));
        Listed { items, next }
    }
}

impl<T> Listed<T> {
    pub(crate) fn map<U>(self, f: impl FnMut(T) -> U) -> Listed<U> {
        Listed { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::{Listed, MAX_PAGE, Page};

    /// A list as both sources give it.
    fn read(all: &[String], page: &Page) -> Listed<String> {
        let found =
            all.iter().filter(|key| key.as_str() > page.after()).take(page.one_more()).cloned().collect();
        page.listed(found, |key| key.as_str())
    }

    #[test]
    fn the_pages_of_a_list_are_the_list() {
        let all: Vec<String> = (0..23).map(|n| format!("k{n:02}")).collect();
        for limit in 1..30 {
            let (mut got, mut cursor, mut pages) = (Vec::new(), None, 0);
            loop {
                let listed = read(&all, &Page::of(Some(limit), cursor.as_deref()).unwrap());
                assert!(listed.items.len() <= limit);
                got.extend(listed.items);
                pages += 1;
                cursor = listed.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!((got, pages), (all.clone(), all.len().div_ceil(limit)), "{limit}");
        }
        assert_eq!(read(&[], &Page::of(None, None).unwrap()), Listed { items: Vec::new(), next: None });
    }

    #[test]
    fn what_is_no_limit_or_no_cursor_is_refused() {
        for limit in [0, MAX_PAGE + 1, usize::MAX] {
            assert!(Page::of(Some(limit), None).is_err(), "{limit}");
        }
        // The last three are "\0", "a\0b" and "a\n".
        for cursor in ["", "not base64url!", "_w", "a b", "YQ==", "AA", "YQBi", "YQo"] {
            assert!(Page::of(None, Some(cursor)).is_err(), "{cursor:?}");
        }
        assert_eq!(Page::of(None, Some("YQ")).unwrap(), Page { after: "a".to_owned(), limit: MAX_PAGE });
    }
}
