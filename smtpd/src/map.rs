//! Look-up tables as Postfix writes them. The text files are read directly, without a database step.
//!
//! ```text
//! hash:/path texthash:/path lmdb:/path btree:/path cdb:/path dbm:/path /path    lines of "key value"
//! inline:{key=value, key=value}      static:value      cidr:/path ("network value", the first that fits)
//! unix:passwd.byname                 the users of the passdbs
//! ```
//! Keys are compared without the case of ASCII letters. The files are the administrator's, the keys a stranger's.

use crate::logical::LogicalLines;
use crate::values::words;
use common::peer::Network;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Map {
    /// A text file.
    File(PathBuf),
    /// A text file of networks.
    Cidr(PathBuf),
    /// Keys and values in the setting itself.
    Inline(Vec<(String, String)>),
    /// The same for every key.
    Static(String),
    /// The users of the passdbs; the caller asks them.
    Users,
}

/// Words in front of the `:` that mean a text file. The databases that Postfix would have are made of the file with the
/// same name.
const FILE_TYPES: [&str; 6] = ["hash", "texthash", "lmdb", "btree", "cdb", "dbm"];

impl Map {
    /// Reads `type:name`. Errors say what is wrong, or what there is instead.
    pub fn parse(word: &str) -> io::Result<Map> {
        let wrong = |why: &str| Err(io::Error::other(format!("{word}: {why}")));
        let word_without_proxy = word.strip_prefix("proxy:").unwrap_or(word);
        let (kind, name) = match word_without_proxy.split_once(':') {
            Some(parts) => parts,
            None if word.starts_with('/') => ("texthash", word),
            None => return wrong("not a map: write texthash:/FILE"),
        };
        match kind {
            "static" => Ok(Map::Static(name.trim_matches(['{', '}']).trim().to_owned())),
            "inline" => Map::parse_inline(name).map_or_else(|| wrong("want inline:{key=value, ...}"), Ok),
            "unix" if name == "passwd.byname" => Ok(Map::Users),
            "cidr" if name.starts_with('/') => Ok(Map::Cidr(name.into())),
            kind if FILE_TYPES.contains(&kind) && name.starts_with('/') => Ok(Map::File(name.into())),
            kind if FILE_TYPES.contains(&kind) || kind == "cidr" => wrong("the path must begin with /"),
            _ => {
                wrong("no such type of map: texthash, hash, cidr, inline, static and unix:passwd.byname are")
            }
        }
    }

    fn parse_inline(text: &str) -> Option<Map> {
        let inner = text.strip_prefix('{')?.strip_suffix('}')?;
        let mut pairs = Vec::new();
        // `{ key = value }` in braces of its own may have commas in the value.
        let mut depth = 0u32;
        let split = |c: char| {
            match c {
                '{' => depth = depth.saturating_add(1),
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        };
        for pair in inner.split(split).map(str::trim).filter(|pair| !pair.is_empty()) {
            let pair = pair.strip_prefix('{').and_then(|pair| pair.strip_suffix('}')).unwrap_or(pair);
            let (key, value) = pair.split_once('=')?;
            pairs.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        Some(Map::Inline(pairs))
    }

    /// The value of the first of these keys that is there, and which one it was. A file is read once for all of them; where a
    /// key stands twice, the first counts. Errors: the file cannot be read or has a line that cannot be.
    pub fn find(&self, keys: &[&str]) -> io::Result<Option<(usize, String)>> {
        let mut best: Option<(usize, String)> = None;
        match self {
            Map::File(path) => {
                let named =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                let mut lines = LogicalLines::open(path).map_err(named)?;
                while let Some((_, line)) = lines.next().map_err(named)? {
                    let Ok(line) = std::str::from_utf8(line) else { continue };
                    let (key, value) = split_key(line);
                    let before = best.as_ref().map_or(keys.len(), |(at, _)| *at);
                    if let Some(at) = keys.iter().take(before).position(|wanted| same(wanted, key)) {
                        best = Some((at, value.to_owned()));
                        if at == 0 {
                            break;
                        }
                    }
                }
            }
            Map::Inline(pairs) => {
                best = keys.iter().enumerate().find_map(|(at, wanted)| {
                    let pair = pairs.iter().find(|(key, _)| same(wanted, key))?;
                    Some((at, pair.1.clone()))
                });
            }
            Map::Static(value) => best = (!keys.is_empty()).then(|| (0, value.clone())),
            Map::Cidr(path) => {
                for (at, key) in keys.iter().enumerate() {
                    if let Ok(address) = key.parse() {
                        best = find_network(path, address)?.map(|value| (at, value));
                        break;
                    }
                }
            }
            Map::Users => {}
        }
        Ok(best)
    }

    /// All that it says. Errors: a file cannot be read.
    pub fn pairs(&self) -> io::Result<Vec<(String, String)>> {
        let path = match self {
            Map::File(path) | Map::Cidr(path) => path,
            Map::Inline(pairs) => return Ok(pairs.clone()),
            Map::Static(value) => return Ok(vec![("static".to_owned(), value.clone())]),
            Map::Users => return Ok(Vec::new()),
        };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let (mut lines, mut all) = (LogicalLines::open(path).map_err(named)?, Vec::new());
        while let Some((_, line)) = lines.next().map_err(named)? {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let (key, value) = split_key(line);
            all.push((key.to_owned(), value.to_owned()));
        }
        Ok(all)
    }
}

/// The value of the first network that the address belongs to.
fn find_network(path: &Path, address: IpAddr) -> io::Result<Option<String>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut lines = LogicalLines::open(path).map_err(named)?;
    while let Some((number, line)) = lines.next().map_err(named)? {
        let line = String::from_utf8_lossy(line);
        let (key, value) = split_key(&line);
        let (not, network) = key.strip_prefix('!').map_or((false, key), |network| (true, network));
        let Ok(network) = network.parse::<Network>() else {
            let why = format!("{}:{number}: not a network", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        };
        if network.contains(address) != not {
            return Ok(Some(value.to_owned()));
        }
    }
    Ok(None)
}

/// `key value`; a key with blanks stands in double quotes.
pub fn split_key(line: &str) -> (&str, &str) {
    let line = line.trim();
    if let Some((key, value)) = line.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        if value.is_empty() || value.starts_with([' ', '\t']) {
            return (key, value.trim());
        }
    }
    let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (key, value.trim())
}

fn same(wanted: &str, key: &str) -> bool {
    wanted.eq_ignore_ascii_case(key)
}

/// Several tables, asked in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps(pub Vec<Map>);

impl Maps {
    /// Reads a list of them.
    pub fn parse(list: &str) -> io::Result<Maps> {
        words(list).map(Map::parse).collect::<io::Result<Vec<Map>>>().map(Maps)
    }

    /// The value of the first key that some table has; for one key the first table that has it.
    pub fn find(&self, keys: &[&str]) -> io::Result<Option<(usize, String)>> {
        let mut best: Option<(usize, String)> = None;
        for map in &self.0 {
            let open = keys.get(..best.as_ref().map_or(keys.len(), |(at, _)| *at)).unwrap_or_default();
            if let Some(found) = map.find(open)? {
                best = Some(found);
            }
        }
        Ok(best)
    }

    /// All keys and values, for small tables of which many keys are looked up. Where a key stands twice, the first counts.
    /// Errors: a file cannot be read, or a table has no keys that could be listed.
    pub fn pairs(&self) -> io::Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for map in &self.0 {
            match map {
                Map::Inline(_) | Map::File(_) => all.append(&mut map.pairs()?),
                Map::Cidr(_) | Map::Static(_) | Map::Users => {
                    return Err(io::Error::other("only files and inline tables can be used here"));
                }
            }
        }
        Ok(all)
    }

    /// Whether the users of the passdbs are among them.
    pub fn has_users(&self) -> bool {
        self.0.contains(&Map::Users)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use proptest::prelude::*;

    #[test]
    fn types() {
        for (word, map) in [
            ("hash:/etc/x", Map::File("/etc/x".into())),
            ("proxy:lmdb:/etc/x", Map::File("/etc/x".into())),
            ("/etc/x", Map::File("/etc/x".into())),
            ("cidr:/etc/x", Map::Cidr("/etc/x".into())),
            ("static:OK", Map::Static("OK".to_owned())),
            ("static:{a b}", Map::Static("a b".to_owned())),
            ("unix:passwd.byname", Map::Users),
            ("proxy:unix:passwd.byname", Map::Users),
            (
                "inline:{a=b, {c = d, e}}",
                Map::Inline(vec![("a".into(), "b".into()), ("c".into(), "d, e".into())]),
            ),
        ] {
            assert_eq!(Map::parse(word).unwrap(), map, "{word}");
        }
        for word in [
            "",
            "x",
            "pcre:/x",
            "regexp:/x",
            "ldap:x",
            "hash:x",
            "cidr:x",
            "unix:group.byname",
            "inline:a",
            "mysql:/x",
        ] {
            assert!(Map::parse(word).is_err(), "{word}");
        }
    }

    #[test]
    fn a_file_is_read_directly() {
        let scratch = Scratch::new();
        let path = scratch.file(
            "map",
            "# users\nanna@example.org\tbert\n@example.org  all,\n  more\nANNA@example.ORG second\n\"a b@x\" quoted\nalone\n",
        );
        let map = Map::File(path);
        let find = |keys: &[&str]| map.find(keys).unwrap();
        assert_eq!(find(&["Anna@Example.org"]), Some((0, "bert".to_owned())));
        assert_eq!(find(&["nobody@example.org", "@example.org"]), Some((1, "all,  more".to_owned())));
        assert_eq!(find(&["alone", "@example.org"]), Some((0, String::new())));
        assert_eq!(find(&["a b@x"]), Some((0, "quoted".to_owned())));
        assert_eq!(find(&["anna", "ANNA@example.org second"]), None);
        assert_eq!(find(&[]), None);
        assert!(
            Map::File(scratch.path().join("missing"))
                .find(&["x"])
                .unwrap_err()
                .to_string()
                .contains("missing")
        );
    }

    #[test]
    fn networks() {
        let scratch = Scratch::new();
        let path = scratch.file("cidr", "192.0.2.7 REJECT\n192.0.2.0/24 OK\n!2001:db8::/32 other\n");
        let map = Map::Cidr(path);
        for (address, value) in [
            ("192.0.2.7", Some("REJECT")),
            ("192.0.2.8", Some("OK")),
            ("::ffff:192.0.2.8", Some("OK")),
            ("2001:db8::1", None),
            ("198.51.100.1", Some("other")),
            ("name.example", None),
        ] {
            assert_eq!(map.find(&[address]).unwrap().map(|(_, value)| value).as_deref(), value, "{address}");
        }
        assert!(Map::Cidr(scratch.file("bad", "nonsense OK\n")).find(&["192.0.2.1"]).is_err());
    }

    #[test]
    fn the_order_of_keys_goes_before_that_of_maps() {
        let maps = Maps::parse("inline:{b=1} inline:{a=2, b=3} static:9").unwrap();
        assert_eq!(maps.find(&["a", "b"]).unwrap(), Some((0, "2".to_owned())));
        assert_eq!(maps.find(&["b", "a"]).unwrap(), Some((0, "1".to_owned())));
        assert_eq!(maps.find(&["x"]).unwrap(), Some((0, "9".to_owned())));
        assert_eq!(Maps::default().find(&["x"]).unwrap(), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(word in "[a-z:/{}=, ]{0,30}", line in "[a-z\" \t]{0,20}") {
            let _ = Map::parse(&word);
            let _ = split_key(&line);
        }
    }
}
