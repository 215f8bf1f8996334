//! One entry of an alias, a file of addresses or a `~/.forward`.

use super::{INCLUDE, INCLUDES_MAX, Job, RECIPIENTS_MAX, Rights, What, Work, broken, unknown};
use crate::address::Address;
use crate::aliases::{Item, items};
use crate::classes::Class;
use crate::directory::Directory;
use crate::envelope::Target;
use crate::status::{Enhanced, Status};
use common::config::keyword::Expansion;
use common::sys::process::user_and_group;
use common::sys::trusted;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

/// Octets of a file of addresses.
const INCLUDE_MAX: u64 = 1 << 20;

impl Job {
    pub(super) fn item(&mut self, directory: &mut Directory, work: &Work, item: Item) -> Result<(), Status> {
        let address = self.address_of(work);
        let named = |name: String, domain: &str| {
            Address::new(name, domain).map_err(|error| Status::new(451, Enhanced(4, 3, 5), error.0))
        };
        let rights = work.rights.clone();
        let may = |what: fn(&Rights) -> bool| rights.as_deref().filter(|rights| what(rights)).cloned();
        match item {
            Item::Address(address) => self.work.push(Work {
                domain: address.domain().into(),
                what: What::Address(address),
                above: work.above.clone(),
                list_owner: work.list_owner.clone(),
                rights: work.rights.clone(),
            }),
            Item::Name(name) => {
                // The domain is one of ours whenever an alias or a user was reached.
                let domain = match directory.class(&work.domain)? {
                    Class::Local => work.domain.to_string(),
                    _ => directory.myorigin().to_owned(),
                };
                let address = named(name, &domain)?;
                return self.local(directory, work, &address);
            }
            Item::Own(name) => {
                let address = named(name, &work.domain)?;
                let full = address.local().to_lowercase();
                let cut =
                    directory.split(&full).map(|(base, extension)| (base.to_owned(), extension.to_owned()));
                if !self.user(directory, work, &address, &full, cut, true)? {
                    self.lose(work, &address, full, unknown(&address));
                }
            }
            Item::Include(path) => return self.include(directory, work, &path),
            Item::File(path) => match may(|rights| rights.files) {
                Some(rights) => {
                    let target = Target::File { path, owner: rights.owner };
                    self.keep(work, &address, target);
                }
                None => return self.not_allowed(directory, work, &address, "files"),
            },
            Item::Command(words) => match may(|rights| rights.commands) {
                Some(rights) => {
                    let target = Target::Command { words, owner: rights.owner };
                    self.keep(work, &address, target);
                }
                None => return self.not_allowed(directory, work, &address, "programs"),
            },
        }
        Ok(())
    }

    /// The entries of a file. Nobody but root and its owner may be able to put it there: it is read as root.
    fn include(&mut self, directory: &mut Directory, work: &Work, path: &str) -> Result<(), Status> {
        let above = self.link(directory, work, format!("{INCLUDE}{path}"), false)?;
        self.includes += 1;
        if self.includes > INCLUDES_MAX {
            return Err(broken(directory, &self.original, &format!(":include:{path}: too many files")));
        }
        let mut text = String::new();
        let opened = trusted::open(Path::new(path), None).and_then(|trusted| {
            trusted.file.take(INCLUDE_MAX + 1).read_to_string(&mut text)?;
            Ok(trusted.uid)
        });
        let uid = match opened {
            Ok(uid) => uid,
            Err(error) => {
                return Err(broken(directory, &self.original, &format!(":include:{path}: {error}")));
            }
        };
        if text.len() as u64 > INCLUDE_MAX {
            let why = format!(":include:{path} has more than {INCLUDE_MAX} octets");
            return Err(self.too_many(directory, &why));
        }
        let ours = user_and_group().0;
        let owner = match uid == 0 || uid == ours {
            true => None,
            // Who cannot be looked up now may have a name: that waits.
            false => directory.users.name_of(uid).map_err(|error| directory.unreadable(&error))?,
        };
        let known = uid == 0 || uid == ours || owner.is_some();
        let rights = Rc::new(Rights {
            files: known && directory.files.contains(Expansion::Include),
            commands: known && directory.commands.contains(Expansion::Include),
            owner,
            place: format!(":include:{path}"),
        });
        let mut next = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            for item in items(line) {
                match item {
                    Ok(item) => next.push(Work {
                        what: What::Item(item),
                        domain: work.domain.clone(),
                        above: above.clone(),
                        list_owner: work.list_owner.clone(),
                        rights: Some(rights.clone()),
                    }),
                    // One bad line in a list of many is for the log; the others get their mail.
                    Err(why) => directory.warn(format!(":include:{path}: {why}")),
                }
            }
            if next.len() > RECIPIENTS_MAX {
                let why = format!(":include:{path} has more than {RECIPIENTS_MAX} entries");
                return Err(self.too_many(directory, &why));
            }
        }
        self.work.extend(next.into_iter().rev());
        Ok(())
    }

    /// An entry that may not stand where it does. In a list it is like any other bad line: who else is on it gets the mail.
    fn not_allowed(
        &mut self,
        directory: &mut Directory,
        work: &Work,
        address: &Address,
        what: &str,
    ) -> Result<(), Status> {
        let place = work.rights.as_ref().map_or("?", |rights| rights.place.as_str());
        let status = broken(directory, address, &format!("{place}: mail to {what} is not allowed there"));
        if !place.starts_with(INCLUDE) {
            return Err(status);
        }
        // If nobody else is.
        self.refused = Some(status);
        Ok(())
    }
}
