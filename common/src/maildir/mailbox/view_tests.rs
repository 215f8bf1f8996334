use super::*;

/// An index of messages with the UIDs from 1 on, of which `vanished` have been expunged before.
fn index(count: u32, vanished: Vec<Vanished>) -> Index {
    let names: Vec<String> = (1..=count).map(|uid| format!("{uid}.x:2,")).collect();
    let (mut out, extras) = (Vec::new(), Extras { vanished, ..Extras::default() });
    let mut header = index::Header::default();
    (header.next_uid, header.vanished_since) = (count + 1, 3);
    let written = index::write(&mut out, header, &extras, |visit| {
        let message = |(uid, name)| visit(&Source { uid, name, modseq: 9, ..Source::default() });
        (1..).zip(names.iter().map(|name| name.as_bytes())).try_for_each(message)
    });
    written.unwrap();
    Index::in_memory(out).unwrap()
}

#[test]
fn what_was_expunged_is_remembered_as_far_as_an_index_has_it_and_costs_no_more() {
    let max = VANISHED_MAX as u32;
    for (count, gone) in [(10, 3), (3 * max, max - 1), (3 * max, 2 * max - 1), (3 * max, 3 * max)] {
        let earlier = vec![Vanished { uid: 0, modseq: 5 }; 7];
        let mut view = View::new(index(count, earlier.clone()));
        let expunged = (1..=gone).map(|uid| Vanished { uid, modseq: 10 + u64::from(uid) / 100 });
        for Vanished { uid, modseq } in expunged.clone() {
            assert!(matches!(view.apply(Entry::Expunged { uid, modseq }), Ok(Effect::Expunged)));
            assert!(view.vanished.len() < 2 * VANISHED_MAX);
        }
        let mut out = Vec::new();
        view.write(&mut out, &Stamps::default()).unwrap();
        let written = Index::in_memory(out).unwrap();
        assert_eq!(written.header.count, count - gone);
        let all: Vec<Vanished> = earlier.into_iter().chain(expunged).collect();
        let (forgotten, kept) = all.split_at(all.len().saturating_sub(VANISHED_MAX));
        assert_eq!(written.extras().unwrap().vanished, kept);
        let since = forgotten.last().map_or(3, |last| last.modseq);
        assert_eq!(written.header.vanished_since, since, "{gone} of {count}");
    }
}
