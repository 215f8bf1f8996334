//! `virtual_mailbox_maps`: which addresses there are in `virtual_mailbox_domains`, as a site with Postfix has it.
//!
//! ```text
//! virtual_mailbox_maps     user@domain or @domain -> a path below virtual_mailbox_base that ends in /, a Maildir
//! virtual_uid_maps         the same keys -> who owns it; mostly static:5000
//! virtual_gid_maps
//! ```
//! Without `virtual_uid_maps` the right side says nothing, as where Postfix hands mail for these domains to another program
//! (`virtual_transport`): the mailbox is that of the user in the passdbs. Without `virtual_mailbox_maps` the passdbs say
//! who there is, too.
//!
//! Addresses are a stranger's, the tables the administrator's.

use crate::map::{Map, Maps};
use crate::values::expand;
use common::auth::Account;
use common::config::Config;
use common::sys::process::user_and_group;
use std::io;
use std::path::PathBuf;

/// The tables.
#[derive(Default)]
pub struct VirtualMailboxes {
    maps: Maps,
    uids: Maps,
    gids: Maps,
    base: String,
    /// Lowest and highest uid that may have mail; the highest may be 0, which is no bound.
    valid: (u32, u32),
}

/// Which key of a table an address was found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The address itself.
    Whole,
    /// What is left of it without an extension.
    Base,
    /// `@domain`: all addresses that have no entry of their own.
    CatchAll,
}

/// Where mail for an address goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mailbox {
    /// There is no such address.
    None,
    /// To this account's.
    Of(Account),
    /// To that of the user with this name in the passdbs.
    InPassdb,
}

impl VirtualMailboxes {
    /// By the settings. Errors: one of them is wrong.
    pub fn new(config: &Config) -> io::Result<VirtualMailboxes> {
        let maps = |name: &str, value: &str, may_be_static: bool| {
            let maps = Maps::parse(&expand(config, value)?)?;
            let wrong = |why: &str| Err(io::Error::other(format!("{name} = {value}: {why}")));
            for map in &maps.0 {
                match map {
                    Map::Static(_) if may_be_static => {}
                    Map::Inline(_) => {}
                    // Told at the start, not when mail comes.
                    Map::File(path) => {
                        let named = |error| io::Error::other(format!("{name}: {}: {error}", path.display()));
                        std::fs::metadata(path).map_err(named)?;
                    }
                    // It would have every address there is.
                    _ => return wrong("only files and inline tables can be used here"),
                }
            }
            Ok(maps)
        };
        let all = VirtualMailboxes {
            maps: maps("virtual_mailbox_maps", &config.virtual_mailbox_maps, false)?,
            uids: maps("virtual_uid_maps", &config.virtual_uid_maps, true)?,
            gids: maps("virtual_gid_maps", &config.virtual_gid_maps, true)?,
            base: expand(config, &config.virtual_mailbox_base)?,
            valid: (config.first_valid_uid, config.last_valid_uid),
        };
        let wrong = |why: &str| Err(io::Error::other(why.to_owned()));
        if all.uids.is_empty() != all.gids.is_empty() {
            return wrong("virtual_uid_maps and virtual_gid_maps go together: set both or none");
        }
        if all.maps.is_empty() && !all.uids.is_empty() {
            return wrong("virtual_uid_maps needs virtual_mailbox_maps, which says where the mailboxes are");
        }
        if !all.uids.is_empty() && !all.base.starts_with('/') {
            return wrong("virtual_mailbox_base must be a path that begins with /: mailboxes are below it");
        }
        if let Some(why) = path_problem(&all.base) {
            return wrong(&format!("virtual_mailbox_base {why}"));
        }
        // A static one is the same for all: it is told at the start.
        for (name, table) in [("virtual_uid_maps", &all.uids), ("virtual_gid_maps", &all.gids)] {
            if let [Map::Static(value)] = table.0.as_slice() {
                all.id(name, value).map_err(io::Error::other)?;
            }
        }
        Ok(all)
    }

    /// Whether the tables say which addresses there are.
    pub fn is_set(&self) -> bool {
        !self.maps.is_empty()
    }

    /// Looks for an address, in lower case, and for it without its extension. Errors: a table cannot be read.
    pub fn find(&self, whole: &str, base: Option<&str>) -> io::Result<Option<Found>> {
        let domain = catch_all(whole);
        let (keys, kinds): (Vec<&str>, Vec<Found>) =
            [(Some(whole), Found::Whole), (base, Found::Base), (Some(domain), Found::CatchAll)]
                .into_iter()
                .filter_map(|(key, kind)| Some((key?, kind)))
                .unzip();
        Ok(self.maps.find(&keys)?.and_then(|(at, _)| kinds.get(at).copied()))
    }

    /// The mailbox of an address, in lower case and without its extension. Errors: a table cannot be read, or says something
    /// impossible.
    pub fn mailbox(&self, name: &str) -> io::Result<Mailbox> {
        if !self.is_set() {
            return Ok(Mailbox::InPassdb);
        }
        let keys = [name, catch_all(name)];
        let Some((_, path)) = self.maps.find(&keys)? else { return Ok(Mailbox::None) };
        if self.uids.is_empty() {
            return Ok(Mailbox::InPassdb);
        }
        if let Some(why) = value_problem(&path) {
            return Err(io::Error::other(format!("virtual_mailbox_maps: {path} {why}")));
        }
        let id = |setting: &str, table: &Maps| {
            let found = table
                .find(&keys)?
                .ok_or_else(|| io::Error::other(format!("{setting} has no entry for it")))?;
            self.id(setting, &found.1).map_err(io::Error::other)
        };
        let (uid, gid) = (id("virtual_uid_maps", &self.uids)?, id("virtual_gid_maps", &self.gids)?);
        let (uid, gid) = match user_and_group() {
            (0, _) => (uid, gid),
            // Without root nothing can be changed: there is one user, and that is who we are.
            (us, group) if us == uid => (us, group),
            (us, _) => {
                return Err(io::Error::other(format!("cannot become uid {uid}: not root but uid {us}")));
            }
        };
        Ok(Mailbox::Of(Account {
            name: name.to_owned(),
            uid,
            gid,
            groups: Vec::new(),
            home: PathBuf::from("/nonexistent"),
            mail: Some(format!("maildir:{}/{}", self.base.trim_end_matches('/'), path.trim_matches('/'))),
            master: None,
        }))
    }

    /// The first entry that could not be delivered to. Errors: a table cannot be read.
    pub fn check(&self) -> io::Result<Option<String>> {
        let pairs = if self.uids.is_empty() { Vec::new() } else { self.maps.pairs()? };
        // A key without @ is a domain, for virtual_mailbox_domains = $virtual_mailbox_maps.
        let mut addresses = pairs.iter().filter(|(key, _)| key.contains('@'));
        Ok(addresses.find_map(|(key, path)| Some(format!("{key}: {path} {}", value_problem(path)?))))
    }

    fn id(&self, setting: &str, value: &str) -> Result<u32, String> {
        let (lowest, highest) = self.valid;
        match value.parse::<u32>() {
            Err(_) => Err(format!("{setting}: {value} is not a number")),
            Ok(0) => Err(format!("{setting}: root gets no mail")),
            Ok(id) if setting == "virtual_gid_maps" => Ok(id),
            Ok(uid) if uid < lowest => Err(format!("{setting}: uid {uid} is below first_valid_uid")),
            Ok(uid) if highest != 0 && uid > highest => {
                Err(format!("{setting}: uid {uid} is above last_valid_uid"))
            }
            Ok(uid) => Ok(uid),
        }
    }
}

/// `@domain`.
fn catch_all(name: &str) -> &str {
    name.rfind('@').and_then(|at| name.get(at..)).unwrap_or("@")
}

fn value_problem(path: &str) -> Option<&'static str> {
    match path.ends_with('/') {
        false => Some("is no Maildir: it does not end in /"),
        true => path_problem(path),
    }
}

/// What would mean something else in a `mail_location`, or lead out of the directory.
fn path_problem(path: &str) -> Option<&'static str> {
    let is_odd = path.contains([':', '%', '~']) || path.split('/').any(|part| part == "..");
    is_odd.then_some("has : or % or ~ or .. in it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use proptest::prelude::*;

    fn config(maps: &str) -> Config {
        let (uid, gid) = user_and_group();
        Config {
            virtual_mailbox_maps: maps.to_owned().into(),
            virtual_mailbox_base: "/srv/vhosts".into(),
            virtual_uid_maps: format!("static:{}", uid.max(5000)).into(),
            virtual_gid_maps: format!("static:{}", gid.max(5000)).into(),
            first_valid_uid: 1,
            ..Config::DEFAULT
        }
    }

    #[test]
    fn addresses_by_their_keys() {
        let maps = "inline:{anna@v.example=v.example/anna/, bert+x@v.example=v.example/x/, @w.example=w.example/all/}";
        let tables = VirtualMailboxes::new(&config(maps)).unwrap();
        assert!(tables.is_set());
        for (whole, base, want) in [
            ("anna@v.example", None, Some(Found::Whole)),
            ("ANNA@V.example", None, Some(Found::Whole)),
            ("anna+y@v.example", Some("anna@v.example"), Some(Found::Base)),
            ("bert+x@v.example", Some("bert@v.example"), Some(Found::Whole)),
            ("bert@v.example", None, None),
            ("carl@w.example", None, Some(Found::CatchAll)),
            ("carl+z@w.example", Some("carl@w.example"), Some(Found::CatchAll)),
            ("anna@other.example", None, None),
            ("anna", None, None),
        ] {
            assert_eq!(tables.find(whole, base).unwrap(), want, "{whole}");
        }
    }

    #[test]
    fn where_mailboxes_are() {
        // Without root there is one user only.
        let (us, group) = user_and_group();
        let (uid, gid) = if us == 0 { (5000, 5000) } else { (us, group) };
        let maps = "inline:{anna@v.example=v.example/anna/, @w.example=/all/, mbox@v.example=v.example/mbox, \
                    up@v.example=../up/, v.example=x, odd@v.example=a:INBOX=b/}";
        let tables = VirtualMailboxes::new(&config(maps)).unwrap();
        for (name, mail) in [
            ("anna@v.example", "maildir:/srv/vhosts/v.example/anna"),
            ("anybody@w.example", "maildir:/srv/vhosts/all"),
        ] {
            let Mailbox::Of(account) = tables.mailbox(name).unwrap() else { panic!("{name}") };
            assert_eq!(account.mail.as_deref(), Some(mail), "{name}");
            assert_eq!((account.uid, account.gid, account.name.as_str()), (uid, gid, name));
        }
        assert_eq!(tables.mailbox("bert@v.example").unwrap(), Mailbox::None);
        for (name, why) in
            [("mbox@v.example", "is no Maildir"), ("up@v.example", ".."), ("odd@v.example", "has :")]
        {
            let error = tables.mailbox(name).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
        assert!(tables.check().unwrap().unwrap().starts_with("mbox@v.example: "));
        // Without owners the passdbs say where.
        let config = Config { virtual_uid_maps: "".into(), virtual_gid_maps: "".into(), ..config(maps) };
        let tables = VirtualMailboxes::new(&config).unwrap();
        assert_eq!(tables.mailbox("anna@v.example").unwrap(), Mailbox::InPassdb);
        assert_eq!(tables.mailbox("bert@v.example").unwrap(), Mailbox::None);
        assert_eq!(tables.find("anna@v.example", None).unwrap(), Some(Found::Whole));
        assert_eq!(tables.check().unwrap(), None);
    }

    #[test]
    fn owners_by_address() {
        let scratch = Scratch::new();
        let (us, _) = user_and_group();
        let (uid, other) = if us == 0 { (5001, 5002) } else { (us, us.saturating_add(1)) };
        let owners =
            format!("anna@v.example {uid}\n@v.example {other}\nroot@v.example 0\nodd@v.example vmail\n");
        let file = format!("hash:{}", scratch.file("uids", owners).display());
        let maps = "inline:{@v.example=all/, @w.example=w/}";
        let config = Config { virtual_uid_maps: file.into(), ..config(maps) };
        let tables = VirtualMailboxes::new(&config).unwrap();
        let uid_of = |name: &str| match tables.mailbox(name) {
            Ok(Mailbox::Of(account)) => Some(account.uid),
            _ => None,
        };
        assert_eq!(uid_of("anna@v.example"), Some(uid));
        assert_eq!(uid_of("bert@v.example"), (us == 0).then_some(other));
        for (name, why) in
            [("root@v.example", "root"), ("odd@v.example", "not a number"), ("a@w.example", "no entry")]
        {
            assert!(tables.mailbox(name).unwrap_err().to_string().contains(why), "{name}");
        }
    }

    #[test]
    fn settings_that_are_refused() {
        let good = config("inline:{a@v.example=a/}");
        assert!(VirtualMailboxes::new(&good).is_ok());
        let unset = VirtualMailboxes::new(&Config::DEFAULT).unwrap();
        assert!(!unset.is_set());
        assert_eq!(unset.mailbox("anna@v.example").unwrap(), Mailbox::InPassdb);
        for (config, why) in [
            (Config { virtual_mailbox_maps: "static:a/".into(), ..good.clone() }, "only files"),
            (Config { virtual_uid_maps: "hash:/nonexistent/x".into(), ..good.clone() }, "/nonexistent/x: "),
            (Config { virtual_mailbox_maps: "mysql:/x".into(), ..good.clone() }, "no such type"),
            (Config { virtual_gid_maps: "".into(), ..good.clone() }, "go together"),
            (Config { virtual_mailbox_maps: "".into(), ..good.clone() }, "needs virtual_mailbox_maps"),
            (Config { virtual_mailbox_base: "".into(), ..good.clone() }, "begins with /"),
            (Config { virtual_mailbox_base: "/srv/%d".into(), ..good.clone() }, "%"),
            (Config { virtual_uid_maps: "static:vmail".into(), ..good.clone() }, "not a number"),
            (Config { virtual_uid_maps: "static:0".into(), ..good.clone() }, "root"),
            (Config { first_valid_uid: 4_000_000, ..good.clone() }, "first_valid_uid"),
            (Config { last_valid_uid: 1, ..good.clone() }, "last_valid_uid"),
        ] {
            let error = VirtualMailboxes::new(&config).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains(why)), "{error:?} {why}");
        }
    }

    proptest! {
        #[test]
        fn nothing_leads_out_of_the_directory(path in "[a./:%~]{0,12}") {
            if value_problem(&path).is_none() {
                let path = format!("/srv/{}", path.trim_matches('/'));
                prop_assert!(!path.contains(':') && path.split('/').all(|part| part != ".."));
            }
        }
    }
}
