//! LSUB (RFC 3501 section 6.3.9): what is subscribed to, whether it exists or not.

use crate::context::Context;
use crate::grammar::print;
use crate::reply::{Completion, Reply};
use common::config::keyword::ImapWorkaround;
use common::hierarchy::{Listing, Namespaces, Pattern};
use common::maildir::StorageError;

/// `LSUB reference pattern`
pub fn lsub(context: &mut Context<'_>, reference: &[u8], pattern: &[u8]) -> Completion {
    let namespaces = &context.namespaces;
    let looks = context.config.imap_client_workarounds.contains(ImapWorkaround::TbLsubFlags);
    let mut ending = Ok(());
    answer(namespaces, looks, reference, pattern, &mut |line| {
        if ending.is_ok() {
            ending = context.conn.push(line);
        }
    })?;
    ending?;
    Ok(Reply::ok("Listed."))
}

/// With `looks`, what does not exist is said to be `\Noselect` as `tb-lsub-flags` promises.
fn answer(
    namespaces: &Namespaces,
    looks: bool,
    reference: &[u8],
    pattern: &[u8],
    push: &mut dyn FnMut(&[u8]),
) -> Result<(), StorageError> {
    let separator = namespaces.separator();
    let subscriptions = namespaces.subscriptions()?;
    let listing = match looks {
        true => namespaces.listing(Some(&subscriptions))?,
        false => namespaces.subscribed(&subscriptions)?,
    };
    let mut pattern = Pattern::new(reference, pattern, separator);
    // RFC 3501 section 6.3.9: "%" tells of a level, even if it is not subscribed to, because of what is below it.
    let levels = pattern.ends_with_level();
    let mut line = Vec::new();
    for (at, entry) in listing.iter().enumerate() {
        let told = entry.subscribed || levels && has_subscribed_below(&listing, at);
        if !told || !pattern.matches(entry.name) {
            continue;
        }
        line.clear();
        let selectable = entry.subscribed && (entry.exists || !looks);
        line.extend_from_slice(if selectable { b"* LSUB () " } else { b"* LSUB (\\Noselect) " });
        print::string(&mut line, &[separator]);
        line.push(b' ');
        print::astring(&mut line, entry.name);
        line.extend_from_slice(b"\r\n");
        push(&line);
    }
    Ok(())
}

/// What is below an entry directly follows it.
fn has_subscribed_below(listing: &Listing, at: usize) -> bool {
    let below = |other: &usize| {
        let mut above = listing.parent(*other);
        while above.is_some_and(|above| above > at) {
            above = above.and_then(|above| listing.parent(above));
        }
        above == Some(at)
    };
    (at + 1..listing.len())
        .take_while(below)
        .any(|other| listing.entry(other).is_some_and(|entry| entry.subscribed))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    fn lsub(place: &Place, reference: &str, pattern: &str) -> Vec<String> {
        lsub_looking(place, false, reference, pattern)
    }

    fn lsub_looking(place: &Place, looks: bool, reference: &str, pattern: &str) -> Vec<String> {
        let mut lines = Vec::new();
        answer(&place.namespaces, looks, reference.as_bytes(), pattern.as_bytes(), &mut |line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap().trim_end().replace("* LSUB ", ""));
        })
        .unwrap();
        lines
    }

    #[test]
    fn levels_are_told_for_the_sake_of_what_is_below() {
        let place = Place::new(&[]);
        place.subscribe(&["foo.bar", "INBOX", "gone", "foo.baz.x", "a b"]);
        let all =
            ["() \".\" INBOX", "() \".\" \"a b\"", "() \".\" foo.bar", "() \".\" foo.baz.x", "() \".\" gone"];
        assert_eq!(lsub(&place, "", "*"), all);
        let top = ["() \".\" INBOX", "() \".\" \"a b\"", "(\\Noselect) \".\" foo", "() \".\" gone"];
        assert_eq!(lsub(&place, "", "%"), top);
        assert_eq!(lsub(&place, "foo.", "%"), ["() \".\" foo.bar", "(\\Noselect) \".\" foo.baz"]);
        assert_eq!(lsub(&place, "", "inbox"), ["() \".\" INBOX"]);
        assert_eq!(lsub(&place, "", "foo"), [""; 0]);
        assert_eq!(lsub(&place, "", ""), [""; 0]);
    }

    #[test]
    fn what_does_not_exist_is_marked_for_thunderbird() {
        let place = Place::new(&[]);
        place.create(&["a", "b", "c.d"]);
        place.subscribe(&["a", "c.d", "gone", "c.x.y"]);
        let all = ["() \".\" a", "() \".\" c.d", "(\\Noselect) \".\" c.x.y", "(\\Noselect) \".\" gone"];
        assert_eq!(lsub_looking(&place, true, "", "*"), all);
        let top = ["() \".\" a", "(\\Noselect) \".\" c", "(\\Noselect) \".\" gone"];
        assert_eq!(lsub_looking(&place, true, "", "%"), top);
        assert_eq!(lsub_looking(&place, true, "c.", "%"), ["() \".\" c.d", "(\\Noselect) \".\" c.x"]);
    }

    #[test]
    fn names_have_the_prefix() {
        let place = Place::new(&["namespace_prefix=INBOX.", "namespace_separator=/"]);
        place.subscribe(&["foo.bar"]);
        assert_eq!(lsub(&place, "", "*"), ["() \"/\" INBOX/foo/bar"]);
        assert_eq!(lsub(&place, "INBOX/", "%"), ["(\\Noselect) \"/\" INBOX/foo"]);
    }
}
