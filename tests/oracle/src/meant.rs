//! What imapd has to understand of a command of imap-codec's.

use common::secret::Secret;
use imap_codec::imap_types::command::{
    Command as Theirs, CommandBody, FetchModifier, SelectParameter, StoreModifier,
};
use imap_codec::imap_types::core::{AString, LiteralMode};
use imap_codec::imap_types::datetime::NaiveDate;
use imap_codec::imap_types::extensions::binary::LiteralOrLiteral8;
use imap_codec::imap_types::extensions::sort::{SortCriterion as TheirCriterion, SortKey as TheirSortKey};
use imap_codec::imap_types::extensions::thread::ThreadingAlgorithm;
use imap_codec::imap_types::fetch::{
    MacroOrMessageDataItemNames, MessageDataItemName, Part, Section as TheirSection,
};
use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox};
use imap_codec::imap_types::search::SearchKey as TheirKey;
use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet as TheirSet};
use imap_codec::imap_types::status::StatusDataItemName;
use imapd::grammar::{
    AppendMessage, BodySection, Command, Date, FetchArguments, FetchItem, FlagList, ListArguments,
    MailboxName, Partial, SearchArguments, SearchKey, Section, SectionText, SequenceRange, SequenceSet,
    SortArguments, SortCriterion, SortKey, StatusItem, StatusItems, StoreArguments, StoreHow,
    ThreadAlgorithm, ThreadArguments, bits,
};

/// The command as imapd has it; `None` for what it does not have.
pub fn meant(command: &Theirs<'_>) -> Option<Command> {
    let name = |name: &Mailbox<'_>| MailboxName::new(&mailbox(name));
    Some(match &command.body {
        CommandBody::Capability => Command::Capability,
        CommandBody::Noop => Command::Noop,
        CommandBody::Logout => Command::Logout,
        CommandBody::StartTLS => Command::StartTls,
        CommandBody::Authenticate { mechanism, initial_response } => Command::Authenticate {
            mechanism: mechanism.as_ref().as_bytes().to_vec(),
            initial: initial_response.as_ref().map(|initial| {
                let initial = initial.declassify();
                Secret::new(match initial.is_empty() {
                    true => b"=".to_vec(),
                    false => tinmail_tests::proof::base64(initial).into_bytes(),
                })
            }),
        },
        CommandBody::Login { username, password } => {
            Command::Login { user: text(username), password: Secret::new(text(password.declassify())) }
        }
        CommandBody::Select { mailbox, parameters } | CommandBody::Examine { mailbox, parameters } => {
            Command::Select {
                mailbox: name(mailbox),
                read_only: matches!(command.body, CommandBody::Examine { .. }),
                condstore: parameters.contains(&SelectParameter::CondStore),
            }
        }
        CommandBody::Unselect => Command::Unselect,
        CommandBody::Create { mailbox } => {
            Command::Create { mailbox: name(mailbox), special_use: Vec::new() }
        }
        CommandBody::Delete { mailbox } => Command::Delete(name(mailbox)),
        CommandBody::Rename { from, to } => Command::Rename { from: name(from), to: name(to) },
        CommandBody::Subscribe { mailbox } => Command::Subscribe(name(mailbox)),
        CommandBody::Unsubscribe { mailbox } => Command::Unsubscribe(name(mailbox)),
        CommandBody::List { reference, mailbox_wildcard } => Command::List(ListArguments {
            reference: mailbox(reference),
            patterns: vec![pattern(mailbox_wildcard)],
            ..ListArguments::default()
        }),
        CommandBody::Lsub { reference, mailbox_wildcard } => {
            Command::Lsub { reference: mailbox(reference), pattern: pattern(mailbox_wildcard) }
        }
        CommandBody::Status { mailbox, item_names } => {
            let mut items = StatusItems::default();
            for item in item_names.iter() {
                items.insert(status_item(item)?);
            }
            Command::Status { mailbox: name(mailbox), items }
        }
        CommandBody::Append { mailbox, flags, date, message } => {
            let LiteralOrLiteral8::Literal(message) = message else { return None };
            Command::Append {
                mailbox: name(mailbox),
                message: AppendMessage {
                    flags: flag_list(flags)?,
                    internal_date: date.as_ref().map(|date| date.as_ref().timestamp()),
                    octets: message.data().len() as u64,
                    waits: message.mode() == LiteralMode::Sync,
                },
            }
        }
        CommandBody::Check => Command::Check,
        CommandBody::Close => Command::Close,
        CommandBody::Expunge => Command::Expunge(None),
        CommandBody::ExpungeUid { sequence_set } => Command::Expunge(Some(set(sequence_set))),
        CommandBody::Search { charset, criteria, uid } => Command::Search {
            uid: *uid,
            arguments: SearchArguments {
                returns: None,
                charset: charset.as_ref().map(|charset| charset.as_ref().as_bytes().to_vec()),
                key: all(criteria.as_ref())?,
            },
        },
        CommandBody::Sort { sort_criteria, charset, search_criteria, uid } => Command::Sort {
            uid: *uid,
            arguments: SortArguments {
                criteria: criteria(sort_criteria.as_ref()),
                charset: charset.as_ref().as_bytes().to_vec(),
                key: all(search_criteria.as_ref())?,
            },
        },
        CommandBody::Thread { algorithm, charset, search_criteria, uid } => Command::Thread {
            uid: *uid,
            arguments: ThreadArguments {
                algorithm: match algorithm {
                    ThreadingAlgorithm::OrderedSubject => ThreadAlgorithm::OrderedSubject,
                    ThreadingAlgorithm::References => ThreadAlgorithm::References,
                    ThreadingAlgorithm::Other(_) => return None,
                },
                charset: charset.as_ref().as_bytes().to_vec(),
                key: all(search_criteria.as_ref())?,
            },
        },
        CommandBody::Fetch { sequence_set, macro_or_item_names, uid, modifiers } => {
            let expanded = match macro_or_item_names {
                MacroOrMessageDataItemNames::Macro(name) => name.expand(),
                MacroOrMessageDataItemNames::MessageDataItemNames(names) => names.clone(),
            };
            let mut items = Vec::new();
            for item in &expanded {
                let item = fetch_item(item)?;
                if !items.contains(&item) {
                    items.push(item);
                }
            }
            let changed_since = modifiers.iter().find_map(|modifier| match modifier {
                FetchModifier::ChangedSince(number) => Some(number.get()),
                FetchModifier::Vanished => None,
            });
            let arguments = FetchArguments { messages: set(sequence_set), items, changed_since };
            Command::Fetch { uid: *uid, arguments }
        }
        CommandBody::Store { sequence_set, kind, response, flags, uid, modifiers } => Command::Store {
            uid: *uid,
            arguments: StoreArguments {
                messages: set(sequence_set),
                unchanged_since: modifiers.first().map(|StoreModifier::UnchangedSince(number)| *number),
                how: match kind {
                    StoreType::Replace => StoreHow::Replace,
                    StoreType::Add => StoreHow::Add,
                    StoreType::Remove => StoreHow::Remove,
                },
                silent: *response == StoreResponse::Silent,
                flags: flag_list(flags)?,
            },
        },
        CommandBody::Copy { sequence_set, mailbox, uid }
        | CommandBody::Move { sequence_set, mailbox, uid } => Command::Copy {
            uid: *uid,
            messages: set(sequence_set),
            mailbox: name(mailbox),
            and_remove: matches!(command.body, CommandBody::Move { .. }),
        },
        CommandBody::Idle => Command::Idle,
        CommandBody::Enable { capabilities } => {
            let names = capabilities.as_ref().iter().map(|name| name.to_string().to_ascii_uppercase());
            Command::Enable(names.map(|name| name.into_bytes().into()).collect())
        }
        CommandBody::Id { parameters } => {
            let pairs = parameters.iter().flatten().map(|(field, value)| {
                (field.as_ref().to_vec(), value.0.as_ref().map(|value| value.as_ref().to_vec()))
            });
            // As RFC 2971 has them at most.
            Command::Id(pairs.filter(|(field, _)| field.len() <= 30).take(30).collect())
        }
        CommandBody::Namespace => Command::Namespace,
        _ => return None,
    })
}

fn text(text: &AString<'_>) -> Vec<u8> {
    text.as_ref().to_vec()
}

fn mailbox(name: &Mailbox<'_>) -> Vec<u8> {
    match name {
        Mailbox::Inbox => b"INBOX".to_vec(),
        Mailbox::Other(name) => name.as_ref().to_vec(),
    }
}

fn pattern(pattern: &ListMailbox<'_>) -> Vec<u8> {
    match pattern {
        ListMailbox::Token(pattern) => pattern.as_ref().to_vec(),
        ListMailbox::String(pattern) => pattern.as_ref().to_vec(),
    }
}

fn set(set: &TheirSet) -> SequenceSet {
    let number = |number: &SeqOrUid| match number {
        SeqOrUid::Value(number) => number.get(),
        SeqOrUid::Asterisk => 0,
    };
    let mut ours = SequenceSet::default();
    for range in set.0.as_ref() {
        let (first, last) = match range {
            Sequence::Single(only) => (only, only),
            Sequence::Range(first, last) => (first, last),
        };
        ours.push(SequenceRange { first: number(first), last: number(last) });
    }
    ours
}

fn flag_list(flags: &[Flag<'_>]) -> Option<FlagList> {
    let mut list = FlagList::default();
    for flag in flags {
        list.bits |= match flag {
            Flag::Answered => bits::ANSWERED,
            Flag::Deleted => bits::DELETED,
            Flag::Draft => bits::DRAFT,
            Flag::Flagged => bits::FLAGGED,
            Flag::Seen => bits::SEEN,
            Flag::Extension(_) => return None,
            Flag::Keyword(name) => {
                if !list.keywords.iter().any(|known| known.eq_ignore_ascii_case(name.as_ref())) {
                    list.keywords.push(name.as_ref().into());
                }
                0
            }
        };
    }
    Some(list)
}

fn status_item(item: &StatusDataItemName) -> Option<StatusItem> {
    Some(match item {
        StatusDataItemName::Messages => StatusItem::Messages,
        StatusDataItemName::Recent => StatusItem::Recent,
        StatusDataItemName::UidNext => StatusItem::UidNext,
        StatusDataItemName::UidValidity => StatusItem::UidValidity,
        StatusDataItemName::Unseen => StatusItem::Unseen,
        StatusDataItemName::Deleted => StatusItem::Deleted,
        StatusDataItemName::Size => StatusItem::Size,
        StatusDataItemName::HighestModSeq => StatusItem::HighestModSeq,
        StatusDataItemName::DeletedStorage => return None,
    })
}

/// Each kind once: a second time it decides nothing.
fn criteria(theirs: &[TheirCriterion]) -> Vec<SortCriterion> {
    let mut criteria: Vec<SortCriterion> = Vec::new();
    for TheirCriterion { reverse, key } in theirs {
        let key = match key {
            TheirSortKey::Arrival => SortKey::Arrival,
            TheirSortKey::Cc => SortKey::Cc,
            TheirSortKey::Date => SortKey::Date,
            TheirSortKey::From => SortKey::From,
            TheirSortKey::Size => SortKey::Size,
            TheirSortKey::Subject => SortKey::Subject,
            TheirSortKey::To => SortKey::To,
            TheirSortKey::DisplayFrom => SortKey::DisplayFrom,
            TheirSortKey::DisplayTo => SortKey::DisplayTo,
        };
        if !criteria.iter().any(|known| known.key == key) {
            criteria.push(SortCriterion { reverse: *reverse, key });
        }
    }
    criteria
}

fn date(date: &NaiveDate) -> Option<Date> {
    let text = format!("{:?}", date.as_ref());
    let mut parts = text.split('-');
    Some(Date {
        year: parts.next()?.parse().ok()?,
        month: parts.next()?.parse().ok()?,
        day: parts.next()?.parse().ok()?,
    })
}

/// All of them, which are one by AND.
fn all(keys: &[TheirKey<'_>]) -> Option<SearchKey> {
    match keys {
        [only] => search_key(only),
        _ => Some(SearchKey::And(keys.iter().map(search_key).collect::<Option<_>>()?)),
    }
}

fn search_key(key: &TheirKey<'_>) -> Option<SearchKey> {
    let flag = |bit, set| SearchKey::Flag { bit, set };
    Some(match key {
        TheirKey::And(keys) => all(keys.as_ref())?,
        TheirKey::SequenceSet(messages) => SearchKey::Messages(set(messages)),
        TheirKey::Uid(uids) => SearchKey::Uids(set(uids)),
        TheirKey::All => SearchKey::All,
        TheirKey::Answered => flag(bits::ANSWERED, true),
        TheirKey::Unanswered => flag(bits::ANSWERED, false),
        TheirKey::Deleted => flag(bits::DELETED, true),
        TheirKey::Undeleted => flag(bits::DELETED, false),
        TheirKey::Draft => flag(bits::DRAFT, true),
        TheirKey::Undraft => flag(bits::DRAFT, false),
        TheirKey::Flagged => flag(bits::FLAGGED, true),
        TheirKey::Unflagged => flag(bits::FLAGGED, false),
        TheirKey::Seen => flag(bits::SEEN, true),
        TheirKey::Unseen => flag(bits::SEEN, false),
        TheirKey::Recent => flag(bits::RECENT, true),
        TheirKey::Old => flag(bits::RECENT, false),
        TheirKey::New => SearchKey::And(vec![flag(bits::RECENT, true), flag(bits::SEEN, false)]),
        TheirKey::Keyword(name) => SearchKey::Keyword { name: name.as_ref().into(), set: true },
        TheirKey::Unkeyword(name) => SearchKey::Keyword { name: name.as_ref().into(), set: false },
        TheirKey::From(part) => SearchKey::From(text(part)),
        TheirKey::To(part) => SearchKey::To(text(part)),
        TheirKey::Cc(part) => SearchKey::Cc(text(part)),
        TheirKey::Bcc(part) => SearchKey::Bcc(text(part)),
        TheirKey::Subject(part) => SearchKey::Subject(text(part)),
        TheirKey::Body(part) => SearchKey::Body(text(part)),
        TheirKey::Text(part) => SearchKey::Text(text(part)),
        TheirKey::Header(name, part) => SearchKey::Header { name: text(name), text: text(part) },
        TheirKey::Larger(octets) => SearchKey::Larger(u64::from(*octets)),
        TheirKey::Smaller(octets) => SearchKey::Smaller(u64::from(*octets)),
        TheirKey::Before(day) => SearchKey::Before(date(day)?),
        TheirKey::On(day) => SearchKey::On(date(day)?),
        TheirKey::Since(day) => SearchKey::Since(date(day)?),
        TheirKey::SentBefore(day) => SearchKey::SentBefore(date(day)?),
        TheirKey::SentOn(day) => SearchKey::SentOn(date(day)?),
        TheirKey::SentSince(day) => SearchKey::SentSince(date(day)?),
        TheirKey::Older(seconds) => SearchKey::Older(seconds.get()),
        TheirKey::Younger(seconds) => SearchKey::Younger(seconds.get()),
        TheirKey::ModSequence { modseq, .. } => SearchKey::ModSeq(*modseq),
        TheirKey::Not(key) => SearchKey::Not(Box::new(search_key(key)?)),
        TheirKey::Or(first, second) => SearchKey::Or(Box::new((search_key(first)?, search_key(second)?))),
    })
}

fn fetch_item(item: &MessageDataItemName<'_>) -> Option<FetchItem> {
    Some(match item {
        MessageDataItemName::Body => FetchItem::Body,
        MessageDataItemName::BodyStructure => FetchItem::BodyStructure,
        MessageDataItemName::Envelope => FetchItem::Envelope,
        MessageDataItemName::Flags => FetchItem::Flags,
        MessageDataItemName::InternalDate => FetchItem::InternalDate,
        MessageDataItemName::Rfc822 => FetchItem::Rfc822,
        MessageDataItemName::Rfc822Header => FetchItem::Rfc822Header,
        MessageDataItemName::Rfc822Size => FetchItem::Size,
        MessageDataItemName::Rfc822Text => FetchItem::Rfc822Text,
        MessageDataItemName::Uid => FetchItem::Uid,
        MessageDataItemName::ModSeq => FetchItem::ModSeq,
        MessageDataItemName::BodyExt { section: asked, partial, peek } => {
            FetchItem::BodySection(BodySection {
                peek: *peek,
                section: section(asked.as_ref()),
                partial: partial.map(|(origin, octets)| Partial {
                    origin: u64::from(origin),
                    octets: u64::from(octets.get()),
                }),
            })
        }
        MessageDataItemName::Binary { .. } | MessageDataItemName::BinarySize { .. } => return None,
    })
}

fn section(asked: Option<&TheirSection<'_>>) -> Section {
    let numbers = |part: Option<&Part>| {
        part.map(|part| part.0.as_ref().iter().map(|number| number.get()).collect()).unwrap_or_default()
    };
    let fields = |not, names: &[AString<'_>]| SectionText::HeaderFields {
        not,
        names: names.iter().map(|name| text(name).into()).collect(),
    };
    let (part, text) = match asked {
        None => (None, SectionText::Whole),
        Some(TheirSection::Part(part)) => (Some(part), SectionText::Whole),
        Some(TheirSection::Header(part)) => (part.as_ref(), SectionText::Header),
        Some(TheirSection::HeaderFields(part, names)) => (part.as_ref(), fields(false, names.as_ref())),
        Some(TheirSection::HeaderFieldsNot(part, names)) => (part.as_ref(), fields(true, names.as_ref())),
        Some(TheirSection::Text(part)) => (part.as_ref(), SectionText::Text),
        Some(TheirSection::Mime(part)) => (Some(part), SectionText::Mime),
    };
    Section { part: numbers(part), text }
}
