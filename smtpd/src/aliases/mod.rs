//! Aliases in sendmail's format, read directly: no database is made of them.
//!
//! ```text
//! # comment
//! postmaster: root
//! root:       anna, bert@example.org,
//!             "|/usr/bin/logger -t mail"
//! staff:      :include:/etc/mail/staff
//! owner-staff: anna
//! ```
//! The file is the administrator's. Names are compared without the case of letters.

mod check;
mod item;

pub use check::{Checked, Problem, check};
pub use item::{Item, item, items, items_at_home, words};

use crate::logical::LogicalLines;
use crate::map::Map;
use crate::values::words as list_words;
use common::sys::process::user_and_group;
use common::sys::trusted;
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where aliases are by default. Where nobody wrote a setting down, nobody has to have that file: there are no aliases then.
/// Whoever names one, and be it this one as Postfix's `hash:`, means that it is there.
const DEFAULT: (&str, &str) = ("texthash:/etc/aliases", "/etc/aliases");

/// Where aliases are looked up, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    sources: Vec<Source>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    /// It may be missing.
    Optional(PathBuf),
    Map(Map),
}

/// Whose rights files and programs have that an alias names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The alias file is root's (or, without root, ours): `default_privs`.
    System,
    /// It is this user's.
    User(u32),
    /// Others can write to it: nobody's, it may name addresses only.
    Nobody,
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// Which of the keys it is.
    pub key: usize,
    /// Its right side.
    pub value: String,
    /// File and line, for the log.
    pub place: String,
    /// Who wrote it.
    pub owner: Owner,
}

impl Aliases {
    /// The value of `alias_maps`.
    pub fn parse(list: &str) -> io::Result<Aliases> {
        let sources = list_words(list).map(|word| match Map::parse(word)? {
            Map::File(path) if word == DEFAULT.0 => Ok(Source::Optional(path)),
            Map::File(path) => Ok(Source::File(path)),
            Map::Inline(pairs) => Ok(Source::Map(Map::Inline(pairs))),
            _ => Err(io::Error::other(format!("alias_maps: {word}: want hash:/FILE"))),
        });
        Ok(Aliases { sources: sources.collect::<io::Result<_>>()? })
    }

    /// Those of the sources that are files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().filter_map(|source| match source {
            Source::File(path) | Source::Optional(path) => Some(path.as_path()),
            Source::Map(_) => None,
        })
    }

    /// Whether this file may be missing.
    pub fn may_miss(&self, path: &Path) -> bool {
        path == Path::new(DEFAULT.1) && !self.sources.contains(&Source::File(path.to_owned()))
    }

    /// Whether a map of another setting is one of these files.
    pub fn has(&self, map: &Map) -> bool {
        self.sources.iter().any(|source| match (source, map) {
            (Source::File(path) | Source::Optional(path), Map::File(other)) => path == other,
            (Source::Map(one), other) => one == other,
            _ => false,
        })
    }

    /// The alias with the first of these names that there is. Errors: a file cannot be read.
    pub fn find(&self, keys: &[&str]) -> io::Result<Option<Alias>> {
        let mut best: Option<Alias> = None;
        for source in &self.sources {
            let open = keys.get(..best.as_ref().map_or(keys.len(), |alias| alias.key)).unwrap_or_default();
            let found = match source {
                Source::File(path) => find_in_file(path, open)?,
                Source::Optional(path) => match find_in_file(path, open) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    found => found?,
                },
                Source::Map(map) => map.find(open)?.map(|(key, value)| {
                    let place = "alias_maps".to_owned();
                    Alias { key, value, place, owner: Owner::System }
                }),
            };
            best = found.or(best);
        }
        Ok(best)
    }
}

fn find_in_file(path: &Path, keys: &[&str]) -> io::Result<Option<Alias>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let (file, owner) = match trusted::open_in_place(path) {
        Ok(trusted) => {
            let owner = owner_of(&trusted.file.metadata().map_err(named)?);
            (trusted.file, owner)
        }
        // Others can put another file in its place.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            (std::fs::File::open(path).map_err(named)?, Owner::Nobody)
        }
        Err(error) => return Err(named(error)),
    };
    let mut lines = LogicalLines::of_aliases(BufReader::new(file));
    let mut best: Option<Alias> = None;
    while let Some((number, line)) = lines.next().map_err(named)? {
        // What is not UTF-8 is nobody's name, but the others in the line are.
        let line = String::from_utf8_lossy(line);
        let Ok((name, value)) = entry(&line) else { continue };
        let open = keys.get(..best.as_ref().map_or(keys.len(), |alias| alias.key)).unwrap_or_default();
        if let Some(key) = open.iter().position(|wanted| wanted.eq_ignore_ascii_case(&name)) {
            let place = format!("{}:{number}", path.display());
            best = Some(Alias { key, value: value.to_owned(), place, owner });
            if key == 0 {
                break;
            }
        }
    }
    Ok(best)
}

fn owner_of(meta: &std::fs::Metadata) -> Owner {
    if meta.mode() & 0o022 != 0 {
        return Owner::Nobody;
    }
    match meta.uid() {
        uid if uid == 0 || uid == user_and_group().0 => Owner::System,
        uid => Owner::User(uid),
    }
}

/// `name: value`; a name may be quoted. Errors say what is wrong.
pub fn entry(line: &str) -> Result<(String, &str), &'static str> {
    let (name, value) = match line.trim_start().strip_prefix('"') {
        Some(quoted) => {
            let (name, rest) = quoted.split_once('"').ok_or("a quote is missing")?;
            (name, rest.trim_start().strip_prefix(':').ok_or("a colon must follow the name")?)
        }
        None => line.split_once(':').ok_or("want name: address, address")?,
    };
    let name = name.trim();
    if name.is_empty() {
        return Err("the name is missing");
    }
    if name.contains(|c: char| c.is_control()) {
        return Err("a control character in the name");
    }
    Ok((name.to_owned(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use proptest::prelude::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_read_directly() {
        let scratch = Scratch::new();
        let first = scratch.file(
            "first",
            "# c\nPostmaster: root\nroot: anna,\n\tbert@example.org,\n# inside\n  carl\n\"odd name\" : x\nempty:\nnonsense\nroot: second\n",
        );
        let second = scratch.file("second", "root: other\nextra: x\n");
        let list =
            format!("hash:{}, texthash:{} inline:{{root=never, last=y}}", first.display(), second.display());
        let aliases = Aliases::parse(&list).unwrap();
        let value = |keys: &[&str]| aliases.find(keys).unwrap().map(|alias| alias.value);
        for (name, want) in [
            ("postmaster", Some("root")),
            ("ROOT", Some("anna,\tbert@example.org,  carl")),
            ("Odd Name", Some("x")),
            ("empty", Some("")),
            ("extra", Some("x")),
            ("last", Some("y")),
            ("nonsense", None),
            ("roo", None),
        ] {
            assert_eq!(value(&[name]).as_deref(), want, "{name}");
        }
        let alias = aliases.find(&["none", "extra", "postmaster"]).unwrap().unwrap();
        assert_eq!((alias.key, alias.owner), (1, Owner::System));
        assert!(alias.place.ends_with("second:2"), "{}", alias.place);
        assert!(aliases.has(&Map::File(first.clone())) && !aliases.has(&Map::File("/x".into())));
        std::fs::set_permissions(&first, Permissions::from_mode(0o664)).unwrap();
        assert_eq!(aliases.find(&["root"]).unwrap().unwrap().owner, Owner::Nobody);
        std::fs::remove_file(&second).unwrap();
        assert!(aliases.find(&["nobody"]).unwrap_err().to_string().contains("second"));
    }

    #[test]
    fn octets_that_are_not_utf_8_cost_nobody_else_the_mail() {
        let scratch = Scratch::new();
        let path = scratch.file("aliases", b"team: bert, m\xfcller # f\xfcr\n");
        let aliases = Aliases::parse(&format!("hash:{}", path.display())).unwrap();
        let found = aliases.find(&["team"]).unwrap().unwrap();
        assert_eq!(found.value, "bert, m\u{fffd}ller # f\u{fffd}r");
    }

    #[test]
    fn only_the_file_that_nobody_named_may_be_missing() {
        let default = Aliases::parse(&common::config::Config::DEFAULT.alias_maps).unwrap();
        assert!(default.may_miss(Path::new("/etc/aliases")) && !default.may_miss(Path::new("/etc/other")));
        assert!(default.has(&Map::File("/etc/aliases".into())));
        if !Path::new("/etc/aliases").exists() {
            assert_eq!(default.find(&["root"]).unwrap(), None);
        }
        for named in ["hash:/etc/aliases", "/etc/aliases", "lmdb:/etc/aliases"] {
            assert!(!Aliases::parse(named).unwrap().may_miss(Path::new("/etc/aliases")), "{named}");
        }
        let missing = Aliases::parse("hash:/nonexistent/aliases").unwrap().find(&["root"]).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn maps_that_cannot_hold_aliases() {
        for list in ["cidr:/x", "static:x", "unix:passwd.byname", "nis:mail.aliases"] {
            assert!(Aliases::parse(list).is_err(), "{list}");
        }
        assert_eq!(Aliases::parse("").unwrap().find(&["root"]).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "[a\": ,|\\\\\u{1}]{0,30}") {
            let _ = entry(&line);
        }
    }
}
