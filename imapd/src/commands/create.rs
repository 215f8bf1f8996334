//! CREATE (RFC 3501 section 6.3.3), with what the mailbox is for (RFC 6154 section 3).

use crate::context::Context;
use crate::grammar::{MailboxName, SpecialUse};
use crate::names::refusal;
use crate::reply::{Completion, Reply};
use common::hierarchy;

/// `CREATE mailbox [(USE (...))]`
pub fn create(context: &mut Context<'_>, mailbox: &MailboxName, special_use: &[SpecialUse]) -> Completion {
    let located = context.locate(mailbox).map_err(|error| refusal(error.into()))?;
    let uses: Vec<hierarchy::SpecialUse> = special_use
        .iter()
        .filter_map(|special_use| hierarchy::SpecialUse::from_attribute(special_use.name()))
        .collect();
    located.create(&uses).map_err(refusal)?;
    Ok(Reply::ok("Created."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_uses_are_the_same() {
        for (special_use, name) in SpecialUse::ALL {
            let other = hierarchy::SpecialUse::from_attribute(special_use.name()).unwrap();
            assert_eq!(other.attribute(), name);
        }
        assert_eq!(SpecialUse::ALL.len(), hierarchy::SpecialUse::ALL.len());
    }
}
