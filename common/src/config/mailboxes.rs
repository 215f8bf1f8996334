//! Values that are about a user's mailboxes: how names are written, what mailboxes are for, what is removed from them.
//!
//! Names of mailboxes stand here as UTF-8, with the separator of the namespace and without its prefix.

use super::value::{Text, Value, text};
use crate::hierarchy::SpecialUse;
use std::borrow::Cow;

/// What all names of mailboxes but INBOX begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespacePrefix(Text);

impl NamespacePrefix {
    pub(super) const NONE: NamespacePrefix = NamespacePrefix(text(""));

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for NamespacePrefix {
    const ACCEPTED: &'static str = "nothing, or levels of a name such as INBOX. or Mail/";

    fn read(text: &str) -> Option<NamespacePrefix> {
        let levels = text.strip_suffix(['.', '/']).unwrap_or(text);
        let fits = |level: &str| !level.is_empty() && !level.starts_with('~') && !level.contains(['*', '%']);
        let fits = text.is_empty() || levels.split(['.', '/']).all(fits) && text.len() < 100;
        fits.then(|| NamespacePrefix(Cow::Owned(text.to_owned())))
    }

    fn print(&self) -> String {
        self.0.clone().into_owned()
    }
}

/// What the names of mailboxes begin with that are not the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherPrefix(Text);

impl OtherPrefix {
    pub(super) const PUBLIC: OtherPrefix = OtherPrefix(text("Public"));
    pub(super) const SHARED: OtherPrefix = OtherPrefix(text("shared"));

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for OtherPrefix {
    const ACCEPTED: &'static str = "levels of a name such as Public. or #shared/";

    fn read(text: &str) -> Option<OtherPrefix> {
        let fits = !text.is_empty() && !text.eq_ignore_ascii_case("INBOX");
        fits.then(|| NamespacePrefix::read(text)).flatten().map(|prefix| OtherPrefix(prefix.0))
    }

    fn print(&self) -> String {
        self.0.clone().into_owned()
    }
}

/// What stands between the levels of a mailbox's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HierarchySeparator {
    /// `.`, as in the names of the directories.
    Dot,
    /// `/`: then no name can have a dot in it.
    Slash,
}

impl HierarchySeparator {
    /// The character.
    pub fn octet(self) -> u8 {
        match self {
            HierarchySeparator::Dot => b'.',
            HierarchySeparator::Slash => b'/',
        }
    }
}

impl Value for HierarchySeparator {
    const ACCEPTED: &'static str = "one of: . /";

    fn read(text: &str) -> Option<HierarchySeparator> {
        match text {
            "." => Some(HierarchySeparator::Dot),
            "/" => Some(HierarchySeparator::Slash),
            _ => None,
        }
    }

    fn print(&self) -> String {
        char::from(self.octet()).to_string()
    }
}

/// Mailboxes with what they are for; an empty name means that none is for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialUseNames(Cow<'static, [(SpecialUse, String)]>);

impl SpecialUseNames {
    pub(crate) const NONE: SpecialUseNames = SpecialUseNames(Cow::Borrowed(&[]));

    /// They in their order.
    pub fn iter(&self) -> impl Iterator<Item = &(SpecialUse, String)> {
        self.0.iter()
    }
}

impl Value for SpecialUseNames {
    const ACCEPTED: &'static str = "a list such as \\Sent:Sent Items, \\Junk:Spam (\\All \\Archive \\Drafts \\Flagged \\Junk \\Sent \\Trash)";

    fn read(text: &str) -> Option<SpecialUseNames> {
        let pair = |pair: &str| {
            let (attribute, name) = pair.split_once(':')?;
            Some((SpecialUse::from_attribute(attribute.trim())?, name.trim().to_owned()))
        };
        let all = pairs(text).flat_map(uses).map(pair);
        all.collect::<Option<Vec<_>>>().map(|pairs| SpecialUseNames(Cow::Owned(pairs)))
    }

    fn print(&self) -> String {
        let pair = |(special_use, name): &(SpecialUse, String)| format!("{}:{name}", special_use.attribute());
        self.0.iter().map(pair).collect::<Vec<_>>().join(", ")
    }
}

/// Mailboxes with the days after which messages are removed from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmptyTrash(Cow<'static, [(String, u32)]>);

impl EmptyTrash {
    pub(super) const NEVER: EmptyTrash = EmptyTrash(Cow::Borrowed(&[]));

    /// Names and days; an empty name is `imap_trashfoldername`.
    pub fn rules(&self) -> &[(String, u32)] {
        &self.0
    }
}

impl Value for EmptyTrash {
    const ACCEPTED: &'static str =
        "a list of mailboxes and days, at least 1, such as Trash:7, Sent:30, or only days";

    fn read(text: &str) -> Option<EmptyTrash> {
        let pair = |pair: &str| {
            let (name, days) = match pair.rsplit_once(':') {
                Some((name, days)) => {
                    let name = name.trim();
                    (Some(name).filter(|name| !name.is_empty() && !lacks_comma(name))?, days)
                }
                None => ("", pair),
            };
            let digits = days.trim();
            let days = digits.parse().ok().filter(|&days: &u32| (1..=36_500).contains(&days))?;
            (!digits.starts_with('+')).then(|| (name.to_owned(), days))
        };
        pairs(text).map(pair).collect::<Option<Vec<_>>>().map(|pairs| EmptyTrash(Cow::Owned(pairs)))
    }

    fn print(&self) -> String {
        let pair = |(name, days): &(String, u32)| match name.as_str() {
            "" => days.to_string(),
            name => format!("{name}:{days}"),
        };
        self.0.iter().map(pair).collect::<Vec<_>>().join(", ")
    }
}

/// Names may have blanks in them: only commas stand between the pairs of a list.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty())
}

/// Who writes a list with blanks means that, too: no name begins with a backslash, but every use does.
fn uses(pair: &str) -> impl Iterator<Item = &str> {
    let mut rest = pair;
    std::iter::from_fn(move || {
        let begins =
            |(at, _): &(usize, &str)| rest.get(..*at).is_some_and(|before| before.ends_with([' ', '\t']));
        let at = rest.match_indices('\\').find(begins).map_or(rest.len(), |(at, _)| at);
        let (first, behind) = rest.split_at_checked(at)?;
        rest = behind;
        (!first.is_empty()).then_some(first.trim_end())
    })
}

/// Whether days stand in a name, as in `Trash:7 Sent`. Messages are not removed from what nobody has.
fn lacks_comma(name: &str) -> bool {
    name.split(':').skip(1).any(|behind| {
        let rest = behind.trim_start().trim_start_matches(|octet: char| octet.is_ascii_digit());
        rest.len() < behind.trim_start().len() && rest.starts_with([' ', '\t'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed<T: Value>(text: &str) -> Option<String> {
        T::read(text).map(|value| value.print())
    }

    #[test]
    fn prefixes_and_separators() {
        for text in ["", "INBOX.", "INBOX/", "INBOX", "My Mail/", "a.b."] {
            assert_eq!(printed::<NamespacePrefix>(text).as_deref(), Some(text));
        }
        for text in [".", "/", "a..b", ".a", "~", "*", "a%/"] {
            assert_eq!(printed::<NamespacePrefix>(text), None, "{text}");
        }
        assert_eq!(printed::<OtherPrefix>("#shared/").as_deref(), Some("#shared/"));
        for text in ["", "inbox", "a..b", "shared/%%u/"] {
            assert_eq!(printed::<OtherPrefix>(text), None, "{text}");
        }
        assert_eq!(printed::<HierarchySeparator>("/").as_deref(), Some("/"));
        for text in ["", "\\", ".."] {
            assert_eq!(HierarchySeparator::read(text), None);
        }
    }

    #[test]
    fn lists_of_pairs() {
        for (text, want) in [
            ("", Some("")),
            ("\\Sent:Sent", Some("\\Sent:Sent")),
            (" \\sent : Sent Items ,\\Junk:", Some("\\Sent:Sent Items, \\Junk:")),
            ("\\Drafts:a:b,", Some("\\Drafts:a:b")),
            ("\\Sent:Gesendet \\Trash:Papierkorb", Some("\\Sent:Gesendet, \\Trash:Papierkorb")),
            ("\\Sent:Sent Items\t \\Junk:  \\All:a\\b", Some("\\Sent:Sent Items, \\Junk:, \\All:a\\b")),
            ("\\Sent:Sent \\Items", None),
            ("Sent:\\Sent", None),
            ("\\Inbox:x", None),
            ("\\Sent", None),
        ] {
            assert_eq!(printed::<SpecialUseNames>(text).as_deref(), want, "{text}");
        }
        for (text, want) in [
            ("", Some("")),
            ("Trash:7,Sent Items : 30", Some("Trash:7, Sent Items:30")),
            ("a:b:1", Some("a:b:1")),
            ("a:1b c: 2024:1", Some("a:1b c: 2024:1")),
            ("Trash:7 Sent:30", None),
            ("Trash: 7\tSent Items:30", None),
            ("30", Some("30")),
            ("Sent:7, 30", Some("Sent:7, 30")),
            ("0", None),
            ("+1", None),
            ("Trash", None),
            ("Trash:0", None),
            ("Trash:", None),
            (":7", None),
            ("Trash:-1", None),
            ("Trash:+1", None),
            ("Trash:99999", None),
        ] {
            assert_eq!(printed::<EmptyTrash>(text).as_deref(), want, "{text}");
        }
    }
}
